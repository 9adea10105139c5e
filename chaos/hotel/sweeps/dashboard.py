"""The sweep of the dashboard: every single fault and every two faults, at every moment that may matter.

Always: 200 by the deadline, to the microsecond; the widgets that the contract says; `partial` honest; nothing left
alive; when it is healed a whole dashboard, over connections that were fit.

Besides the moments of one dashboard there are episodes (episodes.py): what only several of them can reach.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from bff.facts import ConnectionClosed, UpstreamCalled, WidgetServed
from chaos.choices import Drawn
from chaos.hotel.checks.answers import REASONS, TABLE
from chaos.hotel.sweeps.batch import in_worlds
from chaos.hotel.sweeps.episodes import EPISODES, episodes
from chaos.hotel.sweeps.looks import SERVICES, composed_at, open_looks
from chaos.hotel.sweeps.onsets import FOR_PAIRS, ONSETS
from chaos.marks import Mark, Marks, told
from chaos.sim.entropy import chance
from chaos.sweep import Fault, FaultCase, Ran, pairs, singles
from chaos.toxics import split
from nurseries import BreakerClosed, BreakerHalfOpened, BreakerOpened

if TYPE_CHECKING:
    from chaos.hotel.sweeps.batch import One
    from chaos.toxics import Toxic

WORDS: Final = (
    "status code=503",
    "down",
    "hang",
    "latency ms=300",
    "drip",
    "reset",
    "giant bytes=1100000",
    "redirect",
    "garbage",
    "drift",
    "wrong-tenant",
    "lose-answer",
)
FORMS: Final = ("status code=404", "latency ms=1000", "reset after=120", "drift missing=true")  # of the same words
TOXICS: Final = tuple(map(split, WORDS))
MORE: Final = tuple(map(split, FORMS))
SILENT: Final = ("iam", "lock-integration")  # no widget asks them: of a call's moments they have none
KEPT: Final = frozenset(row.service for row in TABLE.values() if row.keep)
FEW_ONSETS: Final = ("before", "half")
CLOSED: Final = ("idle", "stale", "cancelled", "broken", "unanswered", "last", "crowded out", "shutdown")
CALLED: Final = ("ok", *sorted(REASONS), "cancelled")


def faults_of(services: Sequence[str], toxics: Sequence[Toxic]) -> list[Fault]:
    """Each of these toxics on each of them."""
    return [Fault(service, toxic) for service in services for toxic in toxics]


def _says_something(case: FaultCase) -> bool:
    """How old kept answers are matters to a service of which something is kept."""
    return ONSETS[case.onset].age is None or case.faults[0].target in KEPT


def dashboard_marks() -> list[Mark]:
    """Every turn of a breaker, every widget's status and reason, every way a call or a connection may end."""
    return [
        *(told(BreakerOpened, why=why) for why in ("consecutive", "ratio", "probe")),
        told(BreakerHalfOpened),
        told(BreakerClosed),
        *(told(WidgetServed, status=status) for status in ("ok", "stale", "absent")),
        *(told(WidgetServed, status="skeleton", reason=reason) for reason in sorted(REASONS)),
        *(told(UpstreamCalled, outcome=outcome) for outcome in CALLED),
        *(Mark(f"a connection to a service closed: {why}", _closed(why)) for why in CLOSED),
    ]


def _closed(why: str) -> Callable[[object], bool]:
    """A server closed a connection for this reason; desks have pools too."""

    def hit(fact: object) -> bool:
        return isinstance(fact, ConnectionClosed) and fact.why == why and fact.host.endswith(".estate")

    return hit


class DashboardSweep:
    """`chaos.sweep.Sweep` of `FaultCase`."""

    name = "dashboard"
    about = "every fault of a service, and every two, at every moment of a dashboard"

    def cases(self, *, pairs: bool) -> Sequence[FaultCase]:
        """Fault by fault, then the episodes, then the pairs."""
        each = [case for case in singles(faults_of(SERVICES, TOXICS), ONSETS) if _says_something(case)]
        few = [*faults_of(SERVICES, MORE), *faults_of(SILENT, (*TOXICS, *MORE))]
        two = _pairs() if pairs else ()
        return [*each, *singles(few, FEW_ONSETS), *episodes((*TOXICS, *MORE)), *two]

    def together(self, case: FaultCase) -> Hashable:
        """Whose faults fall on the same services; an episode has a world of its own."""
        return case if case.onset in EPISODES else tuple(fault.target for fault in case.faults)

    def marks(self) -> Marks:
        return Marks(dashboard_marks())

    def run(self, batch: Sequence[FaultCase], seed: int, marks: Marks) -> Iterator[Ran]:
        """One after the other in a world of `seed`; ties are decided by lot, anew for each case."""
        lot = _ByCase(seed)
        return in_worlds(batch, partial(_open_looks, seed, composed_at(), lot), marks, choices=lambda: lot, seed=seed)


class _ByCase(Drawn):
    """Decides by lot, from the seed and the name of the case: a case meets the same lots alone and in company."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._seed = seed

    def begin(self, case: FaultCase) -> None:
        """What follows belongs to `case`."""
        self._random = chance(self._seed, "case", case.name)
        self.taken.clear()
        self.options.clear()


def _pairs() -> list[FaultCase]:
    return pairs(faults_of((*SERVICES, *SILENT), (*TOXICS, *MORE)), FOR_PAIRS)


@asynccontextmanager
async def _open_looks(seed: int, reserve: float, lot: _ByCase) -> AsyncIterator[One[FaultCase]]:
    async with open_looks(seed, reserve=reserve) as looks:

        async def one(case: FaultCase) -> None:
            lot.begin(case)
            if case.onset in EPISODES:
                await EPISODES[case.onset](looks, case.faults)
            else:
                await looks.case(case.faults, ONSETS[case.onset])

        yield one
