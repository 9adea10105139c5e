"""One server of the virtual world: the house put together by `compose`, and its edge on the network.

It ends in one of two ways. `end` is what SIGTERM does to a real one: it refuses what is new, lets what is under way
finish, and goes. `kill` is what kill -9 does: in this very moment its connections break and nothing of it runs on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.house import compose
from bff.wire.edge import Room, serve_stream
from bff.wire.limits import EdgeConfig
from nurseries import open_owner

if TYPE_CHECKING:
    from bff.config import Settings
    from bff.house import House, Stores
    from bff.outside import Outside
    from chaos.sim.link import Listening, Network
    from nurseries import Owner

PORT: Final = 80
OWNED: Final = 16_384  # background tasks at once, as a real server may hold
GRACE_SECONDS: Final = 8.0
DESK_SIDE: Final = ("192.0.2.1", 49_152)  # where every desk seems to come from: an address for documentation (RFC 5737)


@dataclass(eq=False, slots=True)
class Instance:
    """A server that runs. `owner` holds what it does in the background, `room` the connections of its edge.

    `task` is the one that all of its tasks are below.
    """

    house: House
    owner: Owner
    room: Room
    listening: Listening
    _scope: trio.CancelScope
    _over: trio.Event
    _told: trio.Event = field(default_factory=trio.Event)
    task: trio.lowlevel.Task = field(default_factory=trio.lowlevel.current_task)  # made by itself, in itself

    @property
    def name(self) -> str:
        return self.listening.host

    @property
    def over(self) -> bool:
        """Nothing of it is left."""
        return self._over.is_set()

    @property
    def origin(self) -> str:
        """Where desks find it, as a URL."""
        return f"http://{self.name}"

    def leftovers(self) -> list[str]:
        """What is alive of requests, one line each: owned tasks that are no service, exchanges under way."""
        tasks = [f"{self.name}: {name}" for name in self.owner.live if name not in self.owner.services]
        lent = self.house.pool.lent
        return [*tasks, f"{self.name}: {lent} exchanges"] if lent else tasks

    async def end(self) -> None:
        """Drain, and return when nothing of it is left."""
        self._told.set()
        await self._over.wait()

    async def kill(self) -> None:
        """Cut every connection, stop every task, and return when nothing of it is left."""
        self.listening.close()
        self.listening.cut()
        self._scope.cancel(reason="killed")
        await self._over.wait()

    async def live(self, connections: trio.Nursery) -> None:
        """Be there until told to end; then accept nothing more, and give the connections their grace."""
        try:
            await self._told.wait()
        finally:
            self.listening.close()
        self.house.drain()
        self.room.drain()
        connections.cancel_scope.deadline = trio.current_time() + GRACE_SECONDS


async def run_instance(
    name: str,
    told: Settings,
    outside: Outside,
    stores: Stores,
    network: Network,
    *,
    ended: Callable[[], None] = lambda: None,
    task_status: trio.TaskStatus[Instance] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Put a server together, let it listen at `name`, and return when it has ended; `ended` is called then."""
    over = trio.Event()
    try:
        with trio.CancelScope() as scope:
            async with open_owner(name, bound=OWNED) as owner:
                house = compose(told, outside, stores, owner)
                room = Room(house.app, EdgeConfig(outside, grace=GRACE_SECONDS))
                async with _closing(house), trio.open_nursery() as connections:
                    listening = network.listen(name, PORT, partial(_connection, room, name), connections)
                    instance = Instance(house, owner, room, listening, scope, over)
                    house.keep_going(owner, outside)
                    task_status.started(instance)
                    await instance.live(connections)
    finally:
        ended()
        over.set()


async def _connection(room: Room, name: str, stream: trio.abc.Stream) -> None:
    await serve_stream(room.app, stream, room.config, client=DESK_SIDE, server=(name, PORT), room=room)


@asynccontextmanager
async def _closing(house: House) -> AsyncIterator[None]:
    """What the end of a process does to its connections, however it ends."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await house.pool.aclose()
