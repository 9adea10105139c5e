"""A scene: what goes on in a hotel all day, what breaks, and when; and how it is filmed.

    the day's calm ─────────────────────► fault ─────────► (healed) ─────────► the end
    works go on from the first second     1 s after a look, so that the next one is as far away as it can be

A look each 15 seconds is what Prometheus would have seen of a server in the virtual world. The world tells all servers'
facts to one table of metrics, so that however many there are, they look like one instance.

A day is played once, and every scene of it goes on from where its calm ends, in a process of its own: a fork of the
whole world. It has no threads and no sockets, and its clock stands while another process is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio

from chaos.hotel.catalogue.faults import in_force
from chaos.hotel.recordings.tape import EVERY, Tape
from chaos.hotel.stage import virtual_stage
from chaos.hotel.world import open_world
from chaos.sim.clock import simulate
from chaos.sim.fork import Forked, in_a_fork

if TYPE_CHECKING:
    from chaos.hotel.stage import VirtualStage
    from chaos.hotel.world import World

INSTANCE: Final = "bff-1:9090"
SEED: Final = 7
ANSWERS_TAKE: Final = (0.005, 0.05)  # seconds: as services in one region answer
DESK_LATENCY: Final = 0.01  # seconds one way
HOUR: Final = 3600.0
AFTER_A_LOOK: Final = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Set:
    """Where a scene is played: the world, and `nursery` for what goes on while it is."""

    world: World
    stage: VirtualStage
    nursery: trio.Nursery


Work: TypeAlias = Callable[[Set], Awaitable[None]]
Fault: TypeAlias = "tuple[tuple[str, str], ...] | Work | None"


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """What goes on before anything breaks: `works`, for `calm` seconds, in a world that is opened with `world`."""

    works: tuple[Work, ...] = ()
    calm: float = 300.0
    world: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fault_at(self) -> float:
        """Seconds from the first look to what breaks."""
        return self.calm + AFTER_A_LOOK


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One scene of the alert of `row`; `sign` says of which rule, where there are several.

    `fault` is toxics, each with its target, or what is done instead; None is what the catalogue has for the row
    (`chaos.hotel.catalogue.faults`). The scene ends `lasts` seconds after it. `blip`: nobody should be called for it;
    where it can be healed it is, after `heals` seconds.
    """

    row: str
    what: str
    day: Day
    lasts: float
    fault: Fault = None
    sign: str = ""
    heals: float | None = None
    blip: bool = False

    @property
    def fault_at(self) -> float:
        return self.day.fault_at


def film(day: Day, scenes: Sequence[Scene], keep: Callable[[Scene, Tape | Forked], None]) -> None:
    """Play a day in virtual time, and each of its scenes. `keep` gets what was filmed of it, or why nothing was."""
    simulate(partial(_filmed, day, scenes, keep), seed=SEED)


async def _filmed(day: Day, scenes: Sequence[Scene], keep: Callable[[Scene, Tape | Forked], None]) -> None:
    tape = Tape(INSTANCE)
    told = {"seed": SEED, "answers_take": ANSWERS_TAKE, "desk_latency": DESK_LATENCY, **day.world}
    async with open_world(**told) as world, trio.open_nursery() as nursery:
        with virtual_stage(world) as stage:
            here = Set(world, stage, nursery)
            nursery.start_soon(_look_on, world, tape)
            for work in day.works:
                nursery.start_soon(work, here)
            await trio.sleep(day.fault_at)
            for scene in scenes:
                try:
                    keep(scene, await in_a_fork(partial(_played, here, scene, tape)))
                except Forked as why:
                    keep(scene, why)
            nursery.cancel_scope.cancel(reason="the day is over")


async def _played(here: Set, scene: Scene, tape: Tape) -> Tape:
    async with AsyncExitStack() as faults:
        if scene.fault is None:
            await faults.enter_async_context(in_force(scene.row, here.world))
        elif isinstance(scene.fault, tuple):
            faults.callback(here.world.heal)
            for target, toxic in scene.fault:
                here.world.inject(target, toxic)
        else:
            await scene.fault(here)
        await trio.sleep_until(scene.fault_at + (scene.heals or scene.lasts))
        if scene.heals is None:
            return tape.until_now()
    await trio.sleep_until(scene.fault_at + scene.lasts)
    return tape


async def _look_on(world: World, tape: Tape) -> None:
    again = trio.current_time()
    while True:
        tape.look(world.meters.shown()[0].decode())
        again += EVERY
        await trio.sleep_until(again)
