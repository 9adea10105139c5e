"""iam's public keys: read when they are first needed, refreshed behind the back of requests, kept through an outage.

    known and fresh    from memory
    known and older    from memory, and a refresh begins in the background; if iam is down, the old keys go on holding
    an unknown kid     iam may have begun to sign with a new key: asked once, and then not again for `cool` seconds for
                       any unknown kid, or whoever makes up kids would have us ask iam as often as he likes
    never read         the request waits for iam as long as its deadline allows, and hears `Missed` if nothing came

All who wait, wait for one fetch, each as long as its own deadline says; the fetch has a deadline of its own.

A key that iam withdraws must stop counting at once, for tokens that were verified before, too: `edition` changes then,
and whoever caches what a key has verified compares it (`gate.token`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from bff.facts import SchemaDrifted, Surprised
from bff.outside import fraction
from bff.upstreams import services
from bff.upstreams.client import Call, Got, Journey, Missed, Reason
from bff.upstreams.drift import Drift
from bff.wire.jose import PRIVATE, Malformed, PublicKey, public_key, strict_json
from bff.wire.trace import ServerTiming, Trace
from nurseries import (
    Backoff,
    Failed,
    Flight,
    Full,
    Ok,
    RetryBudget,
    Shed,
    TimedOut,
    described,
    detached,
    reserve,
    retry,
    tell,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric import ec

    from bff.upstreams.client import Upstreams
    from nurseries import Outcome, Owner

KeySet: TypeAlias = "Mapping[str, tuple[PublicKey, ...]]"  # by kid

MOST_TRIED: Final = 16  # keys for a token that names none: each is a signature to check, and the sender's to ask for
FETCH_SECONDS: Final = 4.0  # for one fetch, its retries included
ANSWER_SECONDS: Final = 0.05  # of a request's deadline, kept for saying that the keys did not come
BACKOFF: Final = Backoff(first=0.05, most=0.5)


class Keys:
    """The keys with which iam signs. `owner` holds the fetches; `entropy` gives their traces and their jitter.

    `fresh` and `cool` are seconds on Trio's clock: how old keys may be before they are read again, and how long iam is
    left alone after a refresh that failed, or that an unknown kid brought about.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        owner: Owner,
        *,
        entropy: Callable[[int], bytes],
        fresh: float = 300.0,
        cool: float = 5.0,
    ) -> None:
        self._upstreams = upstreams
        self._owner = owner
        self._entropy = entropy
        self._fresh = fresh
        self._cool = cool
        self._budget = RetryBudget("iam.jwks")
        self._flight: Flight[str, Missed | None] = Flight("iam.jwks", owner)
        self._flying = False
        self._known: KeySet = {}
        self._due = -math.inf  # when they should be read again
        self._incurious_until = -math.inf  # when an unknown kid may be asked about again
        self.edition = 0

    async def find(self, kid: str | None) -> tuple[ec.EllipticCurvePublicKey, ...] | Missed:
        """The keys that may have signed: those called `kid`, `MOST_TRIED` of all for None, () where iam knows none.

        Waits for iam only when nothing is known yet, or not this `kid`, and comes back in time to say so. Raises
        `Unbounded` where it would have to wait and no deadline is around it.
        """
        if not self._known:
            missed = await self._read()
            if missed is not None:
                return missed
        else:
            self.freshen()
            if kid is not None and kid not in self._known and self._may_ask():
                await self._read()
        if kid is None:
            return tuple(key.key for alike in self._known.values() for key in alike)[:MOST_TRIED]
        return tuple(key.key for key in self._known.get(kid, ()))

    async def warm(self) -> Missed | None:
        """Read the keys before the first request needs them, if the deadline around it allows. See `find`."""
        return None if self._known else await self._read()

    def freshen(self) -> None:
        """Begin to read them again in the background, if it is time to; nobody waits for it."""
        now = trio.current_time()
        if not self._known or now < self._due:
            return
        self._due = now + self._cool
        try:
            detached("iam.jwks refresh", self._owner, self._read, seconds=FETCH_SECONDS)
        except Full:
            return  # what holds background work has no room: the old keys hold, and the next request tries again

    def _may_ask(self) -> bool:
        """Whether an unknown kid is worth a fetch now: one that flies already costs nothing."""
        now = trio.current_time()
        if self._flying:
            return True
        if now < self._incurious_until:
            return False
        self._incurious_until = now + self._cool
        return True

    async def _read(self) -> Missed | None:
        """Wait for the fetch that flies, or for one that begins now; None when keys have come."""
        with reserve(ANSWER_SECONDS):
            self._flying = True
            outcome = await self._flight.join("jwks", self._fetch, seconds=FETCH_SECONDS)
            if isinstance(outcome, Shed | TimedOut):
                self._flying = False  # it never flew, or was given up: nobody else will say so
            return _settled(outcome)
        return _unavailable("not in time")

    async def _fetch(self) -> Missed | None:
        wait = self._cool
        try:
            result = await retry(
                self._ask, again=_again, budget=self._budget, backoff=BACKOFF, jitter=self._jitter, attempts=3
            )
            missed = self._learn(result)
            if missed is None:
                wait = self._fresh
            return missed
        finally:
            self._due = trio.current_time() + wait
            self._flying = False

    async def _ask(self) -> Got | Missed:
        # Nobody's journey: what one request began serves all the others.
        journey = Journey(Trace.parse(None, self._entropy), ServerTiming())
        return await self._upstreams.one(Call(services.JWKS, {}), journey)

    def _jitter(self) -> float:
        return fraction(self._entropy)

    def _learn(self, result: Got | Missed) -> Missed | None:
        if isinstance(result, Missed):
            return result
        keys = read_keys(result.body)
        if isinstance(keys, Drift):
            tell(SchemaDrifted(services.JWKS.service, services.JWKS.name, keys.path, keys.message))
            return Missed(Reason.SCHEMA_DRIFT, f"{keys.path}: {keys.message}")
        if not _names(self._known) <= _names(keys):
            self.edition += 1
        self._known = keys
        return None


def read_keys(body: bytes) -> KeySet | Drift:
    """The keys of a JWK set (RFC 7517, 5) that can be used here: those of other kinds or without a kid are passed over.

    So is one that comes with its private half: what everybody can sign with proves nothing. A set with nothing to use
    is drift.
    """
    try:
        listed = strict_json(body).get("keys")
    except Malformed as error:
        return Drift("$", str(error))
    if not isinstance(listed, list):
        return Drift("$.keys", "not a list")
    keys: dict[str, tuple[PublicKey, ...]] = {}
    for jwk in listed:
        key = public_key(jwk)
        if key is not None and isinstance(jwk.get("kid"), str) and PRIVATE.isdisjoint(jwk):
            keys[jwk["kid"]] = (*keys.get(jwk["kid"], ()), key)
    return keys or Drift("$.keys", "no key for ES256 with a kid")


def _names(keys: KeySet) -> set[tuple[str, str]]:
    return {(kid, key.thumbprint) for kid, alike in keys.items() for key in alike}


def _again(result: Got | Missed) -> bool:
    """Whether another attempt may do better: not after an answer, nor while the breaker is open."""
    if isinstance(result, Got) or result.status is not None:
        return False
    return result.reason in {Reason.UPSTREAM_UNAVAILABLE, Reason.UPSTREAM_TIMEOUT}


def _settled(outcome: Outcome[Missed | None]) -> Missed | None:
    """In the words of the contract: whatever keeps iam's keys from us, to a desk it is `UPSTREAM_UNAVAILABLE`.

    But for drift. iam's own status is left out: its 404 is not the desk's.
    """
    match outcome:
        case Ok(missed):
            if missed is None or missed.reason is Reason.SCHEMA_DRIFT:
                return missed
            return _unavailable(missed.detail, missed.retry_after)
        case TimedOut():
            return _unavailable("not in time")
        case Shed(why):
            return _unavailable(why)
        case Failed(error):
            tell(Surprised("iam.jwks", described(error)))
            return _unavailable("the fetch failed here")


def _unavailable(why: str, retry_after: float | None = None) -> Missed:
    return Missed(Reason.UPSTREAM_UNAVAILABLE, f"its keys cannot be read: {why}", retry_after=retry_after)
