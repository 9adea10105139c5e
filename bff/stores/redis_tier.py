"""The session tier on Redis: sessions, revocations, tenants' standing, and the proofs that were seen.

    p:HASH                       a proof by its key's thumbprint and its jti: the nonce it came with
    jti:mode                     how proofs are remembered, and since when (`bff.stores.jti`); it may not be there
    jti:0, jti:1, jti:2          bitmaps of proofs, in the mode bloom
    processes                    those that serve, by when they count as gone
    sent:DAY                     bytes that all of them have sent on that day
    TENANT|session|SESSION       the blob, as JSON (each part with its length, as `CacheKey` writes it)
    TENANT|revoked|SESSION       there while the session is revoked: it outranks a blob that is written again
    TENANT|sessions              the sessions that have blobs, by when they end: for ending many of them in one step
    TENANT|status                active or suspended, the last known

All but those of proofs and of processes begin with their tenant (F-30). A proof belongs to no tenant: it may come
before there is one, at sign-in. Its jti is what a client chose, up to 256 characters of anything; hashed, a million of
them cost the same (F-41), and no choice of thumbprint and jti meets another's.
"""

from __future__ import annotations

import hashlib
import math
from base64 import urlsafe_b64encode
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bff.model import Down, SessionId, TenantId
from bff.stores.cache import CacheKey
from bff.stores.jti import FILTER, MODES, NONCE_SECONDS, SAMPLE, JtiMemory, fill, marks
from bff.stores.redis_line import Call, open_line
from bff.stores.redis_size import size
from bff.stores.tier import DAY_KEPT, Attendance, Presented, SessionBlob, Standing, TenantStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bff.model import DeviceId, Jkt, OperatorId, PropertyId
    from bff.stores.border import Border
    from bff.stores.jti import Filter, JtiMode
    from bff.stores.redis_line import Line
    from bff.stores.size import Size

STORE: Final = "redis-session"
PRESENT: Final = (resources.files("bff.stores") / "lua" / "present.lua").read_text(encoding="utf-8")
PRESENT_SHA: Final = hashlib.sha1(PRESENT.encode(), usedforsecurity=False).hexdigest()
LOG_OUT: Final = (resources.files("bff.stores") / "lua" / "log_out.lua").read_text(encoding="utf-8")
LOG_OUT_SHA: Final = hashlib.sha1(LOG_OUT.encode(), usedforsecurity=False).hexdigest()
REMEMBER: Final = (resources.files("bff.stores") / "lua" / "remember.lua").read_text(encoding="utf-8")
REMEMBER_SHA: Final = hashlib.sha1(REMEMBER.encode(), usedforsecurity=False).hexdigest()
ATTEND: Final = (resources.files("bff.stores") / "lua" / "attend.lua").read_text(encoding="utf-8")
ATTEND_SHA: Final = hashlib.sha1(ATTEND.encode(), usedforsecurity=False).hexdigest()
MODE: Final = b"jti:mode"
SLOTS: Final = (b"jti:0", b"jti:1", b"jti:2")
PROCESSES: Final = b"processes"
LISTED_SECONDS: Final = 2 * 86_400  # more than a session's blob is kept
STATUSES: Final[dict[bytes | None, TenantStatus]] = {b"active": "active", b"suspended": "suspended"}
KNOWN_MODES: Final[dict[bytes | None, JtiMode]] = {mode.encode(): mode for mode in MODES}

_blobs = msgspec.json.Decoder(SessionBlob)
_PING: Final[Call] = ("PING",)


class RedisTier:
    """`bff.stores.tier.SessionTier` on one Redis. Made by `open_tier`."""

    def __init__(self, line: Line, filter: Filter = FILTER) -> None:
        self._line = line
        self._filter = filter
        self._shape = (filter.bits, _ms(filter.turns))

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
        keys = (_proof_key(proof.jkt, proof.jti), blob, revoked, status, MODE, *SLOTS)
        kept = (_ms(proof.ttl), _ms(proof.trimmed), _ms(min(proof.ttl, NONCE_SECONDS)))
        told = (proof.nonce, *kept, marks(proof.jkt, proof.jti), *self._shape)
        answer = await self._line.ask(("EVALSHA", PRESENT_SHA, len(keys), *keys, *told))
        if isinstance(answer, Down):
            return answer
        fresh, is_revoked, standing, raw, mode, filtered = answer[0]
        blob_kept = _blob(raw, tenant, session)
        return Standing(bool(fresh), bool(is_revoked), STATUSES.get(standing), blob_kept, _mode(mode), bool(filtered))

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

    async def jti_memory(self) -> JtiMemory | Down:
        """How proofs are remembered now."""
        answer = await self._remember(MODES[0], "")
        if isinstance(answer, Down):
            return answer
        _, mode, since, bits = answer[0]
        lasted = math.inf if mode is None else since / 1000
        return JtiMemory(_mode(mode), lasted, fill(bits / (8 * min(SAMPLE, self._filter.bits // 8))))

    async def remember_jtis(self, mode: JtiMode, *, instead_of: JtiMode) -> bool | Down:
        """Remember them otherwise from now on."""
        answer = await self._remember(instead_of, mode)
        return answer if isinstance(answer, Down) else bool(answer[0][0])

    async def _remember(self, known: str, wanted: str) -> list[Any] | Down:
        return await self._line.ask(("EVALSHA", REMEMBER_SHA, 4, MODE, *SLOTS, known, wanted, SAMPLE))

    async def attend(self, process: str, ttl: float, *, day: int, sent: int) -> Attendance | Down:
        """One process more that is here, in one script."""
        keys = (PROCESSES, b"sent:%d" % day)
        answer = await self._line.ask(("EVALSHA", ATTEND_SHA, 2, *keys, process, _ms(ttl), sent, _ms(DAY_KEPT)))
        return answer if isinstance(answer, Down) else Attendance(*answer[0])

    async def size(self) -> Size | Down:
        """As it says itself."""
        return await size(self._line)

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


def _mode(raw: bytes | None) -> JtiMode:
    """What this server does not know, it goes by as if nothing had been said; the script does so as well."""
    return KNOWN_MODES.get(raw, "exact")


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
async def open_tier(border: Border, url: str, filter: Filter = FILTER) -> AsyncIterator[RedisTier]:
    """The tier at `url`, whether it is there or not. Raises `ValueError` for a URL that cannot be used."""
    async with open_line(border, STORE, url, [PRESENT, LOG_OUT, REMEMBER, ATTEND]) as line:
        yield RedisTier(line, filter)
