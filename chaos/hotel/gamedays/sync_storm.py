"""Many desks lose their streams in one moment, and sync-service cannot be reached when they come back (F-26, F-35).

    follows    desks at two servers; one of them is killed. Its desks come back to the other, each after a pause of its
               own, shake hands with sync, and look at their dashboards
    knocks     devices without manners: all of them ask for a stream in the very moment in which the server dies
    speaks     the platform, so that there is something to be lost
    boards     desks that look at what has nothing to do with it, at the server that takes the storm
    tills      desks that charge, there too

When they come sync hangs, so that every handshake stays for as long as the server lets it; when they come again, as
they were told to, it is down. Reads and mutations are as quick as before. A handshake that cannot be had is answered
with the time to come again at, and meanwhile a dashboard says `staleSync`. Afterwards every desk is live, has heard
everything, and is where sync says that it is.
"""

from __future__ import annotations

import math
from itertools import count
from typing import TYPE_CHECKING, Final

import trio

from bff.writes.handshake import AGAIN
from chaos.hotel.checks.heard import followers
from chaos.hotel.checks.promises import Troubles
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.gathering import seated
from chaos.hotel.gamedays import GameDay
from chaos.hotel.gamedays.lock_outage import TILL, tills, undisturbed
from chaos.hotel.stage import HotelStage, signed_in
from chaos.plan import parse_plan
from chaos.play import Cast, Judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.history import History, Moment
    from chaos.hotel.fleet.ears import Ears
    from chaos.plan import Work

PLAN: Final = parse_plan("""
    plan        Desks come back all at once, and sync cannot be reached
    owner       front desk
    lasts       75, then 80 of calm

    work        looks desks=2 every=2
    work        boards desks=4 every=0.5
    work        tills desks=2 every=2
    work        follows desks=240 servers=2 shakes=1
    work        knocks devices=150 at=30
    work        speaks every=2 servers=2
    fault       sync hang from 29.5 until 45
    fault       sync down from 45 until 70
    fault       bff-2 kill from 30 until 40

    always      in-time honest answered
    always      undisturbed brisk put-off-well turned-away-well stale-shown
    eventually  whole within 20
    eventually  live within 20
    eventually  let-in within 20
    eventually  in-step within 78
    eventually  heard within 78
""")

SYNC: Final = "sync"
STORMED: Final = "bff-"
BOARD: Final = "board-"
KNOCKS: Final = "knocks"
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "max": 1.0}
BRISK: Final = 0.5  # seconds, in which a board is there: it takes one answer of one service
AFTER: Final = 15.0  # seconds that a fault of sync is felt after its end: its breakers are open
COMES_BACK: Final = 40.0  # seconds after a server has died in which its desks may find nobody
SHED: Final = frozenset({"OVERLOADED", "RATE_LIMITED", "DRAINING", "CACHE_UNAVAILABLE"})


async def boards(stage: HotelStage, history: History, work: Work) -> None:
    """Desks that look at the housekeeping board."""
    desks, every = round(work.number("desks", 4)), work.number("every", 0.5)
    first = stage.chance("boards")
    async with trio.open_nursery() as nursery:
        for number in range(desks):
            nursery.start_soon(_look_on, stage, history, number, every, first.uniform(0, every))


async def _look_on(stage: HotelStage, history: History, number: int, every: float, first: float) -> None:
    lane = f"{BOARD}{number + 1}"
    desk = await signed_in(stage, lane, number)
    assert desk.session is not None, "signed in"
    began = trio.current_time() + first
    for turn in count():
        await trio.sleep_until(max(began + turn * every, trio.current_time()))
        asked = trio.current_time()
        try:
            seen = await desk.get("/v1/housekeeping/board", {"propertyId": desk.session.properties[0]["id"]})
        except Refused as refused:
            took = trio.current_time() - asked
            history.note(lane, "refused", str(refused), good=False, took=took, status=refused.status)
        else:
            history.note(lane, "read", good=True, took=seen.took, slow=seen.took > BRISK + stage.late)


async def knocks(stage: HotelStage, history: History, work: Work) -> None:
    """Devices that ask for a stream at once, and come again when they are told to."""
    person, devices = round(work.number("person", 1)), round(work.number("devices", 100))
    at = trio.current_time() - history.elapsed() + work.number("at", 20.0)
    history.note(KNOCKS, "arrives", f"{devices} devices", devices=devices)
    async with seated(stage, person, devices) as ears, trio.open_nursery() as streams:

        async def knock(one: Ears) -> None:
            began = trio.current_time()
            streams.start_soon(one.listen)
            await one.live.wait()
            told = {"turned": [list(turned) for turned in one.turned]}
            history.note(KNOCKS, "let-in", one.desk.device, good=True, took=trio.current_time() - began, **told)

        await trio.sleep_until(at)
        for one in ears:
            one.desk.base = await stage.origin(0)
            streams.start_soon(knock, one)
        await trio.sleep_forever()


def turned_away_well() -> Judge:
    """Who finds no room for a stream is told so by 503 or 429, and when to come again."""

    def judge(moment: Moment) -> str | None:
        for status, again in moment.data.get("turned", ()):
            if status not in {429, 503} or again is None:
                return f"{moment.lane}: {moment.text} is turned away with {status}, again after {again} s"
        return None

    return judge


def let_in(history: History) -> str:
    """How many of those who knocked have no stream yet; '' where all have."""
    knocked = [moment for moment in history.moments if moment.lane == KNOCKS]
    left = sum(moment.data.get("devices", 0) - (moment.word == "let-in") for moment in knocked)
    return f"{left} are not let in" if left else ""


def brisk() -> Judge:
    """What has nothing to do with sync is there, and soon."""

    def judge(moment: Moment) -> str | None:
        if not moment.lane.startswith(BOARD):
            return None
        if moment.word == "refused":
            return f"{moment.lane}: {moment.text}"
        return f"{moment.lane}: a board after {moment.took:.3f} s" if moment.data.get("slow") else None

    return judge


def put_off_well() -> Judge:
    """A handshake is put off for a fault of sync or of the server alone, by the contract, with the time to come again.

    Once sync is well a desk is put off once more at most: somebody has to find out that it is, and who asks in that
    moment is not waited for. Nobody is there only where a server was killed.
    """
    troubles = Troubles()
    once_more: set[str] = set()

    def judge(moment: Moment) -> str | None:
        troubles.see(moment)
        if moment.word == "shook":
            once_more.discard(moment.lane)
        if moment.word != "put-off":
            return None
        status, code, again = (moment.data[name] for name in ("status", "code", "again"))
        began = moment.at - moment.took
        if (status, code, again) == (502, "UPSTREAM_UNAVAILABLE", AGAIN):
            if troubles.felt(SYNC, began, moment.at):
                return None
            wrong = moment.lane in once_more or SYNC not in troubles.spans
            once_more.add(moment.lane)
            return f"{moment.lane}: {moment.text}, and sync is well" if wrong else None
        if status == 0 or (status in {429, 503} and code in SHED and again is not None):
            return None if _stormed(troubles, began, moment.at) else f"{moment.lane}: {moment.text}, and all is quiet"
        return f"{moment.lane}: {moment.text} with status {status}, again after {again} s"

    return judge


def _stormed(troubles: Troubles, begin: float, end: float) -> bool:
    servers = [name for name in troubles.spans if name.startswith(STORMED)]
    return any(troubles.felt(name, begin, end, after=COMES_BACK) for name in servers)


def stale_shown() -> Judge:
    """While sync is in trouble a dashboard says that what it shows of it may be behind, and only then."""
    troubles = Troubles()

    def judge(moment: Moment) -> str | None:
        troubles.see(moment)
        if moment.word != "shown" or moment.data["code"]:
            return None
        began, stale = moment.at - moment.took, moment.data["stale"]
        there = any(first <= began and moment.at <= last for first, last in troubles.spans.get(SYNC, ()))
        if there and stale is not True:
            return f"{moment.lane}: {moment.text}, and sync is in trouble"
        if stale is True and not troubles.felt(SYNC, began, moment.at, after=AFTER):
            return f"{moment.lane}: {moment.text}, and sync is well"
        return None

    return judge


def figures(moments: Sequence[Moment]) -> Mapping[str, float | int | str]:
    """How the storm went, and what it was to those who had nothing to do with it."""
    died = next((one.at for one in moments if one.word == "breaking" and one.data["target"] == STORMED + "2"), math.inf)
    back = sorted(_coming_back(moments, died))
    puts = [moment for moment in moments if moment.word == "put-off"]
    knocked = [moment for moment in moments if moment.lane == KNOCKS and moment.word == "let-in"]
    return {
        "desks that came back": len(back),
        **{f"back {name} s": _quantile(back, part) for name, part in QUANTILES.items()},
        "knocked": len(knocked),
        "turned away 503": sum(turned[0] == 503 for moment in knocked for turned in moment.data["turned"]),
        **{f"let in {name} s": _quantile([one.took for one in knocked], part) for name, part in QUANTILES.items()},
        "handshakes": sum(moment.word == "shook" for moment in moments),
        **{f"put off {status}": sum(one.data["status"] == status for one in puts) for status in (0, 502, 503)},
        "slowest handshake s": round(max((moment.took for moment in puts), default=0.0), 3),
        "dashboards with staleSync": sum(one.data.get("stale") is True for one in moments if one.word == "shown"),
        "events heard": sum(moment.word == "heard" for moment in followers(moments)),
        "refetches": sum(moment.word == "refetch" for moment in followers(moments)),
        **_beside(moments, "boards", BOARD, "read", died),
        **_beside(moments, "charges", TILL, "done", died),
    }


def _beside(moments: Sequence[Moment], what: str, lane: str, word: str, died: float) -> Mapping[str, float | int | str]:
    """How soon others were answered, before the storm and in it."""
    took = [(one.at, 1000 * one.took) for one in moments if one.word == word and one.lane.startswith(lane)]
    return {
        f"{what} p95 ms in quiet": _quantile([ms for at, ms in took if at < died], 0.95),
        f"{what} p95 ms in the storm": _quantile([ms for at, ms in took if died <= at <= died + COMES_BACK], 0.95),
    }


def _coming_back(moments: Sequence[Moment], died: float) -> list[float]:
    """How many seconds after the death each desk that lost its stream had another one."""
    lost: set[str] = set()
    found: dict[str, float] = {}
    for moment in followers(moments):
        if moment.at >= died and moment.word in {"offline", "polling"}:
            lost.add(moment.lane)
        elif moment.word == "live" and moment.lane in lost:
            found.setdefault(moment.lane, moment.at - died)
    return list(found.values())


def _quantile(values: Sequence[float], part: float) -> float | str:
    return round(sorted(values)[max(0, math.ceil(part * len(values)) - 1)], 2) if values else "nobody"


GAME_DAY: Final = GameDay(
    name="sync-storm",
    plan=PLAN,
    cast=Cast(
        {"boards": boards, "knocks": knocks, "tills": tills},
        {
            "undisturbed": undisturbed,
            "brisk": brisk,
            "put-off-well": put_off_well,
            "turned-away-well": turned_away_well,
            "stale-shown": stale_shown,
        },
        {"let-in": let_in},
    ),
    figures=figures,
    about="A server dies under 120 desks, which come back while sync hangs, and again while it is down",
)
