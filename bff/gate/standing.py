"""How tenants and sessions stand: what rungs 3 and 5 are judged by.

Of a tenant the last known state counts, and nobody's word is active: nobody is locked out because none can be asked.

    the session tier    what events and other instances said; read with the proof, in the same step
    tenant-service      asked in the background when the tier knows nothing, or once a minute, once for all who come
                        meanwhile; what counts of its answers is kept in the tier, for the others
    this process        what it heard of both last, while the tier is down

No request waits for tenant-service; signing in alone does, a little, since a suspended tenant is met there first.

The two may differ: an event is told once, and may be newer than what tenant-service answers, or may be lost. That it
says *suspended* counts at once. That it says *active* of a tenant that the tier calls suspended counts when it is news
(it said otherwise before), or when it has said so for as long as a lagging replica could.

Of a session, the tier's mark says that it has ended. What ended here is also remembered here, so that signing out holds
on this instance while the tier is down.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import trio

from bff.stores.tier import Standing
from bff.upstreams.client import Call, Got, Journey
from bff.upstreams.services import STATUS
from bff.wire.trace import ServerTiming, Trace
from nurseries import Flight, Full, detached, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bff.model import Claims, Down, SessionId, TenantId
    from bff.stores.tier import SessionTier, TenantStatus
    from bff.upstreams.client import Upstreams
    from nurseries import Owner

ASK_AGAIN: Final = 60.0  # seconds after which tenant-service is asked again though a state is known
TRY_AGAIN: Final = 5.0  # seconds between two questions about one tenant, whatever became of the first
ASK_SECONDS: Final = 2.0  # the longest that one question goes on, with nobody waiting
KEEP_SECONDS: Final = 1.0  # the longest that keeping the answer in the tier goes on
DOUBT: Final = 300.0  # seconds that the tier's "suspended" stands against tenant-service's "active"
TENANTS: Final = 4_096  # whose state is remembered, and
ENDED: Final = 16_384  # sessions that ended here: those that came first are forgotten first
ENDED_SECONDS: Final = 24 * 3600.0  # how long the end of a session is remembered: far longer than any access token


@dataclass(slots=True)
class _Known:
    """What this process knows of one tenant; times are Trio's."""

    status: TenantStatus | None = None  # what counts
    said: TenantStatus | None = None  # by tenant-service, last
    owed: TenantStatus | None = None  # to the tier: it counts, and is not known to have been written there
    asked: float = -ASK_AGAIN  # tenant-service was
    heard: float = -ASK_AGAIN  # it answered
    doubted: float | None = None  # it has been saying active since, of a tenant that the tier calls suspended

    def tier_says(self, word: TenantStatus) -> None:
        """What the tier has. It is older than what is on its way there."""
        if self.owed is None or self.owed == word:
            self.status, self.owed = word, None

    def service_says(self, word: TenantStatus, now: float) -> bool:
        """What tenant-service answered; whether that counts."""
        news = self.said == "suspended" or self.status != "suspended"
        self.said, self.heard = word, now
        if word == "active" and not news:
            self.doubted = now if self.doubted is None else self.doubted
            if now - self.doubted < DOUBT:
                return False
        self.doubted = None
        self.status = self.owed = word
        return True


class TenantStates:
    """Rung 5's memory. `owner` holds the questions that nobody waits for."""

    def __init__(self, upstreams: Upstreams, tier: SessionTier, owner: Owner, entropy: Callable[[int], bytes]) -> None:
        self._upstreams = upstreams
        self._tier = tier
        self._owner = owner
        self._entropy = entropy
        self._known: OrderedDict[TenantId, _Known] = OrderedDict()
        self._flight: Flight[TenantId, None] = Flight("tenant status", owner)

    def suspended(self, tenant: TenantId, standing: Standing | Down) -> bool:
        """Whether rung 5 holds, by what is known now."""
        known = self._of(tenant)
        if isinstance(standing, Standing) and standing.tenant_status is not None:
            known.tier_says(standing.tenant_status)
        return known.status == "suspended"

    def look(self, claims: Claims, standing: Standing | Down) -> None:
        """Have tenant-service asked in the background, where it is time to. Returns at once."""
        tenant = claims.tenant
        known, now = self._of(tenant), trio.current_time()
        missing = isinstance(standing, Standing) and standing.tenant_status is None
        wanted = missing or known.owed is not None or now - known.heard >= ASK_AGAIN
        if not wanted or now - known.asked < TRY_AGAIN:
            return
        known.asked = now
        trace = Trace.parse(None, self._entropy)
        journey = Journey(trace, ServerTiming(), tenant, claims.operator, claims.properties)
        self._behind("tenant status", partial(self._join, tenant, journey), ASK_SECONDS)

    def told(self, tenant: TenantId, status: TenantStatus) -> None:
        """An event said so, on whichever instance it was taken in: it counts, and the tier has it already."""
        known = self._of(tenant)
        known.status, known.owed, known.doubted = status, None, None

    async def ask(self, tenant: TenantId, standing: Standing | Down, journey: Journey, *, seconds: float) -> bool:
        """Whether rung 5 holds, with what tenant-service says within `seconds`, if it does."""
        self.suspended(tenant, standing)
        with within(seconds):
            await self._join(tenant, journey)
        return self._of(tenant).status == "suspended"

    async def _join(self, tenant: TenantId, journey: Journey) -> None:
        await self._flight.join(tenant, partial(self._learn, tenant, journey), seconds=ASK_SECONDS)

    async def _learn(self, tenant: TenantId, journey: Journey) -> None:
        self._of(tenant).asked = trio.current_time()
        result = await self._upstreams.one(Call(STATUS, {"tenant": tenant}), journey)
        if isinstance(result, Got) and self._of(tenant).service_says(result.value.status, trio.current_time()):
            self._behind("keep tenant status", partial(self._keep, tenant, result.value.status), KEEP_SECONDS)

    async def _keep(self, tenant: TenantId, status: TenantStatus) -> None:
        known = self._of(tenant)
        if await self._tier.set_tenant_status(tenant, status) is None and known.owed == status:
            known.owed = None

    def _behind(self, what: str, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        try:
            detached(what, self._owner, work, seconds=seconds)
        except Full:
            return  # a later request comes by here again

    def _of(self, tenant: TenantId) -> _Known:
        known = self._known.get(tenant)
        if known is None:
            known = self._known[tenant] = _Known()
            if len(self._known) > TENANTS:
                self._known.popitem(last=False)
        return known


class Ended:
    """Sessions that ended on this instance, and for how long that must be known."""

    def __init__(self, bound: int = ENDED) -> None:
        self._bound = bound
        self._until: OrderedDict[tuple[TenantId, SessionId], float] = OrderedDict()

    def add(self, tenant: TenantId, session: SessionId) -> None:
        """From now on this session is over."""
        now = trio.current_time()
        self._until[tenant, session] = now + ENDED_SECONDS
        self._until.move_to_end((tenant, session))
        while len(self._until) > self._bound or next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)

    def since(self, moment: float) -> tuple[tuple[TenantId, SessionId], ...]:
        """Those that ended at that moment (Trio time) or later."""
        young = takewhile(lambda one: one[1] >= moment + ENDED_SECONDS, reversed(self._until.items()))
        return tuple([whose for whose, _ in young])

    def holds(self, tenant: TenantId, session: SessionId) -> bool:
        """Whether this session is over."""
        return (tenant, session) in self._until
