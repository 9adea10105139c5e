"""How many files this process may have open, and for how many streams that is enough (F-26).

    what the system allows ─► stores, listeners, connections to services ─► connections of desks ─► of which are streams

A socket that cannot be had is worse than a stream that is refused: whoever accepts would stand still, and calls to
services fail. So where what is allowed is not enough there is room for fewer streams from the beginning, and that is
said (`StreamsCapped`, and a line in `/readyz`).
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

BESIDE_STREAMS: Final = 4_096  # connections of desks for everything else
OWN: Final = 3_072  # files of the process itself: 1,920 exchanges with services at the most, and idle connections

ENDLESS: Final = 1_048_576  # as many as anybody needs, where there is no limit


@dataclass(frozen=True, slots=True)
class Room:
    """What so many `files` are enough for: `connections` of desks, of which `streams` may be streams."""

    files: int
    connections: int
    streams: int


def room_for(streams: int, files: int) -> Room:
    """Room for so many streams, or for as many as there can be: half of the connections at least, and one."""
    connections = min(streams + BESIDE_STREAMS, files - min(OWN, files // 4))
    return Room(files, connections, max(1, min(streams, max(connections - BESIDE_STREAMS, connections // 2))))


def allow_many_files() -> int:
    """As many as this process may have: a stream per desk, and a connection per call behind it. Gives how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    except (ValueError, OSError):  # "as many as there can be" is more than some kernels give
        pass
    return ENDLESS if soft == resource.RLIM_INFINITY else soft
