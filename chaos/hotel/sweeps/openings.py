"""The sweep of openings: streams of one device that are opened in one moment, at one server or at two (F-26).

They are opened at the room itself, where an opening has so few checkpoints that schedules can be walked through. Trio
lets every task that can run go one step before any goes a second, so what a schedule decides is the order within a
step; who comes `lag` checkpoints later meets the one before him elsewhere. With `failover` the registry forgets, in the
middle of it, whom it has given a token to.

Whoever is refused, or cut in the middle of a word, comes again, as a desk does. In the end one lives and hears what is
said, and all others have heard `superseded`; none of them has heard anything for longer than one heartbeat beside it.
A neighbour, who listens over the wire, does not notice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from bff.events.event import Said
from bff.facts.events import StreamEnded
from bff.model import Claims, DeviceId, Jkt, OperatorId, SessionId, Streamed, TenantId
from bff.stores.bus import Posting
from bff.wire.asgi import ClientLeft
from chaos.choices import Drawn, Replayed, walk
from chaos.hotel.sweeps.batch import in_worlds
from chaos.hotel.sweeps.listeners import Listener
from chaos.hotel.sweeps.race import Held
from chaos.hotel.world import open_world
from chaos.marks import Marks, told
from chaos.sim.clock import simulate
from nurseries import within

if TYPE_CHECKING:
    from chaos.choices import Choices
    from chaos.hotel.sweeps.batch import One
    from chaos.hotel.world import World
    from chaos.sweep import Ran

SERVERS: Final = ("one", "two")
TENANT: Final = TenantId("resort")
LAGS: Final = (0, 1, 3)
MOMENTS: Final = (1, 3, 5, 7)  # checkpoints after which the registry fails over; at the sixth one stream is open
APART: Final = (0, 1, 6)  # lags then
TAKES: Final = 0.01  # seconds: less than any failover takes, and more than a tick of the clock that tokens grow with
LOST: Final = 1.0
SOME: Final = 12  # schedules of one race that are walked through
MORE: Final = 100  # with pairs
DRAWS: Final = 4
MORE_DRAWS: Final = 60
SECONDS: Final = 5.0
AGAIN: Final = 0.3  # seconds after which one comes again that was refused
HEARTBEAT: Final = 15.0
SPEAKS: Final = 0.5  # seconds between two events
REST: Final = 0.2503  # seconds between two races: nothing of the house falls due in the moment of a race


@dataclass(frozen=True, slots=True)
class Openings:
    """`streams` of one device, in turn at so many servers, each `lag` checkpoints after the one before.

    Where `moment` is not 0, the registry fails over so many checkpoints in.
    """

    streams: int
    servers: int
    lag: int
    moment: int = 0

    def __str__(self) -> str:
        """`2 at 2 lag 1`, `3 at 2 lag 0 failover after 4`."""
        trouble = f" failover after {self.moment}" if self.moment else ""
        return f"{self.streams} at {self.servers} lag {self.lag}{trouble}"


@dataclass(frozen=True, slots=True)
class OpeningCase:
    """Openings by one schedule: a record of decisions, or a seed to draw them from."""

    openings: Openings
    schedule: tuple[int, ...] | int

    @property
    def name(self) -> str:
        """`2 at 2 lag 1 by 0.1`, `3 at 1 lag 0 drawn 7`."""
        if isinstance(self.schedule, int):
            return f"{self.openings} drawn {self.schedule}"
        return f"{self.openings} by {'.'.join(map(str, self.schedule)) or '0'}"

    def choices(self) -> Choices:
        """Who decides."""
        return Drawn(self.schedule) if isinstance(self.schedule, int) else Replayed(self.schedule)


class OpeningSweep:
    """`chaos.sweep.Sweep` of `OpeningCase`."""

    name = "openings"
    about = "streams of one device opened at once, under every schedule: in the end one lives"

    def cases(self, *, pairs: bool) -> Sequence[OpeningCase]:
        """What is walked through, then what is drawn; with pairs, far more of both."""
        drawn = product(_openings(), range(MORE_DRAWS if pairs else DRAWS))
        return [*_walked(MORE if pairs else SOME), *(OpeningCase(openings, seed) for openings, seed in drawn)]

    def together(self, case: OpeningCase) -> Hashable:
        return case.openings.servers, bool(case.openings.moment)

    def marks(self) -> Marks:
        """Streams were superseded."""
        return Marks([told(StreamEnded, why="superseded")])

    def run(self, batch: Sequence[OpeningCase], seed: int, marks: Marks) -> Iterator[Ran]:
        held = Held()
        return in_worlds(batch, partial(_open_door, seed, held), marks, choices=lambda: held)


def _openings() -> Iterator[Openings]:
    for streams, servers, lag in product((2, 3), (1, 2), LAGS):
        yield Openings(streams, servers, lag)
    for streams, lag, moment in product((2, 3), APART, MOMENTS):
        yield Openings(streams, 2, lag, moment)


@cache
def _walked(limit: int) -> tuple[OpeningCase, ...]:
    """At most `limit` schedules of each, in a run of its own: to be called outside of any."""
    held = Held()
    return simulate(_walk, limit, held, choices=held)


async def _walk(limit: int, held: Held) -> tuple[OpeningCase, ...]:
    found = []
    for openings in _openings():
        async with open_world(servers=SERVERS) as world:
            door = _Door(world, held)
            await door.warm()
            for choices in walk(limit):
                await door.opened(openings, choices)
                found.append(OpeningCase(openings, _bare(choices.taken)))
    return tuple(dict.fromkeys(found))


def _bare(record: Sequence[int]) -> tuple[int, ...]:
    """Without the zeros at its end."""
    size = max((place for place, choice in enumerate(record, 1) if choice), default=0)
    return tuple(record[:size])


@asynccontextmanager
async def _open_door(seed: int, held: Held) -> AsyncIterator[One[OpeningCase]]:
    async with open_world(seed=seed, servers=SERVERS) as world, trio.open_nursery() as nursery:
        door = _Door(world, held)
        await door.warm()
        desk = await world.desk(server="one")
        neighbour = Listener(desk, world.network.host(desk.device).connect)
        nursery.start_soon(neighbour.run)

        async def one(case: OpeningCase) -> None:
            before = len(neighbour.told)
            await door.case(case.openings, case.choices())
            assert neighbour.live, f"a neighbour's stream has ended {neighbour.over}"
            assert len(neighbour.told) > before, "a neighbour hears nothing any more"

        yield one
        nursery.cancel_scope.cancel(reason="nobody comes any more")


class _Ear:
    """`bff.model.Pieces` of one stream: what it said, when its last event came, and whether it is over, or was cut."""

    def __init__(self) -> None:
        self.said = b""
        self.last = 0.0
        self.over = self.cut = False

    async def write(self, piece: bytes) -> None:
        """One piece more."""
        await trio.lowlevel.checkpoint()
        self.said += piece
        if b"event: alert" in piece:
            self.last = trio.current_time()

    async def departed(self) -> None:
        """It never goes."""
        await trio.sleep_forever()


class _Door:
    """The rooms of two servers, to which devices come, each race another one."""

    def __init__(self, world: World, held: Held) -> None:
        self._world = world
        self._held = held
        self._number = 0

    async def warm(self) -> None:
        """Each server has the tenant's journal by then, and lines are open."""
        await trio.sleep(0.1371)
        await self.opened(Openings(2, 2, 0), Replayed(()))

    async def case(self, openings: Openings, choices: Choices) -> None:
        """Open them, and look what is left. Raises `AssertionError` unless it is one."""
        ears = await self.opened(openings, choices, lasts=HEARTBEAT + REST)
        alive = [ear for ear in ears if not ear.over]
        assert len(alive) == 1, f"{len(alive)} of {len(ears)} streams live"
        assert ears, "nobody was let in"
        newest = max(ear.last for ear in ears)
        assert alive[0].last == newest > 0, "the one that lives does not hear what is said"
        for ear in ears:
            assert ear.said.count(b"event: superseded") == (ear.over and not ear.cut), (
                f"it ended with {ear.said[-60:]!r}"
            )

    async def opened(self, openings: Openings, choices: Choices, lasts: float = 0.0) -> list[_Ear]:
        """All of them, some seconds after they were opened."""
        self._number += 1
        desk = self._claims(f"device-{self._number}")
        ears: list[_Ear] = []
        await trio.sleep(REST)
        async with trio.open_nursery() as streams:
            self._held.by = choices
            try:
                async with trio.open_nursery() as nursery:
                    for number in range(openings.streams):
                        nursery.start_soon(self._open, desk, openings, number, streams, ears)
                    if openings.moment:
                        nursery.start_soon(self._fail, openings.moment)
            finally:
                self._held.by = None
            ends = trio.current_time() + lasts
            while trio.current_time() < ends:
                await self._speak()
                await trio.sleep(SPEAKS)
            streams.cancel_scope.cancel(reason="it is known who lives")
        return ears

    async def _open(
        self, desk: Claims, openings: Openings, number: int, streams: trio.Nursery, ears: list[_Ear]
    ) -> None:
        again = desk, openings, number, streams, ears
        for _ in range(number * openings.lag):
            await trio.lowlevel.checkpoint()
        room = self._world.servers[SERVERS[number % openings.servers]].house.events.streams
        while True:
            with within(SECONDS):
                answer = await room.open(desk, None)
                if isinstance(answer, Streamed):
                    ears.append(_Ear())
                    streams.start_soon(self._run, answer, ears[-1], partial(self._again, *again))
                    return
            await trio.sleep(AGAIN)

    async def _again(self, *again: Any) -> None:
        await trio.sleep(AGAIN)
        await self._open(*again)

    async def _run(self, answer: Streamed, ear: _Ear, again: Callable[[], Awaitable[None]]) -> None:
        try:
            await answer.run(ear)
        except ClientLeft:
            ear.cut = True
        ear.over = True
        if ear.cut:
            await again()

    async def _fail(self, moment: int) -> None:
        for _ in range(moment):
            await trio.lowlevel.checkpoint()
        self._world.stores.tier.failover(lost=LOST, takes=TAKES)

    async def _speak(self) -> None:
        self._number += 1
        payload = msgspec.json.encode(Said("alert", TENANT))
        bus = self._world.servers["two"].house.events.bus
        with within(SECONDS):
            await bus.post([Posting(TENANT, f"n{self._number}", payload, self._world.now(), 60.0)])

    def _claims(self, device: str) -> Claims:
        now = self._world.now()
        who = OperatorId("ines"), TENANT, DeviceId(device), SessionId(f"of-{device}")
        return Claims("iam", "bff", now + 900.0, now, now, *who, (), Jkt("jkt"))
