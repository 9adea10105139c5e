"""A lean HTTP/1.1 server for the estate, and the faults that are done to its sockets.

The same code serves real listeners and simulated ones: it is given a way to listen (sockets.py), and from then on has
nothing but Trio streams. `Door` is one service's listener. What a fault does there:

    down      nobody listens, and whoever is connected is cut
    hang      connections are taken, requests are read, nothing is answered until the fault is cleared
    latency   an answer begins later
    drip      an answer goes out a few bytes at a time
    reset     the connection breaks after so many bytes of an answer

A fault that ends is over at once, in the middle of what it does: a hanging request is answered, a drip flows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Any, Final

import httptools
import trio

from chaos.hotel.estate.service import Service
from chaos.hotel.estate.sockets import Listen, Listening, broken
from chaos.toxics import Down, Drip, Hang, Latency, Reset, Toxic

READ: Final = 64 * 1024
READ_ON: Final = 4  # times as many bytes as a service takes are read, so that who sent them hears why they are not
MOST_FIELDS: Final = 200
MOST_WAITING: Final = 64  # requests that are read ahead of their turn
DRIP_STEP: Final = 0.1  # seconds between pieces of a drip that is faster than a byte in that time

BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
STATUS_LINES: Final = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}


class Door:
    """One service's listener, with what is wrong with it."""

    def __init__(self, service: Service, listen: Listen, nursery: trio.Nursery, *, host: str, port: int) -> None:
        self.service = service
        self._listen = partial(listen, host, serve=self.serve, nursery=nursery)
        self._listening: Listening | None = self._listen(port)
        self.host, self.port = host, self._listening.port
        self._changed = trio.Event()
        self._random = Random(f"door:{service.seed}:{service.name}")

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def inject(self, toxic: Toxic) -> None:
        """From now on. In force when this returns."""
        self.service.inject(toxic)
        self._turn()

    def clear(self, toxic: Toxic | None = None) -> None:
        """End one fault (if it is still that very one), or all."""
        self.service.clear(toxic)
        self._turn()

    def _turn(self) -> None:
        down = any(type(toxic) is Down and toxic.rate >= 1 for toxic in self.service.toxics)
        if down and self._listening is not None:
            self._listening.close()
            self._listening.cut()
            self._listening = None
        elif not down and self._listening is None:
            self._listening = self._listen(self.port)
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _strikes(self, kind: type[Toxic]) -> Toxic | None:
        return self.service.strikes(kind)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One connection, until it ends, breaks or is cut."""
        try:
            if self._strikes(Down):
                broken(stream)
                return
            await _Connection(self, stream).serve()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # whoever asked has gone, or a fault broke it
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await trio.aclose_forcefully(stream)

    async def before(self) -> None:
        """What happens to a request before it is worked on."""
        hang = self._strikes(Hang)
        while hang is not None and self.holds(hang):
            await self._changed.wait()
        late = self._strikes(Latency)
        if isinstance(late, Latency):
            seconds = (late.ms + late.jitter * (2 * self._random.random() - 1)) / 1000
            await self.while_it_holds(late, max(0.0, seconds))

    def wire(self, stream: trio.abc.Stream) -> Wire:
        """The way out for one answer, with what falls on it."""
        reset, drip = self._strikes(Reset), self._strikes(Drip)
        return Wire(
            self,
            stream,
            reset if isinstance(reset, Reset) else None,
            drip if isinstance(drip, Drip) else None,
        )

    def holds(self, toxic: Toxic) -> bool:
        """Whether this fault is still in force."""
        return toxic in self.service.toxics

    async def while_it_holds(self, toxic: Toxic, seconds: float) -> None:
        """Wait `seconds`, or until the fault is cleared."""
        with trio.CancelScope(deadline=trio.current_time() + seconds):
            await trio.lowlevel.checkpoint()
            while self.holds(toxic):
                await self._changed.wait()


@dataclass(slots=True)
class Wire:
    """The way out of one answer. Whether a fault with a `rate` falls on it was decided when it began."""

    door: Door
    stream: trio.abc.Stream
    reset: Reset | None
    drip: Drip | None
    sent: int = 0

    async def write(self, data: bytes) -> None:
        """More of the answer. `BrokenResourceError` where the peer has gone, or a fault breaks the connection."""
        reset = self.reset
        breaks = reset is not None and self.door.holds(reset) and self.sent + len(data) > reset.after
        if reset is not None and breaks:
            data = data[: reset.after - self.sent]
        self.sent += len(data)
        if self.drip is not None:
            data = await self._dripped(data, self.drip)
        await self.stream.send_all(data)
        if breaks:
            broken(self.stream)
            raise trio.BrokenResourceError("reset on purpose")

    async def _dripped(self, data: bytes, drip: Drip) -> bytes:
        """Let `data` out by drops; gives what is left of it when the fault is cleared."""
        size = max(1, int(drip.bytes_per_second * DRIP_STEP))
        while data and self.door.holds(drip):
            await self.stream.send_all(data[:size])
            data = data[size:]
            await self.door.while_it_holds(drip, size / drip.bytes_per_second)
        return data


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that was read whole: its ASGI scope, its body, and whether the peer wants to go on afterwards."""

    scope: dict[str, Any]
    body: bytes
    keep_alive: bool


class _Connection:
    """One connection and the request that is being read from it. The parser calls the `on_` methods."""

    def __init__(self, door: Door, stream: trio.abc.Stream) -> None:
        self._door = door
        self._stream = stream
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[_Request] = deque()
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._size = 0

    async def serve(self) -> None:
        """Read and answer, one request after the other, until the peer leaves."""
        while True:
            data = await self._stream.receive_some(READ)
            if not data:
                return
            bad = self._feed(data)
            while self._requests:
                if not await self._while_there(self._requests.popleft()):
                    return
            if bad:
                await self._stream.send_all(BAD_REQUEST)
                return

    def _feed(self, data: bytes | bytearray) -> bool:
        """Whether something came that is no request of HTTP/1.1; what came before it stands."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return False  # not taken up: its request is answered as any other, and is the last (RFC 9110, 7.8)
        except httptools.HttpParserError:
            return True
        return False

    async def _while_there(self, request: _Request) -> bool:
        """Answer one request, or stop in the middle when the peer has left: nothing hangs for nobody.

        Says whether the connection may go on. Without a fault there is nothing to wait for, and nobody is watched.
        """
        if not self._door.service.toxics:
            return await self._answer(request)
        goes_on = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_left, nursery.cancel_scope)
            goes_on = await self._answer(request)
            nursery.cancel_scope.cancel()
        return goes_on

    async def _until_left(self, answering: trio.CancelScope) -> None:
        """Read on. A peer that sends more than it may have waiting is left alone until its turn comes."""
        try:
            while data := await self._stream.receive_some(READ):
                if self._feed(data):
                    break
                if len(self._requests) > MOST_WAITING:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        answering.cancel()

    async def _answer(self, request: _Request) -> bool:
        await self._door.before()
        writing = _Writing(self._door.wire(self._stream))

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": request.body, "more_body": False}

        try:
            await self._door.service(request.scope, receive, writing.send)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return writing.whole and request.keep_alive

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) == MOST_FIELDS:
            raise ValueError("too many fields")
        self._headers.append((name.lower(), value))

    def on_body(self, piece: bytes) -> None:
        largest = self._door.service.largest
        self._size += len(piece)
        if self._size > READ_ON * largest:
            raise ValueError("the body is too long")
        self._body += piece[: largest + 1 - len(self._body)]  # one more than is taken says that there was more

    def on_message_complete(self) -> None:
        path, _, query = self._url.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": self._parser.get_http_version(),
            "method": self._parser.get_method().decode("ascii"),
            "raw_path": path,
            "query_string": query,
            "headers": self._headers,
        }
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._requests.append(_Request(scope, bytes(self._body), keep_alive))
        self._begin()


class _Writing:
    """The ASGI `send` of one answer. A body whose length is not declared goes out in chunks."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._head = b""
        self._chunked = False
        self.whole = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._begin(message["status"], message["headers"])
            return
        piece: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        if self._chunked:
            piece = (b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"") + (b"" if more else b"0\r\n\r\n")
        data, self._head = self._head + piece, b""
        await self._wire.write(data)
        self.whole = not more

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._chunked = not any(name == b"content-length" for name, _ in headers)
        fields = b"".join([b"%b: %b\r\n" % header for header in headers])
        framing = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        line = STATUS_LINES.get(status) or b"HTTP/1.1 %d -\r\n" % status
        self._head = b"%b%b%b\r\n" % (line, fields, framing)
