"""HTTP/2: Hypercorn's protocol class, with what it leaves open closed.

Hypercorn keeps the frames, the priorities and the windows of what we send. What is guarded here, and why:

    fields, sizes, pseudo-fields   it takes any number, and a path that is not ASCII ends the whole server
    flow control of bodies         it acknowledges before the app has read, and ten waiting pieces stop the connection
                                   for good: here a byte is acknowledged when the app took it, so a window is the bound
    data after our answer          an early 401 made the next DATA frame a KeyError that ended the server
    streams opened and reset       their apps still count; many more resets, or refusals, than answers end it all
                                   (CVE-2023-44487)
    slow heads                     a header block, CONTINUATION frames included, has head_seconds
    peers that do not read         a write, and an answer waiting for a window, have write_seconds
    windows that stay shut         it lets a writer on whenever it looks at his buffer, be that ever so full: a stream
                                   of events grew without end; here he waits till there is room
    shutdown                       GOAWAY once nothing is under way, new streams refused as repeatable (RFC 9113, 8.7)

The GOAWAY waits for the last stream because clients built on h2 (httpx) take nothing more once they have seen one.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Updated
from hypercorn.protocol import events
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER, BUFFER_LOW_WATER, BufferCompleteError, H2Protocol, StreamBuffer
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from bff.facts import RequestRefused
from bff.wire.asgi import ClientLeft, Message, Scope, failure
from bff.wire.limits import Refused, judge_http2
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.events import Event

    from bff.wire.edge import Room
    from bff.wire.limits import Limits

_RESETS: Final = 128  # streams a peer may take back, or have refused, beyond those that it let us answer
_WINDOW: Final = 262_144  # bytes of bodies a connection may have waiting: four streams' worth
FRAME: Final = 16_384  # bytes of payload, the bound we leave at its default (RFC 9113, 6.5.2)


@lru_cache(maxsize=4)
def _configured(limits: Limits) -> Config:
    """Hypercorn's configuration as far as its protocol class asks for it."""
    config = Config()
    config.include_date_header = config.include_server_header = False  # the date comes from outside
    config.h2_max_concurrent_streams = limits.streams
    config.h2_max_header_list_size = limits.head_bytes
    config.keep_alive_max_requests = 2**62
    return config


class _Buffer(StreamBuffer):
    """What of an answer waits for a window: above the high water its one writer waits, till the low one is reached."""

    async def push(self, data: bytes) -> None:
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class Guarded(H2Protocol):
    """Hypercorn's HTTP/2 with its doors watched: streams are opened, fed and closed here."""

    def __init__(self, room: Room, group: TaskGroup, where: Scope, write: Callable[[Event], Awaitable[None]]) -> None:
        limits = room.config.limits
        nobody: Any = room.app  # Hypercorn's own streams would call it; ours are `Exchange`
        super().__init__(
            nobody, _configured(limits), WorkerContext(None), group, ConnectionState({}), False, None, None, write
        )
        codes = h2.settings.SettingCodes
        self.connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: limits.streams,
                codes.MAX_HEADER_LIST_SIZE: limits.head_bytes,
            },
        )
        self._room = room
        self._where = where
        self._parting = False
        self._running = 0
        self._balance = _RESETS  # resets the peer has left

    async def open(self) -> None:
        """Send our settings, and a window that lets many bodies come at once."""
        await self.initiate()
        self.connection.increment_flow_control_window(_WINDOW - 65_535)
        await self._flush()

    def goodbye(self) -> None:
        """GOAWAY, and the end."""
        if not self._parting:
            self._parting = True
            self.task_group.spawn(self._leave, h2.errors.ErrorCodes.NO_ERROR)

    async def oversized(self) -> None:
        """A frame announced more than it may carry (RFC 9113, 4.2)."""
        tell(RequestRefused(400, "a frame over its bound"))
        await self._leave(h2.errors.ErrorCodes.FRAME_SIZE_ERROR)

    async def weary(self, why: str) -> None:
        """The peer keeps us busy with what is of no use to it."""
        tell(RequestRefused(503, why))
        await self._leave(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)

    async def _leave(self, code: h2.errors.ErrorCodes) -> None:
        with suppress(h2.exceptions.ProtocolError):
            self.connection.close_connection(code)
        await self._flush()
        await self.send(Closed())

    async def handle(self, event: Event) -> None:
        """Bytes came, or the connection is over: then nobody waits for a window any more."""
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()

    async def _handle_events(self, received: list[h2.events.Event]) -> None:
        for event in received:
            if isinstance(event, h2.events.RequestReceived):
                await self._open(event)
            elif isinstance(event, h2.events.DataReceived):
                self._feed(event)
            elif isinstance(event, h2.events.PriorityUpdated):
                continue  # RFC 9113, 5.3.2: no longer honoured, and a tree that a peer may grow
            else:
                if isinstance(event, h2.events.StreamReset):
                    self._balance -= 1
                await super()._handle_events([event])
        if self._balance < 0:
            await self.weary("many more streams reset than answered")
        await self._flush()

    async def _open(self, event: h2.events.RequestReceived) -> None:
        number, ended = event.stream_id, event.stream_ended is not None
        assert number is not None
        if self._room.draining or self._running >= self._room.config.limits.streams:
            self._balance -= not self._room.draining
            self.reset(number, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        try:
            head = judge_http2(event.headers or [], self._room.config.limits, ended=ended)
        except Refused as refused:
            self._refuse(number, refused, ended=ended)
            return
        exchange = Exchange(self, self._room, number, {**self._where, **head})
        self.streams[number] = cast("Any", exchange)
        self.stream_buffers[number] = _Buffer(self.context.event_class)
        self.priority.insert_stream(number)
        self.priority.block(number)
        await self.send(Updated(idle=False))
        self._running += 1
        self.task_group.spawn(self._run, exchange)

    async def _run(self, exchange: Exchange) -> None:
        try:
            await exchange.run()
        finally:
            self._running -= 1

    def _feed(self, event: h2.events.DataReceived) -> None:
        number, data, taken = event.stream_id, event.data or b"", event.flow_controlled_length or 0
        assert number is not None
        stream: Any = self.streams.get(number)
        if isinstance(stream, Exchange):
            stream.take(data, taken)
        else:
            self.acknowledge(number, taken)
        if not data and event.stream_ended is None:
            self._balance -= 1  # an empty frame costs its sender nothing (CVE-2019-9518)

    def _refuse(self, number: int, refused: Refused, *, ended: bool) -> None:
        tell(RequestRefused(refused.status, refused.why))
        self._balance -= 1
        headers, body = self._room.problem(refused.status, refused.why)
        fields = [(b":status", b"%d" % refused.status), *headers, (b"date", self._room.stamp())]
        with suppress(h2.exceptions.ProtocolError):
            self.connection.send_headers(number, fields)
            if self.connection.local_flow_control_window(number) >= len(body):
                self.connection.send_data(number, body, end_stream=True)
            if not ended:
                self.connection.reset_stream(number, h2.errors.ErrorCodes.NO_ERROR)

    def reset(self, number: int, code: h2.errors.ErrorCodes) -> None:
        """End one stream; the next flush sends it."""
        with suppress(h2.exceptions.ProtocolError):
            self.connection.reset_stream(number, code)

    def acknowledge(self, number: int, taken: int) -> None:
        """Give back `taken` bytes of window; the next flush sends it."""
        if taken:
            with suppress(h2.exceptions.ProtocolError):
                self.connection.acknowledge_received_data(taken, number)

    async def flush(self) -> None:
        """Send what h2 has prepared."""
        await self._flush()

    async def abandon(self, number: int, code: h2.errors.ErrorCodes) -> None:
        """Reset a stream and forget what of its answer is not sent."""
        self.reset(number, code)
        await self._flush()
        await self._window_updated(number)  # the sender meets the closed stream, and drops its buffer

    def answered(self) -> None:
        """A stream was let come to its end."""
        self._balance = min(_RESETS, self._balance + 1)


class Exchange:
    """One request on one stream, and the app that answers it. To Hypercorn it is a stream: `handle` and `idle`."""

    idle = False

    def __init__(self, protocol: Guarded, room: Room, number: int, scope: Scope) -> None:
        self._protocol = protocol
        self._room = room
        self._number = number
        self._asgi = {**scope, "arrived": room.arrival()}
        self._body = bytearray()
        self._held = 0  # bytes of window the peer gets back once the body was taken
        self._ended = False  # the peer's half
        self._told = False  # the app knows
        self._gone = False
        self._begun = self._done = False
        self._start: Message | None = None
        self._news = trio.Event()

    async def handle(self, event: events.Event) -> None:
        """Hypercorn: the peer's half ended, or the stream did."""
        if isinstance(event, events.EndBody):
            self._ended = True
        elif isinstance(event, events.StreamClosed):
            self._ended = self._gone = True
        self._news.set()

    def take(self, data: bytes, taken: int) -> None:
        """A piece of the body came."""
        self._body += data
        self._held += taken
        self._news.set()

    async def run(self) -> None:
        """Call the app; whatever it does, the stream ends."""
        try:
            await self._room.app(self._asgi, self.receive, self.send)
        except Exception as error:  # the border: one request's bug is not the others' end
            if not self._gone:
                tell(failure(error))
        if not self._gone:
            await self._finish()

    async def _finish(self) -> None:
        if not self._done and not self._begun:
            headers, body = self._room.problem(500, "the request could not be answered")
            await self.send({"type": "http.response.start", "status": 500, "headers": headers})
            await self.send({"type": "http.response.body", "body": body})
        protocol = self._protocol
        protocol.acknowledge(self._number, self._held)
        if not self._done:
            await protocol.abandon(self._number, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif not self._ended and self._number not in protocol.stream_buffers:
            protocol.reset(self._number, h2.errors.ErrorCodes.NO_ERROR)  # RFC 9113, 8.1: the rest is not wanted
        protocol.answered()
        await protocol.flush()
        await protocol.stream_send(events.StreamClosed(stream_id=self._number))

    async def receive(self) -> Message:
        """ASGI: the next piece of the body, then `http.disconnect` once the stream is over."""
        while not (self._gone or self._done):
            if self._body or (self._ended and not self._told):
                piece = bytes(self._body)
                self._body.clear()
                self._told = self._ended
                held, self._held = self._held, 0
                self._protocol.acknowledge(self._number, held)
                await self._protocol.flush()
                return {"type": "http.request", "body": piece, "more_body": not self._told}
            self._news = trio.Event()
            await self._news.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI: the answer. Raises `ClientLeft` when the stream is gone, or its peer will not take it in time."""
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            self._start = message
            return
        if kind != "http.response.body" or self._start is None or self._done:
            raise RuntimeError(f"{kind} does not belong here")
        if self._gone:
            raise ClientLeft("the peer reset its stream")
        start, self._begun = (None if self._begun else self._start), True
        with trio.CancelScope(deadline=trio.current_time() + self._room.config.limits.write_seconds) as scope:
            await self._put(start, message.get("body", b""), message.get("more_body", False))
        if scope.cancelled_caught:
            self._gone = True
            await self._protocol.abandon(self._number, h2.errors.ErrorCodes.CANCEL)
            await self._protocol.stream_send(events.StreamClosed(stream_id=self._number))
            raise ClientLeft("the peer does not take its answer")

    async def _put(self, start: Message | None, body: bytes, more: bool) -> None:
        number, tell_protocol = self._number, self._protocol.stream_send
        if start is not None:
            headers = [*start["headers"], (b"date", self._room.stamp())]
            await tell_protocol(events.Response(stream_id=number, headers=headers, status_code=start["status"]))
        bodiless = self._asgi["method"] == "HEAD" or (self._start or {}).get("status") in {204, 304}
        if body and not bodiless:
            await tell_protocol(events.Body(stream_id=number, data=body))
        if not more:
            await tell_protocol(events.EndBody(stream_id=number))
            self._done = True
            self._news.set()
