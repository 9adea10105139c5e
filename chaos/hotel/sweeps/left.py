"""What a request has left behind when all who had to do with it are gone: it should be nothing, or a whole thing."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx
import msgspec
import trio

from bff.app import Visit
from bff.gate.rungs import Way
from bff.outside import Outside
from bff.upstreams.client import Journey
from bff.wire import h1, pool
from bff.wire.exchange import Exchange
from bff.wire.transport import TrioTransport
from chaos.hotel.fleet.desk import Desk
from chaos.hotel.sweeps.tries import WHO
from chaos.sim.entropy import entropy
from chaos.sim.stream import SimStream

if TYPE_CHECKING:
    import ssl

    from bff.outside import Connect
    from chaos.hotel.world import World

# What is made for each request or connection, or is what they run in. At rest there are as many as there were. Scopes
# are not among them: Trio forgets those with a deadline some time after they were left.
COUNTED: Final[tuple[type[object], ...]] = (
    trio.lowlevel.Task,
    trio.Nursery,
    h1.Connection,
    pool.Connection,
    Exchange,
    Journey,
    Visit,
    Way,
)
GROWS: Final = 3  # more than so many of a kind is a leak: what a service of the house holds just now is not


class Cord:
    """A desk's way out, which can be pulled."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._streams: list[SimStream] = []

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
        """`Outside.connect`."""
        stream = await self._connect(host, port, tls)
        assert isinstance(stream, SimStream), "a desk of the virtual world"
        self._streams = [one for one in self._streams if not one.closed]
        self._streams.append(stream)
        return stream

    def reset(self) -> None:
        """Every connection breaks, at once."""
        for stream in self._streams:
            if not stream.closed:
                stream.reset()

    async def close(self) -> None:
        """Close every connection, as a process does that ends."""
        for stream in self._streams:
            await stream.aclose()


@asynccontextmanager
async def open_desk(world: World, cord: Cord) -> AsyncIterator[Desk]:
    """A desk that is signed in, and speaks over `cord` alone."""
    outside = Outside(world.now, entropy(world.seed, "leaver"), cord.connect)
    async with httpx.AsyncClient(transport=TrioTransport(pool.Pool(cord.connect)), trust_env=False) as client:
        desk = Desk(client, "http://bff", outside, device="leaver")
        await desk.sign_in(WHO)
        yield desk


async def judge_left(world: World, desk: Desk) -> None:
    """The desk is gone, and time went by. Raises `AssertionError` for what there still is, or is no whole thing."""
    await trio.testing.wait_all_tasks_blocked()
    server = world.servers["bff"]
    house = server.house
    held = {
        "connections of desks": len(server.room.live) + world.network.connected("bff"),
        "places": house.gate.admission.places.in_use,
        "exchanges": house.pool.lent,
        "overstaying": len(server.owner.overstaying),
        "tasks": len(server.owner.live) - sum(name in server.owner.services for name in server.owner.live),
    }
    assert not any(held.values()), f"held: {held}"
    for blob in world.stores.tier.blobs:
        if blob.jkt == desk.key.kid:
            whose = (blob.tenant, blob.operator, blob.device)
            assert whose == (WHO.tenant, WHO.operator, desk.device), f"a session that is nobody's: {whose}"
            assert blob.session and blob.expires_at > world.now(), f"half of a session: {blob}"
    for kept in world.stores.cache.answers:
        assert msgspec.json.decode(kept.body)["tenantId"] == WHO.tenant, "somebody else's answer is kept"


def census() -> Mapping[str, int]:
    """How many there are of what is counted."""
    gc.collect()
    there = Counter(type(one) for one in gc.get_objects())
    return {f"{kind.__module__}.{kind.__qualname__}": there[kind] for kind in COUNTED}


def judge_memory(before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """Raises `AssertionError` for what has grown."""
    grown = {name: f"{before[name]} to {count}" for name, count in after.items() if count > before[name] + GROWS}
    assert not grown, f"more is alive than was: {grown}"
