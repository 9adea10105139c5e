"""One answer that is read while it comes: a GET on a connection of its own, for as long as somebody listens.

What a desk asks otherwise is answered whole (`bff.wire.transport`); a stream of events never is.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import h11
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from bff.outside import Connect

READ: Final = 65_536
LONGEST: Final = 1_048_576  # bytes of an answer that is read whole


class Cut(Exception):
    """The answer ended before its end, or there was none; the text is one line."""


class Opened:
    """An answer whose head has come. `status` and `headers`, names in lower case."""

    def __init__(self, stream: trio.abc.Stream, protocol: h11.Connection, head: h11.Response) -> None:
        self.status: int = head.status_code
        self.headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        self._stream = stream
        self._protocol = protocol

    async def piece(self) -> bytes:
        """What of the body comes next, b"" at its end. Raises `Cut`. Has no deadline but whoever asks sets one."""
        event = await _next(self._stream, self._protocol)
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def whole(self) -> bytes:
        """The body to its end. Raises `Cut`, also for one that is too long to be held."""
        body = b""
        while piece := await self.piece():
            body += piece
            if len(body) > LONGEST:
                raise Cut("an answer that is too long")
        return body


@asynccontextmanager
async def opened(connect: Connect, url: str, headers: Mapping[str, str]) -> AsyncIterator[Opened]:
    """GET `url`; the connection is closed with the block, rudely where its body has not ended. Raises `Cut`."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    try:
        stream = await connect(host, port, None)
    except OSError as error:
        raise Cut(f"nobody answers at {host}:{port} ({type(error).__name__})") from None
    try:
        protocol = h11.Connection(h11.CLIENT)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        request = h11.Request(method="GET", target=target, headers=_fields(parts.netloc, headers))
        try:
            await stream.send_all((protocol.send(request) or b"") + (protocol.send(h11.EndOfMessage()) or b""))
        except trio.BrokenResourceError:
            raise Cut("the connection broke") from None
        head = await _next(stream, protocol)
        if not isinstance(head, h11.Response):
            raise Cut("an answer without a head")
        yield Opened(stream, protocol, head)
    finally:
        with suppress(trio.BrokenResourceError):
            await trio.aclose_forcefully(stream)


def _fields(host: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    told = {"host": host, **headers}
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in told.items()]


async def _next(stream: trio.abc.Stream, protocol: h11.Connection) -> object:
    try:
        while True:
            event = protocol.next_event()
            if event is not h11.NEED_DATA:
                return event
            protocol.receive_data(bytes(await stream.receive_some(READ)))
    except (h11.RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise Cut(f"the answer was cut ({type(error).__name__})") from None
