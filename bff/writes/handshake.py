"""The sync handshake: a device that comes back says where it believes to be, and hears where it is (F-13, F-35).

    call     sync-service, once: it has no key, and a second one would be a second handshake
    reset    from its answer, every copy of the cursor: the ledger's, the session's, the one a dashboard shows
    answer   200; or 502 with the time after which a desk tries again, whatever it was that failed

The copies are reset before the answer leaves, so that the next look at the dashboard finds them so. Each is waited for
within a small part of the deadline, all at once, and a store that fails is done without: a copy that stays behind is
found by the next handshake, or by the job that compares them.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import msgspec
import trio

from bff.gate.session import GRACE
from bff.model import Answer
from bff.problem import Code, Problem
from bff.stores.mirrors import DeviceCursor
from bff.upstreams.client import Call, Got, Missed, Reason
from bff.upstreams.schemas.signals import CursorText
from bff.upstreams.services import HANDSHAKE
from nurseries import fan_out, required

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bff.gate.ladder import Pass
    from bff.model import Claims
    from bff.outside import Outside
    from bff.stores.cache import Cache, Entry
    from bff.stores.mirrors import Mirrors
    from bff.stores.tier import SessionTier
    from bff.upstreams.client import Journey, Upstreams
    from bff.upstreams.schemas.signals import Cursor
    from nurseries import Owner

AGAIN: Final = 30.0  # seconds after which a desk tries again (F-13)
RESERVE: Final = 0.03  # seconds kept to send the answer, and
RESERVE_PART: Final = 0.2  # at most so much of a deadline that is short
RESET_PART: Final = 0.1  # of the deadline: the longest that the copies are waited for, and never
RESET_SECONDS: Final = 0.3  # more than this


class HandshakeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the device believes to be; null where it does not know, as at the first time."""

    EXAMPLE: ClassVar[Any] = {"cursor": None}
    cursor: CursorText | None


class HandshakeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Where the device is; `stale_sync` where it believed to be elsewhere."""

    cursor: str
    server_time: Annotated[datetime.datetime, msgspec.Meta(tz=True)]
    stale_sync: bool


@dataclass(frozen=True, slots=True)
class Handshakes:
    """The room: whom it asks and where copies are. `shown` makes the entry that a dashboard's widget is kept as."""

    upstreams: Upstreams
    mirrors: Mirrors
    tier: SessionTier
    cache: Cache
    outside: Outside
    owner: Owner
    shown: Callable[[Claims, Got], Entry]

    async def answer(self, who: Pass, body: HandshakeBody, journey: Journey) -> Answer | Problem:
        """Where `who`'s device is, or when to ask again.

        Needs a finite deadline above it and raises `nurseries.Unbounded` without one.
        """
        left = required("handshake")
        leave = trio.current_time() + left - min(RESERVE, RESERVE_PART * left)
        patience = min(RESET_SECONDS, RESET_PART * left)
        call = Call(HANDSHAKE, {"did": who.claims.device}, body=msgspec.json.encode(body))
        result = (await self.upstreams.gather({"handshake": call}, journey, until=leave - patience))["handshake"]
        if isinstance(result, Missed):
            return _again(result)
        resets = self._resets(who, result, journey)
        until = min(leave, trio.current_time() + patience)
        await fan_out(resets, until=until, owner=self.owner, name="reset cursor")
        return Answer(200, msgspec.json.encode(_told(result.value)))

    def _resets(self, who: Pass, said: Got, journey: Journey) -> dict[str, Callable[[], Awaitable[object]]]:
        """One write for each copy of the cursor."""
        claims, cursor = who.claims, said.value.cursor
        kept = DeviceCursor(claims.tenant, claims.device, cursor, said.at)
        writes: dict[str, Callable[[], Awaitable[object]]] = {
            "ledger": partial(self.mirrors.keep_cursor, kept),
            "cache": partial(self.cache.put_many, (self.shown(claims, said),)),
        }
        if who.blob is not None:
            ttl = max(0.0, who.blob.expires_at - self.outside.now()) + GRACE
            writes["session-tier"] = partial(self.tier.keep, replace(who.blob, cursor=cursor), ttl)
        return {store: partial(_timed, store, write, journey) for store, write in writes.items()}


async def _timed(store: str, write: Callable[[], Awaitable[object]], journey: Journey) -> None:
    began = trio.current_time()
    try:
        await write()
    finally:
        journey.timing.add(store, trio.current_time() - began)


def _told(said: Cursor) -> HandshakeAnswer:
    return HandshakeAnswer(said.cursor, said.server_time, said.stale_sync)


def _again(missed: Missed) -> Problem:
    """Drift is told as such, since somebody has to look at it; everything else is one thing to a desk: later."""
    code = Code.SCHEMA_DRIFT if missed.reason is Reason.SCHEMA_DRIFT else Code.UPSTREAM_UNAVAILABLE
    return Problem(code, f"{HANDSHAKE.service}: {missed.detail}", upstream=HANDSHAKE.service, retry_after=AGAIN)
