"""A byte stream that is not there: two ends in one process, on the Trio clock, with what makes real ones hard.

Each direction is a pipe (pipe.py), with its window, latency, pace and silences. What the two make together:

    back-pressure  a writer waits when the window is full
    half-close     one direction ends, the other goes on
    reset          what was sent before it still arrives (the nastier case: half an answer), then both ends are broken
    snap           a fault of the link breaks the connection: here at once, at the far end when the news is there

What it does not know: packets and their order. A byte sent into a peer that has closed is lost in silence until the
news of the closing has come back, as on a wire; then sending raises.
"""

from __future__ import annotations

import math
from operator import index
from typing import Final

import trio

from chaos.sim.pipe import Latency, News, Pipe, Way, at_once
from chaos.sim.trace import note

WINDOW: Final = 65_536  # bytes; Linux starts near it
LARGEST_READ: Final = 65_536


class SimStream(trio.abc.HalfCloseableStream):
    """One end of a connection. Errors as of any Trio stream: Broken, Closed and BusyResourceError.

    `host` is the name of who holds this end and `peer` of who holds the other, both "" where nobody said.
    """

    def __init__(self, inward: Pipe, outward: Pipe, lot: trio.lowlevel.ParkingLot, host: str, peer: str) -> None:
        self._in = inward
        self._out = outward
        self._changed = lot
        self._sending = False
        self._receiving = False
        self.host = host
        self.peer = peer
        self.closed = False

    @property
    def sent(self) -> int:
        """Bytes this end has sent, arrived or not."""
        return self._out.sent

    def _open(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("this end was closed")

    def _room(self) -> int:
        """How many bytes may be sent now. Raises once this end can know that it is in vain."""
        self._open()
        if self._in.gone_at() <= trio.current_time():
            raise trio.BrokenResourceError("the connection was reset")
        return self._out.room()

    async def _change(self, until: float) -> None:
        """Sleep until this end changes, or the Trio clock says `until`."""
        if until == math.inf:  # most often: a scope is dear where nothing ends it
            await self._changed.park()
            return
        with trio.move_on_at(until):
            await self._changed.park()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        self._open()
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        self._sending = True
        try:
            while not self._room() and not self._out.ended:
                await self._change(self._in.gone_at())
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
                    await self._change(self._in.gone_at())
                self._put(bytes(rest[:room]))
                rest = rest[room:]
        finally:
            self._sending = False

    def _put(self, piece: bytes) -> None:
        note("send", piece)
        if not self._out.put(piece):
            self.snap()
            raise trio.BrokenResourceError("the link broke the connection")

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
                await self._change(news)
        finally:
            self._receiving = False

    def readable(self) -> bool:
        """A receive would not wait: a byte, the end or the break has arrived (what `poll` says of a socket)."""
        return self.closed or self._in.news_at() <= trio.current_time()

    async def send_eof(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        await trio.lowlevel.checkpoint()
        self._open()
        self._end()

    def _end(self) -> None:
        if not self._out.ended:
            note("end")
            self._out.tell(News.END)

    def reset(self) -> None:
        """Break the connection: the peer gets what was sent before, then `BrokenResourceError`; this end is closed."""
        note("reset")
        self._out.tell(News.BREAK)
        self._shut()

    def snap(self) -> None:
        """Let a fault break the connection: this end at once, and it did not close it; the peer as by `reset`."""
        if not self.closed:
            note("reset")
            self._out.tell(News.BREAK)
            self._in.snap()

    def reroute(self, way: Way) -> None:
        """From now on what this end sends goes `way`."""
        self._out.reroute(way)

    def _shut(self) -> None:
        self._in.deafen()
        self.closed = True
        self._changed.unpark_all()

    async def aclose(self) -> None:
        if not self.closed:
            self._end()
            self._out.tell(News.GONE)
            self._shut()
        await trio.lowlevel.checkpoint()


def stream_pair(
    *,
    window: int = WINDOW,
    latency: Latency = at_once,
    bytes_per_second: float = math.inf,
    hosts: tuple[str, str] = ("", ""),
) -> tuple[SimStream, SimStream]:
    """Two connected ends. `window` and `bytes_per_second` per direction, `latency` gives seconds one way."""
    way = Way(latency, bytes_per_second)
    here, there = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
    out, back = Pipe(window, way, here, there), Pipe(window, way, there, here)
    return SimStream(back, out, here, *hosts), SimStream(out, back, there, *reversed(hosts))
