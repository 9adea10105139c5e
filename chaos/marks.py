"""What a sweep must have reached, or it has proved nothing: named predicates on the facts of `nurseries.tell`.

A sweep of thousands of cases in which no breaker ever opened says nothing of breakers, however green it is. So whoever
writes one says what has to happen in it somewhere, and the sweep fails when it did not.

    marks = Marks([told(BreakerOpened, why="ratio"), Mark("three at once", lambda fact: ...)])
    with listening(marks.heard):
        ...
    marks.missing()     the names of those not reached

The idea is TigerBeetle's `testing/marks.zig`, turned round: there a line in production is marked, here a fact is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Mark:
    """Reached by the first fact for which `hit` is true."""

    name: str
    hit: Callable[[object], bool]


def told(kind: type[Any], **fields: object) -> Mark:
    """A fact of this very type with these fields; its name says both."""
    name = " ".join([kind.__name__, *(f"{field}={value}" for field, value in fields.items())])

    def hit(fact: object) -> bool:
        return type(fact) is kind and all(getattr(fact, field) == value for field, value in fields.items())

    return Mark(name, hit)


class Marks:
    """The marks of one sweep. Raises `ValueError` for two of one name."""

    def __init__(self, marks: Iterable[Mark]) -> None:
        self._all: dict[str, Mark] = {}
        for mark in marks:
            if mark.name in self._all:
                raise ValueError(f"two marks are called {mark.name!r}")
            self._all[mark.name] = mark
        self._missing = dict(self._all)  # in the order given: a person reads it
        self._news: list[str] = []

    def heard(self, fact: object) -> None:
        """Look whether `fact` reaches something. For `nurseries.listening`."""
        for name in [name for name, mark in self._missing.items() if mark.hit(fact)]:
            self.reach(name)

    def reach(self, name: str) -> None:
        """It was reached elsewhere: in another process, or in an earlier run. A name that is no mark's is nothing."""
        if self._missing.pop(name, None) is not None:
            self._news.append(name)

    def news(self) -> list[str]:
        """What was reached since this was asked last."""
        news, self._news = self._news, []
        return news

    def missing(self) -> tuple[str, ...]:
        """What was not reached so far."""
        return tuple(self._missing)

    def __len__(self) -> int:
        return len(self._all)
