"""Where the answer changes: the onset of a fault, bisected to the microsecond.

    frontier(answer, 0.0, 2.0)   ->   (Edge(last=0.799999, first=0.8, before='ok', after='stale'),)

`answer` plays a run with the fault beginning at that time and says what came of it: a status, a reason, a set of
widgets. It must be a function of the time alone, which a run from a seed is. The times it is asked for are whole steps
from `low`, in decimal: where the answer changes at a deadline, the edge says whether the deadline itself is still
inside, and its two times can be written into a plan as they are.

What it can miss: an answer that differs only between two neighbouring probes, at none of which it is seen. An island
narrower than the space between two probes may lie there unseen, and of several edges between two probes with different
answers it is certain to find one, not all. More probes see more; no number of them proves that there is nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final, Generic, TypeVar

A = TypeVar("A")

MOST: Final = 256  # edges; with more, the answer does not sort times into kinds, but measures them


class NoFrontier(ValueError):
    """An answer that changes nearly everywhere."""


@dataclass(frozen=True, slots=True)
class Edge(Generic[A]):
    """At `last` seconds the answer is still `before`, one step later, at `first`, it is `after`."""

    last: float
    first: float
    before: A
    after: A


def frontier(
    answer: Callable[[float], A], low: float, high: float, *, resolution: float = 1e-6, probes: int = 8
) -> tuple[Edge[A], ...]:
    """The edges between `low` and `high` seconds, in the order of time, each to within one step of `resolution`.

    Asks at `probes` times, evenly from `low` to `high` and both included, and bisects wherever two neighbours differ:
    some 20 more questions for each edge to a microsecond. No time is asked twice. Raises `ValueError` for what is no
    interval, and `NoFrontier` for more than 256 edges.
    """
    if not (-math.inf < low < high < math.inf and 0 < resolution < math.inf):
        raise ValueError(f"from {low} to {high} in steps of {resolution} is no interval")
    if probes < 2:
        raise ValueError("two probes are the least: one at each end")
    steps = _Steps(answer, low, high, resolution)
    places = sorted({steps.last * probe // (probes - 1) for probe in range(probes)})
    edges = []
    for left, right in pairwise(places):
        for edge in steps.between(left, right):
            edges.append(edge)
            if len(edges) > MOST:
                raise NoFrontier(f"more than {MOST} edges from {low} to {high}: the answer changes nearly everywhere")
    return tuple(edges)


class _Steps(Generic[A]):
    """The interval in whole steps, and what was answered at each that was asked."""

    def __init__(self, answer: Callable[[float], A], low: float, high: float, resolution: float) -> None:
        self._answer = answer
        self._low, self._high, self._step = (Decimal(repr(float(value))) for value in (low, high, resolution))
        self.last = math.ceil((self._high - self._low) / self._step)
        if self.last > 1 and self.time(self.last - 1) == high:
            self.last -= 1  # a step too small for a float is none
        self._known: dict[int, A] = {}

    def time(self, place: int) -> float:
        """In seconds; the last step may be a short one."""
        return float(min(self._low + place * self._step, self._high))

    def at(self, place: int) -> A:
        if place not in self._known:
            self._known[place] = self._answer(self.time(place))
        return self._known[place]

    def between(self, left: int, right: int) -> Iterator[Edge[A]]:
        """The edges that bisection meets. A third answer in the middle means one on either side of it."""
        before, after = self.at(left), self.at(right)
        if before == after:
            return
        if right - left == 1:
            yield Edge(self.time(left), self.time(right), before, after)
            return
        middle = (left + right) // 2
        yield from self.between(left, middle)
        yield from self.between(middle, right)
