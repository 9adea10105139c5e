"""Decisions that are recorded: drawn from a seed, played again, walked through one and all, or dropped.

Whoever has to decide asks `choose(options)` and gets a number below it. 0 is the plain answer, what would happen if
nobody chose, so that a run with fewer decisions is a run with more zeros, and an empty record is the plain run.

    Drawn(seed)           decides by lot
    Replayed([0, 2, 1])   decides as recorded; beyond the record, plainly
    walk(limit)           every way there is to decide, one after the other (the first is the plain one)

A schedule of Trio's tasks is such a record (`chaos.sim.clock.Schedule`), which is what lets a race be shrunk to the
few decisions that make it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, Protocol

MOST: Final = 1_000_000  # decisions that a record holds


class TooMany(RuntimeError):
    """A run that decides for ever."""


class Choices(Protocol):
    """Who decides. `taken` is what was decided so far, `options` out of how many."""

    taken: list[int]
    options: list[int]

    def choose(self, options: int) -> int:
        """A number from 0 to `options` - 1."""
        ...


class _Recorded(ABC):
    """What all of them have in common."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.options: list[int] = []

    def choose(self, options: int) -> int:
        if len(self.taken) >= MOST:
            raise TooMany(f"{MOST} decisions in one run")
        chosen = self._decide(options) if options > 1 else 0
        self.taken.append(chosen)
        self.options.append(options)
        return chosen

    @abstractmethod
    def _decide(self, options: int) -> int:
        """Of more than one."""


class Drawn(_Recorded):
    """Decides by lot. With `plain`, so many of all decisions are left as they are (0 to 1)."""

    def __init__(self, seed: int, *, plain: float = 0.0) -> None:
        super().__init__()
        self._random = Random(f"choices:{seed}")
        self._plain = plain

    def _decide(self, options: int) -> int:
        if self._plain and self._random.random() < self._plain:
            return 0
        return self._random.randrange(options)


class Replayed(_Recorded):
    """Decides as recorded: plainly beyond the record, and by the last option where there are fewer than there were."""

    def __init__(self, record: Sequence[int]) -> None:
        super().__init__()
        self._record = tuple(record)

    def _decide(self, options: int) -> int:
        at = len(self.taken)
        return min(self._record[at], options - 1) if at < len(self._record) else 0


def walk(limit: int | None = None) -> Iterator[Replayed]:
    """Every way to decide, each to be used in one run before the next is asked for; at most `limit` of them.

    Depth first: the last decision that has an option left takes it, and what came after it begins anew. What is
    decided must be a function of the decisions alone.
    """
    record: list[int] = []
    given = 0
    while limit is None or given < limit:
        choices = Replayed(record)
        yield choices
        given += 1
        record = list(choices.taken)
        while record and record[-1] + 1 >= choices.options[len(record) - 1]:
            record.pop()
        if not record:
            return
        record[-1] += 1
