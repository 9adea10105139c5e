"""What breaks, made as small as it can be and still break: the fewest faults, the narrowest time, the fewest decisions.

Whoever shrinks has a question, `breaks`, and a thing of which the answer is yes. Smaller things are tried, and what
still breaks takes its place; so the result always breaks, whatever the question is like. What is left out in turn:

    fewest          items of a sequence: none, halves, quarters, at last each alone (Zeller's ddmin, by complements)
    shrink_plan     faults, works, promises, then the numbers of each, until nothing more gives way
    shrink_break    the same, for the checks that a plan was found to break
    shrink_schedule decisions of a schedule that are not the plain one

Numbers are bisected, which finds the least one where more of it breaks more. Where it does not, the result is smaller
than what was given and breaks, but something smaller still may, too.

A question costs a run, so there is an end of them: after `most` the smallest so far is the answer. No question is asked
twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from chaos.plan import BadPlan, Plan, Work

if TYPE_CHECKING:
    from chaos.history import Finding

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)

STEPS: Final = (1000, 100, 10, 1, 0.1, 0.01, 0.001)  # seconds: on what times are rounded, the coarsest first
FINE: Final = 100  # a time is said to a hundredth of the interval it bounds
HAIR: Final = 1e-9  # 0.3 / 0.1 is not quite 3


class _Tries(Generic[H]):
    """The question, asked once of each thing and `most` times in all; after that nothing breaks any more."""

    def __init__(self, breaks: Callable[[H], bool], most: int) -> None:
        self._breaks = breaks
        self._left = most
        self._known: dict[H, bool] = {}

    def whole(self, thing: H) -> None:
        """Ask of what was given. Raises `ValueError` where it does not break."""
        if not self.ask(thing):
            raise ValueError("it does not break as it is: there is nothing to shrink")

    def ask(self, thing: H) -> bool:
        if thing not in self._known:
            if not self._left:
                return False
            self._left -= 1
            self._known[thing] = bool(self._breaks(thing))
        return self._known[thing]


def fewest(items: Sequence[T], breaks: Callable[[tuple[T, ...]], bool], *, most: int = 500) -> tuple[T, ...]:
    """Those of `items`, in their order, that still break: with any single one less they do not.

    Asks at most `most` times; where that is not enough, there may be fewer. Raises `ValueError` where all of them do
    not break.
    """

    def of(places: tuple[int, ...]) -> bool:
        return breaks(tuple(items[place] for place in places))

    tries = _Tries(of, most)
    tries.whole(tuple(range(len(items))))
    return tuple(items[place] for place in _fewest(tuple(range(len(items))), tries.ask))


def _fewest(kept: tuple[T, ...], breaks: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """What is left of `kept`, which breaks."""
    size = len(kept)
    while size:
        before, at = len(kept), 0
        while at < len(kept):
            rest = kept[:at] + kept[at + size :]
            if breaks(rest):
                kept = rest
            else:
                at += size
        if size > 1:
            size = (size + 1) // 2
        elif len(kept) == before:
            break
    return kept


def shrink_schedule(
    record: Sequence[int], breaks: Callable[[tuple[int, ...]], bool], *, most: int = 500
) -> tuple[int, ...]:
    """The schedule that breaks with the fewest decisions other than the plain one, without the zeros at its end.

    A decision that is left out becomes a 0, so that those after it are still the answer to the same question as long
    as the run is the same. Raises `ValueError` where `record` does not break.
    """
    chosen = [place for place, choice in enumerate(record) if choice]

    def of(places: tuple[int, ...]) -> bool:
        return breaks(_schedule(record, places))

    return _schedule(record, fewest(chosen, of, most=most))


def _schedule(record: Sequence[int], places: tuple[int, ...]) -> tuple[int, ...]:
    kept = set(places)
    return tuple(record[place] if place in kept else 0 for place in range(max(kept, default=-1) + 1))


def shrink_plan(plan: Plan, breaks: Callable[[Plan], bool], *, most: int = 200) -> Plan:
    """The smallest plan that still breaks: a person should see at once what it takes.

    The fewest faults, works and promises; each fault for the shortest while, as early as may be, in round numbers; the
    smallest whole numbers in the settings of the works (`desks=6` becomes `desks=1`; other numbers stay as they are);
    the shortest plan and calm. Asks at most `most` times. A plan that cannot be (`BadPlan`) does not break. Raises
    `ValueError` where `plan` does not break.
    """

    def asked(candidate: Plan) -> bool:
        try:
            return breaks(candidate)
        except BadPlan:
            return False

    tries = _Tries(asked, most)
    tries.whole(plan)
    while (smaller := _Shrinking(plan, tries).once()) != plan:
        plan = smaller
    return plan


def shrink_break(
    plan: Plan, found: Sequence[Finding], findings: Callable[[Plan], Sequence[Finding]], *, most: int = 200
) -> Plan:
    """The smallest plan of whose `findings` one is of a check that `found` something in `plan`: another break is none.

    Raises `ValueError` where `plan` breaks none of those checks any more.
    """
    broken = {finding.check for finding in found}
    return shrink_plan(plan, lambda smaller: any(one.check in broken for one in findings(smaller)), most=most)


class _Shrinking:
    """One time through everything that may give way. `plan` always breaks."""

    def __init__(self, plan: Plan, tries: _Tries[Plan]) -> None:
        self._plan = plan
        self._tries = tries

    def once(self) -> Plan:
        for field in ("faults", "work", "always", "eventually"):  # first what makes the runs shorter
            self._fewer(field)
        self._shorter("lasts")
        for at in range(len(self._plan.faults)):
            self._narrower(at)
        self._earlier()
        self._shorter("lasts")
        for at, work in enumerate(self._plan.work):
            for name, value in work.settings:
                if re.fullmatch(r"[0-9]{1,9}", value):
                    self._smaller(at, name, int(value))
        self._shorter("calm")
        return self._plan

    def _takes(self, **changes: object) -> bool:
        """Put the changed plan in the place of the plan, if it breaks."""
        try:
            candidate = replace(self._plan, **changes)  # type: ignore[arg-type]  # each caller changes what it knows
        except BadPlan:
            return False
        if not self._tries.ask(candidate):
            return False
        self._plan = candidate
        return True

    def _fewer(self, field: str) -> None:
        def broke(items: tuple[object, ...]) -> bool:
            return self._takes(**{field: items})

        _fewest(getattr(self._plan, field), broke)

    def _shorter(self, field: str) -> None:
        _least(0.0, getattr(self._plan, field), lambda seconds: self._takes(**{field: seconds}))

    def _narrower(self, at: int) -> None:
        def until(ends: float) -> bool:
            return self._lasting(at, self._plan.faults[at].begins, ends)

        def since(begins: float) -> bool:
            return self._lasting(at, begins, self._plan.faults[at].ends)

        fault = self._plan.faults[at]
        if self._plan.lasts <= fault.ends < math.inf:
            until(math.inf)  # the calm ends it anyhow: so say it
        ends = _least(fault.begins, min(fault.ends, self._plan.lasts), until)
        _least(-ends, -fault.begins, lambda begins: since(-begins))  # the latest is the least from the other side

    def _lasting(self, at: int, begins: float, ends: float) -> bool:
        faults = self._plan.faults
        try:
            fault = replace(faults[at], begins=begins, ends=ends)
        except BadPlan:
            return False
        return self._takes(faults=(*faults[:at], fault, *faults[at + 1 :]))

    def _earlier(self) -> None:
        """All of it, the end of the plan as well: what happens is the same, only sooner."""
        faults, lasts = self._plan.faults, self._plan.lasts
        first = min((fault.begins for fault in faults), default=0.0)

        def from_then(begins: float) -> bool:
            by = first - begins
            moved = [replace(fault, begins=_round(fault.begins - by), ends=_round(fault.ends - by)) for fault in faults]
            return self._takes(faults=tuple(moved), lasts=_round(lasts - by))

        if first and not from_then(0.0):
            _least(0.0, first, from_then)

    def _smaller(self, at: int, name: str, most: int) -> None:
        def of(value: int) -> bool:
            works = self._plan.work
            settings = tuple((key, str(value) if key == name else old) for key, old in works[at].settings)
            return self._takes(work=(*works[:at], Work(works[at].word, settings), *works[at + 1 :]))

        if most > 1 and not of(1):
            _bisect(1, most, of)


def _least(low: float, high: float, breaks: Callable[[float], bool]) -> float:
    """The least round number above `low` and below `high` that breaks, or `high`, which does as it is.

    As round as may be: on tens before ones and ones before tenths, and on nothing finer than a hundredth of what is
    left of the interval.
    """
    origin = low
    for step in STEPS:
        if step * FINE < high - origin:
            break
        first, last = math.floor(low / step + HAIR), math.ceil(high / step - HAIR)
        found = _bisect(first, last, partial(_on, step, breaks))
        low, high = max(low, _round((found - 1) * step)), min(high, _round(found * step))
    return high


def _on(step: float, breaks: Callable[[float], bool], steps: int) -> bool:
    return breaks(_round(steps * step))


def _bisect(low: int, high: int, breaks: Callable[[int], bool]) -> int:
    """Where breaking begins between `low`, which does not, and `high`, which does. Neither is asked."""
    while high - low > 1:
        middle = (low + high) // 2
        if breaks(middle):
            high = middle
        else:
            low = middle
    return high


def _round(seconds: float) -> float:
    return round(float(seconds), 6)
