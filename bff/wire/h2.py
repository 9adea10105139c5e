"""HTTP/2 on one connection: who reads, who writes, and when it has been silent or slow for too long.

    stream -> FrameWatch -> guard.Guarded -> guard.Exchange -> app
    stream <- one writer <- outbox <-'

One task writes, so an app that is cancelled in the middle of its answer cannot cut a frame in two, and the frames of
one answer leave in one write. The reader's deadline moves as HTTP/1.1's does (`h1.py`); the apps run outside of it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import h2.exceptions
import trio
from hypercorn.events import Closed, RawData, Updated
from hypercorn.trio.task_group import TaskGroup

from bff.facts import RequestRefused
from bff.wire.guard import FRAME, Guarded
from bff.wire.head import PREFACE
from nurseries import tell

if TYPE_CHECKING:
    from hypercorn.events import Event

    from bff.wire.asgi import Scope
    from bff.wire.edge import Room
    from bff.wire.limits import Limits

_CHUNK: Final = 16_384  # read at once: of the smallest frames as many as others may wait for
_HIGH_WATER: Final = 65_536  # bytes written but not sent, above which a writer waits
_HEADERS, _CONTINUATION, _END_HEADERS, _DATA = 0x1, 0x9, 0x4, 0x0
# What a frame asks of our patience (CVE-2019-9512, CVE-2019-9515): nobody who wants an answer needs many of them. Those
# that are not named here, PING, SETTINGS and PRIORITY among them, ask 1.
_ASKS: Final = {_DATA: 0.01, _HEADERS: -1.0, 0x8: 0.01, _CONTINUATION: 0.0}  # 0x8 is WINDOW_UPDATE
_PATIENCE: Final = 200.0
_PATIENCE_RATE: Final = 20.0  # how much of it comes back in a second


class Connection:
    """One HTTP/2 connection over any Trio stream.

    Its apps are not cancelled when the peer leaves: `receive` tells them, as ASGI has it, and a change half done is the
    app's to finish within its own deadline.
    """

    def __init__(self, room: Room, stream: trio.abc.Stream, where: Scope) -> None:
        self._room = room
        self._bounds: Limits = room.config.limits
        self._stream = stream
        self._where = where
        self._scope = trio.CancelScope()
        self._watch = FrameWatch()
        self._outbox = bytearray()
        self._filled = trio.Event()
        self._sent = trio.Event()
        self._idle_since: float | None = None
        self._head_since: float | None = None
        self._patience = _PATIENCE
        self._patient_since = trio.current_time()
        self._protocol: Guarded | None = None
        self._over = False

    async def serve(self, opening: bytes) -> None:
        """Speak until the peer leaves, a limit is hit, or the edge has drained. `opening` was read already."""
        self._idle_since = trio.current_time()
        async with TaskGroup() as group:
            protocol = self._protocol = Guarded(self._room, group, self._where, self._write)
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._writer)
                    await protocol.open()
                    if self._room.draining:
                        self.drain()
                    await self._read(protocol, opening)
                    self._end()
            expired, self._over = not self._over, True
            if expired:
                await self._part(protocol)
            await protocol.handle(Closed())

    def drain(self) -> None:
        """Say goodbye at once when idle, after the last stream otherwise."""
        if self._protocol is not None and self._idle_since is not None:
            self._protocol.goodbye()

    async def _part(self, protocol: Guarded) -> None:
        """A GOAWAY for a peer that was idle, or slow, for too long."""
        tell(RequestRefused(408, "idle" if self._head_since is None else "slow head"))
        with suppress(h2.exceptions.ProtocolError):
            protocol.connection.close_connection()
        last = bytes(self._outbox) + protocol.connection.data_to_send()
        with (
            trio.CancelScope(deadline=trio.current_time() + self._bounds.linger_seconds),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            await self._stream.send_all(last)

    def _end(self) -> None:
        """Nothing more is read; what was written still leaves."""
        self._over = True
        self._filled.set()
        self._sent.set()

    async def _read(self, protocol: Guarded, data: bytes) -> None:
        try:
            while not self._over:
                if data:
                    self._time(self._watch.feed(data))
                    if self._wearied():
                        await protocol.weary("more frames than anybody needs")
                        return
                    await protocol.handle(RawData(data))
                    if self._watch.oversized:
                        await protocol.oversized()
                data = bytes(await self._stream.receive_some(_CHUNK))
                if not data:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def _wearied(self) -> bool:
        """Whether more came than anybody needs to say, seen before any of it costs an answer."""
        now = trio.current_time()
        regained = self._patience + _PATIENCE_RATE * (now - self._patient_since)
        self._patience = min(_PATIENCE, min(_PATIENCE, regained) - self._watch.asked)
        self._patient_since = now
        return self._patience < 0

    def _time(self, in_head: bool) -> None:
        """Move the connection's one deadline: a head under way, nothing under way, or neither."""
        if not in_head:
            self._head_since = None
        elif self._head_since is None:
            self._head_since = trio.current_time()
        deadline = math.inf
        if self._head_since is not None:
            deadline = self._head_since + self._bounds.head_seconds
        if self._idle_since is not None:
            deadline = min(deadline, self._idle_since + self._bounds.idle_seconds)
        self._scope.deadline = deadline

    async def _write(self, event: Event) -> None:
        """What Hypercorn's protocol calls: bytes, whether anything is under way, or that it is over."""
        if isinstance(event, RawData):
            self._outbox += event.data
            self._filled.set()
            while len(self._outbox) > _HIGH_WATER and not self._over:
                if self._sent.is_set():  # one event for all who wait: a second one would forget the first's waiters
                    self._sent = trio.Event()
                await self._sent.wait()
        elif isinstance(event, Updated):
            self._idle_since = trio.current_time() if event.idle else None
            self._time(self._head_since is not None)
            if event.idle and self._room.draining:
                self.drain()
        elif isinstance(event, Closed):
            self._end()

    async def _writer(self) -> None:
        """The only task that writes: an app cancelled in the middle of an answer cannot cut a frame in two."""
        try:
            while await self._flushed() and not self._over:
                self._filled = trio.Event()
                await self._filled.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._over = True
        self._sent.set()
        self._scope.cancel()

    async def _flushed(self) -> bool:
        """Whether all that waits was taken by the peer in time."""
        while self._outbox:
            data = bytes(self._outbox)
            self._outbox.clear()
            self._sent.set()
            with trio.CancelScope(deadline=trio.current_time() + self._bounds.write_seconds) as scope:
                await self._stream.send_all(data)
            if scope.cancelled_caught:
                self._over = True
                return False
        return True


class FrameWatch:
    """Sees in the bytes whether a header block is under way (RFC 9113, 4.1 and 6.10), without decoding any.

    `oversized` once a frame announces more than it may: h2 would first collect all of it, up to 16 MiB. `asked` is
    what the frames of the last `feed` ask of our patience.
    """

    __slots__ = ("_blocks", "_data", "_head", "_skip", "asked", "oversized")

    def __init__(self) -> None:
        self._skip = len(PREFACE)
        self._head = b""
        self._data = False  # the frame being skipped is one that may take its time
        self.oversized = False
        self.asked = 0.0
        self._blocks = False  # CONTINUATION must follow

    def feed(self, data: bytes) -> bool:
        """Whether, after `data`, the peer owes the rest of a head: of a block, or of any frame but DATA."""
        at, self.asked = 0, 0.0
        while at < len(data) and not self.oversized:
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            piece = data[at : at + 9 - len(self._head)]
            at += len(piece)
            self._head += piece
            if len(self._head) == 9:
                self._begin(self._head)
                self._head = b""
        return self._blocks or bool(self._head) or (self._skip > 0 and not self._data)

    def _begin(self, head: bytes) -> None:
        self._skip = int.from_bytes(head[:3], "big")
        self.oversized = self._skip > FRAME
        self._data = head[3] == _DATA
        self.asked += _ASKS.get(head[3], 1.0)
        if head[3] in {_HEADERS, _CONTINUATION}:
            self._blocks = not head[4] & _END_HEADERS
