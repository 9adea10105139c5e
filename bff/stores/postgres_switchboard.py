"""The switchboard on PostgreSQL: a turn and its row of the house's trail are one statement."""

from __future__ import annotations

from typing import Final

from bff.model import Down
from bff.stores.postgres_line import Line, rows, value
from bff.stores.switchboard import Switch
from bff.stores.trail import HOUSE

SWITCHES: Final = 'SELECT name, value, since, turned_by, why, mark FROM switches ORDER BY name COLLATE "C"'

# One never turned is inserted, if that may be; another is updated, if it has the value that it should have.
TURN: Final = """
    WITH turned AS (
        INSERT INTO switches AS s (name, value, since, turned_by, why, mark)
            SELECT $1::text, $2::text, $3::float8, $4::text, $5::text, $6::integer
            WHERE coalesce($7::text, '') = '' OR EXISTS (SELECT FROM switches WHERE name = $1)
        ON CONFLICT (name) DO UPDATE
            SET value = excluded.value, since = excluded.since, turned_by = excluded.turned_by,
                why = excluded.why, mark = excluded.mark
            WHERE $7 IS NULL OR s.value = $7
        RETURNING 1
    ), told AS (
        INSERT INTO audit_trail (tenant_id, entry) SELECT $8::text, $9::text FROM turned
    )
    SELECT EXISTS (SELECT FROM turned)
"""


class PostgresSwitchboard(Line):
    """`bff.stores.switchboard.Switchboard` on PostgreSQL."""

    async def switches(self) -> tuple[Switch, ...] | Down:
        """Those that were ever turned, by name."""
        return await self.transact("switches", rows(lambda row: Switch(*row), SWITCHES))

    async def turn(self, switch: Switch, entry: str, *, only_from: str | None = None) -> bool | Down:
        """Turn it, and add `entry` to the house's trail, in one commit; False when it had another value."""
        what = (switch.name, switch.value, switch.since, switch.by, switch.why, switch.mark)
        return await self.transact("turn", value(TURN, *what, only_from, HOUSE, entry))
