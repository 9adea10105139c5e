"""Whose turn it is to say what there is to say: so many listeners in one step of the scheduler, and no more.

Trio runs all that can run before it looks at the clock again, or at any socket. Were ten thousand listeners woken at
once, each with a write to do, nothing else of the process would happen for a second: dashboards stand still, and the
bus itself is given up, since its answers are read too late. So the rest stands in line, and whoever has got its turn
wakes the next: no listener waits longer for that, as all of it is the same work.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

AT_ONCE: Final = 64  # some milliseconds of work


class Sleeper(Protocol):
    """Who may be woken."""

    def rouse(self) -> bool:
        """Wake it; False where it does not sleep (any more). Who was woken says so with `Turns.taken`, once."""
        ...


class Turns:
    """The line of all who listen to one journal."""

    __slots__ = ("_line", "_woken")

    def __init__(self) -> None:
        self._line: deque[Sleeper] = deque()
        self._woken = 0

    def wake(self, sleeper: Sleeper) -> None:
        """Now, or when its turn comes. May be called again before that."""
        if self._woken >= AT_ONCE:
            self._line.append(sleeper)
        elif sleeper.rouse():
            self._woken += 1

    def taken(self) -> None:
        """One of those who were woken runs."""
        self._woken -= 1
        while self._line and self._woken < AT_ONCE:
            self._woken += self._line.popleft().rouse()
