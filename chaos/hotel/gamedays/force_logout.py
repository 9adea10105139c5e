"""Everybody of one operator is logged out in one moment, at 2,000 connected devices (F-31).

    logout       a fleet of one operator, half of it at each of two servers. All of it listens; then the operator is
                 logged out, and each device is asked what became of it: what it heard, whether its stream has ended,
                 and what its next request and its next renewal are answered
    bystanders   devices of somebody else, who hear nothing of it, and are still in at the end

Three fleets, one after the other: 2,000 devices on a bus that is well; some whose servers hear nothing on it any more,
over lines that look well (F-34); and some while the session tier is down, when nothing is done until it is back. Before
its own turn each fleet is a bystander of the others. Some devices ask in the very moment in which it is taken: they
are refused, whether they have heard of it or not.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from chaos.hotel.checks.promises import Troubles
from chaos.hotel.fleet.gathering import AGAIN, code_of, each, gathered
from chaos.hotel.gamedays import GameDay
from chaos.hotel.stage import BUS, HotelStage
from chaos.plan import parse_plan
from chaos.play import Cast, Judge
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.history import History, Moment
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.fleet.ears import Ears
    from chaos.plan import Work

PLAN: Final = parse_plan("""
    plan        Everybody of one operator is logged out in one moment
    owner       security
    lasts       70, then 20 of calm

    work        looks desks=1 every=2
    work        bystanders person=0 devices=20
    work        logout person=2 devices=2000 at=30
    work        logout person=3 devices=100 at=45
    work        logout person=1 devices=100 at=60
    fault       bus hang from 44.8 until 53
    fault       redis-session kill from 59 until 63

    always      in-time honest answered
    always      out-in-time shut nobody-else
    eventually  all-out within 15
    eventually  still-in within 15
    eventually  exported within 15
""")

TOLD_SECONDS: Final = 5.0  # in which a device has heard it (CONTRACT section 5)
SETTLES: Final = 10.0  # seconds that are waited for a device that has not
EAGER: Final = 20  # devices that ask in the moment before it is said, and as many in that in which it is taken
OVER: Final = "SESSION_EXPIRED"
TIER: Final = "redis-session"
DELIVERED: Final = "bff_force_logout_seconds_count"
LOGGED_OUT: Final = "force-logout"
EXPIRED: Final = "expired"
OF_OTHERS: Final = frozenset({"bus-stalled", "board-changed", "dashboard-stale"})  # what anybody may hear beside it


async def logout(stage: HotelStage, history: History, work: Work) -> None:
    """A fleet that is logged out `at` so many seconds, or as soon as all of it listens."""
    person, devices = round(work.number("person", 0)), round(work.number("devices", 100))
    at = trio.current_time() - history.elapsed() + work.number("at", 20.0)
    lane = stage.person(person).operator
    history.note(lane, "arrives", f"{devices} devices", devices=devices)
    async with gathered(stage, person, devices) as ears:
        fleet = _Fleet(stage, history, person, ears)
        history.note(lane, "listens", f"{devices} devices", good=True)
        await trio.sleep_until(at)
        for one in ears[:EAGER]:
            fleet.looks_around(one, await asked(one.desk))
        said = await fleet.log_out()
        for one in ears[-EAGER:]:
            refused = await asked(one.desk)
            history.note(lane, "asks", refused or "let in", good=refused == OVER, request=refused)
        await each(partial(fleet.settled, one, said) for one in ears)


async def bystanders(stage: HotelStage, history: History, work: Work) -> None:
    """Devices that nobody logs out: each is asked in the calm. Then it is read what the servers say of the others."""
    person, devices = round(work.number("person", 0)), round(work.number("devices", 20))
    before = await stage.counted(DELIVERED)
    lane = stage.person(person).operator
    history.note(lane, "comes", f"{devices} devices", devices=devices)
    async with gathered(stage, person, devices) as ears:
        fleet = _Fleet(stage, history, person, ears)
        await history.until_calm()
        for one in ears:
            fleet.looks_around(one, await asked(one.desk), await code_of(one.desk.renew))
        while True:
            count = round(await stage.counted(DELIVERED) - before)
            history.note("servers", "counted", f"{count} devices were told", count=count)
            await trio.sleep(1.0)


async def asked(desk: Desk) -> str:
    """What the desk's next request comes to: '' where it is let in, the code of the refusal otherwise."""
    return await code_of(partial(desk.ask, "GET", "/v1/session"))


@dataclass(frozen=True, slots=True)
class _Fleet:
    """Devices that listen, all of one person."""

    stage: HotelStage
    history: History
    person: int
    ears: tuple[Ears, ...]

    async def log_out(self) -> float:
        """Say it until it is taken. Gives when the push that was taken began, on Trio's clock."""
        who = self.stage.person(self.person)
        uid = self.stage.outside(who.operator).identifier()
        platform = await self.stage.platform(0)
        try:
            while True:
                said = trio.current_time()
                status = await platform.push(LOGGED_OUT, uid, who.tenant, operatorId=who.operator)
                taken = status == 204
                self.history.note(who.operator, "said", f"answered {status}", good=taken or None, status=status)
                if taken:
                    return said
                await trio.sleep(AGAIN)
        finally:
            await platform.aclose()

    async def settled(self, ears: Ears, said: float) -> None:
        """What has become of one device."""
        with within(max(0.0, said + SETTLES - trio.current_time())):
            await ears.over.wait()
        request, renewal = await asked(ears.desk), await code_of(ears.desk.renew)
        knew = [word.at - said for word in ears.words if _ends(word.event, word.data)]
        found: dict[str, Any] = {
            "after": min(knew, default=math.inf),
            "heard": dict(Counter(word.event for word in ears.words)),
            "last": ears.last if ears.over.is_set() else "still open",
            "request": request,
            "renewal": renewal,
        }
        good = found["after"] <= TOLD_SECONDS and request == renewal == OVER
        text = f"{ears.desk.device} after {found['after']:.3f} s, {found['last']}, {request} {renewal}"
        self.history.note(self.stage.person(self.person).operator, "out", text, good=good, **found)

    def looks_around(self, ears: Ears, *codes: str) -> None:
        """What a device says whom nobody has logged out yet; `codes` are what it was refused with."""
        heard = sorted({word.event for word in ears.words} - OF_OTHERS)
        wrong = [*heard, *(["its stream has ended"] if ears.over.is_set() else []), *filter(None, codes)]
        text = " ".join([ears.desk.device, ", ".join(wrong)]).rstrip()
        word = "disturbed" if wrong else "still-in"
        self.history.note(self.stage.person(self.person).operator, word, text, good=not wrong)


def _ends(event: str, data: str) -> bool:
    """Whether a device knows by that word that its session is over."""
    said = msgspec.json.decode(data, type=dict[str, Any])
    return event == LOGGED_OUT or (event == EXPIRED and said.get("reason") == "session-ended")


def out_in_time() -> Judge:
    """A device hears it once, in time, as the last word of a stream that ends as it should.

    Where the bus was in trouble the word that its session has ended is as good.
    """
    troubles = Troubles()

    def judge(moment: Moment) -> str | None:
        troubles.see(moment)
        if moment.word != "out":
            return None
        heard, last, after = moment.data["heard"], moment.data["last"], moment.data["after"]
        felt = any(troubles.felt(target, moment.at - SETTLES, moment.at) for target in (BUS, TIER))
        allowed = {LOGGED_OUT, EXPIRED} if felt else {LOGGED_OUT}
        ends = [word for word in (LOGGED_OUT, EXPIRED) for _ in range(heard.get(word, 0))]
        if ends == [last] and last in allowed and after <= TOLD_SECONDS:
            return None
        return f"{moment.lane}: {moment.text}, heard {heard}"

    return judge


def shut() -> Judge:
    """From the moment in which it is taken, no request and no renewal of the fleet is answered but by 401."""

    def judge(moment: Moment) -> str | None:
        if moment.word not in {"asks", "out"}:
            return None
        wrong = [
            moment.data[what] or "let in" for what in ("request", "renewal") if moment.data.get(what, OVER) != OVER
        ]
        return f"{moment.lane}: {moment.text}: {', '.join(wrong)}" if wrong else None

    return judge


def nobody_else() -> Judge:
    """Who is not logged out is not disturbed."""
    return lambda moment: f"{moment.lane}: {moment.text}" if moment.word == "disturbed" else None


def all_out(history: History) -> str:
    """How many devices of which fleets nobody has asked yet what became of them; '' where all were."""
    left: Counter[str] = Counter()
    for moment in history.moments:
        left[moment.lane] += moment.data["devices"] if moment.word == "arrives" and "devices" in moment.data else 0
        left[moment.lane] -= moment.word == "out"
    return ", ".join(f"{count} of {lane} are not known to be out" for lane, count in left.items() if count)


def still_in(history: History) -> str:
    """How many bystanders have not been asked in the calm yet; '' where all have."""
    calm = math.inf if history.calm_at is None else history.calm_at
    left: Counter[str] = Counter()
    for moment in history.moments:
        left[moment.lane] += moment.data["devices"] if moment.word == "comes" else 0
    for moment in history.moments:
        left[moment.lane] -= moment.word in {"still-in", "disturbed"} and moment.at >= calm and left[moment.lane] > 0
    return ", ".join(f"{count} of {lane} were not asked" for lane, count in left.items() if count)


def exported(history: History) -> str:
    """The servers have measured how soon it was heard, for each device that heard it."""
    heard = sum(moment.data["heard"].get(LOGGED_OUT, 0) for moment in history.moments if moment.word == "out")
    counts = [moment.data["count"] for moment in history.moments if moment.word == "counted" and "count" in moment.data]
    return "" if counts and counts[-1] == heard else f"{heard} heard it, {counts[-1] if counts else 'nothing'} measured"


def figures(moments: Sequence[Moment]) -> Mapping[str, float | int | str]:
    """How soon each fleet heard it, and by which word."""
    told: dict[str, float | int | str] = {}
    for lane in dict.fromkeys(moment.lane for moment in moments if moment.word == "out"):
        out = [moment for moment in moments if moment.lane == lane and moment.word == "out"]
        after = sorted(moment.data["after"] * 1000 for moment in out)
        told |= {
            f"{lane}: devices": len(out),
            f"{lane}: p50 ms": round(after[len(after) // 2], 1),
            f"{lane}: p95 ms": round(after[math.ceil(0.95 * len(after)) - 1], 1),
            f"{lane}: max ms": round(after[-1], 1),
            f"{lane}: by {LOGGED_OUT}": sum(moment.data["heard"].get(LOGGED_OUT, 0) for moment in out),
            f"{lane}: pushes": sum(moment.lane == lane and moment.word == "said" for moment in moments),
        }
    refused = sum((moment.data["request"] == OVER) for moment in moments if moment.word == "asks")
    return {**told, "refused in the moment it was taken": refused}


GAME_DAY: Final = GameDay(
    name="force-logout",
    plan=PLAN,
    cast=Cast(
        {"logout": logout, "bystanders": bystanders},
        {"out-in-time": out_in_time, "shut": shut, "nobody-else": nobody_else},
        {"all-out": all_out, "still-in": still_in, "exported": exported},
    ),
    figures=figures,
    about="Everybody of one operator is logged out, at 2,000 devices, and while the bus is down",
)
