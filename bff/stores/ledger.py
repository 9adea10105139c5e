"""Port of the ledger in PostgreSQL: what must never be lost."""

from __future__ import annotations

from typing import Protocol

from bff.model import Down


class Ledger(Protocol):
    """Every verb needs a finite deadline above it and raises `nurseries.Unbounded` without one."""

    async def ping(self) -> Down | None:
        """One round trip, for readiness; a ledger whose schema is older than this server's counts as down."""
        ...
