"""Google's public keys, by which a push is known: a JWK set at a URL, for RS256.

It is no service of the estate, and its answer has no tenant. It is asked over the same pool, under a breaker of its
own: while it is down whoever knocks with a token that nobody can verify does not have it asked each time.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx
import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from bff.config import BadSetting
from bff.facts import UpstreamCalled
from bff.outside import fraction
from bff.upstreams.client import Got, Missed, Reason
from bff.upstreams.jwks import Issuer, KeyRing, KeySet, usable
from bff.wire.exchange import DEFAULT_PORTS, Origin, Prepared
from bff.wire.rs256 import rsa_key
from nurseries import Breaker, tell, within

if TYPE_CHECKING:
    from bff.outside import Outside
    from bff.upstreams.drift import Drift
    from bff.wire.pool import Pool
    from nurseries import Owner

SERVICE, OPERATION = "pubsub", "keys"
ONCE_SECONDS: Final = 2.0  # one attempt

PushKeys = KeyRing[rsa.RSAPublicKey]


def push_keys(pool: Pool, url: str, owner: Owner, outside: Outside) -> PushKeys:
    """The keys at `url`. Raises `BadSetting` for a host that cannot be asked."""
    parts = urlsplit(url)
    origin = Origin(parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
    try:
        origin.authority()
    except httpx.LocalProtocolError:
        raise BadSetting(f"BFF_PUSH_KEYS_URL is {url!r}: there can be no such host") from None
    target = (f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/").encode("ascii")
    question = _Question(pool, Prepared(origin, b"GET", target, repeatable=True), outside)
    return KeyRing(
        Issuer(SERVICE, OPERATION, question.ask, read_keys), owner, jitter=partial(fraction, outside.entropy)
    )


def read_keys(body: bytes) -> KeySet[rsa.RSAPublicKey] | Drift:
    """Those of a JWK set that may sign with RS256. See `usable`."""
    return usable(body, rsa_key, "RS256")


class _Question:
    """What is asked, again and again, and a breaker before it."""

    def __init__(self, pool: Pool, prepared: Prepared, outside: Outside) -> None:
        self._pool = pool
        self._prepared = prepared
        self._outside = outside
        self._breaker = Breaker(f"{SERVICE}.{OPERATION}")

    async def ask(self) -> Got | Missed:
        """One attempt, within the deadline around it."""
        permit = self._breaker.admit()
        if permit is None:
            tell(UpstreamCalled(SERVICE, OPERATION, Reason.BREAKER_OPEN.value, 0.0))
            await trio.lowlevel.checkpoint()
            return Missed(Reason.BREAKER_OPEN, "not asked: it failed before", retry_after=self._breaker.retry_after)
        began, said = trio.current_time(), "cancelled"
        try:
            with permit:
                result = await self._asked()
                (permit.ok if isinstance(result, Got) else permit.failed)()
            said = result.outcome
            return result
        finally:
            tell(UpstreamCalled(SERVICE, OPERATION, said, trio.current_time() - began))

    async def _asked(self) -> Got | Missed:
        with within(ONCE_SECONDS):
            try:
                reply = await self._pool.fetch(self._prepared)
            except (httpx.TransportError, httpx.DecodingError) as error:
                return Missed(Reason.UPSTREAM_UNAVAILABLE, type(error).__name__)
            if reply.status != 200:
                return Missed(Reason.UPSTREAM_UNAVAILABLE, f"status {reply.status}")
            return Got(None, reply.body, self._outside.now())
        return Missed(Reason.UPSTREAM_TIMEOUT, f"no answer within {ONCE_SECONDS:g} s")
