"""What is told of memory, connections and money: rows F-37, F-39 to F-41 of the failure catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryMeasured:
    """This process holds so many bytes, and that is so much more (0.1: ten per cent) than up to four hours ago."""

    resident: int
    growth: float


@dataclass(frozen=True, slots=True)
class MemoryGrows:
    """It grows for longer than it should (F-37). `types` are those of which there are more objects, and how many."""

    growth: float
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoreSized:
    """A Redis holds so many bytes, of so many at most; 0 where nobody bounds it (F-41)."""

    store: str
    used: int
    most: int


@dataclass(frozen=True, slots=True)
class StoreConnected:
    """So many connections to a store are open, whoever has them, of so many at most (F-39)."""

    store: str
    used: int
    most: int


@dataclass(frozen=True, slots=True)
class JtiMemorySeen:
    """How the session tier remembers proofs: `exact`, `trimmed` or `bloom`, and how full its filter is (F-41).

    `fill` is 1 where a generation holds as many proofs as it is meant for.
    """

    mode: str
    fill: float


@dataclass(frozen=True, slots=True)
class JtiModeTurned:
    """The session tier remembers proofs otherwise, since it gets full, or is full no more (F-41)."""

    mode: str
    before: str


@dataclass(frozen=True, slots=True)
class BudgetMeasured:
    """Of a budget so much is used, and may be: `instances`, `streams` of this process, bytes of `egress` today (F-39).

    `allowed` is 0 where nobody has said a figure.
    """

    budget: str
    used: int
    allowed: int


@dataclass(frozen=True, slots=True)
class BudgetExceeded:
    """More is used than may be, and was not at the last look. Nothing is halted for it."""

    budget: str
    used: int
    allowed: int


@dataclass(frozen=True, slots=True)
class InstancesSeen:
    """So many processes serve, as the session tier knows them (F-39)."""

    count: int
