"""Every change that a desk can make, each time of something else, on the morning of a fresh estate.

The ids are taken from the day itself, as a desk that has looked at its boards would have them; who asks twice for the
same action gets another change, and each of them has one effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from bff.writes.actions import ACTIONS
from chaos.hotel.estate.hotel import build_hotel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.hotel.estate.hotel import Operator, Property, Stay

UNTIL: Final = "2015-08-20T12:00:00Z"
TASK: Final = ("dirty", "cleaning", "clean", "inspected")
ORDER: Final = ("open", "in-progress", "done")
ALERTS: Final = 3  # that every house has in the morning


@dataclass(frozen=True, slots=True)
class Change:
    """One change: `attests` is what its second factor is for, '' where it needs none."""

    action: str
    path: str
    body: Mapping[str, Any]
    method: str = "POST"
    attests: str = ""


class Changing:
    """What `who` can change in his first house, before anybody has changed anything."""

    def __init__(self, who: Operator) -> None:
        hotel = build_hotel()
        house = hotel.by_property[who.properties[0]]
        there = [stay for stay in house.present() if stay.room is not None]
        coming = [stay for stay in house.arrivals(hotel.day) if stay.room is not None]
        self._made: dict[str, Iterator[Change]] = {
            "reservation.check-in": (_stay("check-in", stay) for stay in coming),
            "reservation.check-out": (_stay("check-out", stay) for stay in there),
            "reservation.room": _rooms(coming[0], _free(house, [*there, *coming])),
            "task.transition": _cards("task.transition", f"housekeeping/tasks/t-{_room(there[0])}", TASK),
            "order.transition": _cards("order.transition", f"maintenance/orders/o-{_broken(house)}", ORDER),
            "folio.charge": _charges(there),
            "folio.refund": _refunds(there),
            "lock.issue": _keys(there),
            "lock.revoke": (_revoked(stay) for stay in there),
            "alert.ack": (_seen(f"a-{house.short}-{number + 1}") for number in range(ALERTS)),
            "preferences.save": _preferences(),
        }
        assert self._made.keys() == ACTIONS.keys(), "each of them"

    def next(self, action: str) -> Change:
        """Another one. Raises `AssertionError` where the morning has no more of it."""
        change = next(self._made[action], None)
        assert change is not None, f"nothing is left for {action}"
        return change


def _room(stay: Stay) -> str:
    assert stay.room is not None, "it has one"
    return stay.room.id


def _lock(stay: Stay) -> str:
    assert stay.room is not None, "it has one"
    return stay.room.lock_id


def _free(house: Property, stays: list[Stay]) -> list[str]:
    taken = {_room(stay) for stay in stays}
    return [room.id for room in house.rooms if room.id not in taken and not room.out_of_order]


def _broken(house: Property) -> str:
    return next(room.id for room in house.rooms if room.out_of_order)


def _stay(what: str, stay: Stay) -> Change:
    return Change(f"reservation.{what}", f"/v1/reservations/{stay.id}/{what}", {})


def _rooms(stay: Stay, free: list[str]) -> Iterator[Change]:
    for room in cycle(free):
        yield Change("reservation.room", f"/v1/reservations/{stay.id}/room", {"roomId": room})


def _cards(action: str, path: str, columns: tuple[str, ...]) -> Iterator[Change]:
    """Once round and round; where the card stands in the morning is not asked, so the first step is a far one."""
    for to in cycle((columns[1], columns[2], columns[0])):
        yield Change(action, f"/v1/{path}/transition", {"to": to})


def _charges(stays: list[Stay]) -> Iterator[Change]:
    body = {"amountMinor": 100, "currency": "EUR", "description": "Minibar"}
    return (Change("folio.charge", f"/v1/folios/{stay.folio_id}/charges", body) for stay in cycle(stays))


def _refunds(stays: list[Stay]) -> Iterator[Change]:
    body = {"amountMinor": 5, "currency": "EUR", "reason": "not ordered"}
    for stay in cycle(stays):
        yield Change("folio.refund", f"/v1/folios/{stay.folio_id}/refunds", body, attests=stay.folio_id)


def _keys(stays: list[Stay]) -> Iterator[Change]:
    for stay in cycle(stays):
        body = {"reservationId": stay.id, "validUntil": UNTIL}
        yield Change("lock.issue", f"/v1/locks/{_lock(stay)}/keys", body)


def _revoked(stay: Stay) -> Change:
    resource = f"{_lock(stay)}/k-{stay.booking.row:05d}"
    path = f"/v1/locks/{resource.replace('/', '/keys/')}/revoke"
    return Change("lock.revoke", path, {"reason": "lost"}, attests=resource)


def _seen(alert: str) -> Change:
    return Change("alert.ack", f"/v1/alerts/{alert}/ack", {})


def _preferences() -> Iterator[Change]:
    version = 0
    while True:
        version += 1
        yield Change(
            "preferences.save", "/v1/preferences", {"version": version, "values": {"n": version}}, method="PUT"
        )
