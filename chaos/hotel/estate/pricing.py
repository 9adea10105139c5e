"""pricing: what a room of each type costs tonight, from what tonight's guests booked it at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from chaos.hotel.estate.grounds import Grounds
from chaos.hotel.estate.hotel import Property
from chaos.hotel.estate.service import Call, Operation, Reply, reads


class Rates:
    """Complimentary stays are no rate: they are left out."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds

    def operations(self) -> list[Operation]:
        return [reads("rateSnapshot", path="/properties/{pid}/rates", handler=self._snapshot)]

    def _snapshot(self, call: Call) -> Reply:
        house, day = self._grounds.house(call), self._grounds.day(call)
        rates = [
            {
                "id": f"rate-{house.short}-{room_type}",
                "roomType": room_type,
                "amountMinor": booked[len(booked) // 2],
                "lowestMinor": booked[0],
                "highestMinor": booked[-1],
            }
            for room_type, booked in sorted(_booked(house, day))
        ]
        body = {"tenantId": house.tenant_id, "propertyId": house.id, "date": day, "currency": house.currency}
        return Reply(200, {**body, "rates": rates})


def _booked(house: Property, day: date) -> Iterable[tuple[str, list[int]]]:
    """Each room type with the rates of its guests of that night, the lowest first."""
    rates: dict[str, list[int]] = defaultdict(list)
    for stay in house.asleep(day):
        if stay.booking.rate_minor > 0:
            rates[stay.booking.room_type].append(stay.booking.rate_minor)
    return ((room_type, sorted(booked)) for room_type, booked in rates.items())
