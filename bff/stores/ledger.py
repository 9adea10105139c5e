"""Port of the ledger in PostgreSQL: what must never be lost. One port per purpose, and all of them on one database.

keys          who may do a mutation now, and what became of it
trail         what was done to locks and by whom, unforgeable
outbox        what others must hear
mirrors       what other services said last
switchboard   what is turned off
"""

from __future__ import annotations

from typing import Protocol

from bff.model import Down
from bff.stores.keys import Keys
from bff.stores.mirrors import Mirrors
from bff.stores.outbox import Outbox
from bff.stores.size import Size
from bff.stores.switchboard import Switchboard
from bff.stores.trail import Trail


class Ledger(Keys, Trail, Outbox, Mirrors, Switchboard, Protocol):
    """Every verb needs a finite deadline above it and raises `nurseries.Unbounded` without one."""

    async def ping(self) -> Down | None:
        """One round trip, for readiness; a ledger whose schema is older than this server's counts as down."""
        ...

    async def size(self) -> Size | Down:
        """Connections to its server, of how many at most, whoever has them; nothing is said of its memory."""
        ...
