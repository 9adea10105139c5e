"""analytics and ai-orchestrator: what the day's bookings say in figures, and what they suggest in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from chaos.hotel.estate.grounds import Grounds
from chaos.hotel.estate.hotel import Hotel, Property, Room, Stay
from chaos.hotel.estate.names import draw
from chaos.hotel.estate.service import Call, Operation, Reply, reads

NAMED = 3  # rooms that a suggestion names


@dataclass(frozen=True, slots=True)
class Night:
    """One night of a house in figures; money in units of the currency, not in cents."""

    occupancy: float
    rate: float
    revenue_per_room: float
    arrivals: float
    guests: float
    nights: float


class Analytics:
    """analytics: six tiles from the bookings, each with what changed since the day before, where that is known."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds

    def operations(self) -> list[Operation]:
        return [reads("kpis", path="/properties/{pid}/kpis", handler=self._kpis)]

    def _kpis(self, call: Call) -> Reply:
        house, day = self._grounds.house(call), self._grounds.day(call)
        now, before = _night(house, day), _night(house, day - timedelta(days=1))
        tiles = [
            _tile("occupancy", "Occupancy", now.occupancy, "%", before.occupancy),
            _tile("adr", "Average rate", now.rate, house.currency, before.rate),
            _tile("revpar", "Revenue per room", now.revenue_per_room, house.currency, before.revenue_per_room),
            _tile("arrivals", "Arrivals", now.arrivals, "", before.arrivals),
            _tile("guests", "Guests tonight", now.guests, "", before.guests),
            _tile("stay", "Average stay", now.nights, "nights", None),
        ]
        return Reply(200, {"tenantId": house.tenant_id, "propertyId": house.id, "date": day, "tiles": tiles})


def _night(house: Property, day: date) -> Night:
    asleep = house.asleep(day)
    rooms = sum(not room.out_of_order for room in house.rooms)
    paying = [stay.booking.rate_minor for stay in asleep if stay.booking.rate_minor > 0]
    return Night(
        occupancy=100 * len(asleep) / rooms,
        rate=_average(paying) / 100,
        revenue_per_room=sum(paying) / rooms / 100,
        arrivals=float(len(house.arrivals(day))),
        guests=float(sum(stay.booking.adults + stay.booking.children for stay in asleep)),
        nights=_average([stay.booking.nights for stay in asleep]),
    )


def _average(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _tile(name: str, label: str, value: float, unit: str, before: float | None) -> dict[str, Any]:
    trend = None if before is None else round(value - before, 2)
    return {"id": name, "label": label, "value": round(value, 2), "unit": unit, "trend": trend}


class Advisor:
    """ai-orchestrator: a few hints for the morning, the same ones each time."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds

    def operations(self) -> list[Operation]:
        return [reads("suggestions", path="/properties/{pid}/suggestions", handler=self._suggestions)]

    def _suggestions(self, call: Call) -> Reply:
        house = self._grounds.house(call)
        hints = [
            {"id": f"s-{house.short}-{number}", "text": text, "confidence": confidence}
            for number, (text, confidence) in enumerate(_hints(self._grounds.hotel, house), 1)
        ]
        return Reply(200, {"tenantId": house.tenant_id, "propertyId": house.id, "suggestions": hints})


def _hints(hotel: Hotel, house: Property) -> Iterator[tuple[str, float]]:
    """Text and confidence, from 0.6 to 0.95."""
    for text in (*_rooms_to_set_aside(hotel, house), *_rooms_to_clean(hotel, house), *_meals_to_offer(hotel, house)):
        yield text, (60 + draw(hotel.seed, "confidence", house.id, text) % 36) / 100


def _rooms_to_set_aside(hotel: Hotel, house: Property) -> Iterator[str]:
    taken = {stay.room for stay in house.stays}
    for stay in house.arrivals(hotel.day):
        fits = [r for r in house.rooms if r.room_type == stay.booking.room_type and not r.out_of_order]
        free = [room for room in fits if room not in taken]
        if stay.room is None and free:
            yield f"Set room {free[0].number} aside for {stay.guest}: type {free[0].room_type}, as booked"
            return


def _rooms_to_clean(hotel: Hotel, house: Property) -> Iterator[str]:
    rooms: list[Room] = [stay.room for stay in house.departures(hotel.day) if stay.room is not None]
    if rooms:
        numbers = ", ".join(room.number for room in rooms[:NAMED])
        yield f"Clean first: {numbers}, whose guests leave today"


def _meals_to_offer(hotel: Hotel, house: Property) -> Iterator[str]:
    breakfast: list[Stay] = [stay for stay in house.arrivals(hotel.day) if stay.booking.meal == "BB"]
    if breakfast:
        longest = max(breakfast, key=lambda stay: stay.booking.nights)
        yield f"Offer {longest.guest} half board: {longest.booking.nights} nights, breakfast only so far"
