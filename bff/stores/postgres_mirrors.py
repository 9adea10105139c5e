"""The mirrors on PostgreSQL."""

from __future__ import annotations

from typing import Any, Final

from bff.model import DeviceId, Down, OperatorId, TenantId
from bff.stores.mirrors import DeviceCursor, Mirror
from bff.stores.postgres_line import Line, done, first, rows, value

MIRROR: Final = """
    INSERT INTO operator_preferences AS kept (tenant_id, operator_id, version, content, as_of)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant_id, operator_id) DO UPDATE
        SET version = excluded.version, content = excluded.content, as_of = excluded.as_of
        WHERE kept.version <= excluded.version
"""
MIRRORED: Final = """
    SELECT tenant_id, operator_id, version, content, as_of FROM operator_preferences
    WHERE tenant_id = $1 AND operator_id = $2
"""
MIRRORS: Final = """
    SELECT tenant_id, operator_id, version, content, as_of FROM operator_preferences
    WHERE (tenant_id, operator_id) > ($1, $2) ORDER BY tenant_id, operator_id LIMIT $3
"""
KEEP_CURSOR: Final = """
    INSERT INTO device_sync_status (tenant_id, device_id, cursor_version, synced_at, diverged)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant_id, device_id) DO UPDATE
        SET cursor_version = excluded.cursor_version, synced_at = excluded.synced_at, diverged = excluded.diverged
"""
CURSOR: Final = """
    SELECT tenant_id, device_id, cursor_version, synced_at, diverged FROM device_sync_status
    WHERE tenant_id = $1 AND device_id = $2
"""
CURSORS: Final = """
    SELECT tenant_id, device_id, cursor_version, synced_at, diverged FROM device_sync_status
    WHERE (tenant_id, device_id) > ($1, $2) ORDER BY tenant_id, device_id LIMIT $3
"""
DIVERGED: Final = """
    UPDATE device_sync_status SET diverged = true
    WHERE tenant_id = $1 AND device_id = $2 AND cursor_version = $3 AND synced_at = $4
    RETURNING true
"""


class PostgresMirrors(Line):
    """`bff.stores.mirrors.Mirrors` on PostgreSQL."""

    async def mirrored(self, tenant: TenantId, operator: OperatorId) -> Mirror | Down | None:
        """The copy of an operator's preferences, if there is one."""
        return first(await self.transact("mirrored", rows(_mirror, MIRRORED, tenant, operator)))

    async def mirror(self, mirror: Mirror) -> Down | None:
        """Keep it, unless a newer version is kept."""
        what = (mirror.tenant, mirror.operator, mirror.version, mirror.values, mirror.as_of)
        return await self.transact("mirror", done(MIRROR, *what))

    async def mirrors(self, *, after: tuple[str, str], limit: int) -> tuple[Mirror, ...] | Down:
        """All above a place, in the order of their places."""
        return await self.transact("mirrors", rows(_mirror, MIRRORS, *after, limit))

    async def cursor(self, tenant: TenantId, device: DeviceId) -> DeviceCursor | Down | None:
        """What is kept of a device's cursor, if anything."""
        return first(await self.transact("cursor", rows(_cursor, CURSOR, tenant, device)))

    async def keep_cursor(self, cursor: DeviceCursor) -> Down | None:
        """Keep it in the place of what was kept."""
        what = (cursor.tenant, cursor.device, cursor.cursor, cursor.as_of, cursor.diverged)
        return await self.transact("keep cursor", done(KEEP_CURSOR, *what))

    async def mark_diverged(self, seen: DeviceCursor) -> bool | Down:
        """The authority says otherwise; False when something else is kept by now."""
        what = (seen.tenant, seen.device, seen.cursor, seen.as_of)
        marked = await self.transact("mark diverged", value(DIVERGED, *what))
        return marked if isinstance(marked, Down) else marked is not None

    async def cursors(self, *, after: tuple[str, str], limit: int) -> tuple[DeviceCursor, ...] | Down:
        """All above a place, in the order of their places."""
        return await self.transact("cursors", rows(_cursor, CURSORS, *after, limit))


def _mirror(row: Any) -> Mirror:
    tenant, operator = TenantId(row["tenant_id"]), OperatorId(row["operator_id"])
    return Mirror(tenant, operator, row["version"], row["content"], row["as_of"])


def _cursor(row: Any) -> DeviceCursor:
    tenant, device = TenantId(row["tenant_id"]), DeviceId(row["device_id"])
    return DeviceCursor(tenant, device, row["cursor_version"], row["synced_at"], row["diverged"])
