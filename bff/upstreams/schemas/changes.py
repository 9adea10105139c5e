"""What services answer to a change: what is now, as far as anybody here needs it.

`property_id` says whose desks are to hear of it; a service that does not say so leaves it to all of the tenant's.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

import msgspec

from bff.upstreams.schemas.identity import Id
from bff.upstreams.schemas.preferences import Values, Version

Moment = Annotated[datetime.datetime, msgspec.Meta(tz=True)]


class _Changed(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What every change answers."""

    tenant_id: Id
    property_id: Id | None = None


class StayChanged(_Changed, frozen=True, rename="camel", kw_only=True):
    """reservation-service, to checkIn, checkOut and assignRoom."""

    id: Id
    status: str
    room_id: Id | None


class TaskMoved(_Changed, frozen=True, rename="camel", kw_only=True):
    """housekeeping-service."""

    id: Id
    status: Literal["dirty", "cleaning", "clean", "inspected"]


class OrderMoved(_Changed, frozen=True, rename="camel", kw_only=True):
    """maintenance-service."""

    id: Id
    status: Literal["open", "in-progress", "done"]


class Posted(_Changed, frozen=True, rename="camel", kw_only=True):
    """billing-service, to charge and refund: the line that it became."""

    id: Id
    folio_id: Id
    amount_minor: int
    currency: str


class KeyIssued(_Changed, frozen=True, rename="camel", kw_only=True):
    """lock-integration, to issueKey."""

    key_id: Id
    lock_id: Id
    valid_until: Moment


class KeyRevoked(_Changed, frozen=True, rename="camel", kw_only=True):
    """lock-integration, to revokeKey."""

    key_id: Id
    lock_id: Id
    revoked_at: Moment


class LockOutcome(msgspec.Struct, frozen=True, rename="camel"):
    """lock-integration, to outcome: what came of an operation, and what was answered to it, whatever that was."""

    tenant_id: Id
    key: str
    outcome: Literal["success", "failure"]
    status: int
    answer: msgspec.Raw


class Acknowledged(_Changed, frozen=True, rename="camel", kw_only=True):
    """notification-service."""

    id: Id
    acknowledged: bool


class PreferencesSaved(_Changed, frozen=True, rename="camel", kw_only=True):
    """tenant-service."""

    version: Version
    values: Values
