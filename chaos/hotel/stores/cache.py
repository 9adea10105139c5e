"""The cache in memory, in virtual time: what `bff.stores.redis_cache` does, by the same port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bff.model import Down
from bff.stores.size import Size
from chaos.hotel.stores.expiring import Expiring
from chaos.hotel.stores.faulty import Faulty
from nurseries import required

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bff.stores.cache import CacheKey, Entry, Kept


class SimCache(Faulty):
    """`bff.stores.cache.Cache`; entries are found by the text of their keys: a collision would show here too."""

    def __init__(self) -> None:
        super().__init__("redis-cache")
        self._kept: Expiring[str, Kept] = Expiring(self._journal)

    @property
    def answers(self) -> tuple[Kept, ...]:
        """Everything that is kept, for whoever looks whether it is whole."""
        return self._kept.values()

    async def get_many(self, keys: Sequence[CacheKey]) -> tuple[Kept | None, ...]:
        """One answer per key, in order; none when it is down."""
        if not keys:
            await self._unasked()
            return ()
        answer = await self.asked(lambda: tuple(self._kept.get(key.text()) for key in keys))
        return (None,) * len(keys) if isinstance(answer, Down) else answer

    async def put_many(self, entries: Sequence[Entry]) -> None:
        """Keep all of them, or none when it is down."""
        if not entries:
            await self._unasked()
            return
        await self.asked(lambda: self._put(entries))

    def _put(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._kept.put(entry.key.text(), entry.kept, entry.ttl)

    def flush(self) -> None:
        """Keep nothing of what was put so far."""
        self._kept = Expiring(self._journal)

    async def _unasked(self) -> None:
        required(self.store)
        await trio.lowlevel.checkpoint()

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        return await self.asked(lambda: None)

    async def size(self) -> Size | Down:
        """What is kept, in bytes; nobody bounds it."""
        return await self.asked(lambda: Size(sum(len(kept.body) for kept in self.answers), 0, 0, 0))
