"""What each rung looks at, and what it answers: one function per rung, in the ladder's order.

A rung sees the request on its `Way` and adds to it what it found out; None means that it does not hold. Only rungs 1,
2 and 8 may wait, for iam's keys, the session tier and the ledger, each with a bound of its own below the deadline, and
at rung 0 a stream for its turn.

The session tier is asked once, at rung 2, for all that the rungs above it need: was this proof seen, is this session
revoked, how does this tenant stand. Its answer, or `Down`, is carried up, and each rung judges its own part of it: the
order of the answers is the order of the ladder and never that of the asking.

A proof is used up by being accepted, whatever a later rung says. It enters this process's window first, in a step that
no other task can interrupt, and then the tier, and it counts only where both call it fresh. A desk that is refused at
rung 3 or above makes a new proof for its next try, as it does for every request (RFC 9449, 11.1). With the tier down or
silent the window decides alone, and a read goes on; what was accepted is left with `recount`, which finds out when the
tier is back whether another instance accepted it too.

A second factor is not used up here: it is spent in the commit that claims its mutation's key, whatever this ladder saw.
The ledger is asked at rung 8 so that a desk hears of one that was spent before its body is read, and so that the retry
of what it was spent on passes. Without the ledger's answer one that has not ended goes on, for the claim to judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import trio

from bff.facts import AttestationReplayBlocked, ReplayBlocked
from bff.gate.attestation import Attestation, BadAttestation, Why
from bff.gate.proof import WINDOW, BadProof, Proof, judge_proof
from bff.gate.replay import Verdict
from bff.gate.token import BadToken, Token
from bff.model import Claims, Down, PropertyId
from bff.problem import Code, FieldError, Problem
from bff.stores.keys import KeyId
from bff.stores.tier import Presented, Standing
from bff.upstreams.client import Missed, Reason
from nurseries import required, tell, within

if TYPE_CHECKING:
    from contextlib import ExitStack

    from bff.gate.ladder import Demands, Gate
    from bff.wire.asgi import Request
    from bff.wire.trace import ServerTiming

TIER_PART: Final = 0.1  # of what is left of the deadline: the longest that the session tier is waited for, and never
TIER_SECONDS: Final = 0.1  # more than this where a request can do without it,
TIER_NEEDED_SECONDS: Final = 0.5  # or than this where it cannot
LEDGER_PART: Final = 0.1  # of what is left of the deadline: the longest that the ledger is asked about a second factor
SLACK: Final = 5.0  # seconds by which clocks may differ
REMEMBERED: Final = (
    2 * WINDOW + SLACK
)  # seconds a proof is kept: it may be valid from 60 s before its `iat` to 60 s after
TRY_AGAIN: Final = 1.0  # seconds, where nobody can know better
_KEY = re.compile(rb"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Refused:
    """What a rung answers with; `why` is the rule, from a fixed set."""

    problem: Problem
    why: str


class Way:
    """One request on its way up, and what was found out of it so far."""

    __slots__ = (
        "attestation",
        "demands",
        "gate",
        "key",
        "presented",
        "property",
        "request",
        "standing",
        "stay",
        "timing",
        "token",
        "turn",
    )

    def __init__(
        self, gate: Gate, request: Request, demands: Demands, stay: ExitStack, turn: ExitStack, timing: ServerTiming
    ) -> None:
        self.gate = gate
        self.request = request
        self.demands = demands
        self.stay = stay
        self.turn = turn
        self.timing = timing
        self.token: Token | None = None
        self.presented: Presented | None = None
        self.standing: Standing | Down = Down("not asked")
        self.property: PropertyId | None = None
        self.attestation: str | None = None
        self.key: str | None = None

    @property
    def claims(self) -> Claims:
        assert self.token is not None, "rung 1 comes before whatever asks for claims"
        return self.token.claims


async def admission(way: Way) -> Refused | None:
    """Rung 0: draining, overloaded, or too fast. The place is held in `stay`; nothing is verified.

    Nobody waits but a stream, for its turn to climb; that is held in `turn`.
    """
    gate, request = way.gate, way.request
    device = request.first(b"x-device-id") or b""
    demands = way.demands
    place = gate.admission.enter(gate.front.address(request), device, urgent=demands.urgent, stream=demands.stream)
    if isinstance(place, Problem):
        return Refused(place, place.code.word.lower())
    way.stay.enter_context(place)
    crowded = await gate.admission.turn(way.turn) if demands.stream else None
    return Refused(crowded, crowded.code.word.lower()) if crowded is not None else None


async def token(way: Way) -> Refused | None:
    """Rung 1: an access token that iam signed for this audience. One past its end is still iam's: that is rung 3."""
    verdict = await way.gate.tokens.judge(way.request.all(b"authorization"))
    if isinstance(verdict, Token):
        way.token = verdict
        return None
    if isinstance(verdict, BadToken):
        return Refused(Problem(Code.SESSION_REQUIRED, "a DPoP access token of iam is needed"), verdict.why)
    return Refused(_without_keys(verdict), "keys")


def _without_keys(missed: Missed) -> Problem:
    """The keys were never read: nobody can be judged, and nobody is called a stranger for it."""
    code = Code.SCHEMA_DRIFT if missed.reason is Reason.SCHEMA_DRIFT else Code.UPSTREAM_UNAVAILABLE
    wait = missed.retry_after or TRY_AGAIN
    return Problem(code, "iam's keys could not be read yet", upstream="iam", retry_after=wait)


async def proof(way: Way) -> Refused | None:
    """Rung 2: a proof of this very request (RFC 9449, 4.3), accepted for the first time."""
    gate, request, bound = way.gate, way.request, way.token
    now = gate.outside.now()
    judged = judge_proof(
        request.all(b"dpop"),
        method=request.method,
        url=f"{gate.front.origin(request)}{request.path}",
        now=now,
        token=bound.raw if bound is not None else None,
        jkt=bound.claims.jkt if bound is not None else None,
    )
    if isinstance(judged, BadProof):
        return _not_proved(judged.why)
    window = gate.window if bound is not None else gate.strangers
    verdict = window.claim(judged.jkt, judged.jti, now)
    if verdict is Verdict.FULL:  # what cannot be remembered cannot be accepted (F-41)
        return _not_proved("window full")
    if verdict is Verdict.SEEN:
        tell(ReplayBlocked("window"))
        return _not_proved("replayed")
    way.standing = await _asked(way, judged)
    if isinstance(way.standing, Standing) and not way.standing.fresh:
        tell(ReplayBlocked("bloom" if way.standing.filtered else "tier"))
        return _not_proved("replayed")
    return None


def _not_proved(why: str) -> Refused:
    return Refused(Problem(Code.DPOP_INVALID, f"the proof does not hold: {why}"), why)


async def _asked(way: Way, judged: Proof) -> Standing | Down:
    """The one question to the session tier, and its answer in time or none."""
    gate = way.gate
    tenant_id, session_id = (way.claims.tenant, way.claims.session) if way.token is not None else (None, None)
    way.presented = Presented(
        tenant=tenant_id,
        session=session_id,
        jkt=judged.jkt,
        jti=judged.jti,
        nonce=gate.outside.identifier(),
        ttl=REMEMBERED,
        holds=judged.issued_at + WINDOW - gate.outside.now() + SLACK,
    )
    most = TIER_NEEDED_SECONDS if way.demands.tier else TIER_SECONDS
    began, line = trio.current_time(), gate.tier.connections
    standing: Standing | Down = Down("it did not answer in time")
    with within(min(most, TIER_PART * required("session tier"))):
        standing = await gate.tier.present(way.presented)
    way.timing.add("session-tier", trio.current_time() - began)
    accepted = not way.demands.tier if isinstance(standing, Down) else standing.fresh  # Down: rung 7 turns it away
    if accepted:
        gate.recount.accepted(way.presented, standing, line)
    return standing


async def session(way: Way) -> Refused | None:
    """Rung 3: a token within its time, of a session that was not ended."""
    claims = way.claims
    if way.gate.outside.now() >= claims.expires_at:  # RFC 7519, 4.1.4: on or after
        return Refused(Problem(Code.SESSION_EXPIRED, "the access token has ended: renew it"), "expired")
    revoked = isinstance(way.standing, Standing) and way.standing.revoked
    if revoked or way.gate.ended.holds(claims.tenant, claims.session):
        return Refused(Problem(Code.SESSION_EXPIRED, "the session was ended: sign in again"), "revoked")
    return None


async def device(way: Way) -> Refused | None:
    """Rung 4: exactly one `X-Device-Id`, the one that signed in."""
    if way.request.all(b"x-device-id") == (way.claims.device.encode(),):
        return None
    return Refused(Problem(Code.DEVICE_MISMATCH, "X-Device-Id is not the session's device"), "device")


async def tenant(way: Way) -> Refused | None:
    """Rung 5: a tenant that is not suspended, as far as anybody knows. Nobody waits for tenant-service here."""
    tenants = way.gate.tenants
    tenants.look(way.claims, way.standing)
    if tenants.suspended(way.claims.tenant, way.standing):
        return Refused(Problem(Code.TENANT_SUSPENDED, "the tenant is suspended"), "suspended")
    return None


async def property_asked(way: Way) -> Refused | None:
    """Rung 6: exactly one `propertyId`, one of `props`; or none at all.

    An empty one is a mistake of whoever wrote it, not the wish for none; of two, the desk and this server might each
    mean another one.
    """
    try:
        pairs = parse_qsl(way.request.query, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return _invalid("the query is not UTF-8")
    named = [value for name, value in pairs if name == "propertyId"]
    if not named:
        return None
    if len(named) > 1 or not named[0]:
        return _invalid("it is given once, and not empty")
    way.property = PropertyId(named[0])
    if way.property not in way.claims.properties:
        return Refused(Problem(Code.PROPERTY_OUT_OF_SCOPE, "the property is not in the operator's scope"), "scope")
    return None


def _invalid(message: str) -> Refused:
    errors = (FieldError("propertyId", message),)
    return Refused(Problem(Code.VALIDATION_FAILED, f"propertyId: {message}", errors=errors), "query")


async def tier(way: Way) -> Refused | None:
    """Rung 7: the session tier, where the request cannot do without."""
    if way.demands.tier and isinstance(way.standing, Down):
        problem = Problem(Code.CACHE_UNAVAILABLE, "the session tier does not answer", retry_after=TRY_AGAIN)
        return Refused(problem, "down")
    return None


async def second_factor(way: Way) -> Refused | None:
    """Rung 8: a second factor for this very action, that was not spent on another key.

    On this very key it may have been, and may have ended since: it is how a desk asks again for its answer.
    """
    wanted = way.demands.attests
    if wanted is None:
        return None
    judged = await way.gate.attestations.judge(way.request.all(b"x-mfa-attestation"), way.claims, wanted)
    if isinstance(judged, BadAttestation):
        return _not_attested(judged.why)
    if isinstance(judged, Missed):
        return Refused(_without_keys(judged), "keys")
    spent_on = await _spent_on(way, judged)
    if isinstance(spent_on, KeyId) and spent_on != _key_id(way):
        tell(AttestationReplayBlocked())
        return _not_attested(Why.SPENT)
    if not isinstance(spent_on, KeyId) and way.gate.outside.now() >= judged.expires_at:
        return _without_ledger() if isinstance(spent_on, Down) else _not_attested(Why.EXPIRED)
    way.attestation = judged.id
    return None


async def _spent_on(way: Way, attestation: Attestation) -> KeyId | Down | None:
    """The one question to the ledger, and its answer in time or none."""
    began = trio.current_time()
    spent_on: KeyId | Down | None = Down("it did not answer in time")
    with within(LEDGER_PART * required("ledger")):
        spent_on = await way.gate.ledger.spent_on(attestation.id)
    way.timing.add("ledger", trio.current_time() - began)
    return spent_on


def _not_attested(why: Why) -> Refused:
    if why is Why.ABSENT:
        return Refused(Problem(Code.MFA_REQUIRED, "an X-MFA-Attestation for this action is needed"), why)
    return Refused(Problem(Code.MFA_INVALID_OR_USED, f"the attestation does not hold: {why}"), why)


def _without_ledger() -> Refused:
    """It has ended, and nobody can say whether this is a retry of what it was spent on: not to be called worthless."""
    problem = Problem(Code.STORE_UNAVAILABLE, "the ledger does not answer", retry_after=TRY_AGAIN)
    return Refused(problem, "ledger down")


async def key(way: Way) -> Refused | None:
    """Rung 9: exactly one `Idempotency-Key`, of 1 to 128 visible ASCII characters."""
    if not way.demands.keyed:
        return None
    way.key = _key(way)
    if way.key is None:
        problem = Problem(Code.IDEMPOTENCY_KEY_REQUIRED, "one Idempotency-Key of 1 to 128 visible ASCII characters")
        return Refused(problem, "key")
    return None


def _key(way: Way) -> str | None:
    values = way.request.all(b"idempotency-key")
    return values[0].decode() if len(values) == 1 and _KEY.fullmatch(values[0]) else None


def _key_id(way: Way) -> KeyId | None:
    """What a second factor may have been spent on; None where there is no key yet, which rung 9 says."""
    name = _key(way)
    return None if name is None else KeyId(way.claims.tenant, way.claims.operator, name)
