"""The ledger on PostgreSQL: every port of it, on one line."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from bff.model import Down
from bff.stores.postgres_keys import PostgresKeys
from bff.stores.postgres_line import rows
from bff.stores.postgres_mirrors import PostgresMirrors
from bff.stores.postgres_outbox import PostgresOutbox
from bff.stores.postgres_switchboard import PostgresSwitchboard
from bff.stores.postgres_trail import PostgresTrail
from bff.stores.size import Size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bff.stores.border import Border

# Of other roles' sessions this one sees no more than how many there are.
SIZE: Final = """
    SELECT coalesce(sum(numbackends), 0)::integer, current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
    FROM pg_stat_database
"""


class PostgresLedger(PostgresKeys, PostgresTrail, PostgresOutbox, PostgresMirrors, PostgresSwitchboard):
    """`bff.stores.ledger.Ledger` on one PostgreSQL. Made by `open_ledger`."""

    async def size(self) -> Size | Down:
        """Connections to its server, of how many at most."""
        found = await self.transact("size", rows(lambda row: Size(0, 0, *row), SIZE))
        return found if isinstance(found, Down) else found[0]


@asynccontextmanager
async def open_ledger(border: Border, url: str) -> AsyncIterator[PostgresLedger]:
    """The ledger at `url`, whether it is there or not. Raises `ValueError` for a URL that cannot be used."""
    ledger = PostgresLedger(border, url)
    try:
        yield ledger
    finally:
        ledger.close()
