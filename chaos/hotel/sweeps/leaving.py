"""The sweep of leaving: a desk goes away, or the server does, at every checkpoint of a request.

A request is run once to count the checkpoints that the server has in it; then once for each of them, three ways:

    close    the desk gives up and closes its connection
    reset    its connection breaks
    kill     the server does, and another one starts at its address

Afterwards nothing of it is alive and nothing is held: no task, no connection, no place, no half of anything in a store.
And the same desk tries again, and is served whole and in time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import trio

from bff.facts import ConnectionClosed, RequestServed, UpstreamCalled
from chaos.choices import Replayed
from chaos.hotel.sweeps.batch import in_worlds
from chaos.hotel.sweeps.left import Cord, census, judge_left, judge_memory, open_desk
from chaos.hotel.sweeps.looks import HANG, Looks, composed_at, open_looks
from chaos.hotel.sweeps.tries import TRIES, Try
from chaos.marks import Marks, told
from chaos.sim.clock import simulate
from nurseries import at_checkpoint, count_checkpoints, no_task_left

if TYPE_CHECKING:
    from chaos.hotel.sweeps.batch import One
    from chaos.sweep import Ran

PAUSE: Final = 3.0  # seconds before each: connections are idle by then, and breakers have little to remember
COUNTS: Final = 3  # the fewest of so many: now and then a service of the house has a checkpoint in between
WAYS: Final = ("close", "reset", "kill")


@dataclass(frozen=True, slots=True)
class LeavingCase:
    """One way to leave one request at one of its checkpoints, counted from 1."""

    request: str
    way: str
    checkpoint: int

    @property
    def name(self) -> str:
        """`dashboard-cold reset at 12`."""
        return f"{self.request} {self.way} at {self.checkpoint}"


class LeavingSweep:
    """`chaos.sweep.Sweep` of `LeavingCase`."""

    name = "leaving"
    about = "a desk that goes away, and a server that is killed, at every checkpoint of a request"

    def cases(self, *, pairs: bool) -> Sequence[LeavingCase]:  # noqa: ARG002  nobody leaves twice
        """Request by request, way by way."""
        counts = checkpoints()
        return [
            LeavingCase(request, way, number)
            for request in TRIES
            for way in WAYS
            for number in range(1, counts[request] + 1)
        ]

    def together(self, case: LeavingCase) -> Hashable:
        return case.request, case.way

    def marks(self) -> Marks:
        """Each request was answered though nobody was there; calls were cut, and connections with them."""
        routes = ("/v1/dashboard", "/v1/session", "/v1/session/refresh")
        return Marks(
            [
                *(told(RequestServed, route=route) for route in routes),
                told(UpstreamCalled, outcome="cancelled"),
                told(ConnectionClosed, why="cancelled"),
                told(ConnectionClosed, why="shutdown"),
            ]
        )

    def run(self, batch: Sequence[LeavingCase], seed: int, marks: Marks) -> Iterator[Ran]:
        return in_worlds(batch, partial(_open_leavings, seed, composed_at()), marks)


@cache
def checkpoints() -> Mapping[str, int]:
    """How many each request has, in a run of its own: to be called outside of any."""
    return simulate(_counted, composed_at(), choices=Replayed(()))


async def _counted(reserve: float) -> dict[str, int]:
    counts: dict[str, int] = {}
    async with _opened(0, reserve) as leavings:
        for name, one in TRIES.items():
            counts[name] = min([await leavings.count(one) for _ in range(COUNTS)])
    return counts


@asynccontextmanager
async def _opened(seed: int, reserve: float) -> AsyncIterator[_Leavings]:
    async with open_looks(seed, reserve=reserve) as looks:
        cord = Cord(looks.world.network.connect)
        async with open_desk(looks.world, cord) as desk:
            looks.world.servers["bff"].listening.cut()  # the desk that came with it is gone
            looks.desk = desk
            await looks.healed()
            yield _Leavings(looks, cord)


@asynccontextmanager
async def _open_leavings(seed: int, reserve: float) -> AsyncIterator[One[LeavingCase]]:
    async with _opened(seed, reserve) as leavings:
        yield leavings.case
        leavings.no_memory()


class _Leavings:
    """One world, in which one desk leaves again and again."""

    def __init__(self, looks: Looks, cord: Cord) -> None:
        self._looks = looks
        self._world = looks.world
        self._cord = cord
        self._census: Mapping[str, int] | None = None

    async def count(self, one: Try) -> int:
        """The checkpoints of the server in one request that nobody leaves."""
        await self._settle(one)
        with count_checkpoints(root=self._world.servers["bff"].task) as counted:
            await one.ask(self._looks.desk)
            await self._world.quiet()
        await self._after(one)
        return counted.checkpoints

    async def case(self, case: LeavingCase) -> None:
        """Leave so. Raises `AssertionError` for what is wrong afterwards."""
        one = TRIES[case.request]
        began = len(self._world.facts)
        await self._settle(one)
        if case.way == "kill":
            await self._killed(one, case.checkpoint)
        else:
            act = self._cord.reset if case.way == "reset" else _nothing
            await self._left(one, case.checkpoint, act)
        self._world.clear()
        await one.again(self._looks.desk)
        await self._after(one)
        self._looks.no_bugs(began)
        self._census = self._census or census()

    async def _settle(self, one: Try) -> None:
        """Everything is idle and as the request finds it."""
        await self._looks.later(PAUSE)
        if not one.kept:
            self._world.stores.cache.flush()
        if one.hung:
            self._world.inject(one.hung, HANG)

    async def _left(self, one: Try, number: int, act: Callable[[], None]) -> None:
        server = self._world.servers["bff"]
        async with no_task_left(root=server.task):
            with trio.CancelScope() as at_the_desk:

                def leave() -> None:
                    act()
                    at_the_desk.cancel(reason="the desk leaves")

                with at_checkpoint(number, leave, root=server.task) as counted:
                    await one.asked(self._looks.desk)
                    await self._world.quiet()
            assert counted.checkpoints >= number, f"it has {counted.checkpoints} checkpoints"
            await self._cord.close()
            await self._world.quiet()
        await judge_left(self._world, self._looks.desk)

    async def _killed(self, one: Try, number: int) -> None:
        server = self._world.servers["bff"]
        now = trio.Event()
        with at_checkpoint(number, now.set, root=server.task) as counted:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_end, server.kill, now)
                await one.asked(self._looks.desk)
                if not now.is_set():
                    await self._world.quiet()
        assert counted.checkpoints >= number, f"it has {counted.checkpoints} checkpoints"
        await self._cord.close()
        assert not server.owner.live, f"killed, and alive: {server.owner.live}"
        await judge_left(self._world, self._looks.desk)
        await self._world.serve()
        await self._world.quiet()

    async def _after(self, one: Try) -> None:
        """The desk is signed in, and sees a whole dashboard twice: by then every connection is there again."""
        await one.restore(self._looks.desk)
        await self._world.quiet()
        self._world.clear()
        await self._looks.desk.dashboard()
        await self._world.quiet()
        await self._looks.healed()

    def no_memory(self) -> None:
        """Raises `AssertionError` when more is alive than was after the first case."""
        if self._census is not None:
            judge_memory(self._census, census())


async def _end(kill: Callable[[], Awaitable[None]], now: trio.Event) -> None:
    await now.wait()
    await kill()


def _nothing() -> None:
    return
