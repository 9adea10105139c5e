"""An issuer's public keys: read when first needed, renewed behind the back of requests, kept through an outage.

    known and fresh    from memory
    known and older    from memory, and a refresh begins in the background; if he is down, the old keys go on holding
    an unknown kid     he may have begun to sign with a new key: asked once, and then not again for `cool` seconds for
                       any unknown kid, or whoever makes up kids would have us ask him as often as he likes
    never read         the request waits for him as long as its deadline allows, and hears `Missed` if nothing came

All who wait, wait for one fetch, each as long as its own deadline says; the fetch has a deadline of its own.

A key that is withdrawn must stop counting at once, for tokens that were verified before, too: `edition` changes then,
and whoever caches what a key has verified compares it (`gate.token`).

There are two issuers: iam, whose keys are for ES256 (`Keys`), and Google, where it pushes (`upstreams.push_keys`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeAlias, TypeVar

import trio
from cryptography.hazmat.primitives.asymmetric import ec

from bff.facts import SchemaDrifted, Surprised
from bff.outside import fraction
from bff.upstreams import services
from bff.upstreams.client import Call, Got, Journey, Missed, Reason
from bff.upstreams.drift import Drift
from bff.wire.jose import PRIVATE, Malformed, public_key, strict_json
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
    from bff.model import Jkt
    from bff.upstreams.client import Upstreams
    from nurseries import Outcome, Owner

K = TypeVar("K")
K_co = TypeVar("K_co", covariant=True)


class Published(Protocol[K_co]):
    """A key and its RFC 7638 thumbprint."""

    @property
    def key(self) -> K_co: ...
    @property
    def thumbprint(self) -> Jkt: ...


KeySet: TypeAlias = Mapping[str, tuple[Published[K], ...]]  # by kid


@dataclass(frozen=True, slots=True)
class Issuer(Generic[K]):
    """Whose keys they are: how he is asked for them, once, and how his answer is read.

    `service` and `operation` are what metrics call it.
    """

    service: str
    operation: str
    ask: Callable[[], Awaitable[Got | Missed]]
    read: Callable[[bytes], KeySet[K] | Drift]

    @property
    def name(self) -> str:
        return f"{self.service}.{self.operation}"


MOST_TRIED: Final = 16  # keys for a token that names none: each is a signature to check, and the sender's to ask for
FETCH_SECONDS: Final = 4.0  # for one fetch, its retries included
ANSWER_SECONDS: Final = 0.05  # of a request's deadline, kept for saying that the keys did not come
BACKOFF: Final = Backoff(first=0.05, most=0.5)


class KeyRing(Generic[K]):
    """The keys with which `issuer` signs. `owner` holds the fetches; `jitter` gives a number from 0 to 1.

    `fresh` and `cool` are seconds on Trio's clock: how old keys may be before they are read again, and how long the
    issuer is left alone after a refresh that failed, or that an unknown kid brought about.
    """

    def __init__(
        self,
        issuer: Issuer[K],
        owner: Owner,
        *,
        jitter: Callable[[], float],
        fresh: float = 300.0,
        cool: float = 5.0,
    ) -> None:
        self._issuer = issuer
        self._owner = owner
        self._jitter = jitter
        self._fresh = fresh
        self._cool = cool
        self._budget = RetryBudget(issuer.name)
        self._flight: Flight[str, Missed | None] = Flight(issuer.name, owner)
        self._flying = False
        self._known: KeySet[K] = {}
        self._due = -math.inf  # when they should be read again
        self._incurious_until = -math.inf  # when an unknown kid may be asked about again
        self.edition = 0

    @property
    def known(self) -> bool:
        """Whether they were ever read."""
        return bool(self._known)

    async def find(self, kid: str | None) -> tuple[K, ...] | Missed:
        """The keys that may have signed: those called `kid`, `MOST_TRIED` of all for None, () where there is none.

        Waits for the issuer only when nothing is known yet, or not this `kid`, and comes back in time to say so. Raises
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
            detached(f"{self._issuer.name} refresh", self._owner, self._read, seconds=FETCH_SECONDS)
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
            return self._settled(outcome)
        return _unavailable("not in time")

    async def _fetch(self) -> Missed | None:
        wait = self._cool
        try:
            result = await retry(
                self._issuer.ask, again=_again, budget=self._budget, backoff=BACKOFF, jitter=self._jitter, attempts=3
            )
            missed = self._learn(result)
            if missed is None:
                wait = self._fresh
            return missed
        finally:
            self._due = trio.current_time() + wait
            self._flying = False

    def _learn(self, result: Got | Missed) -> Missed | None:
        if isinstance(result, Missed):
            return result
        keys = self._issuer.read(result.body)
        if isinstance(keys, Drift):
            tell(SchemaDrifted(self._issuer.service, self._issuer.operation, keys.path, keys.message))
            return Missed(Reason.SCHEMA_DRIFT, f"{keys.path}: {keys.message}")
        if not _names(self._known) <= _names(keys):
            self.edition += 1
        self._known = keys
        return None

    def _settled(self, outcome: Outcome[Missed | None]) -> Missed | None:
        """In the words of the contract: whatever keeps the keys from us is `UPSTREAM_UNAVAILABLE`, but for drift.

        The issuer's own status is left out: his 404 is not the desk's.
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
                tell(Surprised(self._issuer.name, described(error)))
                return _unavailable("the fetch failed here")


class Keys(KeyRing[ec.EllipticCurvePublicKey]):
    """iam's keys; `entropy` gives the traces of the fetches, and their jitter. The rest is `KeyRing`'s."""

    def __init__(
        self,
        upstreams: Upstreams,
        owner: Owner,
        *,
        entropy: Callable[[int], bytes],
        fresh: float = 300.0,
        cool: float = 5.0,
    ) -> None:
        async def ask() -> Got | Missed:
            # Nobody's journey: what one request began serves all the others.
            return await upstreams.one(Call(services.JWKS, {}), Journey(Trace.parse(None, entropy), ServerTiming()))

        iam = Issuer(services.JWKS.service, services.JWKS.name, ask, read_keys)
        super().__init__(iam, owner, jitter=partial(fraction, entropy), fresh=fresh, cool=cool)


def read_keys(body: bytes) -> KeySet[ec.EllipticCurvePublicKey] | Drift:
    """iam's, of a JWK set. See `usable`."""
    return usable(body, public_key, "ES256")


def usable(body: bytes, parse: Callable[[object], Published[K] | None], algorithm: str) -> KeySet[K] | Drift:
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
    keys: dict[str, tuple[Published[K], ...]] = {}
    for jwk in listed:
        key = parse(jwk)
        if key is not None and isinstance(jwk.get("kid"), str) and PRIVATE.isdisjoint(jwk):
            keys[jwk["kid"]] = (*keys.get(jwk["kid"], ()), key)
    return keys or Drift("$.keys", f"no key for {algorithm} with a kid")


def _names(keys: KeySet[K]) -> set[tuple[str, str]]:
    return {(kid, key.thumbprint) for kid, alike in keys.items() for key in alike}


def _again(result: Got | Missed) -> bool:
    """Whether another attempt may do better: not after an answer, nor while the breaker is open."""
    if isinstance(result, Got) or result.status is not None:
        return False
    return result.reason in {Reason.UPSTREAM_UNAVAILABLE, Reason.UPSTREAM_TIMEOUT}


def _unavailable(why: str, retry_after: float | None = None) -> Missed:
    return Missed(Reason.UPSTREAM_UNAVAILABLE, f"its keys cannot be read: {why}", retry_after=retry_after)
