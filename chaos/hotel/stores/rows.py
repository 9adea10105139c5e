"""A table of a simulated ledger: rows by key, each write with its way back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.hotel.stores.journal import Journal

K = TypeVar("K")
V = TypeVar("V")


class Rows(Generic[K, V]):
    """Frozen rows; `journal` is told the way back from each write."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._rows: dict[K, V] = {}

    def put(self, key: K, row: V) -> None:
        """Keep `row` instead of what was there."""
        self._journal.wrote(partial(self._restore, key, self._rows.get(key)))
        self._rows[key] = row

    def get(self, key: K) -> V | None:
        """What is kept, or None."""
        return self._rows.get(key)

    def drop(self, key: K) -> V | None:
        """Keep it no longer; gives what was kept."""
        if key in self._rows:
            self._journal.wrote(partial(self._restore, key, self._rows[key]))
        return self._rows.pop(key, None)

    def items(self) -> Iterator[tuple[K, V]]:
        """All of them, in the order in which they were first put; rows may be put and dropped meanwhile."""
        return iter(list(self._rows.items()))

    def values(self) -> Iterator[V]:
        """The rows of `items`."""
        return iter(list(self._rows.values()))

    def _restore(self, key: K, row: V | None) -> None:
        if row is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = row

    def __len__(self) -> int:
        return len(self._rows)
