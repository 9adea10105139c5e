"""Very many devices of one operator that listen, as many at one server as at the other, over few connections.

A stream has a connection of its own; what else they ask goes over those that all of them share. With a connection each
they would cost twice as much, and tell no more.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.wire.files import allow_many_files
from chaos.hotel.fleet.desk import Desk, Refused
from chaos.hotel.fleet.ears import Ears

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from chaos.hotel.stage import HotelStage

SERVERS: Final = 2
AT_ONCE: Final = 40  # devices that sign in, listen or ask: a server opens 64 streams at once
TRIES: Final = 40  # of one request, where the answer is about something else
AGAIN: Final = 0.5  # seconds from one to the next
PASSING: Final = frozenset(
    {"OVERLOADED", "RATE_LIMITED", "UNREACHABLE", "UPSTREAM_UNAVAILABLE"}
)  # what it is about then


@asynccontextmanager
async def gathered(stage: HotelStage, person: int, devices: int) -> AsyncIterator[tuple[Ears, ...]]:
    """So many devices that are signed in and listen; leaving ends their streams. Raises `LiveError`."""
    async with seated(stage, person, devices) as ears, trio.open_nursery() as streams:

        async def listens(one: Ears) -> None:
            streams.start_soon(one.listen)
            await one.live.wait()

        await each(partial(listens, one) for one in ears)
        yield ears
        streams.cancel_scope.cancel(reason="the devices leave")


@asynccontextmanager
async def seated(stage: HotelStage, person: int, devices: int) -> AsyncIterator[tuple[Ears, ...]]:
    """So many that are signed in, and do not listen yet. Raises `LiveError`."""
    allow_many_files()
    who = stage.person(person)
    run = stage.outside(who.operator).identifier()[:8]
    async with AsyncExitStack() as parts:
        clients = [await parts.enter_async_context(await stage.client(server)) for server in range(SERVERS)]
        origins = [await stage.origin(server) for server in range(SERVERS)]
        ears: list[Ears] = []
        for number in range(devices):
            name, server = f"{who.operator}-{run}-{number}", number % SERVERS
            outside = stage.outside(name)
            ears.append(Ears(Desk(clients[server], origins[server], outside, device=name), outside.connect))

        async def signs_in(desk: Desk) -> None:
            code = await code_of(partial(desk.sign_in, who))
            assert not code, f"{desk.device} cannot sign in: {code}"

        await each(partial(signs_in, one.desk) for one in ears)
        yield tuple(ears)


async def each(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """All of them, so many at once."""
    waiting = iter(works)

    async def some() -> None:
        for work in waiting:
            await work()

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(some)


async def code_of(ask: Callable[[], Awaitable[object]]) -> str:
    """What became of it, tried again while the answer is about something else: '' where it was let in, or the code."""
    code = ""
    for _ in range(TRIES):
        try:
            await ask()
        except Refused as refused:
            code = refused.code
        else:
            return ""
        if code not in PASSING:
            break
        await trio.sleep(AGAIN)
    return code
