"""The ledger in memory, in virtual time: what `bff.stores.postgres` does, by the same port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bff.stores.postgres import PINGS_WITHIN
from chaos.hotel.stores.faulty import Faulty

if TYPE_CHECKING:
    from bff.model import Down


class SimLedger(Faulty):
    """`bff.stores.ledger.Ledger`; its schema is always this server's.

    Each caller has a connection of his own: what one learns of a store that hangs, the next has to find out again.
    """

    def __init__(self) -> None:
        super().__init__("postgres", one_line=False)

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        return await self._asked(lambda: None, patience=PINGS_WITHIN)
