"""The recovery objectives of FAILURE_MODES section 4, measured when they are asked for, and how they compare.

    RPO, RTO            the stores go, one after the other                  recovery.py
    MTTD (P1)           every P1 row is played, and looked for              detection.py
    audit, idempotency  servers are killed while desks change everything    the game-day `short-spree`
    force-logout        everybody of one operator is logged out             the game-day `force-logout`, small

Each is played in a world of its own, in virtual time and from a seed; the last two can be played at a hotel that runs,
too. How soon people come and what they then do, and what other systems do, is nobody's to measure here: those are
targets, and no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import trio

from chaos.hotel.catalogue import ROWS
from chaos.hotel.catalogue.detection import P1, SIGNS, seconds_until_shown
from chaos.hotel.catalogue.recovery import LEDGER, TIER, recovered
from chaos.hotel.gamedays import find
from chaos.hotel.gamedays.running import perform, rehearse
from chaos.hotel.ready import running
from chaos.plan import parse_plan

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.history import Finding
    from chaos.hotel.gamedays import GameDay
    from chaos.record import Record

Where = Literal["virtual", "live", "not measured"]

MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """A row of section 4, in its words and order. `name` is how it is asked for; `most` or `least` is what it says."""

    name: str
    objective: str
    says: str
    unit: Literal["s", "ratio"]
    most: float | None = None
    least: float | None = None
    below: bool = False  # `most` itself is too much

    def met(self, value: float) -> bool:
        """Whether that is good enough."""
        if self.least is not None:
            return value >= self.least
        assert self.most is not None
        return value < self.most if self.below else value <= self.most


TARGETS: Final = (
    Target("rpo", "RPO", "5 min", "s", most=5 * MINUTE),
    Target("rto", "RTO", "30 min", "s", most=30 * MINUTE),
    Target("mttd", "MTTD (P1)", "< 2 min", "s", most=2 * MINUTE, below=True),
    Target("mtta", "MTTA (P1)", "< 5 min", "s", most=5 * MINUTE, below=True),
    Target("mttm", "MTTM (P1)", "< 30 min", "s", most=30 * MINUTE, below=True),
    Target("lock-audit", "Lock-audit completeness", "100 % (no tolerance)", "ratio", least=1.0),
    Target("idempotency", "Mutation idempotency correctness", "100 %", "ratio", least=1.0),
    Target("force-logout", "Force-logout end to end", "< 5 s p95", "s", most=5.0, below=True),
)
BY_NAME: Final = {target.name: target for target in TARGETS}
NOT_MEASURED: Final[Mapping[str, str]] = {
    "mtta": "how soon somebody comes who is called is a matter of the rota, not of this server",
    "mttm": "what is done then is in the runbooks; how long people need for it, exercises show",
}
FOREIGN: Final[Mapping[str, str]] = {
    "Consumer surface": "another system's: of section 3 iam-service down alone reaches it, as it does this one",
    "Tenant booking surface": "another system's: the same, and hold and confirm fail with reservation-service down",
}
TRAIL: Final = frozenset({"audited", "complete", "chained"})  # promises about the locks' audit trail
LOGGED_OUT: Final = parse_plan("""
    plan        Everybody of one operator is logged out in one moment
    owner       security
    lasts       12, then 13 of calm

    work        bystanders person=0 devices=4
    work        logout person=2 devices=200 at=8

    always      out-in-time shut nobody-else
    eventually  all-out within 12
    eventually  still-in within 12
""")


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure: of which `target`, what of it, `value` in the target's unit, and how it was come by.

    `value` is None where there is none: nothing showed, something that was promised beside it did not hold, or nobody
    can measure it.
    """

    target: Target
    what: str
    value: float | None
    where: Where
    how: str

    @property
    def met(self) -> bool | None:
        """None where it is not measured."""
        if self.where == "not measured":
            return None
        return self.value is not None and self.target.met(self.value)


@dataclass(frozen=True, slots=True)
class Step:
    """Something to measure: `about` says what is being played, for whoever waits."""

    name: str
    about: str
    measure: Callable[[], list[Measured]]


def steps(seed: int, data: Path | None, warn: Callable[[str], None]) -> Iterator[Step]:
    """All that is to be measured, in the specification's order; `data` is of the hotel that runs, if one should."""
    yield Step("rpo", "a ledger goes, and a session tier", partial(_stores, seed))
    for row in ROWS:
        if row.id in P1:
            yield Step("mttd", f"{row.id} {row.failure}", partial(_detection, row.id, seed))
    yield Step("lock-audit", "servers are killed under desks that change things", partial(_spree, _virtual(seed)))
    yield Step("force-logout", "everybody of one operator is logged out", partial(_logout, _virtual(seed)))
    if data is not None:
        live = partial(_live, data, warn)
        yield Step("lock-audit", "the same, at the hotel that runs (25 s)", partial(_spree, live))
        yield Step("force-logout", "the same, at the hotel that runs (25 s)", partial(_logout, live))


def chosen(only: tuple[str, ...]) -> frozenset[str]:
    """The names of steps in which the named objectives are measured; all where none is named."""
    shared = {"rto": "rpo", "idempotency": "lock-audit"}
    return frozenset(shared.get(name, name) for name in only or BY_NAME)


def measured(only: tuple[str, ...], seed: int, data: Path | None, say: Callable[[str], None]) -> tuple[Measured, ...]:
    """The named objectives, or all of them; `say` hears what is being played. Raises `LiveError`."""
    if data is not None:
        running(data)  # not after minutes
    wanted, names = chosen(only), set(only or BY_NAME)
    found = [Measured(BY_NAME[name], "", None, "not measured", why) for name, why in NOT_MEASURED.items()]
    for step in steps(seed, data, say):
        if step.name in wanted:
            say(f"{step.name}: {step.about}")
            found += step.measure()
    order = [target.name for target in TARGETS]
    found.sort(key=lambda one: order.index(one.target.name))
    return tuple(one for one in found if one.target.name in names)


# -- how ---------------------------------------------------------------------------------------------------------------


def _stores(seed: int) -> list[Measured]:
    found = []
    for loss in (LEDGER, TIER):
        came = recovered(loss, seed=seed)
        lost = f"{loss.toxic}: {came.changes} answered changes are not in the ledger, {came.twice} were done twice"
        back = f"{loss.toxic}: until a change is done again; that the standby takes {loss.takes:g} s is given"
        found += [
            Measured(BY_NAME["rpo"], loss.store, came.lost, "virtual", lost),
            Measured(BY_NAME["rto"], loss.store, came.down, "virtual", back),
        ]
    return found


def _detection(row: str, seed: int) -> list[Measured]:
    return [Measured(BY_NAME["mttd"], row, seconds_until_shown(row, seed=seed), "virtual", str(SIGNS[row]))]


Play = Callable[["GameDay"], "tuple[Record, Where]"]


def _virtual(seed: int) -> Play:
    return lambda day: (rehearse(day, seed), "virtual")


def _live(data: Path, warn: Callable[[str], None], day: GameDay) -> tuple[Record, Where]:
    return trio.run(perform, day, data, warn), "live"


def _spree(play: Play) -> list[Measured]:
    """As many effects as keys that were answered with success, and a row for each lock action, at every moment."""
    record, where = play(find("short-spree"))
    keys, effects = _number(record, "keys answered with success") or 0.0, _number(record, "effects") or 0.0
    gaps, wrong = ([one for one in record.findings if (one.check in TRAIL) is audit] for audit in (True, False))
    whole = None if gaps else _number(record, "least completeness")
    once = None if wrong or not keys else 1.0 - abs(effects - keys) / keys
    rows = f"{_number(record, 'trail rows about locks') or 0:.0f} rows, and the least that it was at any moment"
    said = f"{keys:.0f} keys, {effects:.0f} effects, kills: {_number(record, 'processes killed') or 0:.0f}"
    return [
        Measured(BY_NAME["lock-audit"], "", whole, where, _also(rows, gaps)),
        Measured(BY_NAME["idempotency"], "", once, where, _also(said, wrong)),
    ]


def _logout(play: Play) -> list[Measured]:
    """The slowest of 95 of 100 devices. Where one is not told what it should be, it took for ever."""
    record, where = play(replace(find("force-logout"), plan=LOGGED_OUT))
    (p95,) = [_number(record, name) for name in record.figures if name.endswith("p95 ms")] or [None]
    (devices,) = [_number(record, name) for name in record.figures if name.endswith(": devices")] or [0.0]
    value = None if record.findings or p95 is None else p95 / 1000
    return [Measured(BY_NAME["force-logout"], "", value, where, _also(f"{devices or 0:.0f} devices", record.findings))]


def _number(record: Record, name: str) -> float | None:
    found = record.figures.get(name)
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def _also(said: str, findings: Sequence[Finding]) -> str:
    """And what was promised there and did not hold, the first of it."""
    return "; ".join([said, *(f"{one.check}: {one.text}" for one in findings[:1])])
