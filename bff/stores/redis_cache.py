"""The cache on Redis. Down means miss (F-17), and so does whatever it gives that we did not put there.

A kept answer is two letters, the time at which it was true, and the body as it came: small, and read without parsing
what is not needed.
"""

from __future__ import annotations

import math
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from bff.model import Down
from bff.stores.cache import CacheKey, Entry, Kept
from bff.stores.redis_line import open_line
from bff.stores.redis_size import size
from nurseries import required

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bff.stores.border import Border
    from bff.stores.redis_line import Line
    from bff.stores.size import Size

STORE: Final = "redis-cache"
HEAD: Final = struct.Struct(">2sd")  # the mark of this encoding, and POSIX seconds
MARK: Final = b"k1"


class RedisCache:
    """`bff.stores.cache.Cache` on one Redis. Made by `open_cache`."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def get_many(self, keys: Sequence[CacheKey]) -> tuple[Kept | None, ...]:
        """One answer per key, in order."""
        if not keys:
            await _unasked()
            return ()
        answer = await self._line.ask(("MGET", *map(_key, keys)))
        if isinstance(answer, Down):
            return (None,) * len(keys)
        return tuple(map(decoded, answer[0]))

    async def put_many(self, entries: Sequence[Entry]) -> None:
        """Keep all of them, or none when it is down."""
        if not entries:
            await _unasked()
            return
        ask = self._line.ask
        await ask(*(("SET", _key(e.key), encoded(e.kept), "PX", max(1, math.ceil(e.ttl * 1000))) for e in entries))

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        answer = await self._line.ask(("PING",))
        return answer if isinstance(answer, Down) else None

    async def size(self) -> Size | Down:
        """As it says itself."""
        return await size(self._line)


async def _unasked() -> None:
    required(STORE)
    await trio.lowlevel.checkpoint()


def _key(key: CacheKey) -> bytes:
    return key.text().encode("utf-8", "surrogatepass")


def encoded(kept: Kept) -> bytes:
    """As it lies in Redis."""
    return HEAD.pack(MARK, kept.as_of) + kept.body


def decoded(raw: bytes | None) -> Kept | None:
    """What was kept, or None for anything that we cannot have written."""
    if raw is None or len(raw) < HEAD.size:
        return None
    mark, as_of = HEAD.unpack_from(raw)
    return Kept(as_of, raw[HEAD.size :]) if mark == MARK and math.isfinite(as_of) else None


@asynccontextmanager
async def open_cache(border: Border, url: str) -> AsyncIterator[RedisCache]:
    """The cache at `url`, whether it is there or not. Raises `ValueError` for a URL that cannot be used."""
    async with open_line(border, STORE, url) as line:
        yield RedisCache(line)
