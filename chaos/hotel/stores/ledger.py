"""The ledger in memory, in virtual time: what `bff.stores.postgres` does, by the same port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.hotel.stores.faulty import Faulty

if TYPE_CHECKING:
    from bff.model import Down


class SimLedger(Faulty):
    """`bff.stores.ledger.Ledger`; its schema is always this server's."""

    def __init__(self) -> None:
        super().__init__("postgres")

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        return await self._asked(lambda: None)
