"""A world in which desks listen and the platform speaks, and the account of it: who was told what of all that was said.

What was said is known from the bus itself, in the moment in which it goes by: what a server acknowledged, what it did
not, and what was lost afterwards. An event that was said again, because nobody knew that it had been, is another one;
but nobody hears it twice without having been told in between that something is lost.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import trio

from bff.events.cursor import written
from bff.events.event import LOSS, Said
from bff.outside import Outside
from bff.stores.bus import Heard as GoesBy
from chaos.hotel.checks.streams import Heard, Posted, judge_streams
from chaos.hotel.fleet.following import Follower
from chaos.hotel.fleet.told import Came, Condition, Refetch
from chaos.hotel.sweeps.listeners import Listener
from chaos.hotel.world import INTERNAL_TOKEN, open_world
from chaos.sim.entropy import entropy
from nurseries import within

if TYPE_CHECKING:
    from bff.stores.bus import Passing
    from chaos.hotel.estate.hotel import Operator
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.fleet.told import Told
    from chaos.hotel.world import World

SERVERS: Final = ("one", "two")
AGAIN: Final = 0.2  # seconds after which the platform says again what was not taken
TOLD_WITHIN: Final = 5.0  # seconds after which it is known that something was lost: the bus is back by then
LATENCY: Final = 0.005  # seconds one way between a desk and a server


@dataclass(frozen=True, slots=True)
class Wrote:
    """An entry of a log: its id, the name that the platform knows it by, and when it was written, on Trio's clock.

    `said` is None where it says nothing to anybody.
    """

    id: str
    uid: str
    said: Said | None
    at: float


class Seat:
    """A desk that follows as a desktop does. What can be read here is as a `Listener` has it."""

    stalled = False  # it polls then, and is not `live`

    def __init__(self, world: World, desk: Desk, *, last_id: str = "") -> None:
        self.desk = desk
        self.told: list[Told] = []
        self.live_at = self.over_at = 0.0
        outside = Outside(world.now, entropy(world.seed, "seat", desk.device), world.network.host(desk.device).connect)
        self.follower = Follower(desk, outside, self._hear, last_id=last_id)

    @property
    def over(self) -> str:
        """Why it ended, '' where it has not."""
        return self.follower.over

    @property
    def live(self) -> bool:
        """Whether it believes that its stream tells it everything."""
        return self.follower.condition is not None and self.follower.condition.state == "live"

    @property
    def last_id(self) -> str:
        """Where it would go on from."""
        return self.follower.last_id

    def _hear(self, one: Told) -> None:
        self.told.append(one)
        if isinstance(one, Condition) and one.state == "live":
            self.live_at = trio.current_time()

    async def run(self) -> None:
        """Follow until it is over."""
        await self.follower.run()
        self.over_at = trio.current_time()


class Airing:
    """A world's servers, each with a line of its own to the bus, desks, and the platform. Made by `open_airing`."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        self.world = world
        self.bus = world.stores.tier.bus
        self.lines = world.lines
        self.said: list[Wrote] = []
        self.listeners: list[Listener | Seat] = []
        self._nursery = nursery
        self._number = 0
        self.bus.witnesses.append(self._witness)

    def _witness(self, passing: Passing) -> None:
        if isinstance(passing, GoesBy):
            entry = passing.entry
            said = None if entry.payload in {b"", LOSS} else msgspec.json.decode(entry.payload, type=Said)
            self.said.append(Wrote(written(entry.position), entry.uid, said, trio.current_time()))

    async def serve(self, name: str) -> None:
        """A server at `name`."""
        await self.world.serve(name)

    # -- desks --------------------------------------------------------------------------------------------------

    async def desk(self, who: Operator, server: str, device: str) -> Desk:
        """One that is signed in."""
        return await self.world.desk(who, server=server, device=device)

    async def now_at(self, desk: Desk) -> str:
        """The id after which a desk hears all that is said from now on."""
        at: str = (await desk.get("/v1/events/poll", {})).body["next"]
        return at

    def listen(self, desk: Desk, *, last_id: str, polls: bool = False) -> Listener:
        """Its ears, that have begun."""
        connect = self.world.network.host(desk.device).connect
        listener = Listener(desk, connect, last_id=last_id, polls=polls)
        self._begin(listener)
        return listener

    def follow(self, desk: Desk, *, last_id: str) -> Seat:
        """It follows, from now on."""
        seat = Seat(self.world, desk, last_id=last_id)
        self._begin(seat)
        return seat

    def _begin(self, one: Listener | Seat) -> None:
        self.listeners.append(one)
        self._nursery.start_soon(one.run)

    # -- the platform -------------------------------------------------------------------------------------------

    async def push(self, server: str, uid: str, told: dict[str, Any]) -> int:
        """Say it once; the status of what it hears."""
        message = {"messageId": uid, "data": b64encode(json.dumps(told).encode()).decode()}
        house = self.world.servers[server].house
        async with httpx.AsyncClient(transport=httpx.ASGITransport(house.ops), trust_env=False) as client:
            with within(10):
                headers = {"authorization": f"Bearer {INTERNAL_TOKEN}"}
                answer = await client.post("http://ops/internal/events", json={"message": message}, headers=headers)
                return answer.status_code
        return 0

    async def say(self, server: str, kind: str = "alert", tenant: str = "resort", **more: Any) -> str:
        """Say it until it is taken, as Pub/Sub does: at `server`, and at whichever the next time. Gives its name."""
        self._number += 1
        uid, told = f"m{self._number}", {"type": kind, "tenantId": tenant, "data": {}, **more}
        turn = list(SERVERS[SERVERS.index(server) :] + SERVERS[: SERVERS.index(server)])
        while await self.push(turn[0], uid, told) != 204:
            turn.append(turn.pop(0))
            await trio.sleep(AGAIN)
        return uid

    # -- the account --------------------------------------------------------------------------------------------

    def place(self, id: str) -> int:
        """Of an event in the order in which all were said; -1 where it is none."""
        return next((at for at, one in enumerate(self.said) if one.id == id), -1)

    def lacks(self, one: Listener | Seat) -> bool:
        """Whether it goes on, and has neither heard nor been excused from the last event that is for it."""
        mine = [wrote for wrote in self.said if reaches(wrote.said, one.desk)]
        if one.over or not mine:
            return False
        last = mine[-1]
        return not any(
            (isinstance(told, Came) and told.id == last.id) or (isinstance(told, Refetch) and told.at >= last.at)
            for told in one.told
        )

    def judge(self, first: Mapping[Listener | Seat, int]) -> None:
        """Each must know what was said from its first place, up to what it heard last where it is over.

        Raises `AssertionError`.
        """
        final = {wrote.uid: wrote.id for wrote in self.said}
        for one in self.listeners:
            heard = {told.id for told in one.told if isinstance(told, Came)}
            device = one.desk.device
            posted = [
                Posted(
                    wrote.id,
                    {device} if _must(wrote, one.desk, heard, lost=final[wrote.uid] != wrote.id) else frozenset(),
                    wrote.at,
                )
                for wrote in self.said
            ]
            knows = [what for what in one.told if not _ends(what)]
            last = 1 + max((self.place(what.id) for what in knows if isinstance(what, Came)), default=-1)
            judge_streams(posted, {device: Heard(_excused(knows), first.get(one, 0), last if one.over else None)})
            self._once(one)

    def _once(self, one: Listener | Seat) -> None:
        names = {wrote.id: wrote.uid for wrote in self.said}
        seen: set[str] = set()
        for told in one.told:
            if isinstance(told, Refetch):
                seen.clear()
            elif isinstance(told, Came):
                name = names[told.id]
                assert name not in seen, f"{one.desk.device}: {name} comes twice, by two ids"
                seen.add(name)


def _ends(what: Told) -> bool:
    """Whether it is over with that: what was missing by then is nobody's any more."""
    return isinstance(what, Came) and what.event == "force-logout"


def _excused(told: Sequence[Told]) -> list[Told]:
    """The log says that something is lost when somebody finds it so: what was heard shortly before, or as the last
    before that, is excused, too.
    """
    told = [one for one in told if isinstance(one, Came | Refetch)]
    lost = [one for one in told if isinstance(one, Refetch)]
    excused: list[Told] = []
    for one, after in zip_longest(told, told[1:]):
        if isinstance(one, Came):
            excused += [after] if isinstance(after, Refetch) else []
            excused += [word for word in lost if one.at <= word.at <= one.at + TOLD_WITHIN]
        excused.append(one)
    return excused


def _must(wrote: Wrote, desk: Desk, heard: set[str], *, lost: bool) -> bool:
    """Whether it is for that desk; one that was lost and said again is so only for who has heard it."""
    return reaches(wrote.said, desk) and (not lost or wrote.id in heard)


def reaches(said: Said | None, desk: Desk) -> bool:
    """Whether it is for that desk, by what it was told when it signed in."""
    session = desk.session
    return (
        said is not None
        and session is not None
        and said.tenant_id == session.tenant_id
        and said.operator_id in {None, session.operator_id}
        and said.device_id in {None, desk.device}
        and (said.property_id is None or said.property_id in [one["id"] for one in session.properties])
        and said.except_device_id != desk.device
    )


@asynccontextmanager
async def open_airing(seed: int, *, latency: float = LATENCY) -> AsyncIterator[Airing]:
    """A world with two servers, each in step with the bus; leaving it ends all who listen."""
    async with open_world(seed=seed, servers=(), desk_latency=latency) as world, trio.open_nursery() as nursery:
        airing = Airing(world, nursery)
        for name in SERVERS:
            await airing.serve(name)
        yield airing
        nursery.cancel_scope.cancel(reason="off the air")


async def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Let time go until that holds; False where it does not within so many seconds."""
    ends = trio.current_time() + seconds
    while not holds():
        if trio.current_time() >= ends:
            return False
        await trio.sleep(0.1)  # in virtual time one may look
    return True
