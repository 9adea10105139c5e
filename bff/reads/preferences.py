"""An operator's preferences: tenant-service's word, or else the last that is known of it, marked (F-3, F-36).

    it answers           ok; behind the answer both copies are made to say the same
    it says 404          404: no copy is shown against its word
    it does not          the newer one of the two copies, stale; where there is none, why not

The cache's copy is the nearer one, the ledger's mirror is written in the same commit as a change is recorded. So the
mirror may be the newer one, and a desk whose change went through does not see the old values in an outage.

Nobody waits for a store while the authority answers, and for no store longer than a small part of the deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from bff.model import Answer, Down
from bff.reads.looking import leave_at
from bff.stores.cache import CacheKey, Entry, Kept
from bff.stores.mirrors import Mirror
from bff.upstreams.client import Call, Got
from bff.upstreams.drift import Drift, parsed
from bff.upstreams.schemas.preferences import Preferences, PreferencesAnswer, as_copy, of_copy
from bff.upstreams.services import PREFERENCES
from nurseries import Full, Ok, detached, fan_out, required, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bff.model import Claims
    from bff.outside import Outside
    from bff.problem import Problem
    from bff.stores.cache import Cache
    from bff.stores.mirrors import Mirrors
    from bff.upstreams.client import Journey, Upstreams
    from bff.upstreams.schemas.preferences import Values
    from nurseries import Owner

KEPT_PART: Final = 0.1  # of the deadline: the longest that the copies are waited for, and never
KEPT_SECONDS: Final = 0.2  # more than this
CACHED_SECONDS: Final = 24 * 3600.0  # how long the cache's copy is kept
RENEW_SECONDS: Final = 3600.0  # after which the same copy is written again: so much of its time may be lost
STEP_SECONDS: Final = 1.0  # the longest that one copy is worked on behind the answer


@dataclass(frozen=True, slots=True)
class Copy:
    """Preferences as they once were."""

    version: int
    values: Values


@dataclass(frozen=True, slots=True)
class PreferencesRoom:
    """The room: whom it asks, where copies are, and who owns what goes on after the answer."""

    upstreams: Upstreams
    cache: Cache
    mirrors: Mirrors
    outside: Outside
    owner: Owner

    async def answer(self, claims: Claims, journey: Journey) -> Answer | Problem:
        """The operator's own: now, or as they last were, or why not.

        Needs a finite deadline above it and raises `nurseries.Unbounded` without one.
        """
        left = required("preferences")
        leave, patience = leave_at(left), min(KEPT_SECONDS, KEPT_PART * left)
        calls = {"preferences": Call(PREFERENCES, {"operator": claims.operator})}
        result = (await self.upstreams.gather(calls, journey, until=leave - patience))["preferences"]
        if isinstance(result, Got):
            self._renew(claims, result)
            return _answer(result.value, stale=False)
        if result.status == 404:
            return result.problem(PREFERENCES.service)
        copy = await self._newest(claims, min(leave, trio.current_time() + patience), journey)
        return result.problem(PREFERENCES.service) if copy is None else _answer(copy, stale=True)

    # -- what is kept -------------------------------------------------------------------------------------------

    async def _newest(self, claims: Claims, until: float, journey: Journey) -> Copy | None:
        """The newer one of the copies, of those that can be read by `until` (Trio time)."""
        began = trio.current_time()

        async def timed(store: str, look: Callable[[Claims], Awaitable[Copy | None]]) -> Copy | None:
            try:
                return await look(claims)
            finally:
                journey.timing.add(store, trio.current_time() - began)

        looks = {
            "cache": partial(timed, "cache", self._cached),
            "ledger": partial(timed, "ledger", self._mirrored),
        }
        outcomes = await fan_out(looks, until=until, owner=self.owner, name="kept preferences")
        found = [said.value for said in outcomes.values() if isinstance(said, Ok) and said.value is not None]
        return max(found, key=lambda copy: copy.version, default=None)

    async def _cached(self, claims: Claims) -> Copy | None:
        said = _readable(claims, (await self.cache.get_many((key(claims),)))[0])
        return None if said is None else Copy(said.version, said.values)

    async def _mirrored(self, claims: Claims) -> Copy | None:
        kept = await self.mirrors.mirrored(claims.tenant, claims.operator)
        values = of_copy(kept.values) if isinstance(kept, Mirror) else None
        return Copy(kept.version, values) if isinstance(kept, Mirror) and values is not None else None

    # -- kept true ----------------------------------------------------------------------------------------------

    def _renew(self, claims: Claims, said: Got) -> None:
        """Make both copies say what was said, behind the answer; a process without room for it leaves them."""

        async def both() -> None:
            with within(STEP_SECONDS):
                await self._renew_cached(claims, said)
            with within(STEP_SECONDS):
                await self._renew_mirror(claims, said)

        try:
            detached("renew preferences", self.owner, both, seconds=2.5 * STEP_SECONDS)
        except Full:
            return  # the next one who looks finds the same difference

    async def _renew_cached(self, claims: Claims, said: Got) -> None:
        kept = (await self.cache.get_many((key(claims),)))[0]
        old = _readable(claims, kept)
        if kept is not None and old is not None:
            young = self.outside.now() - kept.as_of < RENEW_SECONDS
            if old.version > said.value.version or (kept.body == said.body and young):
                return  # whoever asked later was told so, or it is what is there
        await self.cache.put_many((Entry(key(claims), Kept(said.at, said.body), CACHED_SECONDS),))

    async def _renew_mirror(self, claims: Claims, said: Got) -> None:
        kept = await self.mirrors.mirrored(claims.tenant, claims.operator)
        if isinstance(kept, Down) or (isinstance(kept, Mirror) and _same(kept, said.value)):
            return
        values = as_copy(said.value.values)
        await self.mirrors.mirror(Mirror(claims.tenant, claims.operator, said.value.version, values, said.at))


def key(claims: Claims) -> CacheKey:
    """Where an operator's are kept: under his tenant first (F-30)."""
    return CacheKey(claims.tenant, "preferences", (claims.operator,))


def _readable(claims: Claims, kept: Kept | None) -> Preferences | None:
    """What the cache keeps, if it still parses and is this operator's (F-30)."""
    if kept is None:
        return None
    said = parsed(kept.body, PREFERENCES.decoder, claims.tenant)
    return None if isinstance(said, Drift) or said.operator_id != claims.operator else said


def _same(kept: Mirror, said: Preferences) -> bool:
    values = of_copy(kept.values)
    return kept.version == said.version and values is not None and as_copy(values) == as_copy(said.values)


def _answer(said: Preferences | Copy, *, stale: bool) -> Answer:
    return Answer(200, msgspec.json.encode(PreferencesAnswer(said.version, said.values, stale)))
