"""Forgets what has been kept for long enough, in small batches, by one process at a time.

    idempotency keys   8 days: a desktop's offline outbox may be a week old when it is replayed
    dead letters       7 days (F-38)

A batch is a short transaction, and between two there is a pause: nobody waits behind a night's worth of rows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.facts import Forgotten
from bff.jobs.asking import in_time
from bff.jobs.deadletters import KEPT_SECONDS
from bff.model import Down
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bff.stores.ledger import Ledger

JOB: Final = "tidy"
EVERY: Final = 60.0  # seconds
PAUSE: Final = 0.1  # seconds between two batches
BATCH: Final = 500  # rows
KEY_SECONDS: Final = 8 * 86_400.0


class Tidy:
    """Trims the ledger while this process leads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            await self.turn()
            await trio.sleep(EVERY)

    async def turn(self) -> None:
        """Forget all that is old enough now; nothing where another leads, or the ledger is down."""
        if not isinstance(await in_time(partial(self._ledger.lead, JOB)), int):
            return
        await self._trim("keys", partial(self._ledger.trim_keys, older_than=KEY_SECONDS, limit=BATCH))
        await self._trim("dead-letters", partial(self._ledger.trim_dead, older_than=KEPT_SECONDS, limit=BATCH))

    async def _trim(self, what: str, batch: Callable[[], Awaitable[int | Down]]) -> None:
        forgotten = BATCH
        while forgotten >= BATCH:
            answer = await in_time(batch)
            if isinstance(answer, Down):
                return
            forgotten = answer
            if forgotten:
                tell(Forgotten(what, forgotten))
            await trio.sleep(PAUSE)
