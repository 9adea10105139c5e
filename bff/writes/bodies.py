"""What goes over the wire around a mutation (CONTRACT section 3): strict in what comes."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec

# What is kept in a text of PostgreSQL's, and shown to a person, has no control characters in it.
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[!-~]+$(?!\n)")]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")]
AmountMinor = Annotated[int, msgspec.Meta(gt=0, le=1_000_000_000_000)]
Moment = Annotated[datetime.datetime, msgspec.Meta(tz=True)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Nothing but what is named here."""


class NothingBody(_Strict, frozen=True, forbid_unknown_fields=True):
    """What is asked is all in the path."""

    EXAMPLE: ClassVar[Any] = {}


class RoomBody(_Strict, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which room the stay is to have."""

    EXAMPLE: ClassVar[Any] = {"roomId": "praia-206"}
    room_id: Id


class TaskBody(_Strict, frozen=True, forbid_unknown_fields=True):
    """Which column of housekeeping's board."""

    EXAMPLE: ClassVar[Any] = {"to": "cleaning"}
    to: Literal["dirty", "cleaning", "clean", "inspected"]


class OrderBody(_Strict, frozen=True, forbid_unknown_fields=True):
    """Which column of maintenance's board."""

    EXAMPLE: ClassVar[Any] = {"to": "in-progress"}
    to: Literal["open", "in-progress", "done"]


class ChargeBody(_Strict, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What is charged, in minor units of the folio's currency."""

    EXAMPLE: ClassVar[Any] = {"amountMinor": 1250, "currency": "EUR", "description": "Minibar"}
    amount_minor: AmountMinor
    currency: Currency
    description: Words


class RefundBody(_Strict, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What is given back, and why."""

    EXAMPLE: ClassVar[Any] = {"amountMinor": 500, "currency": "EUR", "reason": "The minibar was empty"}
    amount_minor: AmountMinor
    currency: Currency
    reason: Words


class IssueBody(_Strict, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """For whom a key is, and until when it opens."""

    EXAMPLE: ClassVar[Any] = {"reservationId": "r-00870", "validUntil": "2015-08-16T12:00:00Z"}
    reservation_id: Id
    valid_until: Moment


class RevokeBody(_Strict, frozen=True, forbid_unknown_fields=True):
    """Why a key ends early."""

    EXAMPLE: ClassVar[Any] = {"reason": "The guest lost it"}
    reason: Words


class StayAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A stay after check-in, check-out or a change of its room."""

    id: str
    status: str
    room_id: str | None


class MovedAnswer(msgspec.Struct, frozen=True):
    """A card of a board, where it is now."""

    id: str
    status: str


class PostedAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A line of a folio; the amount is what was asked, of a charge as of a refund."""

    id: str
    folio_id: str
    amount_minor: int
    currency: str


class IssuedAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A key that opens a door."""

    key_id: str
    lock_id: str
    valid_until: Moment


class RevokedAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A key that opens nothing any more."""

    key_id: str
    revoked_at: Moment


class AcknowledgedAnswer(msgspec.Struct, frozen=True):
    """An alert that somebody has seen."""

    id: str
    acknowledged: bool
