"""notification, sync and ai-orchestrator: what wants the operator's attention."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

import msgspec

from bff.upstreams.schemas.identity import Id

# It goes to the desk and comes back, and is kept in a text of PostgreSQL's: no control characters.
CursorText = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]


class Alert(msgspec.Struct, frozen=True):
    """One alert."""

    id: Id
    severity: Literal["info", "warning", "critical"]
    message: str
    at: datetime.datetime
    acknowledged: bool


class Inbox(msgspec.Struct, frozen=True, rename="camel"):
    """notification-service: the alerts of one property."""

    tenant_id: Id
    property_id: Id
    alerts: tuple[Alert, ...]


class Cursor(msgspec.Struct, frozen=True, rename="camel"):
    """sync-service: how far a device has synchronised."""

    tenant_id: Id
    device_id: Id
    cursor: CursorText
    server_time: Annotated[datetime.datetime, msgspec.Meta(tz=True)]
    stale_sync: bool


class Suggestion(msgspec.Struct, frozen=True):
    """One hint."""

    id: Id
    text: str
    confidence: float


class Suggestions(msgspec.Struct, frozen=True, rename="camel"):
    """ai-orchestrator: hints for one property."""

    tenant_id: Id
    property_id: Id
    suggestions: tuple[Suggestion, ...]
