"""What no test can repeat, as one frozen value: the time of day, entropy, memory, and the way out to the network.

Everything else in the server is a function of these and of the bytes it reads, which is why the whole of it runs in
virtual time, from a seed. Durations and deadlines are not here: they come from Trio's clock, which the virtual world
replaces as a whole. Nothing else in `bff/` asks for the time of day, a random number or a socket (ruff's `banned-api`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from bff.memory import NONE, REAL, Memory

if TYPE_CHECKING:
    import ssl

    import trio.abc


class Connect(Protocol):
    """Opens a byte stream to `host:port`, inside the TLS session of `tls` where one is given.

    Raises `OSError` when nobody can be reached; never returns later than the deadline around it. The seam through which
    the virtual network enters.
    """

    async def __call__(self, host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream: ...


@dataclass(frozen=True, slots=True)
class Outside:
    """The world beyond the process.

    `now` gives POSIX seconds; `entropy(n)` gives `n` unpredictable bytes; `connect` dials; `memory` is this process's.
    """

    now: Callable[[], float]
    entropy: Callable[[int], bytes]
    connect: Connect
    memory: Memory = NONE

    def identifier(self) -> str:
        """A fresh opaque id: 128 bits of entropy in 32 hex digits."""
        return self.entropy(16).hex()


def real(connect: Connect) -> Outside:
    """The outside of a process that really runs."""
    return Outside(now=time.time, entropy=os.urandom, connect=connect, memory=REAL)


def fraction(entropy: Callable[[int], bytes]) -> float:
    """A number in [0, 1) out of four bytes of `entropy`: the jitter of pauses."""
    return int.from_bytes(entropy(4), "big") / 2**32


def rfc3339(seconds: float) -> str:
    """POSIX `seconds` as RFC 3339 in UTC with milliseconds: `2015-08-15T07:30:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
