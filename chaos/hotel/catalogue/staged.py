"""Faults that no toxic makes: one operation of a service, what stands in front of the server, and who floods it.

Mistakes of the server's own are in `mistakes.py`.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import trio

from chaos.hotel.catalogue.front import behind_tls
from chaos.hotel.catalogue.mistakes import instead
from chaos.hotel.estate.service import refused
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.ears import Ears

if TYPE_CHECKING:
    from chaos.hotel.estate.service import Call, Operation, Reply
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.world import World
    from chaos.sim.link import Reach

FRONT: Final = "front"  # a host that speaks TLS before the server
WALLED: Final = b"<html>Forbidden</html>"
FLOOD: Final = 24  # devices that hold a stream each, while one opens its own again and again
SURGE: Final = 4  # servers more than there were
A_SECOND: Final = 1.0
LEAKS: Final = 120  # seconds between two steps of a process that holds more and more,
LEAK: Final = 1 << 20  # bytes each
HOLDS: Final = 200 << 20  # bytes at first: 15 % more in four hours
TOLD: Final = 100  # events that a desk tells at a time


@asynccontextmanager
async def operation_fails(world: World, *, service: str, operation: str) -> AsyncIterator[None]:
    """One operation of a service answers 503 and does nothing; its others work (F-1, F-2, F-13)."""
    one = world.estate.doors[service].service
    answer = one.answer

    def fails(asked: Operation, call: Call) -> Reply:
        if asked.name != operation:
            return answer(asked, call)
        one.counts[operation].calls += 1
        return refused(call, 503, "UNAVAILABLE", "it does not work now")

    with instead(one, "answer", fails):
        await trio.lowlevel.checkpoint()
        yield


# -- in front of the server --------------------------------------------------------------------------------------------


@asynccontextmanager
async def certificate_is_over(world: World) -> AsyncIterator[None]:
    """F-23: whoever comes by TLS is shown a certificate that ended a day ago."""
    async with behind_tls(world, FRONT, "bff", days=-1.0):
        yield


def is_walled_off(device: bytes) -> bool:
    """Whether the wall of F-24 blocks who comes so: every other device, and who names none, as a server's own probe."""
    return not device or device[-1] % 2 == 0


@asynccontextmanager
async def wall_blocks_some(world: World) -> AsyncIterator[None]:
    """F-24: something in front of every server answers 403 to some; no word of theirs reaches it."""
    with ExitStack() as walls:
        for server in world.servers.values():
            walls.enter_context(instead(server.room, "app", _wall(server.room.app)))
        await trio.lowlevel.checkpoint()
        yield


def _wall(app: Any) -> Any:
    async def answered(scope: Any, receive: Any, send: Any) -> None:
        if not is_walled_off(dict(scope["headers"]).get(b"x-device-id", b"")):
            await app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/html"), (b"content-length", str(len(WALLED)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": WALLED})

    return answered


@asynccontextmanager
async def name_is_unknown(world: World) -> AsyncIterator[None]:
    """F-25: nobody who dials learns where the server is; who is connected stays so."""

    def asked(host: str, port: int) -> Reach | None:
        del port
        if host in world.servers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return None

    with world.network.rule(asked):
        await trio.lowlevel.checkpoint()
        yield


# -- who floods it -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def streams_flood(world: World) -> AsyncIterator[None]:
    """F-26: one device opens a stream in each tenth of a second, and many others hold one each."""
    desks = [await world.desk(device=f"flood-{number}") for number in range(FLOOD)]
    async with trio.open_nursery() as nursery:
        listening = [_ears(world, desk) for desk in desks]
        for one in listening[1:]:
            nursery.start_soon(one.listen)
        nursery.start_soon(_open_again_and_again, nursery, world, desks[0])
        for one in listening[1:]:
            await one.live.wait()
        yield
        nursery.cancel_scope.cancel(reason="the flood is over")


def _ears(world: World, desk: Desk) -> Ears:
    return Ears(desk, world.network.host(desk.device).connect)


async def _open_again_and_again(nursery: trio.Nursery, world: World, desk: Desk) -> None:
    while True:
        nursery.start_soon(_ears(world, desk).listen)
        await trio.sleep(A_SECOND / 10)


@asynccontextmanager
async def telemetry_pours(world: World) -> AsyncIterator[None]:
    """F-40: a desk tells as much as it may, each second, and none of it is sampled away."""
    desk = await world.desk(device="chatterbox")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tells, desk)
        yield
        nursery.cancel_scope.cancel(reason="it has told enough")


async def _tells(desk: Desk) -> None:
    event = {"name": "tapped", "at": "2015-08-15T07:00:00Z", "attributes": {}}
    while True:
        with suppress(Refused):
            await desk.ask("POST", "/v1/telemetry", body={"events": [event] * TOLD})
        await trio.sleep(A_SECOND)


@asynccontextmanager
async def instances_run_up(world: World) -> AsyncIterator[None]:
    """F-39: servers are started that nobody needs. A world has no platform that does it by itself."""
    more = [await world.serve(f"surge-{number + 1}") for number in range(SURGE)]
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            for server in more:
                await server.end()


@asynccontextmanager
async def memory_grows(world: World) -> AsyncIterator[None]:
    """F-37: each server holds a little more every two minutes, and a seventh more after four hours."""

    async def grows() -> None:
        while True:
            await trio.sleep(LEAKS)
            world.held += LEAK

    world.held = world.held or HOLDS
    async with trio.open_nursery() as nursery:
        nursery.start_soon(grows)
        yield
        nursery.cancel_scope.cancel(reason="it was found")
