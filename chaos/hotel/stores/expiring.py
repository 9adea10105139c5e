"""A dictionary whose entries have a time to live on the Trio clock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from chaos.hotel.stores.journal import Journal

K = TypeVar("K")
V = TypeVar("V")

SWEPT_FROM = 1024  # entries; beyond it, each doubling is the moment to drop what has expired


class Expiring(Generic[K, V]):
    """Entries go when their time is over: at the next look, or at the next sweep.

    `journal` is told the way back from each write; from an expiry there is none.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._entries: dict[K, tuple[float, V]] = {}
        self._sweep_at = SWEPT_FROM

    def put(self, key: K, value: V, ttl: float) -> None:
        """Keep `value` for `ttl` seconds from now, instead of what was there."""
        self._note(key)
        self._entries[key] = (trio.current_time() + ttl, value)
        if len(self._entries) > self._sweep_at:
            now = trio.current_time()
            self._entries = {kept: entry for kept, entry in self._entries.items() if entry[0] > now}
            self._sweep_at = max(SWEPT_FROM, 2 * len(self._entries))

    def get(self, key: K) -> V | None:
        """What is kept, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] > trio.current_time():
            return entry[1]
        del self._entries[key]
        return None

    def left(self, key: K) -> float:
        """For how many more seconds it is kept; below 0 where it is not."""
        entry = self._entries.get(key)
        return -1.0 if entry is None else entry[0] - trio.current_time()

    def drop(self, key: K) -> None:
        """Keep it no longer."""
        if key in self._entries:
            self._note(key)
            del self._entries[key]

    def values(self) -> tuple[V, ...]:
        """All that is kept now."""
        now = trio.current_time()
        return tuple(value for expires, value in self._entries.values() if expires > now)

    def _note(self, key: K) -> None:
        if self._journal is not None:
            self._journal.wrote(partial(self._restore, key, self._entries.get(key)))

    def _restore(self, key: K, entry: tuple[float, V] | None) -> None:
        """As it was, to the moment at which it expires."""
        if entry is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = entry

    def __len__(self) -> int:
        return len(self._entries)
