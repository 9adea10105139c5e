"""housekeeping and maintenance: two boards of the same shape, on which cards are moved from column to column.

Any column may follow any other: a room that was inspected is found dirty, a repair is opened again. A card that is
moved to where it is has not moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from chaos.hotel.estate.grounds import Grounds, Shelf
from chaos.hotel.estate.hotel import Hotel, Property, Room, Stay
from chaos.hotel.estate.names import draw, pick
from chaos.hotel.estate.service import Call, Operation, Refusal, Reply, changes, reads

TASK = ("dirty", "cleaning", "clean", "inspected")
ORDER = ("open", "in-progress", "done")
FAULTS = (
    ("air-conditioning", "cools only on the highest step"),
    ("plumbing", "the basin drains slowly"),
    ("lighting", "the lamp by the door flickers"),
    ("lock", "the lock answers late: battery low"),
    ("television", None),
    ("window", "does not close"),
)
ONE_IN = 14  # rooms in order that have something to repair, out of so many


class Move(msgspec.Struct):
    """Where to."""

    to: str


@dataclass(frozen=True, slots=True)
class Card:
    """One thing to do in one room."""

    id: str
    room: Room
    status: str
    kind: str
    note: str | None

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "roomId": self.room.id,
            "roomNumber": self.room.number,
            "status": self.status,
            "kind": self.kind,
            "note": self.note,
        }


class Board:
    """A board whose cards are called `name`, in `columns`, as they are in the morning by `morning`."""

    def __init__(
        self,
        grounds: Grounds,
        name: str,
        columns: tuple[str, ...],
        morning: Callable[[Hotel, Property], Iterable[Card]],
    ) -> None:
        self._grounds = grounds
        self._name = name
        self._columns = columns
        self._cards: Shelf[Card] = Shelf(name)
        for house in grounds.hotel.properties:
            for card in sorted(morning(grounds.hotel, house), key=lambda card: card.room.id):
                self._cards.put(house, card.id, card)

    def operations(self) -> list[Operation]:
        return [
            reads("board", path="/properties/{pid}/board", handler=self._board),
            changes("transition", path=f"/{self._name}s/{{id}}/transition", handler=self._move),
        ]

    def _board(self, call: Call) -> Reply:
        house = self._grounds.house(call)
        cards = [card.shown() for card in self._cards.of(house)]
        return Reply(200, {"tenantId": house.tenant_id, "propertyId": house.id, f"{self._name}s": cards})

    def _move(self, call: Call) -> Reply:
        house, card = self._cards.find(call)
        to = call.asked(Move).to
        if to not in self._columns:
            raise Refusal(422, "INVALID", f"to should be one of {', '.join(self._columns)}")
        moved = replace(card, status=to)
        self._cards.put(house, card.id, moved)
        body = {"tenantId": house.tenant_id, "propertyId": house.id, **moved.shown()}
        return Reply(200, body, effect=moved != card)


def housekeeping(grounds: Grounds) -> Board:
    """A task for each room that a guest leaves, sleeps in, or is expected in."""
    return Board(grounds, "task", TASK, _tasks)


def maintenance(grounds: Grounds) -> Board:
    """An order for each room that is out of order, and for some that are not."""
    return Board(grounds, "order", ORDER, _orders)


def _tasks(hotel: Hotel, house: Property) -> Iterable[Card]:
    for stay in (*house.present(), *house.arrivals(hotel.day)):
        if stay.room is not None:
            kind, statuses = _work(hotel, stay)
            status = pick(statuses, hotel.seed, "task", stay.id)
            yield Card(f"t-{stay.room.id}", stay.room, status, kind, _wish(stay))


def _work(hotel: Hotel, stay: Stay) -> tuple[str, tuple[str, ...]]:
    if stay.arrival == hotel.day:
        return "arrival", ("clean", "inspected")
    if stay.departure == hotel.day:
        return "departure", ("dirty",)
    return "stay-over", ("dirty", "dirty", "cleaning", "clean")


def _wish(stay: Stay) -> str | None:
    booking = stay.booking
    if booking.children:
        return f"cots: {booking.children}"
    return f"special requests: {booking.requests}" if booking.requests else None


def _orders(hotel: Hotel, house: Property) -> Iterable[Card]:
    for room in house.rooms:
        drawn = draw(hotel.seed, "order", room.id)
        if room.out_of_order or drawn % ONE_IN == 0:
            kind, note = pick(FAULTS, hotel.seed, "fault", room.id)
            status = "open" if room.out_of_order else ORDER[drawn // ONE_IN % len(ORDER)]
            yield Card(f"o-{room.id}", room, status, kind, note)
