"""What this process holds in memory: how many bytes, and how many objects of each type.

Bytes are the resident set, which is what a platform counts before it ends an instance. A census walks through every
object that the collector knows; it is taken in a thread, in slices, so that no request waits for it.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

import trio

Census: TypeAlias = "Mapping[str, int]"

STATM: Final = "/proc/self/statm"  # in pages; the second figure is what is resident
SLICE: Final = 10_000  # objects between two moments at which other threads may run


async def nobody() -> Census:
    """The census of a world that has no memory."""
    await trio.lowlevel.checkpoint()
    return {}


@dataclass(frozen=True, slots=True)
class Memory:
    """`resident` gives bytes, 0 where that cannot be known; `census` objects by the full name of their type."""

    resident: Callable[[], int] = lambda: 0
    census: Callable[[], Awaitable[Census]] = nobody


def resident() -> int:
    """Bytes of this process that are in memory now, 0 where the system does not say."""
    try:
        with open(STATM, encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


async def census() -> Census:
    """How many objects of each type there are."""
    return await trio.to_thread.run_sync(_count)


def _count() -> Census:
    found: Counter[str] = Counter()
    there = iter(gc.get_objects())
    while some := [type(one) for one in islice(there, SLICE)]:
        for kind, count in Counter(some).items():
            found[f"{kind.__module__}.{kind.__qualname__}"] += count
    return found


NONE: Final = Memory()
REAL: Final = Memory(resident, census)
