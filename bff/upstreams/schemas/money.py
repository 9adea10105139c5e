"""pricing, billing and analytics. Money is in minor units of the currency named beside it."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec

from bff.upstreams.schemas.identity import Id


class Rate(msgspec.Struct, frozen=True, rename="camel"):
    """What one room type costs today, and the span it was booked in."""

    id: Id
    room_type: str
    amount_minor: int
    lowest_minor: int
    highest_minor: int


class Rates(msgspec.Struct, frozen=True, rename="camel"):
    """pricing-service: the snapshot of one day."""

    tenant_id: Id
    property_id: Id
    date: datetime.date
    currency: str
    rates: tuple[Rate, ...]


class FolioLine(msgspec.Struct, frozen=True, rename="camel"):
    """One open folio."""

    id: Id
    guest: str
    room_number: str | None
    balance_minor: int


class FolioSummary(msgspec.Struct, frozen=True, rename="camel"):
    """billing-service: what is open, and the largest of it."""

    tenant_id: Id
    property_id: Id
    currency: str
    open: int
    balance_minor: int
    folios: tuple[FolioLine, ...]


class Posting(msgspec.Struct, frozen=True, rename="camel"):
    """One line of a folio; below zero it is money that came, or went back."""

    id: Id
    amount_minor: int
    description: str
    at: Annotated[datetime.datetime, msgspec.Meta(tz=True)]


class Folio(msgspec.Struct, frozen=True, rename="camel"):
    """billing-service: one guest's account, the eldest line first."""

    tenant_id: Id
    id: Id
    property_id: Id
    reservation_id: Id
    guest: str
    currency: str
    balance_minor: int
    lines: tuple[Posting, ...]


class Tile(msgspec.Struct, frozen=True):
    """One figure of analytics."""

    id: Id
    label: str
    value: float
    unit: str
    trend: float | None


class Kpis(msgspec.Struct, frozen=True, rename="camel"):
    """analytics-service: tiles are kept raw here, because each is judged on its own (F-14)."""

    tenant_id: Id
    property_id: Id
    date: datetime.date
    tiles: tuple[msgspec.Raw, ...]
