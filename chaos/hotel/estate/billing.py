"""billing: what every guest owes. Money in minor units; a line below zero is money that came or went back.

A folio begins with the nights slept so far at the booked rate, what was eaten and drunk, parking, and, where the
booking was paid in advance, the payment. The balance is the sum of the lines, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

import msgspec

from chaos.hotel.estate.grounds import Grounds, Shelf
from chaos.hotel.estate.hotel import Hotel, Property, Stay
from chaos.hotel.estate.names import draw, pick
from chaos.hotel.estate.service import Call, Operation, Refusal, Reply, changes, reads

LISTED = 8  # folios in the summary, those that owe most
EXTRAS = (("Minibar", 1250), ("Restaurant", 4800), ("Bar", 1900), ("Laundry", 2200))  # the dearest they can be
PARKING = 1500  # a night
ROUND = 50  # cents

Amount = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Charge(msgspec.Struct, rename="camel"):
    """What a guest is to pay more."""

    amount_minor: Amount
    currency: str
    description: Words


class Refund(msgspec.Struct, rename="camel"):
    """What a guest gets back."""

    amount_minor: Amount
    currency: str
    reason: Words


@dataclass(slots=True)
class Folio:
    """One guest's account; lines are only ever added. `refunded` is what was given back so far.

    The lines of the morning are written when somebody first looks: most folios are never asked for in a day.
    """

    stay: Stay
    hotel: Hotel = field(repr=False)
    refunded: int = 0
    _lines: list[dict[str, Any]] | None = field(default=None, init=False)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What is on it, the eldest first."""
        if self._lines is None:
            self._lines = []
            for amount, description, at in _morning(self.hotel, self.stay):
                self.add(amount, description, at)
        return self._lines

    @property
    def id(self) -> str:
        return self.stay.folio_id

    @property
    def balance(self) -> int:
        return sum(line["amountMinor"] for line in self.lines)

    def add(self, amount: int, description: str, at: str) -> dict[str, Any]:
        """A line more."""
        number = f"{self.id}-{len(self.lines) + 1}"
        self.lines.append({"id": number, "amountMinor": amount, "description": description, "at": at})
        return self.lines[-1]


class Billing:
    """A folio for every stay; those of guests in the house are the open ones."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds
        self._folios: Shelf[Folio] = Shelf("folio")
        for house in grounds.hotel.properties:
            for stay in house.stays:
                self._folios.put(house, stay.folio_id, Folio(stay, grounds.hotel))

    def operations(self) -> list[Operation]:
        return [
            reads("folioSummary", path="/properties/{pid}/folios", handler=self._summary),
            reads("folio", path="/folios/{id}", handler=self._folio),
            changes("charge", path="/folios/{id}/charges", handler=self._charge),
            changes("refund", path="/folios/{id}/refunds", handler=self._refund),
        ]

    def _summary(self, call: Call) -> Reply:
        house = self._grounds.house(call)
        folios = [folio for folio in self._folios.of(house) if folio.stay.in_house]
        folios.sort(key=lambda folio: (-folio.balance, folio.id))
        body = {
            "tenantId": house.tenant_id,
            "propertyId": house.id,
            "currency": house.currency,
            "open": len(folios),
            "balanceMinor": sum(folio.balance for folio in folios),
            "folios": [_owed(folio) for folio in folios[:LISTED]],
        }
        return Reply(200, body)

    def _folio(self, call: Call) -> Reply:
        house, folio = self._folios.find(call)
        body = {
            "tenantId": house.tenant_id,
            "id": folio.id,
            "propertyId": house.id,
            "reservationId": folio.stay.id,
            "guest": folio.stay.guest,
            "currency": house.currency,
            "balanceMinor": folio.balance,
            "lines": folio.lines,
        }
        return Reply(200, body)

    def _charge(self, call: Call) -> Reply:
        house, folio = self._folios.find(call)
        asked = call.asked(Charge)
        _same_currency(house, asked.currency)
        return self._posted(house, folio, asked.amount_minor, asked.amount_minor, asked.description)

    def _refund(self, call: Call) -> Reply:
        house, folio = self._folios.find(call)
        asked = call.asked(Refund)
        _same_currency(house, asked.currency)
        charged = sum(line["amountMinor"] for line in folio.lines if line["amountMinor"] > 0)
        if folio.refunded + asked.amount_minor > charged:
            raise Refusal(422, "REFUND_TOO_LARGE", "no more can be given back than was charged")
        folio.refunded += asked.amount_minor
        return self._posted(house, folio, -asked.amount_minor, asked.amount_minor, asked.reason)

    def _posted(self, house: Property, folio: Folio, change: int, amount: int, description: str) -> Reply:
        line = folio.add(change, description, self._grounds.moment())
        body = {
            "tenantId": house.tenant_id,
            "propertyId": house.id,
            "id": line["id"],
            "folioId": folio.id,
            "amountMinor": amount,
            "currency": house.currency,
            "description": description,
        }
        return Reply(201, body, effect=True)


def _same_currency(house: Property, currency: str) -> None:
    if currency != house.currency:
        raise Refusal(422, "CURRENCY", f"this folio is in {house.currency}")


def _owed(folio: Folio) -> dict[str, Any]:
    room = folio.stay.room
    return {
        "id": folio.id,
        "guest": folio.stay.guest,
        "roomNumber": room and room.number,
        "balanceMinor": folio.balance,
    }


def _morning(hotel: Hotel, stay: Stay) -> Iterator[tuple[int, str, str]]:
    """The lines of a stay when the business day begins: none for who has not come yet."""
    booking = stay.booking
    nights = (hotel.day - stay.arrival).days
    if nights > 0 and booking.deposit == "Non Refund" and booking.rate_minor:
        yield -booking.rate_minor * booking.nights, "Paid in advance", f"{stay.arrival}T14:00:00.000Z"
    for night in range(nights):
        day = stay.arrival + timedelta(days=night)
        if booking.rate_minor:
            yield booking.rate_minor, f"Room, night of {day}", f"{day}T22:00:00.000Z"
        if booking.parking:
            yield PARKING, f"Parking, night of {day}", f"{day}T22:00:00.000Z"
        if draw(hotel.seed, "extra", stay.id, night) % 2:
            what, most = pick(EXTRAS, hotel.seed, "what", stay.id, night)
            steps = most // ROUND
            yield ROUND * (1 + draw(hotel.seed, "amount", stay.id, night) % steps), what, f"{day}T20:30:00.000Z"
