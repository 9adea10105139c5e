"""The audit trail on PostgreSQL: numbers and hashes are a trigger's (`sql/0002_changes.sql`), and nobody else's."""

from __future__ import annotations

from typing import Any, Final

from bff.model import Down, TenantId
from bff.stores.postgres_line import Line, done, rows
from bff.stores.trail import GAPS, LOOKED_BACK, Checkpoint, Completeness, TrailRow

ADD: Final = """
    INSERT INTO audit_trail (tenant_id, entry)
        SELECT $1, entry FROM unnest($2::text[]) WITH ORDINALITY AS given (entry, place) ORDER BY place
"""
READ: Final = """
    SELECT tenant_id, seq, entry, previous, hash FROM audit_trail
    WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3
"""

# From each tenant to the next one by the index: there are few of them, and many rows.
TENANTS: Final = """
    RECURSIVE tenants AS (
        (SELECT tenant_id FROM audit_trail ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT a.tenant_id FROM audit_trail AS a WHERE a.tenant_id > t.tenant_id ORDER BY a.tenant_id LIMIT 1)
        FROM tenants AS t WHERE t.tenant_id IS NOT NULL
    )
"""
ENDS: Final = f"""
    WITH {TENANTS}
    SELECT ends.* FROM tenants, LATERAL (
        SELECT tenant_id, seq, entry, previous, hash FROM audit_trail AS a
        WHERE a.tenant_id = tenants.tenant_id ORDER BY seq DESC LIMIT 1
    ) AS ends
    ORDER BY ends.tenant_id COLLATE "C"
"""  # noqa: S608 - nobody's words are in it
SIGN: Final = """
    INSERT INTO audit_checkpoints (tenant_id, seq, hash, at, signature)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""
CHECKPOINTS: Final = """
    SELECT tenant_id, seq, hash, at, signature FROM audit_checkpoints
    WHERE tenant_id = $1 ORDER BY seq
"""

# One statement sees one moment: a claim and its intent are both there, or neither is.
COMPLETENESS: Final = """
    WITH actions AS (
        SELECT tenant_id, operator_id, key FROM idempotency_keys
        WHERE aggregates[1] LIKE 'lock:%' AND first_claimed_at > now() - make_interval(secs => $2)
    ), no_intent AS (
        SELECT * FROM actions AS k WHERE NOT EXISTS (
            SELECT FROM audit_trail AS a WHERE a.kind = 'intent'
            AND (a.tenant_id, a.operator_id, a.key) = (k.tenant_id, k.operator_id, k.key)
        )
    ), due AS (
        SELECT tenant_id, operator_id, key, seq FROM audit_trail
        WHERE kind = 'intent'
        AND at > now() - make_interval(secs => $2) AND at <= now() - make_interval(secs => $1)
    ), no_outcome AS (
        SELECT tenant_id, seq FROM due WHERE 'outcome' IS DISTINCT FROM (
            SELECT a.kind FROM audit_trail AS a WHERE a.kind IN ('intent', 'outcome')
            AND (a.tenant_id, a.operator_id, a.key) = (due.tenant_id, due.operator_id, due.key)
            AND a.seq > due.seq ORDER BY a.seq LIMIT 1
        )
    ), counted AS (
        SELECT tenant_id, count(*) AS there, max(seq) AS last FROM audit_trail GROUP BY tenant_id
    ), signed AS (
        SELECT tenant_id, max(seq) AS last FROM audit_checkpoints GROUP BY tenant_id
    ), trails AS (
        SELECT tenant_id, coalesce(there, 0) AS there, greatest(counted.last, signed.last) AS last
        FROM counted FULL JOIN signed USING (tenant_id)
    ), holes AS (
        SELECT t.tenant_id, row.previous + 1 AS first, row.seq - 1 AS last FROM trails AS t, LATERAL (
            SELECT seq, lag(seq, 1, 0::bigint) OVER (ORDER BY seq) AS previous FROM (
                SELECT seq FROM audit_trail AS a WHERE a.tenant_id = t.tenant_id UNION ALL SELECT t.last + 1
            ) AS numbers
        ) AS row
        WHERE t.there < t.last AND row.seq > row.previous + 1
    )
    SELECT
        (SELECT count(*) FROM actions) + (SELECT count(*) FROM due) + (SELECT coalesce(sum(last), 0) FROM trails)
            AS expected,
        (SELECT count(*) FROM no_intent) + (SELECT count(*) FROM no_outcome)
            + (SELECT coalesce(sum(last - there), 0) FROM trails) AS missing,
        ARRAY(
            SELECT format('%s: no intent of %s''s %s', tenant_id, operator_id, key) FROM no_intent
            ORDER BY tenant_id COLLATE "C", operator_id COLLATE "C", key COLLATE "C" LIMIT $3
        ) || ARRAY(
            SELECT format('%s: no outcome of row %s', tenant_id, seq) FROM no_outcome
            ORDER BY tenant_id COLLATE "C", seq LIMIT $3
        ) || ARRAY(
            SELECT format('%s: no rows %s to %s', tenant_id, first, last) FROM holes
            ORDER BY tenant_id COLLATE "C", first LIMIT $3
        ) AS gaps
"""


class PostgresTrail(Line):
    """`bff.stores.trail.Trail` on PostgreSQL."""

    async def add_to_trail(self, tenant: TenantId, entries: tuple[str, ...]) -> Down | None:
        """Add rows, in one commit."""
        return await self.transact("add to trail", done(ADD, tenant, list(entries)))

    async def trail(self, tenant: TenantId, *, after: int, limit: int) -> tuple[TrailRow, ...] | Down:
        """Rows numbered above `after`, in order."""
        return await self.transact("trail", rows(_trail_row, READ, tenant, after, limit))

    async def ends_of_trails(self) -> tuple[TrailRow, ...] | Down:
        """The last row of every trail, by tenant."""
        return await self.transact("ends of trails", rows(_trail_row, ENDS))

    async def sign(self, checkpoint: Checkpoint) -> Down | None:
        """Keep a checkpoint; one for the same row is there once."""
        what = (checkpoint.tenant, checkpoint.seq, checkpoint.hash, checkpoint.at, checkpoint.signature)
        return await self.transact("sign", done(SIGN, *what))

    async def checkpoints(self, tenant: TenantId) -> tuple[Checkpoint, ...] | Down:
        """Every checkpoint of a trail, in order."""

        def read(row: Any) -> Checkpoint:
            return Checkpoint(tenant, row["seq"], row["hash"], row["at"], row["signature"])

        return await self.transact("checkpoints", rows(read, CHECKPOINTS, tenant))

    async def lock_completeness(self, *, grace: float) -> Completeness | Down:
        """Look at every lock action of the last eight days."""

        async def work(connection: Any) -> Completeness:
            row = await connection.fetchrow(COMPLETENESS, grace, LOOKED_BACK, GAPS)
            expected, missing = int(row["expected"]), int(row["missing"])
            return Completeness(expected, expected - missing, tuple(row["gaps"]))

        return await self.transact("lock completeness", work)


def _trail_row(row: Any) -> TrailRow:
    return TrailRow(TenantId(row["tenant_id"]), row["seq"], row["entry"], row["previous"], row["hash"])
