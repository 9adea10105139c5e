"""How the session tier in memory remembers proofs: what `present.lua` and `remember.lua` do, on the Trio clock."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.stores.jti import NONCE_SECONDS, SAMPLE, Filter, JtiMemory, fill, marks, offsets
from chaos.hotel.stores.expiring import Expiring

if TYPE_CHECKING:
    from bff.model import Jkt
    from bff.stores.jti import JtiMode
    from bff.stores.tier import Presented
    from chaos.hotel.stores.journal import Journal

SLOTS: Final = 3
KEY_BYTES: Final = 156  # what a proof's key costs a Redis, about


class Proofs:
    """What was shown, in one of three modes."""

    def __init__(self, journal: Journal, filter: Filter) -> None:
        self._journal = journal
        self._filter = filter
        self._keys: Expiring[tuple[Jkt, str], str] = Expiring(journal)
        self._slots: Expiring[int, set[int]] = Expiring(journal)
        self._turned: tuple[JtiMode, float] = ("exact", -math.inf)

    @property
    def mode(self) -> JtiMode:
        """As it is now."""
        return self._turned[0]

    def shown(self, proof: Presented) -> tuple[bool, bool]:
        """Whether it is fresh, and if not whether the filter alone says so. It is remembered from now on."""
        name = (proof.jkt, proof.jti)
        nonce = self._keys.get(name)
        if nonce is not None:
            return nonce == proof.nonce, False
        bits = frozenset(offsets(marks(*name), self._filter.bits))
        if any(bits <= slot for at in range(SLOTS) if (slot := self._slots.get(at)) is not None):
            return False, True
        if self.mode == "bloom":
            self._mark(bits, proof.ttl)
        lasts = {"exact": proof.ttl, "trimmed": proof.trimmed, "bloom": min(proof.ttl, NONCE_SECONDS)}
        self._keys.put(name, proof.nonce, lasts[self.mode])
        return True, False

    def _mark(self, bits: frozenset[int], ttl: float) -> None:
        turns, now = self._filter.turns, trio.current_time()
        turn = math.floor(now / turns)
        slot = self._slots.get(turn % SLOTS)
        if slot is None:
            slot = set()
            self._slots.put(turn % SLOTS, slot, max((turn + 2) * turns - now, ttl))
        elif self._slots.left(turn % SLOTS) < ttl:
            self._slots.put(turn % SLOTS, slot, max((turn + 2) * turns - now, ttl))
        fresh = bits - slot
        self._journal.wrote(partial(slot.difference_update, fresh), counts=False)
        slot.update(fresh)

    def memory(self) -> JtiMemory:
        """How it is."""
        mode, since = self._turned
        counted = 8 * min(SAMPLE, self._filter.bits // 8)
        most = max((sum(bit < counted for bit in slot) for slot in self._slots.values()), default=0)
        return JtiMemory(mode, trio.current_time() - since, fill(most / counted))

    def turn(self, mode: JtiMode, instead_of: JtiMode) -> bool:
        """Be in that mode, where it was the other."""
        if self.mode != instead_of:
            return False
        self._journal.wrote(partial(setattr, self, "_turned", self._turned))
        self._turned = (mode, trio.current_time())
        return True

    @property
    def used(self) -> int:
        """Bytes that a Redis would hold for it, about."""
        return KEY_BYTES * len(self._keys.values()) + self._filter.bits // 8 * len(self._slots.values())
