"""notification: what wants attention in a house today, until somebody has said that it has been seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any

from chaos.hotel.estate.grounds import Grounds, Shelf
from chaos.hotel.estate.hotel import Hotel, Property
from chaos.hotel.estate.names import pick
from chaos.hotel.estate.service import Call, Operation, Reply, changes, reads

FIRST = time(5, 40)  # of the business day, in UTC
APART = timedelta(minutes=23)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert; `at` is RFC 3339."""

    id: str
    severity: str
    message: str
    at: str
    acknowledged: bool = False

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "severity": self.severity,
            "message": self.message,
            "at": self.at,
            "acknowledged": self.acknowledged,
        }


class Notifications:
    """The inboxes of all houses."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds
        self._alerts: Shelf[Alert] = Shelf("alert")
        for house in grounds.hotel.properties:
            for number, (severity, message) in enumerate(_morning(grounds.hotel, house)):
                at = datetime.combine(grounds.hotel.day, FIRST) + number * APART
                alert = Alert(f"a-{house.short}-{number + 1}", severity, message, f"{at.isoformat()}.000Z")
                self._alerts.put(house, alert.id, alert)

    def operations(self) -> list[Operation]:
        return [
            reads("inbox", path="/properties/{pid}/alerts", handler=self._inbox),
            changes("ack", path="/alerts/{id}/ack", handler=self._ack),
        ]

    def _inbox(self, call: Call) -> Reply:
        house = self._grounds.house(call)
        alerts = [alert.shown() for alert in self._alerts.of(house)]
        return Reply(200, {"tenantId": house.tenant_id, "propertyId": house.id, "alerts": alerts})

    def _ack(self, call: Call) -> Reply:
        house, alert = self._alerts.find(call)
        seen = replace(alert, acknowledged=True)
        self._alerts.put(house, alert.id, seen)
        body = {"tenantId": house.tenant_id, "propertyId": house.id, **seen.shown()}
        return Reply(200, body, effect=not alert.acknowledged)


def _morning(hotel: Hotel, house: Property) -> Iterator[tuple[str, str]]:
    """Severity and message of what was found out by the time the day begins."""
    arriving = house.arrivals(hotel.day)
    weak = pick(house.rooms, hotel.seed, "battery", house.id)
    yield "critical", f"Room {weak.number}: the lock's battery is nearly empty"
    roomless = sum(stay.room is None for stay in arriving)
    if roomless:
        yield "warning", f"{roomless} of {len(arriving)} arrivals have no room yet"
    broken = [room.number for room in house.rooms if room.out_of_order]
    yield "warning", f"Out of order today: {' and '.join(broken)}"
    for stay in arriving:
        if stay.booking.repeated or stay.booking.requests > 1:
            why = "comes back" if stay.booking.repeated else f"has {stay.booking.requests} special requests"
            yield "info", f"{stay.guest} {why}"
            break
    yield "info", f"{len(house.departures(hotel.day))} guests leave today; their keys end at noon"
