"""What desks may be told, who of them, and how it looks on a stream: CONTRACT section 5.

    ordinary    force-logout, alert, board-changed, dashboard-stale, sync-cursor, tenant-status
                said by the platform, or by a mutation that went through; each has a position, and can be resumed after
    the stream's own
                hello, reset, drain     with the position at which the desk now is
                superseded, bus-stalled, expired    without one: a desk goes on from where it was

A log may also say of itself that events are lost that were said before: whoever reads on over that is told `reset`.

An event is said to a tenant, and each further id narrows who hears it. Who hears it is judged by the token alone: a
desk does not say what it may see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from bff.events.cursor import written
from bff.model import Claims, DeviceId, OperatorId, PropertyId, TenantId
from bff.stores.bus import Entry, Position
from bff.upstreams.drift import UNREADABLE
from bff.wire.sse import encode

Type: TypeAlias = Literal["force-logout", "alert", "board-changed", "dashboard-stale", "sync-cursor", "tenant-status"]
Own: TypeAlias = Literal["hello", "reset", "drain", "superseded", "bus-stalled", "expired"]
ORDINARY: Final[tuple[Type, ...]] = (
    "force-logout",
    "alert",
    "board-changed",
    "dashboard-stale",
    "sync-cursor",
    "tenant-status",
)
LOSS: Final = b'{"type":"reset"}'  # the payload of an entry that says so
WITH_POSITION: Final = frozenset({"hello", "reset", "drain"})


class Said(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An event as it is posted: the payload of a letter, of a log's entry, and of what the platform pushes."""

    type: Type
    tenant_id: TenantId
    operator_id: OperatorId | None = None
    device_id: DeviceId | None = None
    property_id: PropertyId | None = None
    except_device_id: DeviceId | None = None
    data: dict[str, Any] = {}

    def reaches(self, desk: Claims) -> bool:
        """Whether it is for the desk with these claims."""
        return (
            self.tenant_id == desk.tenant
            and self.operator_id in {None, desk.operator}
            and self.device_id in {None, desk.device}
            and (self.property_id is None or self.property_id in desk.properties)
            and self.except_device_id != desk.device
        )

    @property
    def suspends(self) -> bool:
        """Whether its tenant's desks may do nothing more."""
        return self.type == "tenant-status" and self.data.get("status") == "suspended"

    def shown(self) -> dict[str, Any]:
        """Its `data` as desks get it, with the ids of the tenant and, where it has one, the property."""
        where = {"propertyId": self.property_id} if self.property_id is not None else {}
        return {**self.data, "tenantId": self.tenant_id, **where}


@dataclass(frozen=True, slots=True)
class Event:
    """A log's entry, read. `said` is None for an entry that says nothing to anybody.

    `at` is when it was posted, in POSIX seconds; `data` is what desks get, as JSON, and `frame` all of it as it goes on
    a stream: made once, however many desks it goes to. `lost`: before it something is missing that once was there.
    """

    position: Position
    said: Said | None
    at: float
    data: bytes = b""
    frame: bytes = b""
    lost: bool = False

    def reaches(self, desk: Claims) -> bool:
        """Whether it is for the desk with these claims."""
        return self.said is not None and self.said.reaches(desk)


_said = msgspec.json.Decoder(Said)


def read(tenant: TenantId, entry: Entry) -> Event:
    """An entry of that tenant's log. What does not parse, or names another tenant, says nothing to anybody (F-30)."""
    if entry.payload == LOSS:
        return Event(entry.position, None, entry.at, lost=True)
    try:
        said = _said.decode(entry.payload) if entry.payload else None
        data = b"" if said is None else msgspec.json.encode(said.shown())
    except UNREADABLE:
        said = None
    if said is None or said.tenant_id != tenant:
        return Event(entry.position, None, entry.at)
    return Event(entry.position, said, entry.at, data, encode(said.type, data, written(entry.position)))
