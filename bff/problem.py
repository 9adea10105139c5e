"""Every way a request can be refused, as one table, and how a refusal is written (RFC 9457).

Split by who broke it:

    desk      the request itself: 400, 401, 403, 404, 405, 408, 413, 415, 422, 429, and 409 while its twin is in flight
    upstream  a service behind us: UPSTREAM_UNAVAILABLE, UPSTREAM_TIMEOUT, SCHEMA_DRIFT, PREFERENCES_UNAVAILABLE; and
              UPSTREAM_REFUSED, which is its answer to a mutation, under its own status
    store     what we keep: CACHE_UNAVAILABLE, STORE_UNAVAILABLE
    us        draining, overloaded, halted by a person or a job, a suspended tenant, or a bug (INTERNAL)

A problem is a value that rooms return, not an exception: what the world can cause is an outcome, and only a bug raises.
`retryable` says that the same request with the same key may succeed later (CONTRACT section 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec

from bff.model import Answer, Headers

PROBLEM_JSON: Final = "application/problem+json"


class Code(Enum):
    """A code of the contract: the word on the wire, status, title, retryable."""

    # desk
    VALIDATION_FAILED = ("VALIDATION_FAILED", 400, "The request is not valid", False)
    IDEMPOTENCY_KEY_REQUIRED = ("IDEMPOTENCY_KEY_REQUIRED", 400, "A mutation needs an Idempotency-Key", False)
    SESSION_REQUIRED = ("SESSION_REQUIRED", 401, "Sign in first", False)
    DPOP_INVALID = ("DPOP_INVALID", 401, "The proof of possession is not valid", False)
    SESSION_EXPIRED = ("SESSION_EXPIRED", 401, "The session has ended", False)
    MFA_REQUIRED = ("MFA_REQUIRED", 401, "This action needs a second factor", False)
    MFA_INVALID_OR_USED = ("MFA_INVALID_OR_USED", 401, "The second factor is not valid or was used", False)
    DEVICE_MISMATCH = ("DEVICE_MISMATCH", 403, "The session belongs to another device", False)
    PROPERTY_OUT_OF_SCOPE = ("PROPERTY_OUT_OF_SCOPE", 403, "The property is not in the operator's scope", False)
    NOT_FOUND = ("NOT_FOUND", 404, "There is no such thing here", False)
    METHOD_NOT_ALLOWED = ("METHOD_NOT_ALLOWED", 405, "The method is not allowed here", False)
    REQUEST_TIMEOUT = ("REQUEST_TIMEOUT", 408, "The body did not arrive in time", False)
    IDEMPOTENCY_IN_PROGRESS = ("IDEMPOTENCY_IN_PROGRESS", 409, "The same request is still in flight", True)
    PAYLOAD_TOO_LARGE = ("PAYLOAD_TOO_LARGE", 413, "The body is too large", False)
    UNSUPPORTED_MEDIA_TYPE = ("UNSUPPORTED_MEDIA_TYPE", 415, "The body's type is not supported", False)
    IDEMPOTENCY_KEY_REUSED = ("IDEMPOTENCY_KEY_REUSED", 422, "The key was used for another request", False)
    RATE_LIMITED = ("RATE_LIMITED", 429, "Too many requests", True)
    # upstream
    UPSTREAM_UNAVAILABLE = ("UPSTREAM_UNAVAILABLE", 502, "A service behind this one is unavailable", True)
    SCHEMA_DRIFT = ("SCHEMA_DRIFT", 502, "A service behind this one answered in an unknown shape", True)
    UPSTREAM_TIMEOUT = ("UPSTREAM_TIMEOUT", 504, "A service behind this one did not answer in time", True)
    UPSTREAM_REFUSED = ("UPSTREAM_REFUSED", 409, "The service behind this one will not do it", False)
    PREFERENCES_UNAVAILABLE = ("PREFERENCES_UNAVAILABLE", 503, "Preferences cannot be changed now", True)
    # store
    CACHE_UNAVAILABLE = ("CACHE_UNAVAILABLE", 503, "The session tier is unavailable", True)
    STORE_UNAVAILABLE = ("STORE_UNAVAILABLE", 503, "The ledger is unavailable", True)
    # us
    TENANT_SUSPENDED = ("TENANT.SUSPENDED", 503, "The tenant is suspended", True)
    DRAINING = ("DRAINING", 503, "This instance is shutting down", True)
    OVERLOADED = ("OVERLOADED", 503, "This instance is overloaded", True)
    HALTED = ("HALTED", 503, "Halted by a switch", True)
    LOCK_PROXY_FROZEN = ("LOCK_PROXY_FROZEN", 503, "Lock actions are frozen", True)
    INTERNAL = ("INTERNAL", 500, "Something went wrong here", False)

    def __init__(self, word: str, status: int, title: str, retryable: bool) -> None:
        self.word = word
        self.status = status
        self.title = title
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong: `path` as in `$.events[3].name`."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal. `retry_after` is in seconds; `detail` is for people and holds no token and no upstream body.

    `upstream_status` and `upstream_code` are a service's own, where its refusal is the answer (CONTRACT section 2).
    """

    code: Code
    detail: str
    upstream: str | None = None
    retry_after: float | None = None
    errors: tuple[FieldError, ...] = ()
    headers: Headers = ()
    upstream_status: int | None = None
    upstream_code: str | None = None

    @property
    def status(self) -> int:
        return self.upstream_status or self.code.status


class Body(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The `application/problem+json` document (RFC 9457 section 3, with CONTRACT's members)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    retryable: bool
    upstream: str | None = None
    upstream_code: str | None = None
    retry_after_ms: int | None = None
    errors: tuple[FieldError, ...] | None = None


def render(problem: Problem, request_id: str) -> Answer:
    """What a desk gets for `problem`; a 401 names the scheme (RFC 9449, 7.1), a wait is in both headers."""
    code = problem.code
    body = Body(
        type=f"urn:bff-backoffice:problem:{code.word.lower().replace('_', '-')}",
        title=code.title,
        status=problem.status,
        code=code.word,
        detail=problem.detail,
        request_id=request_id,
        retryable=code.retryable,
        upstream=problem.upstream,
        upstream_code=problem.upstream_code,
        retry_after_ms=None if problem.retry_after is None else math.ceil(problem.retry_after * 1000),
        errors=problem.errors or None,
    )
    headers: Headers = problem.headers
    if problem.retry_after is not None:
        headers += (("retry-after", str(math.ceil(problem.retry_after))),)
    if code.status == 401:
        word = "invalid_dpop_proof" if code is Code.DPOP_INVALID else "invalid_token"
        headers += (("www-authenticate", f'DPoP algs="ES256", error="{word}"'),)
    return Answer(problem.status, msgspec.json.encode(body), PROBLEM_JSON, headers)
