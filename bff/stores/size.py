"""How much of what it may have a store has: of memory and of connections."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes that it holds, of how many at most; connections to it, of how many at most. At most 0: nobody bounds it."""

    used: int
    most: int
    connections: int
    most_connections: int

    @property
    def ratio(self) -> float:
        """Of its memory; 0 where that has no bound, since nobody can say what part of it is used."""
        return self.used / self.most if self.most else 0.0
