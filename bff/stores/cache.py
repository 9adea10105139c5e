"""Port of the cache tier. A key cannot be built without a tenant (F-30), and down means miss (F-17)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bff.model import Down, TenantId
from bff.stores.size import Size


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Where an answer is kept: the tenant first, then what it is, then of what. No part may be empty.

    Raises `ValueError` for an empty tenant, kind or part. `text()` is injective: two different keys never meet,
    whatever characters their parts hold.
    """

    tenant: TenantId
    kind: str
    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not (self.tenant and self.kind and all(self.parts)):
            raise ValueError("a cache key names its tenant, its kind and every part")

    def text(self) -> str:
        return "|".join(f"{len(part)}:{part}" for part in (self.tenant, self.kind, *self.parts))


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it came, and when it was true (POSIX seconds)."""

    as_of: float
    body: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """What is put: `ttl` in seconds."""

    key: CacheKey
    kept: Kept
    ttl: float


class Cache(Protocol):
    """Every verb needs a finite deadline above it and raises `nurseries.Unbounded` without one."""

    async def get_many(self, keys: Sequence[CacheKey]) -> tuple[Kept | None, ...]:
        """One answer per key, in order, in one round trip. A cache that is down has nothing."""
        ...

    async def put_many(self, entries: Sequence[Entry]) -> None:
        """Keep all of them in one round trip; a cache that is down keeps nothing."""
        ...

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        ...

    async def size(self) -> Size | Down:
        """How much of what it may have the store has."""
        ...
