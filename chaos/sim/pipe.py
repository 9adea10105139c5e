"""One direction of a simulated connection: bytes, each with the moment it leaves and the moment it arrives.

What the model keeps of TCP, because bugs live there:

    window       at most `window` bytes are under way or unread; a byte makes room when it was read
    latency      a piece arrives `latency()` seconds after it left, never before the piece ahead of it
    pace         a piece leaves no faster than `bytes_per_second`, a `TICK` at a time: a slow answer drips
    silence      nothing passes: what has not arrived is sent again when the silence ends, so nothing is lost
    news         the end, the break and the closing travel as bytes do, behind what was sent before them

The way may change at any time (`reroute`). Silence bites whatever has not arrived; a new pace bites whatever has not
left; a new latency is that of the next piece. While the other direction is silent its acknowledgements are lost, so
that what is read here makes no room until it speaks again: one deaf direction comes to stop both.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import trio

TICK: Final = 0.02  # seconds: what a slow link carries in one lump is what leaves in this time, at least a byte
NEVER: Final = (math.inf, math.inf)

Latency = Callable[[], float]  # seconds one way, asked once per piece
Moments = tuple[float, float]  # when something leaves, and when it arrives


def at_once() -> float:
    """The latency of a way that takes no time."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """What bytes of one direction meet now.

    `silent`: nothing passes. `unanswered`: nothing passes in the other direction. `breaks_after` counts all bytes that
    were ever sent in this direction: the one after them breaks the connection.
    """

    latency: Latency = at_once
    bytes_per_second: float = math.inf
    silent: bool = False
    unanswered: bool = False
    breaks_after: float = math.inf


class News(Enum):
    """What a writer may have to say besides bytes, each once."""

    END = "no more bytes come"
    GONE = "the writer has closed: it reads no more either"
    BREAK = "the connection was reset"


class Pipe:
    """Bytes from a writer to a reader. Whoever waits for a change of it waits in a lot of their own end."""

    def __init__(
        self, window: int, way: Way, writer: trio.lowlevel.ParkingLot, reader: trio.lowlevel.ParkingLot
    ) -> None:
        self._window = window
        self._way = way
        self._writer = writer
        self._reader = reader
        self._pieces: deque[tuple[Moments, bytes]] = deque()
        self._news: dict[News, Moments] = {}
        self._filled = 0  # bytes of the window that are in use
        self._unacknowledged = 0  # those of them that were read, which the writer cannot know yet
        self._free_at = -math.inf  # when the youngest piece has left
        self._last_at = -math.inf  # when it arrives: nothing overtakes
        self._deaf = False
        self.sent = 0

    # -- the writer ---------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """The writer has said that no more comes."""
        return News.END in self._news

    def room(self) -> int:
        """How many bytes may be sent now."""
        return self._window - self._filled

    def put(self, data: bytes) -> bool:
        """Send `data`, not longer than `room()`. False: the link broke in the middle of it, and carried a part."""
        passes = self._way.breaks_after - self.sent
        whole = len(data) <= passes
        if not whole:
            data = data[: max(0, int(passes))]
        self.sent += len(data)
        self._filled += len(data)
        if not self._deaf:  # else lost on the way; but it fills the window: who sends into the void comes to wait
            self._plan(data)
            self._reader.unpark_all()
        return whole

    def tell(self, news: News) -> None:
        """The reader learns it after the last byte."""
        if news not in self._news:
            self._news[news] = self._moments(0, self._way.latency())
            self._reader.unpark_all()

    # -- the reader ---------------------------------------------------------------------------------------------

    def news_at(self) -> float:
        """When a reader has something to learn: a byte, the end or the break. Infinity: not yet known."""
        first = self._pieces[0][0][1] if self._pieces else math.inf
        return min(first, self._arrives(News.END), self._arrives(News.BREAK))

    def gone_at(self) -> float:
        """When the reader learns that what it sends itself is in vain: the writer has closed, or all is broken."""
        return min(self._arrives(News.GONE), self._arrives(News.BREAK))

    def take(self, most: int) -> bytes:
        """Up to `most` bytes of what has arrived; b"" is the end. Only when `news_at()` is not in the future."""
        now = trio.current_time()
        taken: list[bytes] = []
        while most > 0 and self._pieces and self._pieces[0][0][1] <= now:
            moments, piece = self._pieces.popleft()
            if len(piece) > most:
                self._pieces.appendleft((moments, piece[most:]))
            taken.append(piece[:most])
            most -= len(taken[-1])
        if not taken and self._arrives(News.BREAK) <= now:
            raise trio.BrokenResourceError("the connection was reset by the peer")
        data = b"".join(taken)
        self._unacknowledged += len(data)
        self._acknowledge()
        return data

    def deafen(self) -> None:
        """The reader has gone: what is unread is lost, and so is all that still comes."""
        self._deaf = True
        self._pieces.clear()

    def snap(self) -> None:
        """Broken here and now, from outside: what has arrived can be read, what is under way is lost."""
        now = trio.current_time()
        self._recalled(1)
        self._deaf = True
        self._news[News.BREAK] = (now, now)
        self._reader.unpark_all()

    # -- the way ------------------------------------------------------------------------------------------------

    def reroute(self, way: Way) -> None:
        """From now on bytes meet `way`, and so do those that it can still bite."""
        before, self._way = self._way, way
        if before.silent != way.silent:
            self._replan(1)
        elif before.bytes_per_second != way.bytes_per_second:
            self._replan(0)
        self._acknowledge()

    def _replan(self, moment: int) -> None:
        """Plan again whatever has its `moment` (0: leaving, 1: arriving) ahead of it, in the order it was sent."""
        now = trio.current_time()
        data = self._recalled(moment)
        late = [news for news, moments in self._news.items() if moments[moment] > now]
        settled = [moments for news, moments in self._news.items() if news not in late]
        planned = [*(moments for moments, _ in self._pieces), *settled]
        self._free_at, self._last_at = (max((one[i] for one in planned), default=-math.inf) for i in (0, 1))
        if data:
            self._plan(data)
        for news in late:
            self._news[news] = self._moments(0, self._way.latency())
        self._reader.unpark_all()

    def _recalled(self, moment: int) -> bytes:
        now = trio.current_time()
        back: deque[bytes] = deque()
        while self._pieces and self._pieces[-1][0][moment] > now:
            back.appendleft(self._pieces.pop()[1])
        return b"".join(back)

    def _plan(self, data: bytes) -> None:
        """Give all of `data` its moments. A way without a pace, or without a voice, carries it in one piece."""
        late, pace = self._way.latency(), self._way.bytes_per_second
        size = len(data) if self._way.silent or pace == math.inf else max(1, int(pace * TICK))
        for start in range(0, len(data), size or 1):
            piece = data[start : start + size]
            self._pieces.append((self._moments(len(piece), late), piece))

    def _moments(self, size: int, late: float) -> Moments:
        if self._way.silent:
            return NEVER
        self._free_at = max(self._free_at, trio.current_time()) + size / self._way.bytes_per_second
        self._last_at = max(self._last_at, self._free_at + late)
        return self._free_at, self._last_at

    def _arrives(self, news: News) -> float:
        return self._news.get(news, NEVER)[1]

    def _acknowledge(self) -> None:
        if self._unacknowledged and not self._way.unanswered:
            self._filled -= self._unacknowledged
            self._unacknowledged = 0
            self._writer.unpark_all()
