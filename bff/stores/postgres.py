"""The ledger on PostgreSQL: every port of it, on one line."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from bff.stores.postgres_keys import PostgresKeys
from bff.stores.postgres_mirrors import PostgresMirrors
from bff.stores.postgres_outbox import PostgresOutbox
from bff.stores.postgres_switchboard import PostgresSwitchboard
from bff.stores.postgres_trail import PostgresTrail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bff.stores.border import Border


class PostgresLedger(PostgresKeys, PostgresTrail, PostgresOutbox, PostgresMirrors, PostgresSwitchboard):
    """`bff.stores.ledger.Ledger` on one PostgreSQL. Made by `open_ledger`."""


@asynccontextmanager
async def open_ledger(border: Border, url: str) -> AsyncIterator[PostgresLedger]:
    """The ledger at `url`, whether it is there or not. Raises `ValueError` for a URL that cannot be used."""
    ledger = PostgresLedger(border, url)
    try:
        yield ledger
    finally:
        ledger.close()
