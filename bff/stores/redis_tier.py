"""The session tier on Redis: sessions, revocations, tenants' standing, and the proofs that were seen.

    p:HASH                       a proof by its key's thumbprint and its jti: the nonce it came with
    TENANT|session|SESSION       the blob, as JSON (each part with its length, as `CacheKey` writes it)
    TENANT|revoked|SESSION       there while the session is revoked: it outranks a blob that is written again
    TENANT|sessions              the sessions that have blobs, by when they end: for ending many of them in one step
    TENANT|status                active or suspended, the last known

All but a proof's key begin with their tenant (F-30). A proof belongs to no tenant: it may come before there is one, at
sign-in. Its jti is what a client chose, up to 256 characters of anything; hashed, a million of them cost the same
(F-41), and no choice of thumbprint and jti meets another's.
"""

from __future__ import annotations

import hashlib
import math
from base64 import urlsafe_b64encode
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec

from bff.model import Down, SessionId, TenantId
from bff.stores.cache import CacheKey
from bff.stores.redis_line import Call, open_line
from bff.stores.tier import Presented, SessionBlob, Standing, TenantStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bff.model import DeviceId, Jkt, OperatorId, PropertyId
    from bff.stores.border import Border
    from bff.stores.redis_line import Line

STORE: Final = "redis-session"
PRESENT: Final = (resources.files("bff.stores") / "lua" / "present.lua").read_text(encoding="utf-8")
PRESENT_SHA: Final = hashlib.sha1(PRESENT.encode(), usedforsecurity=False).hexdigest()
LOG_OUT: Final = (resources.files("bff.stores") / "lua" / "log_out.lua").read_text(encoding="utf-8")
LOG_OUT_SHA: Final = hashlib.sha1(LOG_OUT.encode(), usedforsecurity=False).hexdigest()
LISTED_SECONDS: Final = 2 * 86_400  # more than a session's blob is kept
STATUSES: Final[dict[bytes | None, TenantStatus]] = {b"active": "active", b"suspended": "suspended"}

_blobs = msgspec.json.Decoder(SessionBlob)
_PING: Final[Call] = ("PING",)


class RedisTier:
    """`bff.stores.tier.SessionTier` on one Redis. Made by `open_tier`."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def connections(self) -> int:
        """How often the line to Redis was (re)made."""
        return self._line.connections

    async def present(self, proof: Presented) -> Standing | Down:
        """Record the proof and read the session and tenant, in one script."""
        tenant, session = proof.tenant, proof.session
        blob = _key(tenant, "session", session) if tenant and session else b""
        revoked = _key(tenant, "revoked", session) if tenant and session else b""
        status = _key(tenant, "status") if tenant else b""
        keys = (_proof_key(proof.jkt, proof.jti), blob, revoked, status)
        answer = await self._line.ask(("EVALSHA", PRESENT_SHA, 4, *keys, proof.nonce, _ms(proof.ttl)))
        if isinstance(answer, Down):
            return answer
        fresh, is_revoked, standing, raw = answer[0]
        return Standing(bool(fresh), bool(is_revoked), STATUSES.get(standing), _blob(raw, tenant, session))

    async def keep(self, blob: SessionBlob, ttl: float) -> Down | None:
        """Write the blob of a session for `ttl` seconds."""
        key, listed = _key(blob.tenant, "session", blob.session), _key(blob.tenant, "sessions")
        ends = math.ceil(blob.expires_at)
        return await self._done(
            ("SET", key, msgspec.json.encode(blob), "PX", _ms(ttl)),
            ("ZADD", listed, ends, _utf8(blob.session)),
            ("ZREMRANGEBYSCORE", listed, "-inf", ends - 2 * math.ceil(ttl)),  # before now, by as much as one lives
            ("EXPIRE", listed, LISTED_SECONDS),
        )

    async def revoke(self, tenant: TenantId, session: SessionId, ttl: float) -> Down | None:
        """Mark, then drop: whoever looks between the two sees a revoked session."""
        mark: Call = ("SET", _key(tenant, "revoked", session), b"1", "PX", _ms(ttl))
        return await self._done(mark, ("DEL", _key(tenant, "session", session)))

    async def ended(self, sessions: Sequence[tuple[TenantId, SessionId]]) -> tuple[bool, ...] | Down:
        """Which of those have a mark."""
        answer = await self._line.ask(("MGET", *(_key(tenant, "revoked", session) for tenant, session in sessions)))
        return answer if isinstance(answer, Down) else tuple(mark is not None for mark in answer[0])

    async def log_out(
        self,
        tenant: TenantId,
        *,
        operator: OperatorId | None = None,
        device: DeviceId | None = None,
        property: PropertyId | None = None,
        ttl: float,
    ) -> tuple[SessionId, ...] | Down:
        """End every session that all ids given match, in one script."""
        ids = (operator or "", device or "", property or "")
        begin = [_key(tenant, kind) + b"|" for kind in ("session", "revoked")]
        call: Call = ("EVALSHA", LOG_OUT_SHA, 1, _key(tenant, "sessions"), _ms(ttl), *begin, *map(_utf8, ids))
        answer = await self._line.ask(call)
        return answer if isinstance(answer, Down) else tuple(SessionId(_text(session)) for session in answer[0])

    async def set_tenant_status(self, tenant: TenantId, status: TenantStatus) -> Down | None:
        """Keep it until it is known to be another: there are as many as there are tenants."""
        return await self._done(("SET", _key(tenant, "status"), status))

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        return await self._done(_PING)

    async def _done(self, *calls: Call) -> Down | None:
        answer = await self._line.ask(*calls)
        return answer if isinstance(answer, Down) else None


def _key(tenant: TenantId, kind: str, session: SessionId | None = None) -> bytes:
    key = CacheKey(tenant, kind, () if session is None else (session,))
    return _utf8(key.text())


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON can say half a character, and it is a key like any other


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _proof_key(jkt: Jkt, jti: str) -> bytes:
    # Thumbprints have one length and no NUL: the two never run into one another.
    told = f"{jkt}\0{jti}".encode("utf-8", "surrogatepass")
    return b"p:" + urlsafe_b64encode(hashlib.blake2b(told, digest_size=18).digest())


def _ms(seconds: float) -> int:
    """A time to live as Redis takes it: whole milliseconds, and never none."""
    return max(1, math.ceil(seconds * 1000))


def _blob(raw: bytes | None, tenant: TenantId | None, session: SessionId | None) -> SessionBlob | None:
    """What was kept, if it parses and is whose it should be; a deployment may have changed the struct (F-30)."""
    if raw is None:
        return None
    try:
        blob = _blobs.decode(raw)
    except msgspec.MsgspecError:
        return None
    return blob if (blob.tenant, blob.session) == (tenant, session) else None


@asynccontextmanager
async def open_tier(border: Border, url: str) -> AsyncIterator[RedisTier]:
    """The tier at `url`, whether it is there or not. Raises `ValueError` for a URL that cannot be used."""
    async with open_line(border, STORE, url, [PRESENT, LOG_OUT]) as line:
        yield RedisTier(line)
