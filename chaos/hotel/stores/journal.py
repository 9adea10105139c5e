"""What a store wrote lately and how to undo it: what its standby may not have got when the store dies.

Replication is behind by some time, not by some writes. So each write leaves the way back from it, with its time, and a
failover goes that way, newest first, up to the last write that the standby had. What expires is no write: a time to
live is a moment, the standby counts to the same one, and what came back too late is expired there as well.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

MOST: Final = 30.0  # seconds; a standby that is further behind than F-19's half minute is none to take over
MICROSECOND: Final = 1e-6


class Journal:
    """The writes of the last `MOST` seconds; older ones are forgotten, and cannot be lost any more."""

    def __init__(self) -> None:
        self._undo: deque[tuple[float, Callable[[], object], bool]] = deque()

    def wrote(self, undo: Callable[[], object], *, counts: bool = True) -> None:
        """Something was written now, and `undo` makes it as it was before.

        It does not count where nobody can miss it: what is said once, to whoever listens.
        """
        now = trio.current_time()
        while self._undo and now - self._undo[0][0] > MOST + MICROSECOND:
            self._undo.popleft()
        self._undo.append((now, undo, counts))

    def lose(self, seconds: float, until: float) -> int:
        """Undo what was written in the `seconds` before `until`. Gives how many writes that were, of those that count.

        To the microsecond: what is exactly so old was replicated. Raises `ValueError` for more than `MOST` seconds.
        """
        if not 0 <= seconds <= MOST:
            raise ValueError(f"a standby is from 0 to {MOST:.0f} s behind")
        undone = 0
        while self._undo and _micros(until - self._undo[-1][0]) < _micros(seconds):
            _, undo, counts = self._undo.pop()
            undo()
            undone += counts
        return undone


def _micros(seconds: float) -> int:
    return round(seconds / MICROSECOND)
