"""The server for real: stores, sockets and signals around the house, and the order in which it all ends.

The end, on SIGTERM or Ctrl-C: readiness says draining and the gate refuses what is new; the edge stops accepting, lets
what is under way finish within its grace, and cuts the rest; then the ops listener goes, then what owners hold, then
the stores. A second signal ends the waiting.
"""

from __future__ import annotations

import gc
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import trio

from bff.config import BadSetting, Bind, variable
from bff.facts.events import StreamsCapped
from bff.house import House, Stores, compose
from bff.log import lines
from bff.outside import fraction
from bff.stores.border import open_border
from bff.stores.postgres import open_ledger
from bff.stores.redis_bus import open_bus
from bff.stores.redis_cache import open_cache
from bff.stores.redis_tier import open_tier
from bff.upstreams.services import LOCATED
from bff.wire.certificate import Certificate
from bff.wire.edge import serve_edge
from bff.wire.files import allow_many_files, room_for
from bff.wire.limits import EdgeConfig, Limits
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from nurseries import Owner, listening, open_owner, tell, within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bff.config import Settings
    from bff.outside import Outside
    from bff.wire.files import Room

OWNED: Final = 16_384  # background tasks at once; a dashboard's fan-out is one
OPS_LIMITS: Final = Limits(connections=64)
GRACE_SECONDS: Final = 6.0  # for what is under way when the end begins: CONTRACT section 7 gives ten to all of it
OPS_GRACE_SECONDS: Final = 0.5
COLLECT_EVERY: Final = (20_000, 20, 20)  # allocations, and younger generations' collections, between two of the garbage
ESTATE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the two listeners really are, as URLs, and the ids of the processes that serve."""

    edge: str
    ops: str
    workers: tuple[int, ...]


async def located(env: Mapping[str, str], outside: Outside) -> dict[str, str]:
    """`env` with an address for every upstream: those it does not name are asked of the estate at `BFF_ESTATE_URL`.

    Raises `BadSetting` where that does not answer as an estate does.
    """
    base = env.get("BFF_ESTATE_URL")
    if not base or all(env.get(variable(service)) for service in LOCATED):
        return dict(env)
    url = f"{base.rstrip('/')}/_estate/services"
    with within(ESTATE_SECONDS):
        async with httpx.AsyncClient(transport=TrioTransport(Pool(outside.connect))) as client:
            try:
                found = msgspec.json.decode((await client.get(url)).content, type=dict[str, str])
            except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError) as error:
                raise BadSetting(f"BFF_ESTATE_URL is {base!r}: no estate answers ({type(error).__name__})") from None
        return {**{variable(service): found[service] for service in LOCATED if service in found}, **env}
    raise BadSetting(f"BFF_ESTATE_URL is {base!r}: no answer within {ESTATE_SECONDS:.0f} s")


async def serve_until_told(
    told: Settings,
    outside: Outside,
    *,
    log: Any,
    announce: Callable[[Addresses], None],
    edge: Sequence[trio.SocketListener] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then end in order. Raises `BadSetting` for what cannot be used.

    `edge` are sockets that listen already and that others accept from too; without any it binds its own.
    """
    room = room_for(told.streams, allow_many_files())
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with AsyncExitStack() as parts:
            stores = await _open_stores(told, parts)
            owner = await parts.enter_async_context(open_owner("server", bound=OWNED))
            house = compose(replace(told, streams=room.streams), outside, stores, owner)
            parts.push_async_callback(house.pool.aclose)
            parts.enter_context(listening(house.meters.hear))
            parts.enter_context(listening(lines(log)))
            if room.streams < told.streams:
                _own_up(house, told.streams, room)
            await _listen(told, outside, house, owner, signals, announce, edge, Limits(connections=room.connections))


async def _open_stores(told: Settings, parts: AsyncExitStack) -> Stores:
    border = await parts.enter_async_context(open_border())
    try:
        return Stores(
            tier=await parts.enter_async_context(open_tier(border, told.redis_session.value)),
            cache=await parts.enter_async_context(open_cache(border, told.redis_cache.value)),
            ledger=await parts.enter_async_context(open_ledger(border, told.postgres.value)),
            bus=await parts.enter_async_context(open_bus(border, told.redis_session.value)),
        )
    except ValueError as error:
        raise BadSetting(str(error)) from None


async def _listen(
    told: Settings,
    outside: Outside,
    house: House,
    owner: Owner,
    signals: Any,
    announce: Callable[[Addresses], None],
    shared: Sequence[trio.SocketListener],
    limits: Limits,
) -> None:
    certificate = _certificate(told)
    tls = None if certificate is None else certificate.context
    edge = EdgeConfig(outside, limits=limits, tls=tls, grace=GRACE_SECONDS)
    ops = EdgeConfig(outside, limits=OPS_LIMITS, grace=OPS_GRACE_SECONDS)
    edge_sockets = list(shared) or await bound(told.edge, "BFF_EDGE_BIND")
    ops_sockets = await bound(told.ops, "BFF_OPS_BIND")
    draining, over = trio.Event(), trio.Event()
    hearing, serving = trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_edge, house.ops, ops, listeners=ops_sockets, shutdown=over))
        house.keep_going(owner, outside)
        if certificate is not None:
            owner.supervise("certificate", certificate.serve, jitter=partial(fraction, outside.entropy))
        nursery.start_soon(_hear, signals, hearing, house, draining, serving)
        with serving:
            async with trio.open_nursery() as connections:
                serve = partial(serve_edge, house.app, edge, listeners=edge_sockets, shutdown=draining)
                await connections.start(serve)
                _spare_collections()
                urls = url_of(edge_sockets, told.tls is not None), url_of(ops_sockets, False)
                announce(Addresses(*urls, (os.getpid(),)))
        hearing.cancel(reason="the edge has drained")
        ignore_signals()
        over.set()


async def _hear(
    signals: Any, hearing: trio.CancelScope, house: House, draining: trio.Event, serving: trio.CancelScope
) -> None:
    """The first signal begins the end, a second one does not wait for it."""
    with hearing:
        await anext(signals)
        house.drain()
        draining.set()
        await anext(signals)
        ignore_signals()
        serving.cancel(reason="told to end a second time")


def ignore_signals() -> None:
    """The end is under way: a signal that nobody waits for any more would be delivered once more by its default."""
    for impatient in (signal.SIGINT, signal.SIGTERM):
        signal.signal(impatient, signal.SIG_IGN)


async def bound(where: Bind, name: str) -> list[trio.SocketListener]:
    """Listening sockets at `where`. Raises `BadSetting` where it cannot be had."""
    try:
        return list(await trio.open_tcp_listeners(where.port, host=where.host))
    except OSError as error:
        raise BadSetting(
            f"{name} is {where}, which cannot be had ({error.strerror or error}): choose another"
        ) from None


def url_of(sockets: Sequence[trio.SocketListener], tls: bool) -> str:
    """The URL of listening sockets: of the first, since the others are the same port of another family."""
    host, port = sockets[0].socket.getsockname()[:2]
    return f"http{'s' if tls else ''}://{Bind(host, port)}"


def _certificate(told: Settings) -> Certificate | None:
    if told.tls is None:
        return None
    try:
        return Certificate(*told.tls)
    except ValueError as error:
        raise BadSetting(str(error)) from None


def _spare_collections() -> None:
    """What was made at the start stays for ever: the garbage collector does not look at it again, and looks less often.

    While it goes over everything no deadline is kept. Left as it comes it takes a fifth of the CPU under load, and
    holds everything up for longer than a dashboard's reserve.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)


def _own_up(house: House, asked: int, room: Room) -> None:
    """There is room for fewer streams than `BFF_STREAMS` says: once in the log, and in `/readyz` for good."""
    tell(StreamsCapped(asked, room.streams, room.files))
    detail = f"room for {room.streams} and not {asked}, as {room.files} files may be open"
    house.readiness.lacks("streams", detail)
