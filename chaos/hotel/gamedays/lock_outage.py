"""lock-integration fails in every way that there is while desks issue keys, and revoke some (F-10, F-27).

    keys     desks with guests before them: a key for each, tried again until it is there, as a desk's outbox does; some
             are revoked at once, with a second factor. Some desks leave a key alone that has no answer yet, and some
             are hasty, and ask again while the first try is still under way
    tills    desks with other work, charges, which an outage of the locks must not touch
    looks    dashboards, which must be whole all along

A try is answered by its deadline and by the contract: 201 or 200; 502 and a row `failure`, where the service said no or
was not asked; 504 and a row `uncertain`, where nobody knows; 409 with `Retry-After`, where somebody is at it with this
very key. What nobody knew is known within a minute of the healing, whether its desk still asks or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from bff.outside import rfc3339
from bff.writes.actions import ACTIONS
from chaos.hotel.checks.changed import seconds_to_settle, succeeded, tries
from chaos.hotel.checks.promises import Troubles
from chaos.hotel.fleet.changes import LEFT, Outbox, is_try, tried_by
from chaos.hotel.fleet.desk import PATIENCE, Refused
from chaos.hotel.fleet.inspecting import LANE, counted_from_here
from chaos.hotel.gamedays import GameDay
from chaos.hotel.stage import HotelStage, signed_in
from chaos.plan import parse_plan
from chaos.play import Cast, Judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
    from random import Random

    from chaos.history import History, Moment
    from chaos.hotel.fleet.changes import Ask, Tried
    from chaos.hotel.fleet.desk import Desk
    from chaos.plan import Work

PLAN: Final = parse_plan("""
    plan        Locks cannot be reached while keys are issued
    owner       front desk
    lasts       90, then 65 of calm

    work        looks desks=2 every=3
    work        keys desks=4 guests=3 every=1.5
    work        tills desks=2 every=1
    work        inspector every=1
    fault       lock-integration status code=503 from 5 until 13
    fault       lock-integration hang from 22 until 31
    fault       lock-integration lose-answer from 40 until 49
    fault       lock-integration down from 58 until 66
    fault       lock-integration latency ms=1500 jitter=500 from 75

    always      in-time honest answered
    always      prompt by-contract undisturbed one-answer complete chained
    eventually  whole within 10
    eventually  answered-all within 30
    eventually  settled within 60
    eventually  audited within 60
    eventually  once within 60
    eventually  told within 60
""")

LOCKS: Final = "lock-integration"
TILL: Final = "till-"
REVOKED: Final = 0.3  # of the keys
GIVES_UP: Final = 0.1  # of the times that a desk is told that there is no answer yet
ASKS_AGAIN: Final = 0.1
HASTY: Final = 0.1  # of the tries, whose desk does not wait for longer than
HASTE: Final = 1.2  # seconds, and asks again at once
BRISK: Final = 2.0  # seconds, in which other work is done however badly the locks do
VALID: Final = 86_400.0
BY_CONTRACT: Final = {  # what a desk may be told while the locks are in trouble, and by which code
    "failed": "UPSTREAM_UNAVAILABLE",
    "unknown": "UPSTREAM_TIMEOUT",
    "waits": "IDEMPOTENCY_IN_PROGRESS",
}


async def keys(stage: HotelStage, history: History, work: Work) -> None:
    """Desks that issue keys."""
    desks, guests, every = round(work.number("desks", 4)), round(work.number("guests", 3)), work.number("every", 1.5)
    await counted_from_here(history)
    async with trio.open_nursery() as nursery:
        for number in range(desks):
            nursery.start_soon(_issue_on, stage, history, _Share(number, desks), guests, every)


@dataclass(frozen=True, slots=True)
class _Share:
    """Which desk of how many: no two have the same room, folio or lock."""

    number: int
    of: int


async def _issue_on(stage: HotelStage, history: History, share: _Share, guests: int, every: float) -> None:
    lane, chance = f"keys-{share.number + 1}", stage.chance(f"keys {share.number}")
    desk = await signed_in(stage, lane, share.number)
    outbox = Outbox(history, lane, stage.late, chance, gives_up=GIVES_UP, asks_again=ASKS_AGAIN)
    code = stage.second_factor(share.number)
    async with trio.open_nursery() as nursery:
        for at, stay in enumerate((await _stays(desk))[share.number :: share.of][:guests]):
            issuing = _Issuing(desk, outbox, chance, stay, code, f"{desk.device}-{at}", stage.now)
            nursery.start_soon(issuing.serve, every)


async def _stays(desk: Desk) -> list[dict[str, str]]:
    """Whoever is in the house, with folio and lock; asked for until it is known."""
    assert desk.session is not None, "signed in"
    while True:
        try:
            seen = await desk.get("/v1/workbench", {"propertyId": desk.session.properties[0]["id"]})
        except Refused:
            await trio.sleep(1.0)
        else:
            stays: list[dict[str, str]] = seen.body["inHouse"]
            return stays


@dataclass(frozen=True, slots=True)
class _Issuing:
    """A desk, and one guest after the other for the room of `stay`. `name` is what its keys begin with."""

    desk: Desk
    outbox: Outbox
    chance: Random
    stay: Mapping[str, str]
    code: str
    name: str
    now: Any

    async def serve(self, every: float) -> None:
        """Until the calm; what is under way then is carried to its end."""
        number = 0
        while self.outbox.history.calm_at is None:
            await trio.sleep(every * self.chance.uniform(0.5, 1.5))
            await self._guest(number)
            number += 1

    async def _guest(self, number: int) -> None:
        lock, key = self.stay["lockId"], f"{self.name}-{number}"
        body = {"reservationId": self.stay["id"], "validUntil": rfc3339(self.now() + VALID)}
        ask = self._asking(f"/v1/locks/{lock}/keys", body, key)
        tried = await self.outbox.until_answered("lock.issue", key, ask)
        if tried is None or tried.status != ACTIONS["lock.issue"].status or self.chance.random() >= REVOKED:
            return
        await self._revoked(lock, msgspec.json.decode(tried.body)["keyId"], f"{key}-revoke")

    def _asking(self, path: str, body: Any, key: str, attestation: str | None = None) -> Ask:
        def asked() -> Awaitable[Tried]:
            patience = HASTE if self.chance.random() < HASTY else PATIENCE
            return tried_by(self.desk, path, body, key, attestation=attestation, patience=patience)

        return asked

    async def _revoked(self, lock: str, key_id: str, key: str) -> None:
        try:
            attestation = await self.desk.step_up("lock.revoke", f"{lock}/{key_id}", self.code)
        except Refused as refused:
            self.outbox.history.note(self.outbox.lane, "step-up", str(refused), good=False)
            return
        path = f"/v1/locks/{lock}/keys/{key_id}/revoke"
        ask = self._asking(path, {"reason": "lost"}, key, attestation)
        await self.outbox.until_answered("lock.revoke", key, ask)


async def tills(stage: HotelStage, history: History, work: Work) -> None:
    """Desks that charge."""
    desks, every = round(work.number("desks", 2)), work.number("every", 1.0)
    await counted_from_here(history)
    async with trio.open_nursery() as nursery:
        for number in range(desks):
            nursery.start_soon(_charge_on, stage, history, _Share(number, desks), every)


async def _charge_on(stage: HotelStage, history: History, share: _Share, every: float) -> None:
    lane, chance = f"{TILL}{share.number + 1}", stage.chance(f"till {share.number}")
    desk = await signed_in(stage, lane, share.number)
    folio = (await _stays(desk))[share.number :: share.of][0]["folioId"]
    outbox = Outbox(history, lane, stage.late, chance)
    number = 0
    while history.calm_at is None:
        key, number = f"{desk.device}-{number}", number + 1
        body = {"amountMinor": 100 + number, "currency": "EUR", "description": "Minibar"}
        await outbox.until_answered(
            "folio.charge", key, partial(tried_by, desk, f"/v1/folios/{folio}/charges", body, key)
        )
        await trio.sleep(every * chance.uniform(0.5, 1.5))


def by_contract() -> Judge:
    """A desk that wants a key is told what the contract has for it, and only for a fault of the locks."""
    troubles = Troubles()

    def judge(moment: Moment) -> str | None:
        troubles.see(moment)
        action = str(moment.data.get("action", ""))
        if not (is_try(moment) and action.startswith("lock.")) or moment.data["code"] == LEFT:
            return None
        if moment.word in {"done", "replayed"}:
            return None if moment.data["status"] == ACTIONS[action].status else f"{moment.lane}: {moment.text}"
        if BY_CONTRACT.get(moment.word) != moment.data["code"]:
            return f"{moment.lane}: {moment.text} with status {moment.data['status']}"
        if not moment.data["told"]:
            return f"{moment.lane}: {moment.text}, and not when to try again"
        if not troubles.felt(LOCKS, moment.at - moment.took, moment.at):
            return f"{moment.lane}: {moment.text}, and {LOCKS} is well"
        return None

    return judge


def undisturbed() -> Judge:
    """Other work is done, and briskly: the locks are none of its business."""

    def judge(moment: Moment) -> str | None:
        if not (is_try(moment) and moment.lane.startswith(TILL)):
            return None
        if moment.word in {"done", "replayed"} and moment.took < BRISK:
            return None
        return f"{moment.lane}: {moment.text} {moment.word} after {moment.took:.3f} s"

    return judge


def figures(moments: Sequence[Moment]) -> Mapping[str, float | int | str]:
    """How the keys went, and what the trail says of them."""
    tried = [moment for moment in tries(moments) if str(moment.data["action"]).startswith("lock.")]
    wrote = [moment.data for moment in moments if moment.word == "wrote"]
    counts = [moment.data for moment in moments if moment.lane == LANE and moment.word == "counted"]
    carried_out = succeeded(moments)
    return {
        "lock actions": len({moment.data["key"] for moment in tried}),
        "tries": len(tried),
        "answered 201 or 200": sum(moment.word == "done" for moment in tried),
        "replayed": sum(moment.word == "replayed" for moment in tried),
        "answered 502": sum(moment.word == "failed" for moment in tried),
        "answered 504": sum(moment.word == "unknown" for moment in tried),
        "left by a hasty desk": sum(moment.data["code"] == LEFT for moment in tried),
        "answered 409": sum(moment.word == "waits" for moment in tried),
        "given up by their desk": sum(moment.word == "gave-up" for moment in moments),
        "keys cut": len(carried_out.get("lock.issue", ())),
        "keys revoked": len(carried_out.get("lock.revoke", ())),
        "slowest answer s": round(max((moment.took for moment in tried), default=0.0), 3),
        "charges beside it": sum(moment.lane.startswith(TILL) and moment.word == "done" for moment in moments),
        "intents": sum(row["kind"] == "intent" for row in wrote),
        **{
            f"outcomes {outcome}": sum(row["outcome"] == outcome for row in wrote)
            for outcome in ("success", "failure", "uncertain")
        },
        "least completeness": min((count["complete"] for count in counts), default="nobody looked"),
        "seconds to settle": seconds_to_settle(moments),
        "most unsettled": max((count["unsettled"] for count in counts), default="nobody looked"),
    }


GAME_DAY: Final = GameDay(
    name="lock-outage",
    plan=PLAN,
    cast=Cast({"keys": keys, "tills": tills}, {"by-contract": by_contract, "undisturbed": undisturbed}),
    figures=figures,
    about="lock-integration fails in every way while desks issue keys and revoke some",
)
