"""Pub/Sub's push at the edge: let in is whoever shows a token that Google signed for one account and this audience.

    Authorization: Bearer ─► a JWS by RS256 ─► its claims ─► Google's key of that kid ─► its signature ─► the intake

Everything that can be judged without a key is judged before one is looked for, so that nobody has Google asked for keys
who does not know the account and the audience. What a token says of how it should be checked is not believed (RFC 8725,
3.1): the algorithm is RS256, the key is Google's; `jwk`, `jku`, `x5u` and their like are never looked at.

Whoever is refused hears no more than that; which rule it was goes out as a fact, since a subscription with the wrong
audience looks like an attack, and the other way round.

Google's documents say what is in such a token:
https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from bff.events.intake import refused_method, unknown
from bff.facts.events import PushRefused
from bff.gate.token import seconds, text
from bff.problem import Code
from bff.upstreams.client import Missed
from bff.wire.jose import LONGEST, Malformed, from_base64url, parted, strict_json
from bff.wire.rs256 import verifies
from nurseries import tell

if TYPE_CHECKING:
    from bff.config import Pushed
    from bff.events.intake import Intake
    from bff.model import Answer
    from bff.outside import Outside
    from bff.problem import Problem
    from bff.upstreams.push_keys import PushKeys
    from bff.wire.asgi import Receive, Request
    from bff.wire.jose import Compact

ISSUERS: Final = frozenset(("https://accounts.google.com", "accounts.google.com"))  # both are Google's (OpenID Connect)
LEEWAY: Final = 10.0  # seconds that Google's clock may be off ours
NEEDED: Final = "a token of the account that pushes is needed"
SAYS: Final = (  # every code of an answer here, but for what is taken
    *(Code.SESSION_REQUIRED, Code.METHOD_NOT_ALLOWED, Code.VALIDATION_FAILED, Code.REQUEST_TIMEOUT),
    *(Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE, Code.CACHE_UNAVAILABLE, Code.HALTED, Code.INTERNAL),
    *(Code.UPSTREAM_UNAVAILABLE, Code.SCHEMA_DRIFT, Code.UPSTREAM_TIMEOUT),
)


class Why(StrEnum):
    """Which rule a token broke, in the order in which they are judged."""

    ABSENT = "absent"
    SEVERAL = "several"
    SCHEME = "scheme"  # not `Bearer <token>`
    SIZE = "size"  # over 8 KiB
    MALFORMED = "malformed"
    TYP = "typ"
    ALG = "alg"
    EXTENSION = "extension"  # `crit` or `b64`
    CLAIMS = "claims"  # one that is needed is missing, or not of its type
    ISSUER = "issuer"
    AUDIENCE = "audience"
    ACCOUNT = "account"
    UNVERIFIED = "unverified"  # Google does not vouch for the address
    EXPIRED = "expired"
    KEY = "key"  # a kid that Google does not know, or none
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Shown:
    """A token that is all it should be, if that key has signed it."""

    jws: Compact
    kid: str


def judged(authorization: tuple[bytes, ...], told: Pushed, now: float) -> Shown | Why:
    """What the values of a request's `Authorization` show at `now`, in POSIX seconds, or the first rule it breaks."""
    raw = _presented(authorization)
    if isinstance(raw, Why):
        return raw
    try:
        jws = parted(raw)
        header = strict_json(from_base64url(jws.header))
        payload = strict_json(from_base64url(jws.payload))
    except Malformed:
        return Why.MALFORMED
    why = _unfit(header) or _unmeant(payload, told, now)
    if why is not None:
        return why
    kid = header.get("kid")
    return Shown(jws, kid) if isinstance(kid, str) else Why.KEY


def _presented(authorization: tuple[bytes, ...]) -> bytes | Why:
    """The token of the header's only value."""
    if not authorization:
        return Why.ABSENT
    if len(authorization) > 1:
        return Why.SEVERAL
    scheme, _, rest = authorization[0].partition(b" ")
    raw = rest.strip(b" ")
    if scheme.lower() != b"bearer" or not raw:
        return Why.SCHEME
    return raw if len(raw) <= LONGEST else Why.SIZE


def _unfit(header: dict[str, Any]) -> Why | None:
    """The rules that a header alone can break."""
    typ = header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") != "jwt":
        return Why.TYP
    if header.get("alg") != "RS256":
        return Why.ALG
    return Why.EXTENSION if "crit" in header or "b64" in header else None


def _unmeant(payload: dict[str, Any], told: Pushed, now: float) -> Why | None:
    """The rules that claims can break. `aud` is one name: of a list, others have the token too."""
    try:
        issuer, audience = text(payload["iss"]), text(payload["aud"])
        email, expires_at = text(payload["email"]), seconds(payload["exp"])
    except (KeyError, TypeError):
        return Why.CLAIMS
    if issuer not in ISSUERS:
        return Why.ISSUER
    if audience != told.audience:
        return Why.AUDIENCE
    if email != told.account:
        return Why.ACCOUNT
    if payload.get("email_verified") is not True:
        return Why.UNVERIFIED
    return Why.EXPIRED if expires_at + LEEWAY <= now else None


class PushDoor:
    """Lets in whom `told` names, by Google's `keys`, to say what he has to say to `intake`."""

    def __init__(self, told: Pushed, keys: PushKeys, intake: Intake, outside: Outside) -> None:
        self._told = told
        self._keys = keys
        self._intake = intake
        self._outside = outside

    async def answer(self, request: Request, receive: Receive) -> Answer | Problem:
        """As a view that is mounted at the edge. Raises `nurseries.Unbounded` without a deadline above it."""
        if request.method != "POST":
            return refused_method()
        shown = judged(request.all(b"authorization"), self._told, self._outside.now())
        found = shown if isinstance(shown, Why) else await self._signed(shown)
        if isinstance(found, Missed):
            return found.problem("pubsub")
        if found is not None:
            tell(PushRefused(found.value))
            return unknown(NEEDED)
        return await self._intake.take(request, receive)

    async def _signed(self, shown: Shown) -> Why | Missed | None:
        """None where Google has signed it; `Missed` where its keys were never read."""
        known = await self._keys.find(shown.kid)
        if isinstance(known, Missed):
            return known
        if not known:
            return Why.KEY
        return None if any(verifies(key, shown.jws) for key in known) else Why.SIGNATURE
