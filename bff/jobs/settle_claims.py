"""Makes known what nobody knows of a mutation: by one process at a time, behind everybody's back (F-4, F-10, F-32).

    in flight, its lease over     its server died, or lost its way: at the next turn
    uncertain, of a lock          its service is asked what came of it: at the next turn
    uncertain, of all others      after a while, in which its desk may ask again itself

So no key is in flight for longer than its lease and one turn, and what became of a lock action is known within a minute
of its service being there. A key that cannot be settled now stays, and costs the others nothing: each has a deadline of
its own, a few are settled at once, and a service that fails is not asked for all of them (its breaker opens).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.facts import ClaimsUnsettled, Surprised
from bff.jobs.asking import in_time
from bff.model import Down
from bff.stores.keys import PROBES, TWIN, Claimed, Claiming, Recording
from nurseries import ErrorsBecome, described, tell, within

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bff.stores.keys import Unsettled
    from bff.stores.ledger import Ledger
    from bff.writes.settling import Settling

JOB: Final = "settle-claims"
EVERY: Final = 5.0  # seconds
SECONDS: Final = 4.0  # for one key
AT_ONCE: Final = 8
LIMIT: Final = 1_000  # keys looked at in one turn
DESKS_OWN: Final = 15.0  # seconds in which a desk asks again for what it was told is uncertain


class SettleClaims:
    """Settles while this process leads."""

    def __init__(self, ledger: Ledger, settling: Settling) -> None:
        self._ledger = ledger
        self._settling = settling
        self._leads = False

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            began = trio.current_time()
            await self.turn()
            await trio.sleep_until(began + EVERY)

    async def turn(self) -> None:
        """Settle what is due; nothing where another leads, or the ledger is down."""
        fence = await in_time(partial(self._ledger.lead, JOB))
        if not isinstance(fence, int):
            self._follow(fence)
            return
        self._leads = True
        rows = await in_time(partial(self._ledger.unsettled, older_than=0.0, limit=LIMIT))
        if isinstance(rows, Down):
            return
        tell(ClaimsUnsettled(len(rows), max((row.age for row in rows), default=0.0)))
        await self._settle(rows)

    def _follow(self, fence: Down | None) -> None:
        """Another counts them now: what this process has counted last is no longer so."""
        if fence is None and self._leads:
            self._leads = False
            tell(ClaimsUnsettled(0, 0.0))

    def _due(self, row: Unsettled) -> bool:
        return row.before == "abandoned" or row.age >= (EVERY if self._settling.asks(row) else DESKS_OWN)

    async def _settle(self, rows: Iterable[Unsettled]) -> None:
        places = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for row in rows:
                nursery.start_soon(self._settle_one, row, places)

    async def _settle_one(self, row: Unsettled, places: trio.CapacityLimiter) -> None:
        async with places:
            with ErrorsBecome(lambda error: tell(Surprised(JOB, described(error)))), within(SECONDS):
                if row.id.tenant in {PROBES, TWIN}:
                    await self._let_go(row)
                elif self._due(row):
                    await self._settling.settle(row)

    async def _let_go(self, row: Unsettled) -> None:
        """A probe's key, whose server has died in between: nothing was to come of it."""
        asked = Claiming(row.id, row.fingerprint, row.aggregates, row.request, SECONDS)
        claimed = await self._ledger.claim(asked)
        if isinstance(claimed, Claimed):
            await self._ledger.record(Recording(row.id, claimed.fence, "open"))
