"""One of the two ways of a line through the proxy: what comes at one socket goes on to another, as it came.

Nothing is in between at rest: what was read is sent. What the sink does not take, and what a fault holds, is held here
up to a bound, and then the source is not read, so that its peer waits as it would without a proxy. Order is kept
whatever comes, goes and is replaced. A fault that ends is over at once: what it held passes on.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chaos.live.rounds import Rounds
from chaos.toxics import Drip, Reset

READ: Final = 65_536
MOST_HELD: Final = 4 * READ  # bytes that are on one way; then its source is not read
DRIP_STEP: Final = 0.1  # seconds between pieces of a drip that is faster than a byte in that time
BUFFER: Final = bytearray(READ)
VIEW: Final = memoryview(BUFFER)


@dataclass(frozen=True, slots=True)
class Bent:
    """What is wrong with one way."""

    silent: bool = False
    late: Callable[[], float] | None = None  # seconds, for what has come now
    drip: Drip | None = None
    reset: Reset | None = None


STRAIGHT: Final = Bent()


class Way:
    """What comes from `source` goes to `sink`; `woken` is called when it is time to `pour` again.

    Raises `OSError`, from everything that moves bytes, where either end is broken.
    """

    def __init__(self, source: socket.socket, sink: socket.socket, rounds: Rounds, woken: Callable[[], None]) -> None:
        self._take, self._give = source.recv_into, sink.send
        self._sink = sink
        self._rounds = rounds
        self._woken = woken
        self._held: deque[tuple[float, memoryview]] = deque()  # not before when, in order
        self._size = 0
        self._next = 0.0  # when the drip has its next piece
        self._left = 0  # bytes till the reset
        self._bent = STRAIGHT
        self._full = False
        self.ended = False  # the source has said all
        self.over = False  # and the sink knows

    @property
    def reads(self) -> bool:
        """Whether more may come."""
        return not (self.ended or self._bent.silent or self._size >= MOST_HELD)

    @property
    def writes(self) -> bool:
        """Whether it waits for the sink to take more."""
        return self._full and not self._bent.silent

    def bend(self, bent: Bent) -> None:
        """From now on, also for what is on its way."""
        before, self._bent = self._bent, bent
        if bent.reset is not before.reset and bent.reset is not None:
            self._left = bent.reset.after
        if bent.late is None:
            self._held = deque((0.0, data) for _, data in self._held)
        if bent.drip is not before.drip:
            self._next = 0.0
        self.pour()

    def take(self) -> bool:
        """Read once, and pass it on. Says whether all is as it was: nothing held, nothing ended."""
        try:
            size = self._take(BUFFER)
        except BlockingIOError:
            return True
        if size and not self._held and self._bent is STRAIGHT:
            sent = self._send(VIEW[:size])
            if sent == size:
                return True
            self._hold(VIEW[sent:size], 0.0)
            return False
        if size:
            late = self._bent.late
            self._hold(VIEW[:size], 0.0 if late is None else self._rounds.now() + late())
        else:
            self.ended = True
        self.pour()
        return False

    def rest(self) -> None:
        """It is not woken any more."""
        self._rounds.wake(self._woken, None)

    def _hold(self, data: memoryview, when: float) -> None:
        self._held.append((when, memoryview(bytes(data))))
        self._size += len(data)

    def _send(self, data: memoryview) -> int:
        try:
            return self._give(data)
        except BlockingIOError:
            self._full = True
            return 0

    def pour(self) -> None:
        """Pass on what may go now, and be woken when more may."""
        self._full = False
        self.rest()
        if self._bent.silent:
            return
        while self._held and not self._full:
            when, data = self._held[0]
            when = max(when, self._next)
            if when > self._rounds.now():
                self._rounds.wake(self._woken, when)
                return
            self._pour_some(data)
        if self.ended and not self._held and not self.over:
            self._sink.shutdown(socket.SHUT_WR)
            self.over = True

    def _pour_some(self, data: memoryview) -> None:
        drip, reset = self._bent.drip, self._bent.reset
        piece = data if drip is None else data[: max(1, int(drip.bytes_per_second * DRIP_STEP))]
        if reset is not None:
            if not self._left:
                raise ConnectionResetError("reset on purpose")
            piece = piece[: self._left]
        sent = self._send(piece)
        when, _ = self._held.popleft()
        if sent < len(data):
            self._held.appendleft((when, data[sent:]))
        self._size -= sent
        self._left -= sent
        if drip is not None:
            self._next = self._rounds.now() + sent / drip.bytes_per_second
