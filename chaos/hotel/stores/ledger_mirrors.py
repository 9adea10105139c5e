"""The mirrors of a simulated ledger: what `bff.stores.postgres_mirrors` does, by the same port."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaos.hotel.stores.rows import Rows

if TYPE_CHECKING:
    from bff.model import DeviceId, Down, OperatorId, TenantId
    from bff.stores.mirrors import DeviceCursor, Mirror
    from chaos.hotel.stores.journal import Journal
    from chaos.hotel.stores.ledger import SimLedger


class MirrorTables:
    """What is kept, by place."""

    def __init__(self, journal: Journal) -> None:
        self._mirrors: Rows[tuple[str, str], Mirror] = Rows(journal)
        self._cursors: Rows[tuple[str, str], DeviceCursor] = Rows(journal)

    def keep(self, mirror: Mirror) -> None:
        """Keep it, unless a newer version is kept."""
        place = (mirror.tenant, mirror.operator)
        kept = self._mirrors.get(place)
        if kept is None or kept.version <= mirror.version:
            self._mirrors.put(place, mirror)

    def mirror(self, tenant: TenantId, operator: OperatorId) -> Mirror | None:
        """The copy, if there is one."""
        return self._mirrors.get((tenant, operator))

    def mirrors(self, after: tuple[str, str], limit: int) -> tuple[Mirror, ...]:
        """Those above the place."""
        return tuple(mirror for place, mirror in sorted(self._mirrors.items(), key=_place) if place > after)[:limit]

    def cursor(self, tenant: TenantId, device: DeviceId) -> DeviceCursor | None:
        """What is kept, if anything."""
        return self._cursors.get((tenant, device))

    def keep_cursor(self, cursor: DeviceCursor) -> None:
        """Keep it in the place of what was kept."""
        self._cursors.put((cursor.tenant, cursor.device), cursor)

    def mark_diverged(self, seen: DeviceCursor) -> bool:
        """Mark it, if it is what is kept."""
        kept = self.cursor(seen.tenant, seen.device)
        if kept is None or (kept.cursor, kept.as_of) != (seen.cursor, seen.as_of):
            return False
        self.keep_cursor(replace(kept, diverged=True))
        return True

    def cursors(self, after: tuple[str, str], limit: int) -> tuple[DeviceCursor, ...]:
        """Those above the place."""
        return tuple(cursor for place, cursor in sorted(self._cursors.items(), key=_place) if place > after)[:limit]


def _place(item: tuple[tuple[str, str], object]) -> tuple[str, str]:
    return item[0]


class MirrorsSession:
    """`bff.stores.mirrors.Mirrors`, for one process."""

    def __init__(self, store: SimLedger) -> None:
        self.store = store

    async def mirrored(self, tenant: TenantId, operator: OperatorId) -> Mirror | Down | None:
        """The copy of an operator's preferences, if there is one."""
        return await self.store.asked(lambda: self.store.mirrors.mirror(tenant, operator))

    async def mirror(self, mirror: Mirror) -> Down | None:
        """Keep it, unless a newer version is kept."""
        return await self.store.asked(lambda: self.store.mirrors.keep(mirror))

    async def mirrors(self, *, after: tuple[str, str], limit: int) -> tuple[Mirror, ...] | Down:
        """All above a place, in the order of their places."""
        return await self.store.asked(lambda: self.store.mirrors.mirrors(after, limit))

    async def cursor(self, tenant: TenantId, device: DeviceId) -> DeviceCursor | Down | None:
        """What is kept of a device's cursor, if anything."""
        return await self.store.asked(lambda: self.store.mirrors.cursor(tenant, device))

    async def keep_cursor(self, cursor: DeviceCursor) -> Down | None:
        """Keep it in the place of what was kept."""
        return await self.store.asked(lambda: self.store.mirrors.keep_cursor(cursor))

    async def mark_diverged(self, seen: DeviceCursor) -> bool | Down:
        """The authority says otherwise; False when something else is kept by now."""
        return await self.store.asked(lambda: self.store.mirrors.mark_diverged(seen))

    async def cursors(self, *, after: tuple[str, str], limit: int) -> tuple[DeviceCursor, ...] | Down:
        """All above a place, in the order of their places."""
        return await self.store.asked(lambda: self.store.mirrors.cursors(after, limit))
