"""Port of the switches: what people and jobs can turn off, in the ledger, so that all instances see it.

Who turned it, when and why is part of it, and each turn is a row of the house's audit trail in the same commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bff.model import Down


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch as it was turned last, `since` in POSIX seconds; `mark` is a count that a job keeps with its trip."""

    name: str
    value: str
    since: float
    by: str
    why: str
    mark: int = 0


class Switchboard(Protocol):
    """Every verb needs a finite deadline above it and raises `nurseries.Unbounded` without one."""

    async def switches(self) -> tuple[Switch, ...] | Down:
        """Those that were ever turned, by name."""
        ...

    async def turn(self, switch: Switch, entry: str, *, only_from: str | None = None) -> bool | Down:
        """Turn it, and add `entry` to the house's trail, in one commit.

        With `only_from` only where it has that value now (one never turned has ''); False when it had another.
        """
        ...
