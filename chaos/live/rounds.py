"""An epoll set, and whom to call: when a descriptor is ready, and when a time has come.

Why no Trio here: a proxy stands in the way of every round trip to a store, and does next to nothing with each. What a
turn costs is all that it costs, and a Trio task that waits for a socket and wakes up costs several times one call from
this loop. Nothing here waits but the loop itself.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
LEFT: Final = select.EPOLLRDHUP
BROKEN: Final = select.EPOLLERR | select.EPOLLHUP

Ready = Callable[[int], None]
Due = Callable[[], None]


class Rounds:
    """Calls, from `go`, whoever is ready. Whoever is called must not block, and must bear being called for nothing."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}
        self._called: dict[int, Ready] = {}
        self._due: dict[Due, float] = {}
        self.over = False

    def now(self) -> float:
        """Seconds, monotonic: the clock of `wake`."""
        return time.monotonic()

    def watch(self, descriptor: int, events: int, ready: Ready) -> None:
        """Call `ready` with the events that came; without any to wait for, nothing is told, a broken line neither."""
        before = self._watched.get(descriptor, 0)
        if events == before:
            return
        if not events:
            self._epoll.unregister(descriptor)
            del self._watched[descriptor], self._called[descriptor]
            return
        if before:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._watched[descriptor], self._called[descriptor] = events, ready

    def forget(self, descriptor: int) -> None:
        """It is about to be closed."""
        self.watch(descriptor, 0, _nobody)

    def wake(self, due: Due, when: float | None) -> None:
        """Call `due` once when it is `when`, and not at a time said earlier; None: not at all."""
        if when is None:
            self._due.pop(due, None)
        else:
            self._due[due] = when

    def go(self) -> None:
        """Until `over`. Raises what somebody who was called raised."""
        poll, called = self._epoll.poll, self._called
        while not self.over:
            for descriptor, events in poll(self._patience() if self._due else None):
                ready = called.get(descriptor)
                if ready is not None:  # else one that was called before it in this round has closed it
                    ready(events)
            if self._due:
                self._wake_all()

    def close(self) -> None:
        """No descriptor is kept."""
        self._epoll.close()

    def _patience(self) -> float:
        return max(0.0, min(self._due.values()) - self.now())

    def _wake_all(self) -> None:
        now = self.now()
        for due in [due for due, when in self._due.items() if when <= now]:
            if self._due.pop(due, None) is not None:  # else one before it has seen to that
                due()


def _nobody(events: int) -> None:
    """Nobody is called."""
