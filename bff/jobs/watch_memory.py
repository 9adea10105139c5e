"""Whether this process holds more and more (F-37): a trend, not a size, and which types it is that grow.

    every minute      what is resident               a gauge
    every 5 minutes   the median of those            one spike is no leak
    in 4 hours        newest against eldest          above 10 % it grows: said once, with the types that did

The first quarter of an hour does not count: caches fill, pools open. What is the matter cannot be read off a size, so
every hour the objects there are get counted by type, and the report names those that have become more since the eldest
count that is still kept. Nothing is restarted from here: a platform does that, and a drain goes before it.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import TYPE_CHECKING, Final

import trio

from bff.facts.cost import MemoryGrows, MemoryMeasured
from nurseries import tell, within

if TYPE_CHECKING:
    from bff.memory import Census, Memory

JOB: Final = "watch-memory"
EVERY: Final = 60.0  # seconds
WARM: Final = 900.0  # seconds from the beginning that do not count
A_POINT: Final = 5  # looks that one point of the trend is the median of
POINTS: Final = 48  # four hours of them
ENDS: Final = 3  # points at either end that are compared
GROWS: Final = 0.10  # by how much in four hours: F-37
SETTLED: Final = 0.05  # below it another rise is another report
COUNT_EVERY: Final = 12  # points, an hour: between two counts of objects
COUNT_WITHIN: Final = 30.0  # seconds
NAMED: Final = 8  # types in a report


class MemoryWatch:
    """The trend of this process."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._began = trio.current_time()
        self._looks: list[int] = []
        self._points: deque[float] = deque(maxlen=POINTS)
        self._counted: deque[Census] = deque(maxlen=POINTS // COUNT_EVERY)
        self._until_count = 0
        self._said = False

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            await self.turn()
            await trio.sleep(EVERY)

    @property
    def growth(self) -> float:
        """Newest against eldest: 0.1 is ten per cent more. 0 until there are enough points."""
        if len(self._points) < 2 * ENDS:
            return 0.0
        points = list(self._points)
        return median(points[-ENDS:]) / median(points[:ENDS]) - 1

    async def turn(self) -> None:
        """Look once."""
        held = self._memory.resident()
        if not held:
            return
        if trio.current_time() - self._began >= WARM:
            self._looks.append(held)
        if len(self._looks) == A_POINT:
            self._points.append(median(self._looks))
            self._looks.clear()
            await self._judge()
        tell(MemoryMeasured(held, self.growth))

    async def _judge(self) -> None:
        growth = self.growth
        if growth < SETTLED:
            self._said = False
        if growth > GROWS and not self._said:
            self._said = True
            now = await self._count()
            tell(MemoryGrows(growth, _grown(self._counted[0], now) if self._counted and now else ()))
        if self._until_count == 0:
            self._until_count = COUNT_EVERY
            if counted := await self._count():
                self._counted.append(counted)
        self._until_count -= 1

    async def _count(self) -> Census | None:
        with within(COUNT_WITHIN):
            return await self._memory.census()
        return None


def _grown(before: Census, now: Census) -> tuple[str, ...]:
    """The types that have become more, most of all first: `dict +1,024`."""
    more = {kind: count - before.get(kind, 0) for kind, count in now.items()}
    most = sorted(more.items(), key=lambda one: (-one[1], one[0]))[:NAMED]
    return tuple(f"{kind.removeprefix('builtins.')} +{count:,}" for kind, count in most if count > 0)
