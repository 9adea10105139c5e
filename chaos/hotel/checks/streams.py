"""Whether desks were told what was said: what each heard, against all that was posted.

A desk hears each event of its scope once, and in the order in which they were posted. What is missing is excused by one
thing alone: that the desk was told to fetch everything anew, after the event was posted and before the next one that it
heard. Nothing excuses what is heard twice, out of order, or by somebody for whom it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.hotel.fleet.told import Came, Refetch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence, Set

    from chaos.hotel.fleet.told import Told


@dataclass(frozen=True, slots=True)
class Posted:
    """An event by the name that whoever posted it knows it by, and the desks that it reaches.

    `at` is when it was known to be said, on Trio's clock.
    """

    name: str
    reaches: Set[str]
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What a desk was told, in order, and of which part of what was posted it must know: from `first` up to `last`."""

    told: Sequence[Told]
    first: int = 0
    last: int | None = None


def by_id(came: Came) -> str:
    """An event's name where posts are known by their positions."""
    return came.id


def judge_streams(
    posted: Sequence[Posted], heard: Mapping[str, Heard], *, named: Callable[[Came], str] = by_id
) -> None:
    """Raises `AssertionError` with the first breach in one line. `posted` is in order; `named` finds an event in it.

    Raises `ValueError` where two were posted under one name.
    """
    order = {one.name: at for at, one in enumerate(posted)}
    if len(order) < len(posted):
        raise ValueError("two events of one name")
    for desk, what in heard.items():
        breach = _Listening(desk, posted, order, what).breach(named)
        assert not breach, f"{desk}: {breach}"


class _Listening:
    """One desk's hearing, walked through once."""

    def __init__(self, desk: str, posted: Sequence[Posted], order: Mapping[str, int], heard: Heard) -> None:
        self._desk = desk
        self._posted = posted
        self._order = order
        self._heard = heard
        self._next = heard.first  # of what was posted, the first that it has neither heard nor been excused from
        self._excused = -1.0  # up to when it was told to fetch everything anew, since it last heard something

    def breach(self, named: Callable[[Came], str]) -> str:
        seen: set[str] = set()
        for one in self._heard.told:
            if isinstance(one, Refetch):
                self._excused = one.at
            elif isinstance(one, Came):
                name = named(one)
                why = f"{name} comes twice" if name in seen else self._hears(name)
                if why:
                    return why
                seen.add(name)
        last = self._heard.last
        return self._misses(len(self._posted) if last is None else last, "at the end")

    def _hears(self, name: str) -> str:
        at = self._order.get(name)
        if at is None:
            return f"{name} was never posted"
        if self._desk not in self._posted[at].reaches:
            return f"{name} is not for it"
        if at < self._heard.first:
            return f"{name} was posted before it listened"
        why = f"{name} comes late" if at < self._next else self._misses(at, f"before {name}")
        self._next, self._excused = at + 1, -1.0
        return why

    def _misses(self, end: int, where: str) -> str:
        for one in self._posted[self._next : end]:
            if self._desk in one.reaches and one.at > self._excused:
                return f"{one.name} is missing {where}"
        return ""
