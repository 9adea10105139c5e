"""Port of the mirrors: copies of what other services are the authority for, kept for when those cannot be asked.

A preference's copy is only ever replaced by a newer version, a cursor's by what the authority said last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bff.model import DeviceId, Down, OperatorId, TenantId


@dataclass(frozen=True, slots=True)
class Mirror:
    """An operator's preferences as tenant-service had them at `as_of` (POSIX seconds). `values` is a JSON object."""

    tenant: TenantId
    operator: OperatorId
    version: int
    values: bytes
    as_of: float


@dataclass(frozen=True, slots=True)
class DeviceCursor:
    """How far a device has synchronised, as sync-service said at `as_of` (POSIX seconds).

    `diverged` says that the authority was found to say otherwise, since.
    """

    tenant: TenantId
    device: DeviceId
    cursor: str
    as_of: float
    diverged: bool = False


class Mirrors(Protocol):
    """Every verb needs a finite deadline above it and raises `nurseries.Unbounded` without one."""

    async def mirrored(self, tenant: TenantId, operator: OperatorId) -> Mirror | Down | None:
        """The copy of an operator's preferences, if there is one."""
        ...

    async def mirror(self, mirror: Mirror) -> Down | None:
        """Keep it, unless a newer version is kept. That of a mutation is kept with its record (`Keys`)."""
        ...

    async def mirrors(self, *, after: tuple[str, str], limit: int) -> tuple[Mirror, ...] | Down:
        """All above the place `after` (tenant, operator), in the order of their places; ('', '') is below the first."""
        ...

    async def cursor(self, tenant: TenantId, device: DeviceId) -> DeviceCursor | Down | None:
        """What is kept of a device's cursor, if anything."""
        ...

    async def keep_cursor(self, cursor: DeviceCursor) -> Down | None:
        """Keep it in the place of what was kept."""
        ...

    async def mark_diverged(self, seen: DeviceCursor) -> bool | Down:
        """The authority says otherwise than `seen`; False when something else is kept by now, and nothing was done."""
        ...

    async def cursors(self, *, after: tuple[str, str], limit: int) -> tuple[DeviceCursor, ...] | Down:
        """All above the place `after` (tenant, device), in the order of their places; ('', '') is below the first."""
        ...
