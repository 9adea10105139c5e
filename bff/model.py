"""The nouns of the house: frozen, typed, without behaviour of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

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
class Answer:
    """What a room hands back when it has an answer: `body` is complete, its length is the content length."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Headers = field(default=())


@dataclass(frozen=True, slots=True)
class Down:
    """A store that could not be asked, or did not answer in time; `why` is one line for logs and readiness."""

    why: str
