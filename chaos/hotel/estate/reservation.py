"""reservation: who comes, who leaves, who is in the house, and in which room.

    expected ──check-in──► in-house ──check-out──► checked-out

A room is taken from the moment it is set aside for somebody until he has left it, on the last day, too: whoever comes
that day cannot be given it before the check-out. These three changes are what F-32 is about, so each one counts as an
effect exactly when something is different afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import msgspec

from chaos.hotel.estate.grounds import Grounds, Shelf, absent
from chaos.hotel.estate.hotel import Property, Room, Stay
from chaos.hotel.estate.service import Call, Operation, Refusal, Reply, changes, reads

EXPECTED, IN_HOUSE, CHECKED_OUT = "expected", "in-house", "checked-out"
NO_DAY, ONE_DAY = timedelta(0), timedelta(1)
LISTED = 8  # stays in a list; its total says how many there are


class Assignment(msgspec.Struct, rename="camel"):
    """Which room."""

    room_id: str


@dataclass(frozen=True, slots=True)
class Booked:
    """A stay as it is now."""

    stay: Stay
    status: str
    room: Room | None

    @property
    def end(self) -> date:
        """The first day on which the guest needs no room: his last one, or the day after it once he is there."""
        return self.stay.departure + (ONE_DAY if self.status == IN_HOUSE else NO_DAY)

    def holds(self, room: Room, first: date, end: date) -> bool:
        """Whether nobody else can have `room` on the days from `first` to before `end`."""
        there = self.room is room and self.status != CHECKED_OUT
        return there and self.stay.arrival < end and first < self.end


class Reservations:
    """Every stay of every house."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds
        self._booked: Shelf[Booked] = Shelf("reservation")
        self._rooms = {room.id: (house, room) for house in grounds.hotel.properties for room in house.rooms}
        for house in grounds.hotel.properties:
            for stay in house.stays:
                status = IN_HOUSE if stay.in_house else EXPECTED
                self._booked.put(house, stay.id, Booked(stay, status, stay.room))

    def operations(self) -> list[Operation]:
        return [
            reads("arrivals", path="/properties/{pid}/arrivals", handler=self._arrivals),
            reads("departures", path="/properties/{pid}/departures", handler=self._departures),
            reads("inHouse", path="/properties/{pid}/inHouse", handler=self._in_house),
            reads("workbench", path="/properties/{pid}/workbench", handler=self._workbench),
            changes("checkIn", path="/reservations/{id}/check-in", handler=self._check_in),
            changes("checkOut", path="/reservations/{id}/check-out", handler=self._check_out),
            changes("assignRoom", path="/reservations/{id}/room", handler=self._assign),
        ]

    def _arrivals(self, call: Call) -> Reply:
        house, day = self._grounds.house(call), self._grounds.day(call)
        return _listed(house, day, self._arriving(house, day))

    def _departures(self, call: Call) -> Reply:
        house, day = self._grounds.house(call), self._grounds.day(call)
        return _listed(house, day, self._leaving(house, day))

    def _in_house(self, call: Call) -> Reply:
        house, day = self._grounds.house(call), self._grounds.day(call)
        return _listed(house, day, self._present(house, day))

    def _workbench(self, call: Call) -> Reply:
        house, day = self._grounds.house(call), self._grounds.day(call)
        body = {
            "tenantId": house.tenant_id,
            "propertyId": house.id,
            "date": day,
            "arrivals": _all(self._arriving(house, day)),
            "departures": _all(self._leaving(house, day)),
            "inHouse": _all(self._present(house, day)),
            "rooms": [self._room(house, room, day) for room in house.rooms],
        }
        return Reply(200, body)

    def _arriving(self, house: Property, day: date) -> list[Booked]:
        return [one for one in self._booked.of(house) if one.stay.arrival == day]

    def _leaving(self, house: Property, day: date) -> list[Booked]:
        return [one for one in self._booked.of(house) if one.stay.departure == day]

    def _present(self, house: Property, day: date) -> list[Booked]:
        """Who is there now, for the business day; for another, who sleeps there that night."""
        if day == self._grounds.hotel.day:
            return [one for one in self._booked.of(house) if one.status == IN_HOUSE]
        return [one for one in self._booked.of(house) if one.status != CHECKED_OUT and one.stay.sleeps(day)]

    def _room(self, house: Property, room: Room, day: date) -> dict[str, Any]:
        taken = any(one.holds(room, day, day + ONE_DAY) for one in self._booked.of(house))
        status = "out-of-order" if room.out_of_order else "taken" if taken else "free"
        return {"id": room.id, "number": room.number, "lockId": room.lock_id, "status": status}

    def _check_in(self, call: Call) -> Reply:
        house, one = self._booked.find(call)
        _should_be(one, EXPECTED)
        if one.stay.arrival > self._grounds.hotel.day:
            raise Refusal(409, "TOO_EARLY", f"the guest is expected on {one.stay.arrival}")
        if one.room is None:
            raise Refusal(409, "NO_ROOM", "no room is set aside yet")
        return self._now(house, replace(one, status=IN_HOUSE))

    def _check_out(self, call: Call) -> Reply:
        house, one = self._booked.find(call)
        _should_be(one, IN_HOUSE)
        return self._now(house, replace(one, status=CHECKED_OUT))

    def _assign(self, call: Call) -> Reply:
        house, one = self._booked.find(call)
        _should_be(one, EXPECTED, IN_HOUSE)
        place, room = self._rooms.get(call.asked(Assignment).room_id, (None, None))
        if room is None or place is not house:
            raise absent("room")
        if room is one.room:
            return Reply(200, _shown(house, one))
        if room.out_of_order:
            raise Refusal(409, "ROOM_OUT_OF_ORDER", f"room {room.number} is out of order")
        first = max(one.stay.arrival, self._grounds.hotel.day)
        if any(other.holds(room, first, one.end) for other in self._booked.of(house)):
            raise Refusal(409, "ROOM_TAKEN", f"room {room.number} is taken")
        return self._now(house, replace(one, room=room))

    def _now(self, house: Property, one: Booked) -> Reply:
        self._booked.put(house, one.stay.id, one)
        return Reply(200, _shown(house, one), effect=True)


def _should_be(one: Booked, *statuses: str) -> None:
    if one.status not in statuses:
        raise Refusal(409, "WRONG_STATUS", f"the reservation is {one.status}")


def _listed(house: Property, day: date, found: list[Booked]) -> Reply:
    body = {"tenantId": house.tenant_id, "propertyId": house.id, "date": day, "total": len(found)}
    return Reply(200, {**body, "items": _all(found[:LISTED])})


def _all(found: Iterable[Booked]) -> list[dict[str, Any]]:
    return [_fields(one) for one in found]


def _shown(house: Property, one: Booked) -> dict[str, Any]:
    return {"tenantId": house.tenant_id, "propertyId": house.id, **_fields(one)}


def _fields(one: Booked) -> dict[str, Any]:
    return {
        "id": one.stay.id,
        "status": one.status,
        "guest": one.stay.guest,
        "roomId": one.room and one.room.id,
        "roomNumber": one.room and one.room.number,
        "folioId": one.stay.folio_id,
        "lockId": one.room and one.room.lock_id,
        "arrival": one.stay.arrival,
        "departure": one.stay.departure,
    }
