"""Running a game-day, in virtual time or at a hotel that runs, and the record of it.

    rehearse(day, seed)      the whole world from a seed; the same seed gives the same digest, wherever it is played
    perform(day, data, …)    a `bff up` that runs on `data`

Either way: what broke is in the record. A world that cannot be ended in good order, because something of it is still
alive, is a finding too.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import trio

from bff.outside import real, rfc3339
from bff.wire.dial import connect
from chaos.history import Finding, Moment
from chaos.hotel.gamedays import CAST, GameDay
from chaos.hotel.live_stage import live_stage
from chaos.hotel.ready import running
from chaos.hotel.stage import virtual_stage
from chaos.hotel.world import open_world
from chaos.play import Played, play
from chaos.record import Record, thinned
from chaos.shrink import shrink_break
from chaos.sim.clock import simulate
from chaos.sim.trace import Trace

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.plan import Plan

ANSWERS_TAKE: Final = (0.005, 0.05)  # seconds: as services in one region answer
DESK_LATENCY: Final = 0.01  # seconds one way
UNANSWERED: Final = frozenset({"refused", "unreachable"})


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A run in virtual time: what came of it, how long it was there, and the digest of all that happened."""

    played: Played
    seconds: float
    digest: str


def rehearse(day: GameDay, seed: int) -> Record:
    """Play it in virtual time. Raises `BadPlan`."""
    done = rehearsed(day, day.plan, seed)
    return _record(day, done.played, "virtual", done.seconds, seed=seed, digest=done.digest)


def rehearsed(day: GameDay, plan: Plan, seed: int) -> Rehearsed:
    """Play `plan` with the cast of `day`. Raises `BadPlan`."""
    trace = Trace()
    played, seconds = simulate(partial(_in_a_world, day, plan, seed), seed=seed, trace=trace)
    return Rehearsed(played, seconds, trace.digest())


async def _in_a_world(day: GameDay, plan: Plan, seed: int) -> tuple[Played, float]:
    began, played = trio.current_time(), None
    try:
        async with open_world(seed=seed, answers_take=ANSWERS_TAKE, desk_latency=DESK_LATENCY) as world:
            with virtual_stage(world) as stage:
                played = await play(plan, stage, CAST.and_also(day.cast))
    except AssertionError as left:
        if played is None:
            raise
        over = trio.current_time() - began
        played = replace(played, findings=(*played.findings, Finding(over, "world", str(left))))
    return played, trio.current_time() - began


def shrunk(day: GameDay, seed: int) -> Plan:
    """The smallest plan that still breaks, from `seed`, a promise that the whole one breaks.

    Raises `ValueError` where that breaks none.
    """
    found = rehearsed(day, day.plan, seed).played.findings
    return shrink_break(day.plan, found, lambda plan: rehearsed(day, plan, seed).played.findings)


async def perform(day: GameDay, data: Path, warn: Callable[[str], None]) -> Record:
    """Play it at what runs on `data`. Raises `LiveError` where nothing does, and `BadPlan`."""
    began = trio.current_time()
    async with live_stage(running(data), data, warn) as stage:
        played = await play(day.plan, stage, CAST.and_also(day.cast))
    return _record(day, played, "live", trio.current_time() - began)


def _record(
    day: GameDay,
    played: Played,
    where: Literal["virtual", "live"],
    seconds: float,
    *,
    seed: int | None = None,
    digest: str = "",
) -> Record:
    return Record(
        name=day.name,
        title=day.plan.title,
        owner=day.plan.owner or "nobody yet",
        date=rfc3339(real(connect).now()),
        where=where,
        seed=seed,
        digest=digest,
        plan=str(day.plan),
        seconds=round(seconds, 6),
        figures={**_looked(played.moments), **day.figures(played.moments)},
        findings=played.findings,
        skipped=played.skipped,
        backlog=tuple(_backlog(played)),
        moments=thinned(played.moments),
        given=day.given,
    )


def _looked(moments: Sequence[Moment]) -> Mapping[str, float | int | str]:
    """How the fleet's looks went, where it looked."""
    looks = [moment for moment in moments if moment.word in {"whole", "partial", "strange"}]
    if not looks:
        return {}
    took = sorted(moment.took * 1000 for moment in looks)
    return {
        "dashboards": len(looks),
        "of them partial": sum(moment.word == "partial" for moment in looks),
        "refused or unreachable": sum(moment.word in UNANSWERED for moment in moments if moment.lane[:5] == "desk-"),
        "median ms": round(statistics.median(took), 1),
        "slowest ms": round(took[-1], 1),
    }


def _backlog(played: Played) -> list[str]:
    """What is to be done: one line for each promise that was broken, and for what was not exercised."""
    first: dict[str, Finding] = {}
    for finding in played.findings:
        first.setdefault(finding.check, finding)
    broken = [f"{check} was broken, first at {one.at:.3f} s: {one.text}" for check, one in first.items()]
    return [*broken, *(f"not exercised here: {line}" for line in played.skipped)]
