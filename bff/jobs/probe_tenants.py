"""Keeps things for one tenant, and looks for them as another (F-30).

The two are twins: their operators, devices, sessions, properties and keys have the same names, so that nothing tells
them apart but the tenant. Each place that this server keeps something in is tried by its own verbs, at the real stores:

    cache     the answer of every widget that is kept, and the mirror of preferences
    sessions  a session's blob and its end; how a tenant stands
    keys      an idempotency key, with its fingerprint
    events    an event on the bus

What the second finds of the first's is a leak, beyond doubt; `traffic` is halted in that step where that is wished for.
What is kept for them is gone again within a minute, but for their idempotency keys, which are forgotten as others are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
import trio

from bff.events.event import Said
from bff.facts.probes import TenantsProbed
from bff.jobs.asking import in_time
from bff.jobs.probing import Finding, halt
from bff.model import Claims, DeviceId, Down, Jkt, OperatorId, PropertyId, SessionId, TenantId
from bff.reads.preferences import key as preferences_key
from bff.reads.widgets import WIDGETS, Whose
from bff.stores.bus import Page, Posting
from bff.stores.cache import Entry, Kept
from bff.stores.keys import PROBES, TWIN, Claimed, Claiming, KeyId, Recording
from bff.stores.tier import Presented, SessionBlob
from nurseries import tell, within

if TYPE_CHECKING:
    from bff.outside import Outside
    from bff.stores.bus import Bus
    from bff.stores.cache import Cache, CacheKey
    from bff.stores.ledger import Ledger
    from bff.stores.switches import Switches
    from bff.stores.tier import SessionTier

JOB: Final = "probe-tenants"
EVERY: Final = 60.0  # seconds: the specification asks for each night, and that a P1 is known within two minutes
KEPT: Final = 30.0  # seconds
CACHE_WITHIN: Final = 1.0  # seconds
Leak: TypeAlias = bool | None  # None: nobody could say
SAID: Final = {True: "the other tenant's is there", False: "nothing of the other tenant's", None: "nobody could look"}
Place: TypeAlias = Callable[[], Awaitable[Leak]]


class TenantProbe:
    """Of one instance at the stores that all of them share. `halts`: a leak halts `traffic`."""

    def __init__(
        self,
        cache: Cache,
        tier: SessionTier,
        bus: Bus,
        ledger: Ledger,
        switches: Switches,
        outside: Outside,
        *,
        halts: bool,
    ) -> None:
        self._cache = cache
        self._tier = tier
        self._bus = bus
        self._ledger = ledger
        self._switches = switches
        self._outside = outside
        self._halts = halts
        self._mark = ""

    async def serve(self) -> None:
        """For ever; a service for an owner. One instance at a time; the first look is after a while."""
        while True:
            await trio.sleep(EVERY)
            if isinstance(await in_time(partial(self._ledger.lead, JOB)), int):
                await self.look()

    async def look(self) -> tuple[Finding, ...]:
        """Every place, once."""
        self._mark = self._outside.identifier()
        found = [Finding(*await self._looked(name, place)) for name, place in self._places().items()]
        seen = [one for one in found if one.good is not None]
        leaks = [one.what for one in seen if not one.good]
        if seen:
            tell(TenantsProbed(len(seen), len(leaks)))
        if leaks and self._halts:
            await halt(self._switches, "traffic", JOB, f"F-30: one tenant was shown another's: {', '.join(leaks)}")
        return tuple(found)

    def _places(self) -> dict[str, Place]:
        return {
            "cache": self._in_the_cache,
            "sessions": self._in_sessions,
            "tenants": self._in_standings,
            "keys": self._in_keys,
            "events": self._in_events,
        }

    async def _looked(self, name: str, place: Place) -> tuple[str, bool | None, str]:
        leak = await place()
        return name, None if leak is None else not leak, SAID[leak]

    # -- places ---------------------------------------------------------------------------------------------------

    async def _in_the_cache(self) -> Leak:
        mine, others = _cached(PROBES), _cached(TWIN)
        kept = Kept(self._outside.now(), self._mark.encode())
        with within(CACHE_WITHIN):
            await self._cache.put_many([Entry(key, kept, KEPT) for key in mine])
            if kept not in await self._cache.get_many(mine):
                return None  # a cache that keeps nothing shows nothing to anybody
            return any(found is not None for found in await self._cache.get_many(others))
        return None

    async def _in_sessions(self) -> Leak:
        blob = _blob(self._mark, self._outside.now() + KEPT)
        if await in_time(partial(self._tier.keep, blob, KEPT)) is not None:
            return None
        shown = await in_time(partial(self._tier.present, self._presented(TWIN, blob.session)))
        ended = await in_time(partial(self._tier.revoke, PROBES, blob.session, KEPT))
        after = await in_time(partial(self._tier.present, self._presented(TWIN, blob.session)))
        if isinstance(shown, Down) or isinstance(after, Down) or ended is not None:
            return None
        return shown.blob is not None or after.revoked

    async def _in_standings(self) -> Leak:
        for status in ("suspended", "active"):
            if await in_time(partial(self._tier.set_tenant_status, PROBES, status)) is not None:
                return None
            shown = await in_time(partial(self._tier.present, self._presented(TWIN, SessionId(self._mark))))
            if isinstance(shown, Down):
                return None
            if shown.tenant_status is not None:
                return True
        return False

    async def _in_keys(self) -> Leak:
        mine, others = (KeyId(tenant, OperatorId(JOB), self._mark) for tenant in (PROBES, TWIN))
        verdicts = []
        for id, fingerprint in ((mine, b"mine"), (others, b"others")):
            asked = Claiming(id, fingerprint, (f"{id.tenant} {self._mark}",), b"", KEPT)
            verdict = await in_time(partial(self._ledger.claim, asked))
            verdicts.append(verdict)
            if isinstance(verdict, Claimed):
                await in_time(partial(self._ledger.record, Recording(id, verdict.fence, "open")))
        if not isinstance(verdicts[0], Claimed) or isinstance(verdicts[1], Down):
            return None
        return not (isinstance(verdicts[1], Claimed) and verdicts[1].before == "new")

    async def _in_events(self) -> Leak:
        said = Said(type="alert", tenant_id=PROBES, data={"probe": self._mark})
        before = await in_time(partial(self._bus.head, TWIN, self._outside.now()))
        post = Posting(PROBES, self._mark, msgspec.json.encode(said), self._outside.now(), KEPT)
        posted = await in_time(partial(self._bus.post, [post]))
        if isinstance(before, Down) or isinstance(posted, Down):
            return None
        page = await in_time(partial(self._bus.page, TWIN, before, self._outside.now()))
        if isinstance(page, Down):
            return None
        return isinstance(page, Page) and any(self._mark.encode() in entry.payload for entry in page.entries)

    def _presented(self, tenant: TenantId, session: SessionId) -> Presented:
        fresh = self._outside.identifier()
        return Presented(tenant, session, Jkt(JOB), fresh, fresh, KEPT)


def _cached(tenant: TenantId) -> tuple[CacheKey, ...]:
    whose = Whose(_claims(tenant), PropertyId("twin"))
    return (*(widget.key(whose) for widget in WIDGETS if widget.cached), preferences_key(whose.claims))


def _claims(tenant: TenantId) -> Claims:
    twin = "twin"
    return Claims(
        issuer=JOB,
        audience=JOB,
        expires_at=0.0,
        issued_at=0.0,
        not_before=0.0,
        operator=OperatorId(twin),
        tenant=tenant,
        device=DeviceId(twin),
        session=SessionId(twin),
        properties=(PropertyId(twin),),
        jkt=Jkt(twin),
    )


def _blob(session: str, ends: float) -> SessionBlob:
    return SessionBlob(PROBES, OperatorId("twin"), DeviceId("twin"), SessionId(session), Jkt("twin"), None, ends)
