"""A byte stream that is not there: two ends in one process, on the Trio clock, with what makes real ones hard.

Each direction is a pipe of pieces, each with the moment it arrives. Three states: open, ended (the writer said that no
more comes), broken (it was reset). What the model keeps of TCP, because bugs live there:

    window       a writer waits when `window` bytes are under way or unread: back-pressure is real
    latency      a piece arrives `latency()` seconds after it was sent, never before the piece ahead of it
    half-close   one direction ends, the other goes on
    reset        what was sent before it still arrives (the nastier case: half an answer), then both ends are broken

What it does not know: packets, loss, retransmission, a receiver's acknowledgement. A byte sent into a peer that has
closed is lost in silence until the news of the closing has come back, as on a wire; then sending raises.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from operator import index

import trio

WINDOW = 65_536  # bytes; Linux starts near it
LARGEST_READ = 65_536

Latency = Callable[[], float]  # seconds one way, asked once per piece


def _none() -> float:
    return 0.0


class Pipe:
    """One direction: bytes under way and unread, at most `window` of them."""

    def __init__(self, window: int, latency: Latency) -> None:
        self._window = window
        self._latency = latency
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._last = -math.inf  # when the youngest piece arrives: nothing overtakes
        self._ends_at = math.inf
        self._breaks_at = math.inf
        self._deaf_at = math.inf  # when the writer learns that nobody reads any more
        self._changed = trio.lowlevel.ParkingLot()

    def _arrival(self) -> float:
        self._last = max(self._last, trio.current_time() + self._latency())
        return self._last

    @property
    def ended(self) -> bool:
        """The writer has said that no more comes."""
        return self._ends_at < math.inf

    def room(self) -> int:
        """How many bytes may be sent now. Raises `BrokenResourceError` once the writer can know that it is in vain."""
        if self._breaks_at < math.inf or trio.current_time() >= self._deaf_at:
            raise trio.BrokenResourceError("the connection was reset")
        return self._window - self._held

    def put(self, piece: bytes) -> None:
        """Send `piece`, not longer than `room()`."""
        self._held += len(piece)
        if self._deaf_at < math.inf:
            return  # lost on the way, but it fills the window: who sends for ever into the void must come to wait
        self._pieces.append((self._arrival(), piece))
        self._changed.unpark_all()

    def end(self) -> None:
        """No more comes; the reader sees it after the last byte."""
        if not self.ended:
            self._ends_at = self._arrival()
            self._changed.unpark_all()

    def reset(self) -> None:
        """The reader is broken after what is under way; the writer at once."""
        self._breaks_at = min(self._breaks_at, self._arrival())
        self._changed.unpark_all()

    def deafen(self) -> None:
        """The reader has gone: what is unread is lost, and the writer learns it a latency later."""
        if self._deaf_at == math.inf:
            self._deaf_at = trio.current_time() + self._latency()
            self._pieces.clear()
            self._changed.unpark_all()

    def news_at(self) -> float:
        """When a reader has something to learn: a byte, the end or the break. Infinity: not yet known."""
        first = self._pieces[0][0] if self._pieces else math.inf
        return min(first, self._ends_at, self._breaks_at)

    def take(self, most: int) -> bytes:
        """Up to `most` bytes of what has arrived; b"" is the end. Only when `news_at()` is not in the future."""
        now = trio.current_time()
        taken: list[bytes] = []
        while most > 0 and self._pieces and self._pieces[0][0] <= now:
            arrival, piece = self._pieces.popleft()
            if len(piece) > most:
                self._pieces.appendleft((arrival, piece[most:]))
            taken.append(piece[:most])
            most -= len(taken[-1])
        if not taken and self._breaks_at <= now:
            raise trio.BrokenResourceError("the connection was reset by the peer")
        data = b"".join(taken)
        self._held -= len(data)
        self._changed.unpark_all()
        return data

    async def change(self, until: float = math.inf) -> None:
        """Sleep until the pipe changes, or the Trio clock says `until`."""
        with trio.move_on_at(until):
            await self._changed.park()

    def wake(self) -> None:
        """Let those who sleep look again."""
        self._changed.unpark_all()

    @property
    def deaf_at(self) -> float:
        """When the writer learns that nobody reads any more; infinity while somebody does."""
        return self._deaf_at


class SimStream(trio.abc.HalfCloseableStream):
    """One end of a connection. Errors as of any Trio stream: Broken, Closed and BusyResourceError."""

    def __init__(self, inward: Pipe, outward: Pipe) -> None:
        self._in = inward
        self._out = outward
        self._closed = False
        self._sending = False
        self._receiving = False

    def _open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end was closed")

    def _room(self) -> int:
        self._open()
        return self._out.room()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        self._open()
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        self._sending = True
        try:
            while not self._room() and not self._out.ended:
                await self._out.change(self._out.deaf_at)
        finally:
            self._sending = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._open()
            if self._out.ended:
                raise trio.ClosedResourceError("no more may be sent after send_eof")
            rest = memoryview(bytes(data))
            while rest:
                while not (room := self._room()):
                    await self._out.change(self._out.deaf_at)
                self._out.put(bytes(rest[:room]))
                rest = rest[room:]
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        most = LARGEST_READ if max_bytes is None else index(max_bytes)
        if most < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while True:
                self._open()
                news = self._in.news_at()
                if news <= trio.current_time():
                    return self._in.take(most)
                await self._in.change(news)
        finally:
            self._receiving = False

    def readable(self) -> bool:
        """A receive would not wait: a byte, the end or the break has arrived (what `poll` says of a socket)."""
        return self._closed or self._in.news_at() <= trio.current_time()

    async def send_eof(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        await trio.lowlevel.checkpoint()
        self._open()
        self._out.end()

    def reset(self) -> None:
        """Break the connection: the peer gets what was sent before, then `BrokenResourceError`; this end is closed."""
        self._out.reset()
        self._in.deafen()
        self._shut()

    def _shut(self) -> None:
        self._closed = True
        self._in.wake()
        self._out.wake()

    async def aclose(self) -> None:
        if not self._closed:
            self._out.end()
            self._in.deafen()
            self._shut()
        await trio.lowlevel.checkpoint()


def stream_pair(*, window: int = WINDOW, latency: Latency = _none) -> tuple[SimStream, SimStream]:
    """Two connected ends. `window` in bytes per direction, `latency` gives seconds one way."""
    there, back = Pipe(window, latency), Pipe(window, latency)
    return SimStream(back, there), SimStream(there, back)
