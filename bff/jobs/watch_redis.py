"""How full both Redis are, and what the session tier does about it by itself (F-41).

    every instance    reads their sizes, and how proofs are remembered: gauges
    the leader        has the session tier remember proofs with less memory when it gets full, and with more again later

                 from 80 %                   from 80 %, once the trim has had its effect, or from 90 %
        exact ─────────────────► trimmed ──────────────────────────────► bloom
              ◄─────────────────         ◄──────────────────────────────
                         up to 60 %, ten minutes after the last turn

What each mode is, and why none of them lets a proof in twice, is in `bff.stores.jti`. On the way down a mode has its
time, so that a tier that is full again under the roomier one is not turned to and fro. On the way up nothing is waited
for that has not been given: keys that were written before a trim go within their own time.

With the ledger down nobody leads, and nothing is turned; the figures are told all the same.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.facts.cost import JtiMemorySeen, JtiModeTurned, StoreConnected, StoreSized
from bff.jobs.asking import in_time
from bff.model import Down
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bff.stores.cache import Cache
    from bff.stores.jti import JtiMemory, JtiMode
    from bff.stores.ledger import Ledger
    from bff.stores.size import Size
    from bff.stores.tier import SessionTier

JOB: Final = "watch-redis"
EVERY: Final = 5.0  # seconds
HIGH: Final = 0.80  # of its memory: from here on proofs take less
FULL: Final = 0.90  # from here on nobody waits whether a trim is enough
LOW: Final = 0.60  # up to here proofs may take more again
TAKES_EFFECT: Final = 130.0  # seconds until what was written before a trim is gone
STAYS: Final = 600.0  # seconds that a mode stays before a roomier one is tried
UP: Final[Mapping[JtiMode, JtiMode]] = {"exact": "trimmed", "trimmed": "bloom"}
BACK: Final[Mapping[JtiMode, JtiMode]] = {"bloom": "trimmed", "trimmed": "exact"}


def wanted(memory: JtiMemory, ratio: float) -> JtiMode:
    """The mode in which proofs should be remembered, with that part of the tier's memory used."""
    mode = memory.mode
    if ratio >= FULL:
        return "bloom"
    if ratio >= HIGH and (mode == "exact" or memory.lasted >= TAKES_EFFECT):
        return UP.get(mode, mode)
    if ratio <= LOW and memory.lasted >= STAYS:
        return BACK.get(mode, mode)
    return mode


class RedisWatch:
    """Watches the session tier and the cache."""

    def __init__(self, tier: SessionTier, cache: Cache, ledger: Ledger) -> None:
        self._tier = tier
        self._stores: Mapping[str, SessionTier | Cache] = {"redis-session": tier, "redis-cache": cache}
        self._ledger = ledger

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            await self.turn()
            await trio.sleep(EVERY)

    async def turn(self) -> None:
        """Look once; have proofs remembered otherwise, where it is time to. Whoever is down is left out."""
        sizes: dict[str, Size] = {}
        for name, store in self._stores.items():
            size = await in_time(store.size)
            if not isinstance(size, Down):
                sizes[name] = size
                tell(StoreSized(name, size.used, size.most))
                tell(StoreConnected(name, size.connections, size.most_connections))
        memory = await in_time(self._tier.jti_memory)
        if isinstance(memory, Down):
            return
        tell(JtiMemorySeen(memory.mode, memory.fill))
        if "redis-session" in sizes:
            mode = wanted(memory, sizes["redis-session"].ratio)
            if mode != memory.mode and isinstance(await in_time(partial(self._ledger.lead, JOB)), int):
                await self._turn(mode, memory.mode)

    async def _turn(self, mode: JtiMode, before: JtiMode) -> None:
        if await in_time(partial(self._tier.remember_jtis, mode, instead_of=before)) is True:
            tell(JtiModeTurned(mode, before))
            await self._told()

    async def _told(self) -> None:
        memory = await in_time(self._tier.jti_memory)
        if not isinstance(memory, Down):
            tell(JtiMemorySeen(memory.mode, memory.fill))
