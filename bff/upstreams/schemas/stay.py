"""reservation, property and inventory: who comes, who leaves, and into what house."""

from __future__ import annotations

import datetime

import msgspec

from bff.upstreams.schemas.identity import Id

# Dates are parsed, not taken as text: an upstream that begins to send something else has drifted.
Date = datetime.date


class Property(msgspec.Struct, frozen=True, rename="camel"):
    """property-service: a house."""

    tenant_id: Id
    property_id: Id
    name: str
    time_zone: str
    currency: str
    rooms: int
    business_date: Date


class Reservation(msgspec.Struct, frozen=True, rename="camel"):
    """One stay; room, folio and lock are null until they are assigned."""

    id: Id
    status: str
    guest: str
    room_id: Id | None
    room_number: str | None
    folio_id: Id | None
    lock_id: Id | None
    arrival: Date
    departure: Date


class Stays(msgspec.Struct, frozen=True, rename="camel"):
    """Arrivals, departures or in-house: how many, and the first of them."""

    tenant_id: Id
    property_id: Id
    date: Date
    total: int
    items: tuple[Reservation, ...]


class Room(msgspec.Struct, frozen=True, rename="camel"):
    """One room of the house, and the lock at its door."""

    id: Id
    number: str
    lock_id: Id
    status: str


class Workbench(msgspec.Struct, frozen=True, rename="camel"):
    """reservation-service: all of one day in one house."""

    tenant_id: Id
    property_id: Id
    date: Date
    arrivals: tuple[Reservation, ...]
    departures: tuple[Reservation, ...]
    in_house: tuple[Reservation, ...]
    rooms: tuple[Room, ...]


class Occupancy(msgspec.Struct, frozen=True, rename="camel"):
    """inventory-service: how full the house is."""

    tenant_id: Id
    property_id: Id
    date: Date
    rooms: int
    occupied: int
    arrivals: int
    departures: int
    out_of_order: int
    occupancy_percent: float
