"""The nouns of the house: frozen, typed, without behaviour of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NewType, Protocol

TenantId = NewType("TenantId", str)
OperatorId = NewType("OperatorId", str)
PropertyId = NewType("PropertyId", str)
DeviceId = NewType("DeviceId", str)
SessionId = NewType("SessionId", str)
Jkt = NewType("Jkt", str)  # RFC 7638 thumbprint of a device's key, base64url

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified access token says (CONTRACT section 2). Times are POSIX seconds."""

    issuer: str
    audience: str
    expires_at: float
    issued_at: float
    not_before: float
    operator: OperatorId
    tenant: TenantId
    device: DeviceId
    session: SessionId
    properties: tuple[PropertyId, ...]
    jkt: Jkt


@dataclass(frozen=True, slots=True)
class Span:
    """What a request or a call is called on the wire: `trace_id` 32 and `span_id` 16 lower-case hex digits, not all 0.

    `sampled` is whether anybody keeps it, `parent` the span that it is part of, '' of the first.
    """

    trace_id: str
    span_id: str
    sampled: bool
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a room hands back when it has an answer: `body` is complete, its length is the content length."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Headers = field(default=())


class Pieces(Protocol):
    """The peer of an answer that is said piece by piece."""

    async def write(self, data: bytes) -> None:
        """Send `data` now, one piece at a time. Raises `OSError` when nobody is there any more, or will not take it.

        After a write that was given up in its middle there is no other, and the body ends cut.
        """
        ...

    async def departed(self) -> None:
        """Return once the peer has left."""
        ...


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a room hands back when its answer comes piece by piece: `run` is called once, as the last of its request.

    The request's deadline and its place in the house are over by then. The head leaves with what `run` writes first;
    when it returns the body is whole.
    """

    run: Callable[[Pieces], Awaitable[None]]
    content_type: str
    status: int = 200
    headers: Headers = field(default=())


@dataclass(frozen=True, slots=True)
class Down:
    """A store that could not be asked, or did not answer in time; `why` is one line for logs and readiness."""

    why: str
