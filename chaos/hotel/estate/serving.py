"""A lean HTTP/1.1 server for the estate, and the faults that are done to its sockets.

The same code serves real listeners and simulated ones: it is given a way to listen, and from then on has nothing but
Trio streams. `Door` is one service's listener. What a fault does there:

    down      nobody listens, and whoever is connected is cut
    hang      connections are taken, requests are read, nothing is answered until the fault is cleared
    latency   an answer begins later
    drip      an answer goes out a few bytes at a time
    reset     the connection breaks after so many bytes of an answer

A fault that ends is over at once, in the middle of what it does: a hanging request is answered, a drip flows.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Any, Final, Protocol

import httptools
import trio

from chaos.hotel.estate.service import Service
from chaos.toxics import Down, Drip, Hang, Latency, Reset, Toxic

READ: Final = 64 * 1024
LONGEST_BODY: Final = 1 << 20
DRIP_STEP: Final = 0.1  # seconds between pieces of a drip that is faster than a byte in that time

Serve = Callable[[trio.abc.Stream], Awaitable[None]]


class Listening(Protocol):
    """Somebody who accepts. `close` refuses who comes from now on; `cut` breaks who is connected."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    def close(self) -> None: ...
    def cut(self) -> None: ...


class Listen(Protocol):
    """Begin to accept at `host:port` (0 for any free one) in `nursery`. Raises `OSError` when the place is taken."""

    def __call__(self, host: str, port: int, serve: Serve, nursery: trio.Nursery) -> Listening: ...


class TcpListening:
    """`Listening` on a real socket."""

    def __init__(self, host: str, port: int, serve: Serve, nursery: trio.Nursery) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
            bound.listen(256)
        except OSError:
            bound.close()
            raise
        self.host, self.port = bound.getsockname()[:2]
        self._socket = trio.socket.from_stdlib_socket(bound)
        self._accepting = trio.CancelScope()
        self._live: set[trio.abc.Stream] = set()
        nursery.start_soon(self._accept, partial(self._session, serve), nursery)

    async def _accept(self, session: Serve, nursery: trio.Nursery) -> None:
        with self._accepting:
            await trio.serve_listeners(session, [trio.SocketListener(self._socket)], handler_nursery=nursery)

    async def _session(self, serve: Serve, stream: trio.abc.Stream) -> None:
        self._live.add(stream)
        try:
            await serve(stream)
        finally:
            self._live.discard(stream)

    def close(self) -> None:
        self._socket.close()
        self._accepting.cancel()

    def cut(self) -> None:
        for stream in tuple(self._live):
            broken(stream)


def broken(stream: trio.abc.Stream) -> None:
    """Break the connection so that the peer sees a reset, real or simulated."""
    if isinstance(stream, trio.SocketStream):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
    else:
        reset = getattr(stream, "reset", None)
        if reset is not None:
            reset()


class Door:
    """One service's listener, with what is wrong with it."""

    def __init__(self, service: Service, listen: Listen, nursery: trio.Nursery, *, host: str, port: int) -> None:
        self.service = service
        self._listen = partial(listen, host, serve=self.serve, nursery=nursery)
        self._listening: Listening | None = self._listen(port)
        self.host, self.port = host, self._listening.port
        self._changed = trio.Event()
        self._random = Random(f"door:{service.name}")

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
        while hang is not None and hang in self.service.toxics:
            await self._changed.wait()
        late = self._strikes(Latency)
        if isinstance(late, Latency):
            seconds = (late.ms + late.jitter * (2 * self._random.random() - 1)) / 1000
            await self._unless_cleared(late, max(0.0, seconds))

    async def write(self, stream: trio.abc.Stream, data: bytes, sent: int) -> None:
        """`data`, of an answer of which `sent` bytes have gone; `BrokenResourceError` where a fault breaks it."""
        reset = self._strikes(Reset)
        if isinstance(reset, Reset) and sent + len(data) > reset.after:
            await stream.send_all(data[: max(0, reset.after - sent)])
            broken(stream)
            raise trio.BrokenResourceError("reset on purpose")
        drip = self._strikes(Drip)
        if isinstance(drip, Drip):
            data = await self._drip(stream, data, drip)
        await stream.send_all(data)

    async def _drip(self, stream: trio.abc.Stream, data: bytes, drip: Drip) -> bytes:
        size = max(1, int(drip.bytes_per_second * DRIP_STEP))
        while data and drip in self.service.toxics:
            await stream.send_all(data[:size])
            data = data[size:]
            await self._unless_cleared(drip, size / drip.bytes_per_second)
        return data

    async def _unless_cleared(self, toxic: Toxic, seconds: float) -> None:
        with trio.CancelScope(deadline=trio.current_time() + seconds):
            await trio.lowlevel.checkpoint()
            while toxic in self.service.toxics:
                await self._changed.wait()


class _Connection:
    """One connection and the request that is being read from it. The parser calls the `on_` methods."""

    def __init__(self, door: Door, stream: trio.abc.Stream) -> None:
        self._door = door
        self._stream = stream
        self._parser = httptools.HttpRequestParser(self)
        self._requests: list[tuple[dict[str, Any], bytes]] = []
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    async def serve(self) -> None:
        """Read and answer, one request after the other, until the peer leaves."""
        while True:
            data = await self._stream.receive_some(READ)
            if not data:
                return
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:
                await self._stream.send_all(
                    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
                return
            while self._requests:
                if not await self._while_there(*self._requests.pop(0)):
                    return

    async def _while_there(self, scope: dict[str, Any], body: bytes) -> bool:
        """Answer one request, or stop in the middle when the peer has left: nothing hangs for nobody."""
        if not self._door.service.toxics:
            return await self._answer(scope, body)
        done: list[bool] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_left, nursery.cancel_scope)
            done.append(await self._answer(scope, body))
            nursery.cancel_scope.cancel()
        return done == [True]

    async def _until_left(self, answering: trio.CancelScope) -> None:
        try:
            while data := await self._stream.receive_some(READ):
                self._parser.feed_data(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, httptools.HttpParserError):
            pass
        answering.cancel()

    async def _answer(self, scope: dict[str, Any], body: bytes) -> bool:
        await self._door.before()
        writing = _Writing(self._door, self._stream)

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            await self._door.service(scope, receive, writing.send)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return writing.whole and bool(self._parser.should_keep_alive())

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, piece: bytes) -> None:
        self._body.append(piece)
        if sum(map(len, self._body)) > LONGEST_BODY:
            raise ValueError("the body is too long")

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
        self._requests.append((scope, b"".join(self._body)))
        self._begin()


class _Writing:
    """The ASGI `send` of one answer. A body whose length is not declared goes out in chunks."""

    def __init__(self, door: Door, stream: trio.abc.Stream) -> None:
        self._door = door
        self._stream = stream
        self._head = b""
        self._chunked = False
        self._sent = 0
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
        await self._door.write(self._stream, data, self._sent)
        self._sent += len(data)
        self.whole = not more

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._chunked = not any(name == b"content-length" for name, _ in headers)
        lines = [b"%b: %b\r\n" % header for header in headers]
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        phrase = HTTPStatus(status).phrase.encode("ascii")
        self._head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase, b"".join(lines))
