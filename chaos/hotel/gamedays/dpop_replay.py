"""A thief with a stolen proof, with a stolen token, at another instance, while the session tier fails over (F-28).

Somebody reads along on a desk's wire and has all that a request carries: token, proof, device. He tries, as fast as he
can, at two servers on the same stores:

    again       the same request once more, at the server that has answered it
    elsewhere   the same request at the other server
    late        the same, kept back for a second or two: a tier that lost its tail does not know it any more
    race        a proof that nobody has used yet, at both servers at once: one of them may take it
    bent        the proof with another request than it was made for
    own-key     the token with a proof by a key of his own

A proof is accepted once, wherever it is shown, as long as the tier knows what was accepted. While it is down, or has
lost what was written last, a *read* may pass once at each server (CONTRACT section 2); how often that happened is
counted by the servers, and must be what the thief got.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import httpx
import trio

from chaos.history import FAULTS, History, Moment
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.proof import make_key, make_proof
from chaos.hotel.gamedays import GameDay
from chaos.hotel.stage import HotelStage, signed_in
from chaos.plan import parse_plan
from chaos.play import Cast, Judge
from chaos.sim.entropy import entropy
from chaos.toxics import Failover, split
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.hotel.fleet.desk import Desk
    from chaos.plan import Work

PLAN: Final = parse_plan("""
    plan        A thief replays what he has read along on the wire
    owner       security
    lasts       60, then 15 of calm

    work        looks desks=3 every=2
    work        thief every=0.5
    work        auditor every=1
    fault       redis-session failover lost=1.5 takes=2 from 15
    fault       redis-session kill from 30 until 36
    fault       redis-session stop from 45 until 50

    always      in-time honest answered exactly-once no-stranger
    eventually  whole within 5
    eventually  counted within 10
""")

READ: Final = ("GET", "/v1/session")
OTHER: Final = ("DELETE", "/v1/session")
LATE: Final = 1  # proofs that are kept back at a time
PATIENCE: Final = 5.0  # seconds
SLACK: Final = 2.0  # seconds in which a server may not have noticed yet that the tier is there again
TIER: Final = "redis-session"
MANY: Final = 50  # replays blocked, after which it is worth a line
PASSED: Final = "bff_dpop_replay_passed_total"
BLOCKED: Final = "bff_dpop_replay_blocked_total"


@dataclass(frozen=True, slots=True)
class Loot:
    """What was read along of one request: all that it takes to send it again."""

    jti: str
    headers: Mapping[str, str]


async def thief(stage: HotelStage, history: History, work: Work) -> None:
    """A desk at work, and somebody who reads along."""
    every = work.number("every", 0.5)
    async with await stage.client(0) as here, await stage.client(1) as there:
        one = _Thief(stage, history, (here, there), await signed_in(stage, "victim", 0))
        pauses = stage.chance("thief")
        for number in count():
            await one.turn(number)
            await trio.sleep(every * pauses.uniform(0.5, 1.5))


@dataclass(slots=True)
class _Thief:
    """One who steals from `desk`, and tries what he has at servers 0 and 1."""

    stage: HotelStage
    history: History
    clients: tuple[httpx.AsyncClient, httpx.AsyncClient]
    desk: Desk
    kept_back: list[Loot] = field(default_factory=list)

    async def turn(self, number: int) -> None:
        """One request of the victim's, and all that can be done with it."""
        loot = self._loot(f"seen-{number}", READ)
        try:
            await self._shown("victim", "own", loot, 0)
        except Refused:
            self.desk = await signed_in(self.stage, "victim", 0)
            return
        await self._shown("thief", "again", loot, 0)
        if number % 2:
            await self._shown("thief", "elsewhere", loot, 1)
        else:
            self.kept_back.append(loot)
        await self._shown("thief", "bent", loot, number % 2, OTHER)
        await self._shown("thief", "own-key", self._forged(number), number % 2)
        if len(self.kept_back) > LATE:
            await self._shown("thief", "late", self.kept_back.pop(0), 1)
        unused = self._loot(f"unused-{number}", READ)
        async with trio.open_nursery() as both:
            for server in (0, 1):
                both.start_soon(partial(self._shown, "race", "race", unused, server))

    def _loot(self, jti: str, what: tuple[str, str], *, forged: bool = False) -> Loot:
        desk = self.desk
        assert desk.session is not None, "signed in"
        token = desk.session.access_token
        key = make_key(entropy(0, "thief", jti)) if forged else desk.key
        proof = make_proof(key, what[0], f"{desk.base}{what[1]}", token=token, now=self.stage.now(), jti=jti)
        return Loot(jti, {"authorization": f"DPoP {token}", "dpop": proof, "x-device-id": desk.device})

    def _forged(self, number: int) -> Loot:
        return self._loot(f"forged-{number}", READ, forged=True)

    async def _shown(self, lane: str, way: str, loot: Loot, server: int, what: tuple[str, str] = READ) -> None:
        """Show it at a server, and note what came of it. Raises `Refused` for the victim alone."""
        began = trio.current_time()
        status, code = 0, "UNREACHABLE"
        with within(PATIENCE):
            try:
                answer = await self.clients[server].request(
                    what[0], f"{self.desk.base}{what[1]}", headers=dict(loot.headers)
                )
            except httpx.HTTPError as error:
                code = type(error).__name__
            else:
                status = answer.status_code
                code = "" if answer.is_success else answer.json()["code"]
        passed = 200 <= status < 300
        good = passed if lane == "victim" else (None if passed else status == 401)
        said = {"jti": loot.jti, "server": server, "way": way, "status": status, "code": code}
        took = trio.current_time() - began
        word = "passed" if passed else "refused"
        self.history.note(lane, word, f"{way} at server {server + 1}: {code or 'passed'}", good=good, took=took, **said)
        if lane == "victim" and not passed:
            raise Refused(status, code, "the victim's own request")


async def auditor(stage: HotelStage, history: History, work: Work) -> None:
    """Reads what the servers have counted, again and again."""
    await stage.origin(1)
    before, last = None, (-math.inf, -math.inf)
    while True:
        now = (await stage.counted(PASSED), await stage.counted(BLOCKED))
        before = before or now
        if now[0] != last[0] or now[1] - last[1] >= MANY:
            last, since = now, (now[0] - before[0], now[1] - before[1])
            text = f"{since[0]:.0f} passed, {since[1]:.0f} blocked"
            history.note("servers", "counted", text, passed=since[0], blocked=since[1])
        await trio.sleep(work.number("every", 1.0))


def _passes(moments: Sequence[Moment]) -> dict[str, list[Moment]]:
    """Who was let in with which proof, in order."""
    found: dict[str, list[Moment]] = {}
    for moment in moments:
        if moment.word == "passed":
            found.setdefault(str(moment.data["jti"]), []).append(moment)
    return found


def exactly_once() -> Judge:
    """A proof is accepted once: at one server always, at both while the tier knows what was accepted."""
    let_in: dict[str, list[Moment]] = {}
    lapses: list[list[float]] = []  # from when to when the tier may not have known, or not have been asked

    def judge(moment: Moment) -> str | None:
        if moment.lane == FAULTS:
            _lapse(moment, lapses)
        if moment.word != "passed":
            return None
        before = let_in.setdefault(str(moment.data["jti"]), [])
        before.append(moment)
        for other in before[:-1]:
            if other.data["server"] == moment.data["server"]:
                return f"{moment.data['jti']} passed twice at server {moment.data['server'] + 1}"
            if not (_within(lapses, other) or _within(lapses, moment)):
                return f"{moment.data['jti']} passed at both servers, and the tier was well"
        return None

    return judge


def _lapse(moment: Moment, lapses: list[list[float]]) -> None:
    if moment.data.get("target", TIER) != TIER:
        return
    if moment.word == "breaking":
        toxic = split(str(moment.data["toxic"]))
        if isinstance(toxic, Failover):
            lapses.append([moment.at - toxic.lost - SLACK, moment.at + toxic.takes + SLACK])
        else:
            lapses.append([moment.at, math.inf])
    elif moment.word == "skipped":
        lapses.pop()
    elif lapses and moment.word in {"ends", "calm"}:
        lapses[-1][1] = min(lapses[-1][1], moment.at + SLACK)


def _within(lapses: list[list[float]], moment: Moment) -> bool:
    return any(first <= moment.at and moment.at - moment.took <= last for first, last in lapses)


def no_stranger() -> Judge:
    """What was made for another request, or by another key, is never let in, whatever is broken."""

    def judge(moment: Moment) -> str | None:
        if moment.word == "passed" and moment.data["way"] in {"bent", "own-key"}:
            return f"{moment.data['way']} passed at server {moment.data['server'] + 1}"
        return None

    return judge


def counted(history: History) -> str:
    """The servers have counted what passed more than once, no more and no less; '' when they have."""
    more = sum(len(passes) - 1 for passes in _passes(history.moments).values())
    said = [moment.data["passed"] for moment in history.moments if moment.lane == "servers"]
    return "" if said and said[-1] == more else f"{more} passed twice, {said[-1] if said else 'nothing'} counted"


def figures(moments: Sequence[Moment]) -> Mapping[str, float | int | str]:
    """What the thief tried and got, and what the servers say of it."""
    tried = [moment for moment in moments if moment.lane in {"thief", "race"}]
    said = [moment.data for moment in moments if moment.lane == "servers"]
    ways = {way: sum(moment.data["way"] == way for moment in tried) for way in sorted({m.data["way"] for m in tried})}
    again = sum(len(passes) - 1 for passes in _passes(moments).values())
    return {
        "attempts": len(tried),
        "refused": sum(moment.word == "refused" for moment in tried),
        **{f"tried {way}": count for way, count in ways.items()},
        "reads that passed a second time": again,
        "counted by the servers": said[-1]["passed"] if said else "nothing",
        "replays blocked by the servers": said[-1]["blocked"] if said else "nothing",
    }


GAME_DAY: Final = GameDay(
    name="dpop-replay",
    plan=PLAN,
    cast=Cast(
        {"thief": thief, "auditor": auditor},
        {"exactly-once": exactly_once, "no-stranger": no_stranger},
        {"counted": counted},
    ),
    figures=figures,
    about="A thief with a stolen proof or token, at two servers, while the session tier fails over",
)
