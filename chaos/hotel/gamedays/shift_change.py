"""The session tier fails over, and loses what was written last, while the shift changes (F-19).

    hands      desks that follow their events and change hands: one operator signs out, the next signs in. What the
               leaving one had, somebody tries at every server for a while: request after request, and a renewal
    spree      desks that change everything meanwhile, at either server; `tills`, that charge alone, are a small one
    speaks     the platform, so that there is something to be lost
    looks      dashboards, which must come in time all along

A failover is felt as a pause, not as a loss. Nobody is signed out by it, and nobody who has signed out is signed in
again: while the tier is away another server may let him read by his token alone, and its mark is insisted on when it is
back. Every event is heard once, and every change is done once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.checks.changed import tries
from chaos.hotel.checks.heard import followers
from chaos.hotel.checks.promises import Troubles
from chaos.hotel.fleet.desk import Desk, Refused
from chaos.hotel.fleet.follows import FOLLOWS, Seat
from chaos.hotel.fleet.spree import spree
from chaos.hotel.gamedays import GameDay
from chaos.hotel.gamedays.lock_outage import tills
from chaos.hotel.stage import AGAIN, HotelStage, reaching, through
from chaos.plan import parse_plan
from chaos.play import Cast, Judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.history import History, Moment
    from chaos.hotel.fleet.desk import Session
    from chaos.plan import Work

PLAN: Final = parse_plan("""
    plan        The session tier fails over while shifts change
    owner       platform
    lasts       80, then 60 of calm

    work        looks desks=2 every=2
    work        hands desks=6 servers=2 every=5
    work        spree desks=3 servers=2
    work        speaks every=0.5 servers=2
    work        inspector every=2
    fault       redis-session failover lost=2 takes=3 from 20
    fault       redis-session failover lost=1 from 40
    fault       redis-session kill from 58 until 62

    always      in-time honest answered
    always      gone kept soon-heard prompt one-answer complete chained
    eventually  whole within 20
    eventually  live within 30
    eventually  heard within 40
    eventually  answered-all within 45
    eventually  settled within 60
    eventually  once within 60
    eventually  audited within 60
    eventually  told within 60
""")

TIER: Final = "redis-session"
GHOSTS: Final = "ghosts"
OVER: Final = "SESSION_EXPIRED"
HAUNTS: Final = 20.0  # seconds in which what somebody had is tried after he has signed out
TRIED: Final = 1.5  # seconds from one try to the next
MARKED: Final = 12.0  # seconds after the tier is back in which the mark is made: the longest pause, and a bit
STREAM_ENDS: Final = 6.0  # seconds, where the word is lost: who listens by it is asked for every five
ELEVATED: Final = 30.0  # seconds for which a failover may be felt (F-19)


async def hands(stage: HotelStage, history: History, work: Work) -> None:
    """Desks that change hands every so many seconds, until the calm."""
    desks, servers = round(work.number("desks", 8)), round(work.number("servers", 2))
    every, chance = work.number("every", 6.0), stage.chance("hands")
    origins = tuple([await stage.origin(number) for number in range(servers)])
    async with trio.open_nursery() as nursery:
        for number in range(desks):
            home = number % servers
            seat = Seat(stage, history, f"{FOLLOWS}hand-{number + 1}", (*origins[home:], *origins[:home]))
            nursery.start_soon(_Hands(stage, history, seat, origins).serve, number, every, chance.uniform(0.5, 1.5))


@dataclass(frozen=True, slots=True)
class _Hands:
    """One desk, `seat`, and whoever tries at `origins` what its operators had."""

    stage: HotelStage
    history: History
    seat: Seat
    origins: tuple[str, ...]

    async def serve(self, person: int, every: float, pace: float) -> None:
        """One operator after the other."""
        self.history.note(self.seat.lane, "arrives")
        outside = self.seat.outside()
        async with through(outside.connect) as client, trio.open_nursery() as nursery:
            while True:
                desk = await self.seat.signed_in(client, outside, person)
                async with trio.open_nursery() as one:
                    one.start_soon(self.seat.follow, desk, outside)
                    await trio.sleep(every * pace)
                    if self.history.calm_at is not None:
                        await trio.sleep_forever()
                    had = await self._signs_out(desk)
                    nursery.start_soon(self._haunt, desk, had, trio.current_time())
                person += 1

    async def _signs_out(self, desk: Desk) -> Session:
        """What he had. However often it has to be tried."""
        had = desk.session
        assert had is not None, "signed in"
        self.history.note(self.seat.lane, "leaves", desk.device)
        while True:
            try:
                await desk.sign_out()
            except Refused as refused:
                if refused.code == OVER:  # a try that nobody answered had done it
                    break
                self.history.note(self.seat.lane, "stays", str(refused), code=refused.code)
                await trio.sleep(AGAIN)
            else:
                break
        self.history.note(self.seat.lane, "signed-out", desk.device, good=True, session=had.session_id)
        return had

    async def _haunt(self, desk: Desk, had: Session, left: float) -> None:
        async with trio.open_nursery() as nursery:
            for origin in self.origins:
                nursery.start_soon(self._haunt_at, origin, desk, had, left)

    async def _haunt_at(self, origin: str, desk: Desk, had: Session, left: float) -> None:
        """Somebody who has all that he had, at one server."""
        outside = self.stage.outside(self.seat.lane)
        async with reaching(outside.connect, origin) as client:
            ghost = Desk(client, origin, outside, device=desk.device)
            ghost.key, ghost.session = desk.key, had
            while trio.current_time() < left + HAUNTS:
                await self._tried("request", ghost, left)
                await trio.sleep(TRIED)
            await self._tried("renewal", ghost, left)

    async def _tried(self, what: str, ghost: Desk, left: float) -> None:
        code = ""
        try:
            await (ghost.renew() if what == "renewal" else ghost.ask("GET", "/v1/session"))
        except Refused as refused:
            code = refused.code
        after = trio.current_time() - left
        text = f"{what} of {ghost.device} at {ghost.base}, {after:.3f} s after he left: {code or 'let in'}"
        self.history.note(GHOSTS, what, text, good=code == OVER or None, code=code, after=after)


def gone() -> Judge:
    """Who has signed out is let in nowhere, but to read, while the tier is away and until its mark is made again.

    No renewal is answered but by 401, and his stream ends as soon.
    """
    troubles = Troubles()
    left: dict[str, float] = {}

    def judge(moment: Moment) -> str | None:
        troubles.see(moment)
        if moment.word == "signed-out":
            left[moment.lane] = moment.at
        if moment.word == "over" and moment.lane in left:
            at = left.pop(moment.lane)
            known = moment.at - at <= STREAM_ENDS or troubles.felt(TIER, at, moment.at, after=MARKED)
            return None if known else f"{moment.lane}: a stream goes on {moment.at - at:.3f} s after he left"
        if moment.lane != GHOSTS or moment.data["code"] == OVER:
            return None
        known = moment.word == "renewal" or not troubles.felt(TIER, moment.at - moment.took, moment.at, after=MARKED)
        return moment.text if known else None

    return judge


def kept() -> Judge:
    """Nobody is signed out but by himself."""
    leaves: set[str] = set()

    def judge(moment: Moment) -> str | None:
        if moment.word == "signed-in":
            leaves.discard(moment.lane)
        elif moment.word == "leaves":
            leaves.add(moment.lane)
        elif moment.word == "over" and moment.lane not in leaves:
            return f"{moment.lane}: {moment.text}, and nobody has signed out"
        return None

    return judge


def soon_heard() -> Judge:
    """Whatever is said is heard before a failover is over that may be felt for so long."""

    def judge(moment: Moment) -> str | None:
        after = moment.data.get("after", 0.0) if moment.word == "heard" else 0.0
        return f"{moment.lane}: alert {moment.data['n']} after {after:.3f} s" if after > ELEVATED else None

    return judge


def figures(moments: Sequence[Moment]) -> Mapping[str, float | int | str]:
    """What was felt of it: how long nothing was heard, and nothing could be changed."""
    heard = [moment for moment in followers(moments) if moment.word == "heard" and moment.data["n"] is not None]
    late = sorted(moment.data["after"] for moment in heard)
    done = [moment.at for moment in tries(moments) if moment.word == "done"]
    ghosts = [moment for moment in moments if moment.lane == GHOSTS]
    let_in = [moment.data["after"] for moment in ghosts if not moment.data["code"]]
    states = [moment.word for moment in followers(moments)]
    return {
        "sign-ins": states.count("signed-in"),
        "sign-outs": states.count("signed-out"),
        "alerts heard": len(heard),
        "heard p50 s": round(late[len(late) // 2], 3) if late else "nobody",
        "heard max s": round(late[-1], 3) if late else "nobody",
        "polling": states.count("polling"),
        "offline": states.count("offline"),
        "refetches": states.count("refetch"),
        "changes": len(done),
        "longest pause of changes s": round(max((b - a for a, b in pairwise(done)), default=0.0), 3),
        "tried by ghosts": len(ghosts),
        "ghosts let in": len(let_in),
        "longest that one was let in s": round(max(let_in, default=0.0), 3),
    }


GAME_DAY: Final = GameDay(
    name="shift-change",
    plan=PLAN,
    cast=Cast({"hands": hands, "spree": spree, "tills": tills}, {"gone": gone, "kept": kept, "soon-heard": soon_heard}),
    figures=figures,
    about="The session tier fails over while operators sign out and in, change things and follow events",
)
