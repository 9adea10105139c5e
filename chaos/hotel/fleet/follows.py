"""Desks that follow their events, whatever becomes of the servers, and the platform that has something to say.

    follows desks=6 servers=2 shakes=1    so many desks, each at home at one of so many servers; behind a balancer: who
                                          finds nobody at home is let in elsewhere. With `shakes` each shakes hands
                                          with sync whenever it is live again, for as long as it takes, and looks at its
                                          dashboard
    speaks every=1                        an alert every so many seconds, said until it is taken: to each house
                                          and to each person, in turn

A desk's lane is `follow-N`: `signed-in` says who it is, its states are those of `told.Condition`, `heard` is an event,
an alert `after` so many seconds since it was first said, `refetch` that some are lost to it; `shook` and `put-off` are
what its handshakes came to, and `shown` what its dashboard says of sync. The platform's is `platform`: `posted` is an
alert that was taken, `silent` its last word.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count, cycle
from typing import TYPE_CHECKING, Any, Final

import trio

from bff.outside import fraction
from chaos.hotel.fleet.desk import Desk, Refused
from chaos.hotel.fleet.following import Follower
from chaos.hotel.fleet.told import Came, Condition, Refetch
from chaos.hotel.stage import AGAIN, balanced, through

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx

    from bff.outside import Outside
    from chaos.history import History
    from chaos.hotel.fleet.told import Told
    from chaos.hotel.stage import HotelStage
    from chaos.plan import Work

FOLLOWS: Final = "follow-"
PLATFORM: Final = "platform"
HANDSHAKE: Final = "/v1/sync/handshake"
SPREAD: Final = 0.2  # of the time after which it may come again: by how much a desk waits longer, by lot
PUSHED_AGAIN: Final = 0.2  # seconds after which an alert that was not taken is said again, at another server
TAKEN: Final = 204


async def follows(stage: HotelStage, history: History, work: Work) -> None:
    """Desks that follow."""
    desks, servers = round(work.number("desks", 6)), round(work.number("servers", 1))
    origins = [await stage.origin(number) for number in range(servers)]
    shakes = work.number("shakes", 0) > 0
    async with trio.open_nursery() as nursery:
        for number in range(desks):
            home = number % servers
            around = (*origins[home:], *origins[:home])
            seat = Seat(stage, history, f"{FOLLOWS}{number + 1}", around, shakes=shakes)
            nursery.start_soon(seat.serve, number)


@dataclass(slots=True)
class Seat:
    """A desk, at home at the first of `origins`. `cursor` is where sync said last that it is."""

    stage: HotelStage
    history: History
    lane: str
    origins: tuple[str, ...]
    shakes: bool = False
    cursor: str | None = None
    _lives: trio.Event = field(default_factory=trio.Event)

    async def serve(self, person: int) -> None:
        """From its arrival on, for ever, always by the same person."""
        self.history.note(self.lane, "arrives")
        outside = self.outside()
        async with through(outside.connect) as client:
            while True:
                desk = await self.signed_in(client, outside, person)
                await self.follow(desk, outside)
                await trio.sleep(AGAIN)

    def outside(self) -> Outside:
        """What it is handed: behind the balancer."""
        outside = self.stage.outside(self.lane)
        return replace(outside, connect=balanced(outside.connect, self.origins))

    async def signed_in(self, client: httpx.AsyncClient, outside: Outside, person: int) -> Desk:
        """Its desk with a new session, however often it has to try."""
        desk = Desk(client, self.origins[0], outside, device=f"{self.lane}-{outside.identifier()[:8]}")
        while True:
            try:
                session = await desk.sign_in(self.stage.person(person))
            except Refused as refused:
                self.history.note(self.lane, "not-signed-in", str(refused), code=refused.code)
                await trio.sleep(AGAIN)
            else:
                houses = [house["id"] for house in session.properties]
                told: dict[str, Any] = {
                    "tenant": session.tenant_id,
                    "operator": session.operator_id,
                    "properties": houses,
                }
                self.history.note(self.lane, "signed-in", desk.device, good=True, device=desk.device, **told)
                return desk

    async def follow(self, desk: Desk, outside: Outside) -> None:
        """What it is told, to the end of its session."""
        follower = Follower(desk, outside, self._told)
        async with trio.open_nursery() as nursery:
            if self.shakes:
                nursery.start_soon(self._shake_again_and_again, desk, outside)
            await follower.run()
            nursery.cancel_scope.cancel(reason="the session is over")
        good = None if follower.over else False
        self.history.note(self.lane, "over", follower.over, good=good, over=follower.over)

    def _told(self, one: Told) -> None:
        match one:
            case Came(id, event, data):
                after = self.history.elapsed() - data["at"] if "at" in data else 0.0
                self.history.note(
                    self.lane, "heard", event, good=True, id=id, event=event, n=data.get("n"), after=after
                )
            case Refetch(why):
                self.history.note(self.lane, "refetch", why)
            case Condition(state, why):
                self.history.note(self.lane, state, why, good=True if state == "live" else None)
                if state == "live":
                    self._lives.set()

    # -- sync ---------------------------------------------------------------------------------------------------

    async def _shake_again_and_again(self, desk: Desk, outside: Outside) -> None:
        while True:
            await self._lives.wait()
            self._lives = trio.Event()
            again = await self._shake(desk)
            await self._look(desk)
            while again is not None:
                await trio.sleep(again * (1 + SPREAD * fraction(outside.entropy)))
                again = await self._shake(desk)
                if again is None:
                    await self._look(desk)

    async def _shake(self, desk: Desk) -> float | None:
        """One handshake; the seconds until the next try, None where it is done."""
        began = trio.current_time()
        try:
            answer = await desk.ask("POST", HANDSHAKE, body={"cursor": self.cursor})
        except Refused as refused:
            said = refused.problem.get("retryAfterMs")
            again = None if said is None else float(said) / 1000
            told: dict[str, Any] = {"status": refused.status, "code": refused.code, "again": again}
            self.history.note(self.lane, "put-off", str(refused), took=trio.current_time() - began, **told)
            return AGAIN if again is None else again
        at = answer.json()
        self.cursor = at["cursor"]
        took = trio.current_time() - began
        self.history.note(self.lane, "shook", at["cursor"], good=True, took=took, cursor=at["cursor"])
        return None

    async def _look(self, desk: Desk) -> None:
        """What its dashboard says of sync."""
        try:
            seen = await desk.dashboard()
        except Refused as refused:
            self.history.note(self.lane, "shown", str(refused), code=refused.code)
            return
        widget = seen.body["widgets"]["sync"]
        data = widget.get("data") or {}
        stale, cursor = data.get("staleSync"), data.get("cursor")
        text = f"sync {widget['status']}, {cursor}{', stale' if stale else ''}"
        late = max(0.0, seen.took - seen.body["deadlineMs"] / 1000 - self.stage.late)
        told = {"status": widget["status"], "stale": stale, "cursor": cursor, "mine": self.cursor, "late": late}
        self.history.note(self.lane, "shown", text, took=seen.took, code="", **told)


async def speaks(stage: HotelStage, history: History, work: Work) -> None:
    """The platform, until the calm; then it says one more thing to each house, and that was all."""
    every, servers = work.number("every", 1.0), round(work.number("servers", 1))
    speaker = _Speaker(stage, history, servers)
    calm = trio.Event()

    async def until_calm() -> None:
        await history.until_calm()
        calm.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_calm)
        for scope in cycle(_scopes(stage)):
            await trio.sleep(every)
            if calm.is_set():
                break
            await speaker.say(scope)
    for tenant in dict.fromkeys(scope["tenantId"] for scope in _scopes(stage)):
        await speaker.say({"tenantId": tenant})
    history.note(PLATFORM, "silent", "all is said")
    await trio.sleep_forever()


def _scopes(stage: HotelStage) -> Iterator[Mapping[str, str]]:
    """Whom an alert is for: each house as a whole, and each of the persons in it."""
    people = {stage.person(number).operator: stage.person(number).tenant for number in range(PEOPLE)}
    for operator, tenant in people.items():
        yield {"tenantId": tenant}
        yield {"tenantId": tenant, "operatorId": operator}


PEOPLE: Final = 4


@dataclass(slots=True)
class _Speaker:
    stage: HotelStage
    history: History
    servers: int
    numbers: Iterator[int] = field(default_factory=count)

    async def say(self, scope: Mapping[str, str]) -> None:
        """An alert, until it is taken."""
        n, pushes, first = next(self.numbers), 0, self.history.elapsed()
        uid = self.stage.outside(PLATFORM).identifier()
        tenant, ids = scope["tenantId"], {name: id for name, id in scope.items() if name != "tenantId"}
        while True:
            began = self.history.elapsed()
            platform = await self.stage.platform((n + pushes) % self.servers)
            try:
                status = await platform.push("alert", uid, tenant, data={"n": n, "at": first}, **ids)
            finally:
                await platform.aclose()
            pushes += 1
            if status == TAKEN:
                break
            await trio.sleep(PUSHED_AGAIN)
        told: dict[str, Any] = {"n": n, "began": began, "pushes": pushes, "tenant": tenant}
        self.history.note(PLATFORM, "posted", f"alert {n}", good=True, operator=ids.get("operatorId"), **told)
