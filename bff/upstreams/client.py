"""One call to a service, and many under one deadline, of which one is the special case.

What a call goes through, in this order, and why there:

    guard      a network await without a deadline is a bug, found before anything is touched (F-33)
    breaker    asking what is known to fail costs a connection and a share of the deadline
    send       with what is truly left of the deadline, the tenant, and the trace
    bound      done by the wire: an answer over its bound is no answer
    judge      a redirect, a 5xx and a broken answer are the service's failure; a 4xx is its answer
    parse      strict; what does not fit is drift, with the path of the field (F-15)
    tenant     an answer for another tenant is drift too, whatever else it says (F-30)

Whatever happens is a value, `Got` or `Missed`; only cancellation travels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import trio

from bff.facts import SchemaDrifted, Surprised, UpstreamCalled
from bff.problem import Code, Problem
from bff.upstreams.drift import UNREADABLE, Drift, parsed
from bff.wire.exchange import Origin, Prepared, Reply
from bff.wire.pool import Crowded, Pool
from bff.wire.trace import ServerTiming, Trace, timeout_field
from nurseries import (
    Breaker,
    BreakerRule,
    Failed,
    Ok,
    Outcome,
    Owner,
    Permit,
    Shed,
    TimedOut,
    described,
    fan_out,
    required,
    tell,
)

if TYPE_CHECKING:
    from bff.model import OperatorId, PropertyId, TenantId
    from bff.outside import Outside
    from bff.upstreams.services import Operation

# A call that had less than this part of its budget and ran out of it says nothing about the service: a desk that asks
# with `X-Deadline-Ms: 50` must not open the breaker for everybody else.
FAIR_PART = 0.3


class Reason(Enum):
    """Why there is no answer: the words of CONTRACT section 4."""

    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    SCHEMA_DRIFT = "SCHEMA_DRIFT"
    BREAKER_OPEN = "BREAKER_OPEN"
    OVERLOADED = "OVERLOADED"


class Fate(Enum):
    """What became of the work of a call that gave no answer to use: whoever asked for a change has to know."""

    NOT_SENT = "not sent"  # nothing of it reached the service
    REFUSED = "refused"  # the service will not: a 4xx is an answer
    FAILED = "failed"  # the service says that it could not: a 5xx
    UNKNOWN = "unknown"  # no answer, or none that can be read


@dataclass(frozen=True, slots=True)
class Got:
    """An answer that parsed: `value` is the operation's struct, `body` as it came, `at` when, in POSIX seconds."""

    value: Any
    body: bytes
    at: float

    @property
    def outcome(self) -> str:
        """What a metric calls it."""
        return "ok"


@dataclass(frozen=True, slots=True)
class Missed:
    """No answer to use. `status` and `code` are the service's own where it answered with a refusal (4xx)."""

    reason: Reason
    detail: str
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    fate: Fate = Fate.UNKNOWN

    @property
    def outcome(self) -> str:
        """What a metric calls it: a refusal is an answer of a service that is there, and none of its failures."""
        return self.fate.value if self.fate is Fate.REFUSED else self.reason.value

    def problem(self, service: str) -> Problem:
        """What a desk gets when a read depends on this one call (CONTRACT section 2, other codes)."""
        if self.status == 404:
            return Problem(Code.NOT_FOUND, f"{service} knows no such thing", upstream=service)
        code = _CODES[self.reason]
        return Problem(code, f"{service}: {self.detail}", upstream=service, retry_after=self.retry_after)


_CODES = {
    Reason.UPSTREAM_UNAVAILABLE: Code.UPSTREAM_UNAVAILABLE,
    Reason.UPSTREAM_TIMEOUT: Code.UPSTREAM_TIMEOUT,
    Reason.SCHEMA_DRIFT: Code.SCHEMA_DRIFT,
    Reason.BREAKER_OPEN: Code.UPSTREAM_UNAVAILABLE,
    Reason.OVERLOADED: Code.OVERLOADED,
}


@dataclass(frozen=True, slots=True)
class Journey:
    """On whose behalf calls are made: one per request. `tenant` is None only before anybody has signed in."""

    trace: Trace
    timing: ServerTiming
    tenant: TenantId | None = None
    operator: OperatorId | None = None
    properties: tuple[PropertyId, ...] = ()

    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers that are the same for every call of the request (CONTRACT section 8)."""
        if self.tenant is None:
            return ()
        return (
            (b"x-tenant-id", self.tenant.encode()),
            (b"x-operator-id", (self.operator or "").encode()),
            (b"x-property-scope", ",".join(self.properties).encode()),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One call to make. `fields` fill the path; `body` is JSON or empty; `key` the idempotency key of a change."""

    operation: Operation
    fields: Mapping[str, str]
    query: str = ""
    body: bytes = b""
    key: str | None = None


class _Refusal(msgspec.Struct):
    """What is read of a service's refusal: its code, never its words."""

    code: str = ""


_REFUSAL = msgspec.json.Decoder(_Refusal)


class Upstreams:
    """Every service, over one pool. `owner` holds what does not let go in time."""

    def __init__(
        self, pool: Pool, origins: Mapping[str, Origin], outside: Outside, owner: Owner, rule: BreakerRule
    ) -> None:
        self._pool = pool
        self._origins = origins
        self._outside = outside
        self._owner = owner
        self._rule = rule
        self.breakers: dict[str, Breaker] = {}

    async def gather(self, calls: Mapping[str, Call], journey: Journey, *, until: float) -> dict[str, Got | Missed]:
        """All of `calls` at once: what became of each, in their order, at `until` (Trio time) at the latest."""
        common = journey.fields()
        children = {name: _Asking(self, call, journey, common) for name, call in calls.items()}
        outcomes = await fan_out(children, until=until, owner=self._owner)
        return {name: settled(outcome) for name, outcome in outcomes.items()}

    async def one(self, call: Call, journey: Journey) -> Got | Missed:
        """One call, by the operation's own budget or what is left of the deadline around it.

        Where that deadline is the earlier one, it is left by cancellation: whoever has more to say keeps time for it.
        """
        until = trio.current_time() + min(required(call.operation.service), call.operation.seconds)
        name = f"{call.operation.service}.{call.operation.name}"
        return (await self.gather({name: call}, journey, until=until))[name]

    async def ask(self, call: Call, journey: Journey, common: tuple[tuple[bytes, bytes], ...]) -> Got | Missed:
        """One call in the scope of the caller, which may be left by cancellation alone. See `gather`."""
        operation = call.operation
        left = required(operation.service)
        permit = self._breaker(operation).admit()
        if permit is None:
            tell(UpstreamCalled(operation.service, operation.name, Reason.BREAKER_OPEN.value, 0.0))
            return self._not_asked(operation)
        began = trio.current_time()
        deadline = trio.current_effective_deadline()
        said = "cancelled"
        trace = journey.trace.child(self._outside.entropy)
        try:
            with permit:
                result = await self._exchange(call, journey, self._prepared(call, trace, common, left), left, permit)
            said = result.outcome
            return result
        except trio.Cancelled:
            if trio.current_time() >= deadline:
                said = Reason.UPSTREAM_TIMEOUT.value
            raise
        finally:
            seconds = trio.current_time() - began
            journey.timing.add(operation.service, seconds)
            tell(UpstreamCalled(operation.service, operation.name, said, seconds, trace))

    def _breaker(self, operation: Operation) -> Breaker:
        name = f"{operation.service}.{operation.name}"
        breaker = self.breakers.get(name)
        if breaker is None:
            breaker = self.breakers[name] = Breaker(name, self._rule)
        return breaker

    def _not_asked(self, operation: Operation) -> Missed:
        wait = self._breaker(operation).retry_after
        detail = "not asked: it failed before"
        return Missed(Reason.BREAKER_OPEN, detail, retry_after=max(wait, 0.1), fate=Fate.NOT_SENT)

    async def _exchange(
        self, call: Call, journey: Journey, prepared: Prepared, left: float, permit: Permit
    ) -> Got | Missed:
        deadline = trio.current_effective_deadline()
        try:
            reply = await self._pool.fetch(prepared)
        except Crowded:
            return Missed(Reason.OVERLOADED, "too many calls wait for it", fate=Fate.NOT_SENT)
        except httpx.ConnectError as error:
            permit.failed()
            return Missed(Reason.UPSTREAM_UNAVAILABLE, _why(error), fate=Fate.NOT_SENT)
        except (httpx.TransportError, httpx.DecodingError) as error:
            permit.failed()
            return Missed(Reason.UPSTREAM_UNAVAILABLE, _why(error))
        except trio.Cancelled:
            if trio.current_time() >= deadline and left >= FAIR_PART * call.operation.seconds:
                permit.failed()
            raise
        return self._judged(call.operation, reply, journey, permit)

    def _prepared(self, call: Call, trace: Trace, common: tuple[tuple[bytes, bytes], ...], left: float) -> Prepared:
        operation = call.operation
        headers = (
            *common,
            (b"traceparent", trace.header()),
            timeout_field(left),
        )
        if call.key is not None:
            headers += ((b"idempotency-key", call.key.encode()),)
        if call.body:
            headers += ((b"content-type", b"application/json"),)
        return Prepared(
            self._origins[operation.service],
            operation.method,
            operation.target(call.fields, call.query),
            headers,
            call.body,
            operation.repeatable or call.key is not None,
        )

    def _judged(self, operation: Operation, reply: Reply, journey: Journey, permit: Permit) -> Got | Missed:
        status = reply.status
        if status >= 500 or status < 200 or 300 <= status < 400:
            permit.failed()
            fate, detail = (Fate.FAILED, f"status {status}") if status >= 500 else (Fate.UNKNOWN, "a redirect")
            return Missed(Reason.UPSTREAM_UNAVAILABLE, detail, fate=fate)
        # From here on the service is there: a refusal and a shape it should not have are answers, and a breaker that
        # opened for them would hide from on-call which field drifted.
        permit.ok()
        if status >= 400:
            return _refused(reply)
        value = parsed(reply.body, operation.decoder, journey.tenant if operation.tenant_named else None)
        if isinstance(value, Drift):
            tell(SchemaDrifted(operation.service, operation.name, value.path, value.message))
            return Missed(Reason.SCHEMA_DRIFT, f"{value.path}: {value.message}")
        return Got(value, reply.body, self._outside.now())


@dataclass(frozen=True, slots=True)
class _Asking:
    """A child of the fan-out: cheaper than a closure per call, and it has a name in the tree."""

    upstreams: Upstreams
    call: Call
    journey: Journey
    common: tuple[tuple[bytes, bytes], ...]

    async def __call__(self) -> Got | Missed:
        return await self.upstreams.ask(self.call, self.journey, self.common)


def settled(outcome: Outcome[Got | Missed]) -> Got | Missed:
    """An outcome of the fan-out in the words of the contract."""
    match outcome:
        case Ok(value):
            return value
        case TimedOut(after):
            return Missed(Reason.UPSTREAM_TIMEOUT, f"no answer within {after * 1000:.0f} ms")
        case Shed(why):
            return Missed(Reason.OVERLOADED, why)
        case Failed(error):
            # What the world can cause is a value already: this is a bug, told as one, and it costs this answer alone.
            tell(Surprised("upstream call", described(error)))
            return Missed(Reason.UPSTREAM_UNAVAILABLE, "the call failed here")


def _refused(reply: Reply) -> Missed:
    try:
        code = _REFUSAL.decode(reply.body).code or None
    except UNREADABLE:
        code = None
    return Missed(
        Reason.UPSTREAM_UNAVAILABLE, f"status {reply.status}", status=reply.status, code=code, fate=Fate.REFUSED
    )


def _why(error: Exception) -> str:
    """What broke, from a fixed set: an upstream's own bytes never travel further."""
    if isinstance(error, httpx.ConnectError):
        return "no connection"
    if isinstance(error, httpx.RemoteProtocolError | httpx.DecodingError):
        return "a broken answer"
    return "the connection broke"
