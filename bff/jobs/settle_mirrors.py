"""Compares what is mirrored here with whoever is the authority for it, slowly, one page a turn (F-35, F-36).

    preferences   tenant-service says otherwise: told, and the mirror made to say the same
    cursors       sync-service says otherwise: told and marked; the next handshake of the device resets it, since only
                  then does the device itself hear of it

A service that does not answer says nothing, and so does a mirror that was written while it was asked.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.facts import CursorsCompared, MirrorDiverged
from bff.jobs.asking import in_time
from bff.model import Down, OperatorId
from bff.stores.mirrors import Mirror
from bff.upstreams.client import Call, Got, Journey
from bff.upstreams.schemas.preferences import as_copy, of_copy
from bff.upstreams.services import CURSOR, PREFERENCES
from bff.wire.trace import ServerTiming, Trace
from nurseries import tell, within

if TYPE_CHECKING:
    from bff.model import TenantId
    from bff.outside import Outside
    from bff.stores.ledger import Ledger
    from bff.stores.mirrors import DeviceCursor
    from bff.upstreams.client import Missed, Upstreams
    from bff.upstreams.schemas.preferences import Preferences

JOB: Final = "settle-mirrors"
EVERY: Final = 10.0  # seconds
PAGE: Final = 20  # of each kind in one turn
SECONDS: Final = 2.0  # for one question
FIRST: Final = ("", "")


class SettleMirrors:
    """Compares while this process leads."""

    def __init__(self, ledger: Ledger, upstreams: Upstreams, outside: Outside) -> None:
        self._ledger = ledger
        self._upstreams = upstreams
        self._outside = outside
        self._preferences_at = self._cursors_at = FIRST
        self._diverged = 0  # of the cursors up to there
        self._leads = False

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            await trio.sleep(EVERY)
            await self.turn()

    async def turn(self) -> None:
        """The next page of each; nothing where another leads, or the ledger is down."""
        fence = await in_time(partial(self._ledger.lead, JOB))
        if isinstance(fence, int):
            self._leads = True
            await self._next_preferences()
            await self._next_cursors()
        elif fence is None and self._leads:  # another counts them now
            self._leads, self._cursors_at = False, FIRST
            tell(CursorsCompared(0))

    async def _next_preferences(self) -> None:
        page = await in_time(partial(self._ledger.mirrors, after=self._preferences_at, limit=PAGE))
        if isinstance(page, Down):
            return
        for mirror in page:
            await self._compare_preferences(mirror)
        self._preferences_at = (page[-1].tenant, page[-1].operator) if len(page) == PAGE else FIRST

    async def _next_cursors(self) -> None:
        page = await in_time(partial(self._ledger.cursors, after=self._cursors_at, limit=PAGE))
        if isinstance(page, Down):
            return
        if self._cursors_at == FIRST:
            self._diverged = 0
        for cursor in page:
            self._diverged += await self._diverges(cursor)
        self._cursors_at = (page[-1].tenant, page[-1].device) if len(page) == PAGE else FIRST
        if self._cursors_at == FIRST:
            tell(CursorsCompared(self._diverged))

    async def _compare_preferences(self, kept: Mirror) -> None:
        said = await self._asked(Call(PREFERENCES, {"operator": kept.operator}), kept.tenant, kept.operator)
        if not isinstance(said, Got):
            return
        truth: Preferences = said.value
        values = of_copy(kept.values)
        if kept.version == truth.version and values is not None and as_copy(values) == as_copy(truth.values):
            return
        if await in_time(partial(self._ledger.mirrored, kept.tenant, kept.operator)) != kept:
            return  # it has been written since: what was compared is not there any more
        tell(MirrorDiverged("preferences"))
        healed = Mirror(kept.tenant, kept.operator, truth.version, as_copy(truth.values), said.at)
        await in_time(partial(self._ledger.mirror, healed))

    async def _diverges(self, kept: DeviceCursor) -> bool:
        """Whether the authority is known to say otherwise; what is marked already is not asked about again."""
        if kept.diverged:
            return True
        said = await self._asked(Call(CURSOR, {"did": kept.device}), kept.tenant, OperatorId(""))
        if not isinstance(said, Got) or said.value.cursor == kept.cursor:
            return False
        marked = await in_time(partial(self._ledger.mark_diverged, kept)) is True
        if marked:
            tell(MirrorDiverged("cursor"))
        return marked

    async def _asked(self, call: Call, tenant: TenantId, operator: OperatorId) -> Got | Missed | None:
        journey = Journey(Trace.parse(None, self._outside.entropy), ServerTiming(), tenant, operator)
        with within(SECONDS):
            return await self._upstreams.one(call, journey)
        return None
