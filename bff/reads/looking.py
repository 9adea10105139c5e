"""What every look has in common: how long it may take, what is kept beside it, and what is worth keeping after it.

    look up   one round trip to the cache, beside the calls, within a patience: a part of the time, and little of it
    leave     a little before the deadline, so that what is to be said then is said in time
    keep      after the answer, under the owner: nobody waits for it

Nothing here waits for a store longer than its patience: a cache that hangs costs a read a tenth of its time at most
(F-17), and one that is down nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from bff.reads.freshness import Remembered, fresh, remembered
from nurseries import Full, detached, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bff.reads.widgets import Whose, Widget
    from bff.stores.cache import Cache, Entry
    from bff.upstreams.client import Journey
    from nurseries import Owner

RESERVE: Final = 0.03  # seconds kept to compose and send: measured under load, see `make bench`
RESERVE_PART: Final = 0.2  # of a deadline so short that RESERVE would be most of it
CACHE_PART: Final = 0.1  # of the deadline: the longest that the cache is waited for, and never
CACHE_SECONDS: Final = 0.1  # more than this
KEEP_SECONDS: Final = 1.0  # the longest that writing to the cache goes on after the answer


def leave_at(left: float) -> float:
    """The Trio time at which a look with `left` seconds composes its answer of what has come."""
    return trio.current_time() + left - min(RESERVE, left * RESERVE_PART)


def patience(left: float) -> float:
    """Seconds that a look with `left` seconds waits for the cache."""
    return min(CACHE_SECONDS, CACHE_PART * left)


class Memory:
    """What is kept of some widgets for one desk: `known` by name, as far as it can be read."""

    def __init__(
        self, cache: Cache, whose: Whose, widgets: Sequence[Widget], journey: Journey, *, seconds: float
    ) -> None:
        self.known: dict[str, Remembered] = {}
        self._cache = cache
        self._whose = whose
        self._widgets = widgets
        self._timing = journey.timing
        self._seconds = seconds
        self._looked_up = trio.Event()

    async def look_up(self) -> None:
        """Everything that is kept, in one round trip, within the patience one has for it."""
        began = trio.current_time()
        try:
            with within(self._seconds):
                found = await self._cache.get_many([widget.key(self._whose) for widget in self._widgets])
                for widget, answer in zip(self._widgets, found, strict=True):
                    memory = remembered(widget, answer, self._whose.claims.tenant)
                    if memory is not None:
                        self.known[widget.name] = memory
        finally:
            self._looked_up.set()
            self._timing.add("cache", trio.current_time() - began)

    async def looked_up(self) -> None:
        """Wait until all is known that will be, within the same patience: `look_up` may not hear that it should end."""
        with within(self._seconds):
            await self._looked_up.wait()

    def fresh(self, widget: Widget, now: float) -> bool:
        """Whether the service of `widget` need not be asked at `now`, in POSIX seconds."""
        return fresh(widget, self.known.get(widget.name), now)


def keep(cache: Cache, owner: Owner, entries: Sequence[Entry]) -> None:
    """Write `entries` behind the answer. Returns at once; a process without room for it keeps nothing."""
    if not entries:
        return

    async def put() -> None:
        await cache.put_many(entries)

    try:
        detached("keep widgets", owner, put, seconds=KEEP_SECONDS)
    except Full:  # keeping is a favour to the next reader: the answer has what it needs
        return
