"""The sweep of replays: equal proofs at once, in every order in which the servers could judge them (F-28).

    ladder   at the gate itself, where a request has so few checkpoints that every schedule of two is walked through,
             and many of those in which the tier fails
    wire     through the whole server, two, four and eight at once, by schedules that are drawn

Trio lets every task that can run go one step before any goes a second, so what a schedule decides is the order within
a step. Who comes `lag` checkpoints later meets the one before him elsewhere: lags and orders together are the ways in
which two requests can cross.

Exactly one of the proofs is accepted, and the others are told 401 DPOP_INVALID. Where the tier fails in between, a
server may not know what another one accepted: then it is at most one at each of them.

A schedule that breaks this is shrunk to the fewest decisions, and told as a case is named: `by 0.1` takes the second of
those who could run at the second decision, and is plain otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Final

from bff.facts import ReplayBlocked, ReplayPassed
from chaos.choices import Drawn, Replayed, walk
from chaos.hotel.sweeps.batch import in_worlds
from chaos.hotel.sweeps.race import Held, Race, open_track
from chaos.marks import Mark, Marks, told
from chaos.shrink import shrink_schedule
from chaos.sim.clock import simulate

if TYPE_CHECKING:
    from chaos.choices import Choices
    from chaos.hotel.sweeps.batch import One
    from chaos.sweep import Ran

LAGS: Final = (0, 1, 2, 3)  # at the fourth checkpoint the first request is through
TROUBLES: Final = ("down", "stop", "failover")
MOMENTS: Final = (1, 2, 3)
SOME: Final = 30  # schedules of one kind of race that are walked through; all of the smaller ones are
MORE: Final = 150  # with pairs
CROWDS: Final = (2, 4, 8)
SHRUNK: Final = 3  # of a batch: a shrinking takes a world for each question
DRAWS: Final = 6  # schedules of each kind over the wire
MORE_DRAWS: Final = 400  # with pairs


@dataclass(frozen=True, slots=True)
class ReplayCase:
    """A race by one schedule: a record of decisions, or a seed to draw them from."""

    race: Race
    schedule: tuple[int, ...] | int

    @property
    def name(self) -> str:
        """`2 at ladder 2 lag 1 by 0.1`, `8 at wire 1 lag 0 drawn 7`."""
        if isinstance(self.schedule, int):
            return f"{self.race} drawn {self.schedule}"
        return f"{self.race} by {'.'.join(map(str, self.schedule)) or '0'}"

    def choices(self) -> Choices:
        """Who decides."""
        return Drawn(self.schedule) if isinstance(self.schedule, int) else Replayed(self.schedule)


class ReplaySweep:
    """`chaos.sweep.Sweep` of `ReplayCase`."""

    name = "replays"
    about = "equal proofs at once, under every schedule: exactly one is accepted"

    def cases(self, *, pairs: bool) -> Sequence[ReplayCase]:
        """What is walked through, then what is drawn; with pairs, far more of both."""
        draws = range(MORE_DRAWS if pairs else DRAWS)
        return [*_walked(MORE if pairs else SOME), *(ReplayCase(race, seed) for race in _crowds() for seed in draws)]

    def together(self, case: ReplayCase) -> Hashable:
        return case.race.where

    def marks(self) -> Marks:
        """Replays were refused by the tier and by a server's own window; and some passed, and were counted."""
        passed = Mark("ReplayPassed", lambda fact: isinstance(fact, ReplayPassed))
        return Marks([told(ReplayBlocked, by="tier"), told(ReplayBlocked, by="window"), passed])

    def run(self, batch: Sequence[ReplayCase], seed: int, marks: Marks) -> Iterator[Ran]:
        """Of the first that are broken the fewest decisions are told that break them."""
        held = Held()
        shrunk = 0
        by_name = {case.name: case for case in batch}
        for ran in in_worlds(batch, partial(_open_races, seed, held, batch[0].race.where), marks, choices=lambda: held):
            if ran.error and shrunk < SHRUNK:
                shrunk += 1
                fewest = _fewest(by_name[ran.name], seed)
                yield ran if fewest is None else replace(ran, error=f"{ran.error}; the fewest decisions: {fewest.name}")
            else:
                yield ran


def _races() -> Iterator[Race]:
    """Two at the ladder: at each distance, and with each trouble of the tier."""
    for servers in (1, 2):
        yield from (Race("ladder", servers, 2, lag) for lag in LAGS)
        for lag, trouble, moment in product(LAGS[:2], TROUBLES, MOMENTS):
            yield Race("ladder", servers, 2, lag, trouble, moment)


def _crowds() -> Iterator[Race]:
    """More of them, over the wire."""
    for servers, proofs in product((1, 2), CROWDS):
        yield Race("wire", servers, proofs)
        yield from (Race("wire", servers, proofs, 0, trouble, 10) for trouble in TROUBLES)


@cache
def _walked(limit: int) -> tuple[ReplayCase, ...]:
    """At most `limit` schedules of each race, in a run of its own: to be called outside of any."""
    held = Held()
    return simulate(_walk, limit, held, choices=held)


async def _walk(limit: int, held: Held) -> tuple[ReplayCase, ...]:
    found = []
    for race in _races():
        async with open_track(
            0, held, race.where
        ) as track:  # one each: what a server may owe the tier it shows again and again
            for choices in walk(limit):
                await track.said(race, choices)
                found.append(ReplayCase(race, _bare(choices.taken)))
    return tuple(dict.fromkeys(found))


def _bare(record: Sequence[int]) -> tuple[int, ...]:
    """Without the zeros at its end."""
    size = max((place for place, choice in enumerate(record, 1) if choice), default=0)
    return tuple(record[:size])


@asynccontextmanager
async def _open_races(seed: int, held: Held, where: str) -> AsyncIterator[One[ReplayCase]]:
    async with open_track(seed, held, where) as track:

        async def one(case: ReplayCase) -> None:
            await track.run(case.race, case.choices())

        yield one


def _fewest(case: ReplayCase, seed: int) -> ReplayCase | None:
    """The same race by the fewest decisions that break it; None where it does not break in a world of its own."""
    choices = case.choices()
    if not _breaks(case.race, seed, choices):
        return None

    def breaks(record: tuple[int, ...]) -> bool:
        return _breaks(case.race, seed, Replayed(record))

    return ReplayCase(case.race, shrink_schedule(choices.taken, breaks))


def _breaks(race: Race, seed: int, choices: Choices) -> bool:
    held = Held()

    async def main() -> bool:
        async with open_track(seed, held, race.where) as track:
            try:
                await track.run(race, choices)
            except AssertionError:
                return True
            return False

    return simulate(main, choices=held)
