"""The edge: HTTP/1.1 and HTTP/2 on given listeners, with the contract's limits kept.

    listener -> (TLS, ALPN) -> first bytes -> h1.Connection            HTTP/1.1, read by llhttp
                                           -> h2.Connection            HTTP/2, by Hypercorn's protocol class, guarded

In clear, HTTP/2 is spoken to who opens with its preface (prior knowledge); `Upgrade: h2c` is ignored, as RFC 9110 7.8
lets a server do: an upgrade is a second way to reach HTTP/2 past whatever a proxy in front believes to have seen.

Nothing a peer does may end more than its own connection: `serve_stream` is the border where what nobody foresaw becomes
a fact (`AppFailed`) and a closed connection.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import trio

from bff.facts import RequestRefused
from bff.problem import Body
from bff.wire import h1, h2
from bff.wire.asgi import ALWAYS, HSTS, failure
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bff.wire.asgi import ASGI3, Scope
    from bff.wire.limits import EdgeConfig

_WORDS: Final = {413: "PAYLOAD_TOO_LARGE", 500: "INTERNAL", 503: "OVERLOADED"}


class _Drains(Protocol):
    def drain(self) -> None: ...


class Seat:
    """One connection's place among the live; what is in it hears of the drain."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken: _Drains | None = None


class Room:
    """What the connections of one edge share: the app, its configuration, who is connected, whether it drains."""

    def __init__(self, app: ASGI3, config: EdgeConfig) -> None:
        self.app = app
        self.config = config
        self.draining = False
        self.cut = 0
        self.live: set[Seat] = set()
        self._second = -1
        self._date = self._stamp = b""
        self._arrivals = count(1)

    def drain(self) -> None:
        """Idle connections close; the others answer what is under way, and say that it is the last."""
        self.draining = True
        for seat in self.live:
            if seat.taken is not None:
                seat.taken.drain()

    @contextmanager
    def seat(self) -> Iterator[Seat]:
        """A place for as long as a connection lives."""
        seat = Seat()
        self.live.add(seat)
        try:
            yield seat
        finally:
            self.live.discard(seat)

    def arrival(self) -> int:
        """The number of the next head that is complete: whatever runs first, this is the order in which they came."""
        return next(self._arrivals)

    def stamp(self) -> bytes:
        """The value of `Date` (RFC 9110, 6.6.1), written once a second."""
        second = int(self.config.outside.now())
        if second != self._second:
            self._second = second
            self._stamp = formatdate(second, usegmt=True).encode("ascii")
            self._date = b"date: %b\r\n" % self._stamp
        return self._stamp

    def date(self) -> bytes:
        """The `Date` field as HTTP/1.1 has it."""
        self.stamp()
        return self._date

    def problem(self, status: int, why: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Headers and body for a request that never became one: 431, 501 and 505 have no code of their own."""
        word = "DRAINING" if status == 503 and self.draining else _WORDS.get(status, "VALIDATION_FAILED")
        request_id = self.config.outside.identifier()
        body = Body(
            type=f"urn:bff-backoffice:problem:{word.lower().replace('_', '-')}",
            title=HTTPStatus(status).phrase,
            status=status,
            code=word,
            detail=why,
            request_id=request_id,
            retryable=status == 503,
        )
        encoded = msgspec.json.encode(body)
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(encoded)),
            (b"x-request-id", request_id.encode("ascii")),
            *ALWAYS,
            *((HSTS,) if self.config.tls is not None else ()),
        ]
        return headers, encoded

    def refusal(self, status: int, why: str, bodiless: bool = False) -> bytes:
        """A whole HTTP/1.1 answer that closes its connection."""
        headers, body = self.problem(status, why)
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        start = b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode("ascii"))
        return start + self.date() + lines + b"connection: close\r\n\r\n" + (b"" if bodiless else body)


async def serve_edge(
    app: ASGI3,
    config: EdgeConfig,
    *,
    listeners: Sequence[trio.abc.Listener[Any]],
    shutdown: trio.Event,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Serve `app` until `shutdown`; then stop accepting, let requests finish for `config.grace` seconds, and cut.

    The listeners (TCP's, or simulated) are closed on the way out. Returns how many connections were cut.
    """
    room = Room(app, config)

    async def handle(stream: trio.abc.Stream) -> None:
        _lose_the_silent(stream, config.limits.unheard_seconds)
        await _serve(room, stream, _where(config, _address(stream, "getpeername"), _address(stream, "getsockname")))

    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(partial(trio.serve_listeners, handle, list(listeners), handler_nursery=connections))
            task_status.started()
            await shutdown.wait()
            accepting.cancel_scope.cancel()
        room.drain()
        connections.cancel_scope.deadline = trio.current_time() + config.grace
    return room.cut


async def serve_stream(
    app: ASGI3,
    stream: trio.abc.Stream,
    config: EdgeConfig,
    *,
    client: tuple[str, int] | None = None,
    server: tuple[str, int] | None = None,
    room: Room | None = None,
) -> None:
    """Serve one connection over any Trio stream, a simulated one included, and close it. `config.tls` applies.

    Connections given the same `room` count together and drain together (`room.drain()`).
    """
    await _serve(room or Room(app, config), stream, _where(config, client, server))


async def _serve(room: Room, stream: trio.abc.Stream, where: Scope) -> None:
    """One connection, from accept to close: the border that no failure of it crosses."""
    limits, tls = room.config.limits, room.config.tls
    try:
        if room.draining or len(room.live) >= limits.connections:
            await _turn_away(room, stream)
            return
        with room.seat() as seat:
            if tls is not None:
                stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
                with trio.CancelScope(deadline=trio.current_time() + limits.head_seconds) as handshake:
                    await stream.do_handshake()
                if handshake.cancelled_caught:
                    return
            await _converse(room, stream, where, seat)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # it left in the middle of a handshake or a write: nobody to tell
    except Exception as error:  # the border: a connection's failure is not the others' end
        tell(failure(error))
    finally:
        room.cut += trio.current_effective_deadline() == -math.inf
        with trio.CancelScope(deadline=trio.current_time() + limits.linger_seconds, shield=True):
            await _close(stream)


async def _converse(room: Room, stream: trio.abc.Stream, where: Scope, seat: Seat) -> None:
    opening = b""
    if not (isinstance(stream, trio.SSLStream) and stream.selected_alpn_protocol() == "h2"):
        seat.taken = first = h1.Connection(room, stream, where)
        opening = await first.serve()
        if not opening:
            return
    seat.taken = second = h2.Connection(room, stream, where)
    await second.serve(opening)


async def _turn_away(room: Room, stream: trio.abc.Stream) -> None:
    """Over the bound, or too late: say so where it can be said at once, in clear, and close."""
    why = "this instance is shutting down" if room.draining else "this instance has all the connections it can hold"
    tell(RequestRefused(503, why))
    if room.config.tls is None:
        with trio.CancelScope(deadline=trio.current_time() + room.config.limits.linger_seconds):
            await stream.send_all(room.refusal(503, why))


def _lose_the_silent(stream: trio.abc.Stream, seconds: float) -> None:
    """Have the kernel break a connection whose peer is gone without a word, as a desk is whose network has vanished.

    A stream writes a few bytes at a time, and a socket's buffer takes hours of them: no write of ours ever waits. What
    is not acknowledged for so long breaks it instead (RFC 5482, as Linux has it), and with it the stream's scope ends.
    """
    option = getattr(trio.socket, "TCP_USER_TIMEOUT", None)
    if option is not None and isinstance(stream, trio.SocketStream):
        with suppress(OSError):  # it is broken already, which whoever reads it is about to find out
            stream.setsockopt(trio.socket.IPPROTO_TCP, option, round(seconds * 1000))


async def _close(stream: trio.abc.Stream) -> None:
    """Close, politely if the peer lets it; a cancelled close is a forceful one."""
    try:
        await stream.aclose()
    except (trio.BrokenResourceError, trio.BusyResourceError):
        await trio.aclose_forcefully(stream)


def _where(config: EdgeConfig, client: tuple[str, int] | None, server: tuple[str, int] | None) -> Scope:
    """What every request of one connection has in its ASGI scope."""
    scheme = "http" if config.tls is None else "https"
    asgi = {"version": "3.0", "spec_version": "2.4"}
    return {"type": "http", "asgi": asgi, "scheme": scheme, "root_path": "", "client": client, "server": server}


def _address(stream: trio.abc.Stream, which: str) -> tuple[str, int] | None:
    """The peer's or our own address where the stream has one."""
    ask = getattr(getattr(stream, "socket", None), which, None)
    if ask is None:
        return None
    try:
        address = ask()
    except OSError:
        return None
    return (address[0], address[1]) if isinstance(address, tuple) else None
