"""Desks that change whatever a desk can change, as fast as they are answered: charges mostly, and all the rest.

    spree desks=64 servers=1

A desk has its own tasks, orders, arrivals and departures, so that each change of them is one; folios and locks it
shares. It does one thing after the other, each with a key of its own, and asks for some answers twice. Its requests are
prepared by hand and go out through one pool: a client that costs more than the server would measure itself. Where
there are several servers each try goes to any of them, as a balancer has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
import msgspec
import trio

from bff.wire.exchange import Prepared
from bff.wire.pool import Crowded
from chaos.hotel.fleet.changes import Outbox, Tried, missed
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.inspecting import counted_from_here
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.stage import signed_in
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from bff.wire.exchange import Origin
    from bff.wire.pool import Pool
    from chaos.history import History
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.stage import HotelStage
    from chaos.plan import Work

PATIENCE: Final = 10.0  # seconds
SOON: Final = 0.5  # seconds after which a desk that was not told what there is to do asks again
AGAIN: Final = (0.05, 0.2)  # seconds after which a desk whose server has just died tries again
HURRIES: Final = 0.1
ASKS_AGAIN: Final = 0.1
VALID_UNTIL: Final = "2015-08-20T12:00:00Z"
TASK: Final = ("dirty", "cleaning", "clean", "inspected")
ORDER: Final = ("open", "in-progress", "done")
# How often a desk does what, of a hundred; where it has nothing left to do of a kind, it charges.
OFTEN: Final = {
    "folio.charge": 52,
    "task.transition": 14,
    "order.transition": 4,
    "lock.issue": 12,
    "lock.revoke": 5,
    "folio.refund": 4,
    "reservation.room": 3,
    "reservation.check-in": 3,
    "reservation.check-out": 2,
    "alert.ack": 1,
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Errand:
    """One change: `attests` is what its second factor is for, '' where it needs none."""

    action: str
    path: str
    body: Mapping[str, Any]
    attests: str = ""


async def spree(stage: HotelStage, history: History, work: Work) -> None:
    """All of them, until the calm; what is under way then is carried to its end."""
    desks, servers = round(work.number("desks", 64)), round(work.number("servers", 1))
    await counted_from_here(history)
    ways = [Way(*await stage.pool(server), await stage.origin(server)) for server in range(servers)]
    try:
        async with trio.open_nursery() as nursery:
            for number in range(desks):
                nursery.start_soon(_one, stage, history, ways, number, desks)
    finally:
        for way in ways:
            with trio.CancelScope(shield=True):
                await way.pool.aclose()


@dataclass(frozen=True, slots=True)
class Way:
    """To a server at `base`, its origin as a URL."""

    pool: Pool
    origin: Origin
    base: str


async def _one(stage: HotelStage, history: History, ways: Sequence[Way], number: int, of: int) -> None:
    lane, chance = f"spree-{number + 1}", stage.chance(f"spree {number}")
    desk = await signed_in(stage, lane, number, server=number % len(ways))
    share = Share(number, of, len({stage.person(other) for other in range(of)}))
    has = await supplies(desk, share, chance)
    outbox = Outbox(history, lane, stage.late, chance, hurries=HURRIES, asks_again=ASKS_AGAIN)
    await _Spree(stage, desk, outbox, ways, has, stage.second_factor(number)).serve()


@dataclass(slots=True)
class _Spree:
    """One desk, and where its requests go."""

    stage: HotelStage
    desk: Desk
    outbox: Outbox
    ways: Sequence[Way]
    has: Supplies
    code: str

    async def serve(self) -> None:
        number = 0
        while self.outbox.history.calm_at is None:
            errand, number = self.has.next(), number + 1
            attestation = await self._attested(errand)
            if attestation is None:
                continue
            key = f"{self.desk.device}-{number}"
            ask = partial(self._ask, errand, key, attestation)
            tried = await self.outbox.until_answered(errand.action, key, ask)
            if tried is not None and tried.word in {"done", "replayed"}:
                self.has.done(errand, tried.body)

    async def _attested(self, errand: Errand) -> str | None:
        """The second factor, '' where it needs none; None where it cannot be had now."""
        if not errand.attests:
            return ""
        try:
            return await self.desk.step_up(errand.action, errand.attests, self.code)
        except Refused:
            await trio.sleep(self.outbox.chance.uniform(*AGAIN))
            return None

    async def _ask(self, errand: Errand, key: str, attestation: str) -> Tried:
        way = self.outbox.chance.choice(self.ways)
        headers = self._headers(f"{way.base}{errand.path}", key, attestation)
        prepared = Prepared(way.origin, b"POST", errand.path.encode(), headers, msgspec.json.encode(errand.body))
        began = trio.current_time()
        with within(PATIENCE):
            try:
                reply = await way.pool.fetch(prepared)
            except (httpx.TransportError, Crowded):
                return self._nobody(began)
            took = trio.current_time() - began
            if 200 <= reply.status < 300:
                replayed = (b"idempotent-replayed", b"true") in reply.headers
                return Tried(reply.status, "", reply.body, took, replayed)
            return missed(reply.status, msgspec.json.decode(reply.body), took)
        return self._nobody(began)

    def _nobody(self, began: float) -> Tried:
        return Tried(0, "UNREACHABLE", b"", trio.current_time() - began, again=self.outbox.chance.uniform(*AGAIN))

    def _headers(self, url: str, key: str, attestation: str) -> tuple[tuple[bytes, bytes], ...]:
        desk = self.desk
        assert desk.session is not None, "signed in"
        token = desk.session.access_token
        jti = self.outbox.chance.randbytes(12).hex()
        proof = make_proof(desk.key, "POST", url, token=token, now=self.stage.now(), jti=jti)
        attested = ((b"x-mfa-attestation", attestation.encode()),) if attestation else ()
        return (
            (b"authorization", f"DPoP {token}".encode()),
            (b"dpop", proof.encode()),
            (b"x-device-id", desk.device.encode()),
            (b"content-type", b"application/json"),
            (b"idempotency-key", key.encode()),
            *attested,
        )


@dataclass(slots=True)
class Supplies:
    """What one desk has to do, drawn by `chance`. What is a list is used up, what goes round comes again."""

    chance: Random
    folios: list[str]
    locks: list[tuple[str, str]]  # and the reservation that a key is for
    tasks: Iterator[tuple[str, str]]  # and where it goes next
    orders: Iterator[tuple[str, str]]
    rooms: list[tuple[str, str]]  # a reservation, and a free room
    arrivals: list[str]
    departures: list[str]
    alerts: list[str]
    keys: list[tuple[str, str]] = field(default_factory=list)  # lock and key

    def next(self) -> Errand:
        """Something to do."""
        [kind] = self.chance.choices(list(OFTEN), weights=list(OFTEN.values()))
        return KINDS[kind](self) or charge(self)

    def done(self, errand: Errand, body: bytes) -> None:
        """It was answered with success: a key that was cut may be revoked."""
        if errand.action == "lock.issue":
            said = msgspec.json.decode(body)
            self.keys.append((said["lockId"], said["keyId"]))


def charge(has: Supplies) -> Errand:
    """A folio of his own."""
    body = {"amountMinor": has.chance.randint(100, 9900), "currency": "EUR", "description": "Minibar"}
    return Errand("folio.charge", f"/v1/folios/{has.chance.choice(has.folios)}/charges", body)


def refund(has: Supplies) -> Errand:
    """A little of what was charged."""
    folio = has.chance.choice(has.folios)
    body = {"amountMinor": 5, "currency": "EUR", "reason": "not ordered"}
    return Errand("folio.refund", f"/v1/folios/{folio}/refunds", body, attests=folio)


def issue(has: Supplies) -> Errand:
    """A key for a guest in the house."""
    lock, stay = has.chance.choice(has.locks)
    return Errand("lock.issue", f"/v1/locks/{lock}/keys", {"reservationId": stay, "validUntil": VALID_UNTIL})


def revoke(has: Supplies) -> Errand | None:
    """A key that this desk has issued."""
    if not has.keys:
        return None
    lock, key = has.keys.pop()
    return Errand("lock.revoke", f"/v1/locks/{lock}/keys/{key}/revoke", {"reason": "lost"}, attests=f"{lock}/{key}")


def assign(has: Supplies) -> Errand | None:
    """A free room for somebody who is expected."""
    if not has.rooms:
        return None
    stay, room = has.rooms.pop()
    return Errand("reservation.room", f"/v1/reservations/{stay}/room", {"roomId": room})


def _moved(action: str, path: str, cards: Iterator[tuple[str, str]]) -> Errand | None:
    card, to = next(cards, ("", ""))
    return Errand(action, f"{path}/{card}/transition", {"to": to}) if card else None


def _taken(action: str, path: str, ids: list[str]) -> Errand | None:
    return Errand(action, path.format(ids.pop()), {}) if ids else None


KINDS: Final[Mapping[str, Callable[[Supplies], Errand | None]]] = {
    "folio.charge": charge,
    "folio.refund": refund,
    "lock.issue": issue,
    "lock.revoke": revoke,
    "reservation.room": assign,
    "task.transition": lambda has: _moved("task.transition", "/v1/housekeeping/tasks", has.tasks),
    "order.transition": lambda has: _moved("order.transition", "/v1/maintenance/orders", has.orders),
    "reservation.check-in": lambda has: _taken("reservation.check-in", "/v1/reservations/{}/check-in", has.arrivals),
    "reservation.check-out": lambda has: _taken(
        "reservation.check-out", "/v1/reservations/{}/check-out", has.departures
    ),
    "alert.ack": lambda has: _taken("alert.ack", "/v1/alerts/{}/ack", has.alerts),
}


@dataclass(frozen=True, slots=True)
class Share:
    """What is desk `number`'s of what `of` desks have, worked by `people`, one after the other.

    `own` is nobody else's. `line` is no other's who works as the same person: those stand in one line.
    """

    number: int
    of: int
    people: int

    def own(self, items: Sequence[T]) -> list[T]:
        return list(items[self.number :: self.of])

    def line(self, items: Sequence[T]) -> list[T]:
        rank, ranks = self.number // self.people, -(-self.of // self.people)
        return list(items[rank::ranks]) or list(items)


async def supplies(desk: Desk, share: Share, chance: Random) -> Supplies:
    """What there is to do in the desk's house, asked for until it is known."""
    stays = await _seen(desk, "/v1/workbench")
    cards = await _seen(desk, "/v1/housekeeping/board")
    repairs = await _seen(desk, "/v1/maintenance/board")
    inbox = await _seen(desk, "/v1/alerts")
    in_house, expected = stays["inHouse"], [one for one in stays["arrivals"] if one["status"] == "expected"]
    free = [room["id"] for room in stays["rooms"] if room["status"] == "free"]
    leaving = [one["id"] for one in stays["departures"] if one["status"] == "in-house"]
    return Supplies(
        chance,
        folios=[one["folioId"] for one in share.line(in_house)],
        locks=[(one["lockId"], one["id"]) for one in share.line(in_house)],
        tasks=_round(share.own(cards["tasks"]), TASK),
        orders=_round(share.own(repairs["orders"]), ORDER),
        rooms=share.own(list(zip((one["id"] for one in expected), free, strict=False))),
        arrivals=share.own([one["id"] for one in expected if one["roomId"]]),
        departures=share.own(leaving),
        alerts=share.own([one["id"] for one in inbox["alerts"] if not one["acknowledged"]]),
    )


def _round(cards: list[dict[str, str]], columns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each card in turn, to the column after the one that it is in."""
    at = {card["id"]: columns.index(card["status"]) for card in cards}
    for card in cycle(at):
        at[card] = (at[card] + 1) % len(columns)
        yield card, columns[at[card]]


async def _seen(desk: Desk, path: str) -> Mapping[str, Any]:
    assert desk.session is not None, "signed in"
    while True:
        try:
            return (await desk.get(path, {"propertyId": desk.session.properties[0]["id"]})).body
        except Refused:
            await trio.sleep(SOON)
