"""Connections that are kept open between exchanges, and the rules of when one may be used again.

A connection is `free` (in the pool), `lent` (one exchange) or `closed`. It becomes free in one case only: the whole
answer was read, its end was said by the answer itself, both sides want to go on, and nothing followed it. A cancelled,
half-read, refused or surprising exchange closes it, since whatever comes on it later would be read as the answer to
somebody else's question. Before a free connection is lent it must be silent: a byte or an end waiting on it means that
the peer closed it, or that it says something nobody asked for.

A peer may close a connection in the moment in which it is lent. Then nothing of an answer comes, and nobody knows
whether the request was worked on (RFC 9110, 9.2.2; RFC 9112, 9.3.1). It is sent once more, on a new connection, only
where sending twice does no harm: `Prepared.repeatable`.

There are no timeouts here. Whoever fetches has a deadline around it, or `nurseries.Unbounded` is raised; a timeout per
operation would be beaten by a byte a second (F-33). Bounds instead: connections per origin, exchanges that wait for
one, free connections in all, and how long one may lie idle.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import trio

from bff.facts import ConnectionClosed
from bff.wire.dial import Wire, loopback, trusted, wired
from bff.wire.exchange import Bounds, Exchange, Origin, Prepared, Reply, standing, written
from nurseries import required, tell

if TYPE_CHECKING:
    import ssl

    from bff.outside import Connect


class Crowded(httpx.PoolTimeout):
    """As many exchanges as allowed wait for a connection to this origin already: refused at once, not queued."""


class _Stale(Exception):
    """Nothing of an answer came on a connection that had been used before; `cause` is what a caller would see."""

    def __init__(self, cause: httpx.RequestError) -> None:
        self.cause = cause


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """`per_origin` connections, `waiting` exchanges per origin, `idle` free connections in all, `idle_seconds` each."""

    per_origin: int = 64
    waiting: int = 256
    idle: int = 256
    idle_seconds: float = 15.0
    answer: Bounds = field(default=Bounds())


class Connection:
    """An open stream to an origin. `since` is the Trio time at which it became free."""

    __slots__ = ("shelf", "since", "used", "wire")

    def __init__(self, wire: Wire, shelf: Shelf) -> None:
        self.wire = wire
        self.shelf = shelf
        self.since = 0.0
        self.used = False


class Shelf:
    """What is kept per origin: its free connections, the youngest last; who waits; what it is always told."""

    __slots__ = ("busy", "free", "gzip", "lines", "origin", "tls", "waiting", "what")

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None) -> None:
        self.origin = origin
        self.free: deque[Connection] = deque()
        self.busy = 0  # permits given out; one that is handed on to a waiter stays given out
        self.waiting = trio.lowlevel.ParkingLot()
        self.tls = tls
        self.gzip = not loopback(origin.host)
        self.lines = standing(origin, gzip=self.gzip)
        self.what = f"an answer of {origin.host}:{origin.port}"


class Pool:
    """Exchanges with any number of origins over connections that are used again when that is safe."""

    def __init__(
        self, connect: Connect, *, limits: PoolLimits | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._connect = connect
        self._limits = limits or PoolLimits()
        self._tls = tls
        self._shelves: dict[Origin, Shelf] = {}
        self._free: OrderedDict[Connection, None] = OrderedDict()  # the longest idle first, over all origins
        self._closed = False

    @property
    def free(self) -> int:
        """How many connections lie idle."""
        return len(self._free)

    @property
    def lent(self) -> int:
        """How many exchanges are under way."""
        return sum(shelf.busy for shelf in self._shelves.values())

    async def fetch(self, prepared: Prepared) -> Reply:
        """Send `prepared`, read the whole answer.

        Raises `httpx.ConnectError`, `ReadError`, `WriteError`, `RemoteProtocolError`, `DecodingError`, `TooLarge`,
        `Crowded`; `LocalProtocolError` for a request that must not be sent; `nurseries.Unbounded` without a deadline.
        """
        shelf = self._shelves.get(prepared.origin) or self._shelf(prepared.origin)
        required(shelf.what)
        data = written(prepared, shelf.lines)
        if not self._admitted(shelf):
            await shelf.waiting.park()
        try:
            return await self._fetch(shelf, prepared, data)
        finally:
            if not shelf.waiting.unpark():
                shelf.busy -= 1

    async def _fetch(self, shelf: Shelf, prepared: Prepared, data: bytes) -> Reply:
        connection = self._lent(shelf)
        while connection is not None and (why := self._unfit(connection)):
            await self._close(connection, why)
            connection = self._lent(shelf)
        if connection is not None:
            try:
                return await self._exchange(connection, prepared, data)
            except _Stale as stale:
                if not prepared.repeatable:
                    raise stale.cause from None
                return await self._again(shelf, prepared, data, stale)
        return await self._exchange(await self._dial(shelf), prepared, data)

    async def _again(self, shelf: Shelf, prepared: Prepared, data: bytes, stale: _Stale) -> Reply:
        """Once more, on a new connection. That there is none does not say that nothing was ever sent."""
        try:
            connection = await self._dial(shelf)
        except httpx.ConnectError:
            raise stale.cause from None
        return await self._exchange(connection, prepared, data)

    def _shelf(self, origin: Origin) -> Shelf:
        if self._closed:
            raise trio.ClosedResourceError("the pool is closed")
        if origin.scheme not in {"http", "https"}:
            raise httpx.UnsupportedProtocol(f"neither http nor https: {origin.scheme}")
        tls = (self._tls or trusted()) if origin.scheme == "https" else None
        shelf = self._shelves[origin] = Shelf(origin, tls)
        return shelf

    def _admitted(self, shelf: Shelf) -> bool:
        """Take the right to one connection; False: wait for it, first come, first served. Raises `Crowded`."""
        if shelf.busy < self._limits.per_origin:  # nobody waits then, since a right is handed on before it is free
            shelf.busy += 1
            return True
        if len(shelf.waiting) >= self._limits.waiting:
            raise Crowded(f"{self._limits.waiting} exchanges wait for {shelf.what} already")
        return False

    def _lent(self, shelf: Shelf) -> Connection | None:
        """The youngest free connection, no longer free; None: dial."""
        if not shelf.free:
            return None
        connection = shelf.free.pop()
        del self._free[connection]
        return connection

    def _unfit(self, connection: Connection) -> str:
        """Why this connection must not be used again; empty when it may."""
        if trio.current_time() - connection.since > self._limits.idle_seconds:
            return "idle"
        return "stale" if connection.wire.speaks() else ""

    async def _dial(self, shelf: Shelf) -> Connection:
        origin = shelf.origin
        try:
            stream = await self._connect(origin.host, origin.port, shelf.tls)
        except (OSError, trio.BrokenResourceError) as error:
            raise httpx.ConnectError(f"no connection to {origin.host}:{origin.port}: {error}") from error
        return Connection(wired(stream), shelf)

    async def _exchange(self, connection: Connection, prepared: Prepared, data: bytes) -> Reply:
        exchange = Exchange(prepared.method, self._limits.answer, gzip=connection.shelf.gzip)
        why = "cancelled"
        try:
            await _converse(connection.wire, exchange, data)
            reply = exchange.reply()
            why = "" if exchange.reusable and not self._closed else "last"
        except httpx.RequestError as error:
            why = "broken" if exchange.started else "unanswered"
            if connection.used and not exchange.started:
                raise _Stale(error) from error
            raise
        finally:
            if why:
                self._tell(connection, why)
                await trio.aclose_forcefully(connection.wire.stream)
        if not why:
            self._keep(connection)
            while len(self._free) > self._limits.idle:
                await self._evict("crowded out")
        return reply

    def _keep(self, connection: Connection) -> None:
        connection.used = True
        connection.since = trio.current_time()
        connection.shelf.free.append(connection)
        self._free[connection] = None

    async def _evict(self, why: str) -> None:
        """Close the connection that has been idle longest: the first over all is the first of its shelf."""
        connection, _ = self._free.popitem(last=False)
        oldest = connection.shelf.free.popleft()
        assert oldest is connection
        await self._close(connection, why)

    def _tell(self, connection: Connection, why: str) -> None:
        tell(ConnectionClosed(connection.shelf.origin.host, connection.shelf.origin.port, why))

    async def _close(self, connection: Connection, why: str) -> None:
        self._tell(connection, why)
        await trio.aclose_forcefully(connection.wire.stream)

    async def reap(self) -> None:
        """Close what has been idle too long, and forget origins that nobody asks."""
        await trio.lowlevel.checkpoint()
        eldest = trio.current_time() - self._limits.idle_seconds
        while self._free and next(iter(self._free)).since < eldest:
            await self._evict("idle")
        for origin, shelf in tuple(self._shelves.items()):
            if not shelf.free and not shelf.busy:
                del self._shelves[origin]

    async def serve(self) -> None:
        """Reap for ever: a service for an owner. Without it an idle connection stays until its origin is asked."""
        while True:
            await trio.sleep(self._limits.idle_seconds / 2)
            await self.reap()

    async def aclose(self) -> None:
        """Close what is free now, and what is lent when it comes back; a later fetch raises. Safe twice.

        Who is cancelled while he closes has closed: nothing here waits for a peer.
        """
        self._closed = True
        with trio.CancelScope(shield=True):  # noqa: ASYNC912  it must not be cancelled: nothing in it waits
            while self._free:
                await self._evict("shutdown")
        self._shelves.clear()
        await trio.lowlevel.checkpoint()


async def _converse(wire: Wire, exchange: Exchange, data: bytes) -> None:
    """Send, then read to the end of the answer. Raises `httpx.TransportError`."""
    refused: trio.BrokenResourceError | None = None
    try:
        if rest := wire.offer(data):
            await wire.stream.send_all(rest)
    except trio.BrokenResourceError as error:
        refused = error  # it may have answered before it stopped listening (413, 401): that answer counts
    try:
        while True:
            piece = await wire.receive()
            if not piece:
                exchange.end()
                return
            if exchange.feed(piece):
                return
    except trio.BrokenResourceError as error:
        if refused is not None and not exchange.started:
            raise httpx.WriteError("the connection broke while the request was sent") from error
        raise httpx.ReadError("the connection broke while the answer was read") from error
