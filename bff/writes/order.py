"""One aggregate, one line: what one operator sends, an offline outbox above all, is done in the order in which it came.

    head arrives ─► a place in line: by token, and by what the path names     known before anybody is verified
    gate, body      ... in whatever order they get through
    turn            first in all its lines                                    who was refused meanwhile has left them
    move            by operator, and by all that it changes                   the same place by when it came
    turn            first in all of those: now, and alone on this instance

Trio runs tasks that became ready together in no order, and a gate lets through first whom its stores answer first. So a
place is taken when the head of a request was complete, numbered by the edge, and not when its task gets so far. Until
it is known who comes, his token stands for him: whoever holds back others by it holds back himself alone.

All lines are ordered by the same numbers. Two places that stand in the same two lines cannot wait for each other.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from types import TracebackType


class Lines:
    """Every line of one process; there is one where somebody stands."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[Hashable, list[Place]] = {}

    def arrive(self, number: int, names: Iterable[Hashable]) -> Place:
        """A place in the lines called `names`, behind everybody with a smaller `number`, until its block is left."""
        place = Place(self, number)
        place.move(names)
        return place

    def __len__(self) -> int:
        """In how many lines somebody stands."""
        return len(self._lines)

    def enter(self, place: Place, names: frozenset[Hashable]) -> None:
        """For `Place` alone."""
        for name in names:
            insort(self._lines.setdefault(name, []), place)

    def leave(self, place: Place, names: frozenset[Hashable]) -> None:
        """For `Place` alone: whoever is first now is told."""
        for name in names:
            line = self._lines[name]
            line.remove(place)
            if line:
                line[0].look()
            else:
                del self._lines[name]

    def first(self, place: Place, names: frozenset[Hashable]) -> bool:
        """Whether it is the first in all of them."""
        return all(self._lines[name][0] is place for name in names)


class Place:
    """Where one request stands. Made by `Lines.arrive`; leaving its block leaves every line."""

    __slots__ = ("_lines", "_look", "_names", "number")

    def __init__(self, lines: Lines, number: int) -> None:
        self.number = number
        self._lines = lines
        self._names: frozenset[Hashable] = frozenset()
        self._look = trio.Event()

    def move(self, names: Iterable[Hashable]) -> None:
        """Stand in the lines called `names`, and in no other, by the same number."""
        before, self._names = self._names, frozenset(names)
        self._lines.enter(self, self._names - before)
        self._lines.leave(self, before - self._names)

    async def turn(self, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait until it is the first in all its lines, or `unless` is so, which is asked at each `look`.

        Ends with the deadline around it, and in no other way.
        """
        while not (self._lines.first(self, self._names) or unless()):
            self._look = trio.Event()
            await self._look.wait()

    def look(self) -> None:
        """Somebody before it has left, or there is something new to be asked."""
        self._look.set()

    def __lt__(self, other: Place) -> bool:
        return self.number < other.number

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.move(())
