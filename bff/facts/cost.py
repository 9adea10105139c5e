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
