"""property and inventory: what a house is, and how full it is tonight."""

from __future__ import annotations

from chaos.hotel.estate.grounds import Grounds
from chaos.hotel.estate.service import Call, Operation, Reply, reads


class Houses:
    """property: what changes once in a year."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds

    def operations(self) -> list[Operation]:
        return [reads("property", path="/properties/{pid}", handler=self._property)]

    def _property(self, call: Call) -> Reply:
        house = self._grounds.house(call)
        body = {
            "tenantId": house.tenant_id,
            "propertyId": house.id,
            "name": house.name,
            "timeZone": house.time_zone,
            "currency": house.currency,
            "rooms": len(house.rooms),
            "businessDate": self._grounds.hotel.day,
        }
        return Reply(200, body)


class Inventory:
    """inventory: the forecast of the morning. It does not hear of check-ins, as a real one would, over a bus."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds

    def operations(self) -> list[Operation]:
        return [reads("occupancy", path="/properties/{pid}/occupancy", handler=self._occupancy)]

    def _occupancy(self, call: Call) -> Reply:
        house, day = self._grounds.house(call), self._grounds.day(call)
        occupied = len(house.asleep(day))
        out_of_order = sum(room.out_of_order for room in house.rooms)
        body = {
            "tenantId": house.tenant_id,
            "propertyId": house.id,
            "date": day,
            "rooms": len(house.rooms),
            "occupied": occupied,
            "arrivals": len(house.arrivals(day)),
            "departures": len(house.departures(day)),
            "outOfOrder": out_of_order,
            "occupancyPercent": round(100 * occupied / (len(house.rooms) - out_of_order), 1),
        }
        return Reply(200, body)
