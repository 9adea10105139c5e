"""housekeeping and maintenance: the boards."""

from __future__ import annotations

from typing import Literal

import msgspec

from bff.upstreams.schemas.identity import Id


class Task(msgspec.Struct, frozen=True, rename="camel"):
    """One room to clean."""

    id: Id
    room_id: Id
    room_number: str
    status: Literal["dirty", "cleaning", "clean", "inspected"]
    kind: str
    note: str | None


class Order(msgspec.Struct, frozen=True, rename="camel"):
    """One thing to repair."""

    id: Id
    room_id: Id
    room_number: str
    status: Literal["open", "in-progress", "done"]
    kind: str
    note: str | None


class HousekeepingBoard(msgspec.Struct, frozen=True, rename="camel"):
    """housekeeping-service: the board of one property."""

    tenant_id: Id
    property_id: Id
    tasks: tuple[Task, ...]


class MaintenanceBoard(msgspec.Struct, frozen=True, rename="camel"):
    """maintenance-service: the board of one property."""

    tenant_id: Id
    property_id: Id
    orders: tuple[Order, ...]
