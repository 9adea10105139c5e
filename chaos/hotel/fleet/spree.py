"""Desks that change whatever a desk can change, as fast as they are answered: charges mostly, and all the rest.

    spree desks=64

A desk has its own tasks, orders, arrivals and departures, so that each change of them is one; folios and locks it
shares. It does one thing after the other, each with a key of its own, and asks for some answers twice. Its requests are
prepared by hand and go out through one pool: a client that costs more than the server would measure itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
import msgspec
import trio

from bff.wire.pool import Crowded
from bff.wire.exchange import Prepared
from bff.writes.actions import ACTIONS
from chaos.hotel.fleet.changes import Outbox, Tried, missed
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.stage import signed_in
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    from bff.wire.exchange import Origin
    from bff.wire.pool import Pool
    from chaos.history import History
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.stage import HotelStage
    from chaos.plan import Work

PATIENCE: Final = 10.0  # seconds
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
    desks = round(work.number("desks", 64))
    pool, origin = await stage.pool(0)
    try:
        async with trio.open_nursery() as nursery:
            for number in range(desks):
                nursery.start_soon(_one, stage, history, (pool, origin), number, desks)
    finally:
        with trio.CancelScope(shield=True):
            await pool.aclose()


async def _one(stage: HotelStage, history: History, way: tuple[Pool, Origin], number: int, of: int) -> None:
    lane, chance = f"spree-{number + 1}", stage.chance(f"spree {number}")
    desk = await signed_in(stage, lane, number)
    supplies = await _supplies(desk, number, of, chance)
    outbox = Outbox(history, lane, stage.late, chance, hurries=HURRIES, asks_again=ASKS_AGAIN)
    await _Spree(stage, desk, outbox, way, supplies, stage.second_factor(number)).serve()


@dataclass(slots=True)
class _Spree:
    """One desk, and where its requests go."""

    stage: HotelStage
    desk: Desk
    outbox: Outbox
    way: tuple[Pool, Origin]
    supplies: Supplies
    code: str

    async def serve(self) -> None:
        number = 0
        while self.outbox.history.calm_at is None:
            errand, number = self.supplies.next(), number + 1
            attestation = await self._attested(errand)
            if attestation is None:
                continue
            key = f"{self.desk.device}-{number}"
            ask = partial(self._ask, errand, key, attestation)
            tried = await self.outbox.until_answered(errand.action, key, ask)
            if tried is not None and tried.word in {"done", "replayed"}:
                self.supplies.done(errand, tried.body)

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
        pool, origin = self.way
        headers = self._headers(errand, key, attestation)
        prepared = Prepared(origin, b"POST", errand.path.encode(), headers, msgspec.json.encode(errand.body))
        began = trio.current_time()
        with within(PATIENCE):
            try:
                reply = await pool.fetch(prepared)
            except (httpx.TransportError, Crowded):
                return self._nobody(began)
            took = trio.current_time() - began
            if 200 <= reply.status < 300:
                replayed = (b"idempotent-replayed", b"true") in reply.headers
                return Tried(reply.status, "", reply.body, took, replayed)
            return missed(reply.status, msgspec.json.decode(reply.body), took)
        return self._nobody(began)

    def _nobody(self, began: float) -> Tried:
        return Tried(
            0, "UNREACHABLE", b"", trio.current_time() - began, again=self.outbox.chance.uniform(*AGAIN)
        )

    def _headers(self, errand: Errand, key: str, attestation: str) -> tuple[tuple[bytes, bytes], ...]:
        desk = self.desk
        assert desk.session is not None, "signed in"
        token = desk.session.access_token
        jti = self.outbox.chance.randbytes(12).hex()
        proof = make_proof(desk.key, "POST", f"{desk.base}{errand.path}", token=token, now=self.stage.now(), jti=jti)
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
    """What one desk has to do, drawn by `chance`; what it has of its own nobody else changes."""

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
        return self._of(kind) or self._charge()

    def done(self, errand: Errand, body: bytes) -> None:
        """It was answered with success: a key that was cut may be revoked."""
        if errand.action == "lock.issue":
            said = msgspec.json.decode(body)
            self.keys.append((said["lockId"], said["keyId"]))

    def _charge(self) -> Errand:
        body = {"amountMinor": self.chance.randint(100, 9900), "currency": "EUR", "description": "Minibar"}
        return Errand("folio.charge", f"/v1/folios/{self.chance.choice(self.folios)}/charges", body)

    def _of(self, kind: str) -> Errand | None:
        return _KINDS[kind](self) if kind in _KINDS else None

    def _refund(self) -> Errand:
        folio = self.chance.choice(self.folios)
        return Errand("folio.refund", f"/v1/folios/{folio}/refunds", {**_REFUND}, attests=folio)

    def _issue(self) -> Errand:
        lock, stay = self.chance.choice(self.locks)
        return Errand("lock.issue", f"/v1/locks/{lock}/keys", {"reservationId": stay, "validUntil": VALID_UNTIL})

    def _revoke(self) -> Errand | None:
        if not self.keys:
            return None
        lock, key = self.keys.pop()
        return Errand("lock.revoke", f"/v1/locks/{lock}/keys/{key}/revoke", {"reason": "lost"}, attests=f"{lock}/{key}")

    def _task(self) -> Errand | None:
        return _moved("task.transition", "/v1/housekeeping/tasks", self.tasks)

    def _order(self) -> Errand | None:
        return _moved("order.transition", "/v1/maintenance/orders", self.orders)

    def _room(self) -> Errand | None:
        if not self.rooms:
            return None
        stay, room = self.rooms.pop()
        return Errand("reservation.room", f"/v1/reservations/{stay}/room", {"roomId": room})

    def _check_in(self) -> Errand | None:
        return _each("reservation.check-in", self.arrivals, "/v1/reservations/{}/check-in")

    def _check_out(self) -> Errand | None:
        return _each("reservation.check-out", self.departures, "/v1/reservations/{}/check-out")

    def _ack(self) -> Errand | None:
        return _each("alert.ack", self.alerts, "/v1/alerts/{}/ack")


_REFUND: Final = {"amountMinor": 5, "currency": "EUR", "reason": "not ordered"}
_KINDS: Final[Mapping[str, Callable[[Supplies], Errand | None]]] = {
    "folio.refund": Supplies._refund,
    "lock.issue": Supplies._issue,
    "lock.revoke": Supplies._revoke,
    "task.transition": Supplies._task,
    "order.transition": Supplies._order,
    "reservation.room": Supplies._room,
    "reservation.check-in": Supplies._check_in,
    "reservation.check-out": Supplies._check_out,
    "alert.ack": Supplies._ack,
}
