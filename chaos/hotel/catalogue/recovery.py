"""What a store's end costs: how long until work goes on, and how much of what was answered is lost (RTO and RPO).

    a desk charges four times a second ──► the store goes ──► the standby has it ──► the first charge that is done
                                              └──────────────────── RTO ─────────────────────┘

What was answered with success is asked for again, by its key, when all is calm. What the ledger knows is replayed; what
it does not was lost with the old primary, and is as old as it was when that went: the eldest of it is the RPO. A charge
that was lost to the ledger is done once all the same, since the service knows its key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from chaos.sim.clock import simulate

if TYPE_CHECKING:
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.world import World

EVERY: Final = 0.25  # seconds between two charges
BEFORE: Final = 10.0  # seconds of charges before the store goes
CALM: Final = 15.0  # and after it is back, for whoever settles what is left
CHARGES: Final = "/v1/folios/f-00870/charges"
CHARGE: Final = {"amountMinor": 700, "currency": "EUR", "description": "Minibar"}
ANSWERS_TAKE: Final = (0.005, 0.05)  # seconds: as services in one region answer


@dataclass(frozen=True, slots=True)
class Loss:
    """How a store goes: `lag` seconds of writes that the standby has not got, `takes` seconds until it has taken over.

    Those are given: how long the real ones take is the platform's to say (FAILURE_MODES F-19, F-20).
    """

    store: str
    lag: float
    takes: float

    @property
    def toxic(self) -> str:
        """In the words of `bff chaos inject`."""
        return f"failover lost={self.lag:g} takes={self.takes:g}"


@dataclass(frozen=True, slots=True)
class Recovered:
    """Seconds until the first change was done again, seconds of answered changes that are lost, and how many those are.

    `twice` are effects beyond one for each key.
    """

    down: float
    lost: float
    changes: int
    twice: int


LEDGER: Final = Loss("postgres", lag=1.0, takes=60.0)
TIER: Final = Loss("redis-session", lag=1.0, takes=30.0)


def recovered(loss: Loss, *, seed: int = 0) -> Recovered:
    """Lose that store in a world, and see. In virtual time."""
    return simulate(partial(_played, loss, seed), seed=seed)


async def _played(loss: Loss, seed: int) -> Recovered:
    async with open_world(seed=seed, answers_take=ANSWERS_TAKE) as world:
        desk = await world.desk()
        done = Done()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_charges, desk, done)
            await trio.sleep(BEFORE)
            went = trio.current_time()
            world.inject(loss.store, loss.toxic)
            await done.next.wait()
            down = trio.current_time() - went
            await trio.sleep(CALM)
            nursery.cancel_scope.cancel(reason="enough was charged")
        return await _counted(world, desk, done.at, went, down)


@dataclass(slots=True)
class Done:
    """When each key was answered with success; `next` is set, and made anew, when one is."""

    at: dict[str, float] = field(default_factory=dict)
    next: trio.Event = field(default_factory=trio.Event)

    def answered(self, key: str) -> None:
        self.at[key] = trio.current_time()
        self.next.set()
        self.next = trio.Event()


async def _charges(desk: Desk, done: Done) -> None:
    """Each key until it is done, and then the next: an outbox."""
    number = 0
    while True:
        number += 1
        key = f"charge-{number}"
        while key not in done.at:
            try:
                await desk.change(CHARGES, CHARGE, key)
            except Refused:
                await trio.sleep(EVERY)
            else:
                done.answered(key)
        await trio.sleep(EVERY)


async def _counted(world: World, desk: Desk, done: dict[str, float], went: float, down: float) -> Recovered:
    count = world.estate.doors["billing"].service.counts["charge"]
    replayed = {key: (await desk.change(CHARGES, CHARGE, key)).replayed for key in done}
    lost = [went - at for key, at in done.items() if not replayed[key]]
    return Recovered(down, max(lost, default=0.0), len(lost), count.effects - count.keys)
