"""Rung 1: is this an access token that iam signed for us? RFC 9068's and RFC 8725's advice, read as CONTRACT has it.

What a token says of how it should be checked is not believed: the algorithm is ES256, the key is iam's, found by `kid`
alone; `jwk`, `jku`, `x5u` and their like are never looked at, `crit` and `b64` are refused (RFC 8725, 3.1 and 3.10).
Expiry is not judged here: a token past `exp` is still iam's, and the ladder has a rung of its own for it.

A verified token is remembered by its hash, so that a desk's next request costs a look-up and not a signature. What is
remembered is that iam said it, never that it holds: `nbf` is judged each time, since the clock may be set back; nothing
is remembered beyond `exp`; and all is forgotten when iam withdraws a key (`Keys.edition`), or a stolen key would go on
counting for as long as its thief chose to write into `exp`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from bff.model import Claims, DeviceId, Jkt, OperatorId, PropertyId, SessionId, TenantId
from bff.upstreams.client import Missed
from bff.wire.jose import LONGEST, Malformed, compact, from_base64url, strict_json, verifies

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.upstreams.jwks import Keys

LEEWAY: Final = 1.0  # seconds that iam's clock may be before ours (RFC 7519, 4.1.5): `nbf` is when it signed
LATEST: Final = float(2**53)  # beyond it a float does not count seconds any more
# RFC 8725, 3.11: a proof, or a token of another kind, is no access token. Absent is what older issuers write.
TYPES: Final = frozenset(("jwt", "at+jwt"))
# Ids become header fields, list items and keys: visible ASCII, and no comma.
_ID = re.compile(r"[!-+\--~]{1,256}")


class Why(StrEnum):
    """Which rule a token broke, in the order in which they are judged."""

    ABSENT = "absent"
    SEVERAL = "several"
    SCHEME = "scheme"  # not `DPoP <token>`
    SIZE = "size"  # over 8 KiB
    MALFORMED = "malformed"
    TYP = "typ"
    ALG = "alg"
    EXTENSION = "extension"  # `crit` or `b64`
    KEY = "key"  # a kid that iam does not know
    SIGNATURE = "signature"
    CLAIMS = "claims"  # one that is needed is missing, or not of its type
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EARLY = "early"  # `nbf` is to come


WHYS: Final = frozenset(why.value for why in Why)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that iam signed for us: as it came, and what it says."""

    raw: bytes
    claims: Claims


@dataclass(frozen=True, slots=True)
class BadToken:
    """No token of iam's for us; `why` is one of `WHYS`."""

    why: str


@dataclass(frozen=True, slots=True)
class _Known:
    claims: Claims
    edition: int


class TokenJudge:
    """Judges tokens of `issuer` for `audience` by iam's `keys`; remembers at most `bound` of them.

    `now` gives POSIX seconds.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        issuer: str,
        now: Callable[[], float],
        audience: str = "bff-backoffice",
        bound: int = 10_000,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._now = now
        self._bound = bound
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def judge(self, authorization: tuple[bytes, ...]) -> Token | BadToken | Missed:
        """Judge the values of a request's `Authorization` header; `Missed` when iam's keys were never read."""
        raw = _presented(authorization)
        if isinstance(raw, Why):
            return BadToken(raw)
        digest = sha256(raw).digest()
        claims = self._remembered(digest)
        if claims is None:
            edition = self._keys.edition
            payload = await signed_by_iam(raw, self._keys, TYPES)
            if isinstance(payload, Missed):
                return payload
            fresh = payload if isinstance(payload, Why) else self._claims(payload)
            if isinstance(fresh, Why):
                return BadToken(fresh)
            claims = fresh
            self._remember(digest, _Known(claims, edition))
        if claims.not_before > self._now() + LEEWAY:
            return BadToken(Why.EARLY)
        return Token(raw, claims)

    def _remembered(self, digest: bytes) -> Claims | None:
        self._keys.freshen()
        known = self._known.get(digest)
        if known is None:
            return None
        if known.edition != self._keys.edition or known.claims.expires_at <= self._now():
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        return known.claims

    def _remember(self, digest: bytes, known: _Known) -> None:
        if known.claims.expires_at <= self._now():
            return
        self._known[digest] = known
        if len(self._known) > self._bound:
            self._known.popitem(last=False)

    def _claims(self, payload: dict[str, Any]) -> Claims | Why:
        """What the payload says, or the first rule that it breaks."""
        claims = _read(payload, self._audience)
        if claims is None:
            return Why.CLAIMS
        if claims.issuer != self._issuer:
            return Why.ISSUER
        return claims if claims.audience == self._audience else Why.AUDIENCE


async def signed_by_iam(raw: bytes, keys: Keys, kinds: frozenset[str]) -> dict[str, Any] | Why | Missed:
    """What a compact JWS says that iam signed, or the first rule that it breaks; `Missed` without iam's keys.

    `kinds` are the values of `typ` that will do, in small letters.
    """
    try:
        jws = compact(raw)
        header = strict_json(from_base64url(jws.header))
        payload = strict_json(from_base64url(jws.payload))
    except Malformed:
        return Why.MALFORMED
    why = _unfit(header, kinds)
    if why is not None:
        return why
    known = await keys.find(header.get("kid"))
    if isinstance(known, Missed):
        return known
    if not known:
        return Why.KEY
    return payload if any(verifies(key, jws) for key in known) else Why.SIGNATURE


def _presented(authorization: tuple[bytes, ...]) -> bytes | Why:
    """The token of the header's only value (RFC 9110, 11.4: a scheme in any case, spaces, the token)."""
    if not authorization:
        return Why.ABSENT
    if len(authorization) > 1:
        return Why.SEVERAL
    scheme, _, rest = authorization[0].partition(b" ")
    raw = rest.strip(b" ")
    if scheme.lower() != b"dpop" or not raw:
        return Why.SCHEME
    return raw if len(raw) <= LONGEST else Why.SIZE


def _unfit(header: dict[str, Any], kinds: frozenset[str]) -> Why | None:
    """The rules that a header alone can break."""
    typ = header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in kinds:
        return Why.TYP
    if header.get("alg") != "ES256":
        return Why.ALG
    if "crit" in header or "b64" in header:
        return Why.EXTENSION
    if "kid" in header and not isinstance(header["kid"], str):
        return Why.KEY
    return None


def _read(payload: dict[str, Any], audience: str) -> Claims | None:
    """All that is needed, or None where a claim is missing or not of its type."""
    try:
        return Claims(
            issuer=text(payload["iss"]),
            audience=one_of(payload["aud"], audience),
            expires_at=seconds(payload["exp"]),
            issued_at=seconds(payload["iat"]),
            not_before=seconds(payload["nbf"]),
            operator=OperatorId(an_id(payload["sub"])),
            tenant=TenantId(an_id(payload["tid"])),
            device=DeviceId(an_id(payload["did"])),
            session=SessionId(an_id(payload["sid"])),
            properties=tuple(PropertyId(an_id(pid)) for pid in _list(payload["props"])),
            jkt=Jkt(text(members(payload["cnf"])["jkt"])),  # one that no key has is rung 2's to refuse
        )
    except (KeyError, TypeError):
        return None


def text(value: object) -> str:
    """A string that is not empty. Raises `TypeError`, as all of these do for what is something else."""
    if not isinstance(value, str) or not value:
        raise TypeError("not text")
    return value


def an_id(value: object) -> str:
    """One that can be a header field, a list item and a key."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise TypeError("not an id")
    return value


def seconds(value: object) -> float:
    """POSIX seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        raise TypeError("not POSIX seconds")
    return float(value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def members(value: object) -> dict[str, object]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def one_of(value: object, wanted: str) -> str:
    """`wanted` where an `aud`, a name or a list of names (RFC 7519, 4.1.3), has it among others; else what it has."""
    names = [text(name) for name in (value if isinstance(value, list) else [value])]
    return wanted if wanted in names else ",".join(names)
