"""The idempotency keys on PostgreSQL: `claim_key` and `record_key` of `sql/0003_keys.sql`, one statement each.

A statement is a round trip and a commit. What two who come at once may do to each other is decided there, under locks
that are always taken in this order: the aggregates by their names, the key, its row, the second factor, the trail, the
letters, the mirror. Who holds one waits only for later ones, and so nobody waits in a circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from bff.model import Down, Headers, OperatorId, TenantId
from bff.stores.keys import (
    Busy,
    Claimed,
    InFlight,
    KeptAnswer,
    KeyId,
    KeysSince,
    Outcomes,
    Recorded,
    Reused,
    Spent,
    Unsettled,
)
from bff.stores.postgres_line import Line, first, rows, value
from bff.stores.postgres_outbox import columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.stores.keys import Claiming, Recording, Verdict

CLAIM: Final = "SELECT * FROM claim_key($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
RECORD: Final = """
    SELECT record_key($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
"""
SPENT_ON: Final = "SELECT tenant_id, operator_id, key FROM attestations WHERE attestation = $1"
UNSETTLED: Final = """
    SELECT tenant_id, operator_id, key, fingerprint, aggregates, request, fence,
        CASE state WHEN 'uncertain' THEN 'uncertain' ELSE 'abandoned' END AS before,
        extract(epoch FROM now() - claimed_at)::float8 AS age
    FROM idempotency_keys
    WHERE state IN ('in-flight', 'uncertain')
    AND CASE state WHEN 'uncertain' THEN claimed_at < now() - make_interval(secs => $1) ELSE lease_until <= now() END
    ORDER BY claimed_at LIMIT $2
"""

# A request that no server of ours has written has no action, and is nobody's. There is a row without one where there is
# nothing else, for its moment.
SINCE: Final = """
    SELECT extract(epoch FROM clock_timestamp())::float8 AS moment, action, refused::integer, others::integer
    FROM (SELECT) AS one LEFT JOIN (
        SELECT substring(encode(request, 'escape') FROM '"action":"([^"]+)"') AS action,
            count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS refused,
            count(*) FILTER (WHERE status IS NULL OR status NOT BETWEEN 400 AND 499) AS others
        FROM idempotency_keys WHERE first_claimed_at > to_timestamp($1::float8) GROUP BY 1
    ) AS of_each ON action IS NOT NULL
"""

# What somebody else has locked is passed over, and had the next time. A second factor stays with a key that is not
# settled.
TRIM: Final = """
    WITH old_keys AS (
        SELECT ctid FROM idempotency_keys
        WHERE first_claimed_at < now() - make_interval(secs => $1) AND state IN ('recorded', 'open')
        ORDER BY first_claimed_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ), old_factors AS (
        SELECT ctid FROM attestations AS a
        WHERE a.spent_at < now() - make_interval(secs => $1) AND NOT EXISTS (
            SELECT FROM idempotency_keys AS k
            WHERE (k.tenant_id, k.operator_id, k.key) = (a.tenant_id, a.operator_id, a.key)
            AND k.state IN ('in-flight', 'uncertain')
        )
        ORDER BY a.spent_at LIMIT $2
    ), forgotten_factors AS (
        DELETE FROM attestations WHERE ctid = ANY (ARRAY(SELECT ctid FROM old_factors))
    ), forgotten AS (
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM old_keys)) RETURNING 1
    )
    SELECT count(*) FROM forgotten
"""

_headers: Final = msgspec.json.Decoder(Headers)


class PostgresKeys(Line):
    """`bff.stores.keys.Keys` on PostgreSQL."""

    async def claim(self, asked: Claiming) -> Verdict | Down:
        """Claim a key, in one commit."""
        id_, aggregates = asked.id, list(asked.aggregates)
        what = (id_.tenant, id_.operator, id_.key, asked.fingerprint, aggregates, asked.request, asked.lease)
        said = (asked.attestation, asked.intent, asked.abandoned)
        verdict = first(await self.transact("claim", rows(_verdict, CLAIM, *what, *said)))
        assert verdict is not None, "the function gives one row"
        return verdict

    async def record(self, what: Recording) -> bool | Down:
        """Record what became of a claim, in one commit."""
        given = (*_place(what), *_answer(what.answer), list(what.trail), *columns(what.letters), *_mirror(what))
        return await self.transact("record", value(RECORD, *given))

    async def spent_on(self, attestation: str) -> KeyId | Down | None:
        """The key that a second factor was spent on."""
        return first(await self.transact("spent on", rows(_key_id, SPENT_ON, attestation)))

    async def unsettled(self, *, older_than: float, limit: int) -> tuple[Unsettled, ...] | Down:
        """Keys whose outcome nobody knows, eldest first."""
        return await self.transact("unsettled", rows(_unsettled, UNSETTLED, older_than, limit))

    async def trim_keys(self, *, older_than: float, limit: int) -> int | Down:
        """Forget what is old and certain, second factors too; how many keys were."""
        return await self.transact("trim keys", value(TRIM, older_than, limit))

    async def keys_since(self, moment: float | None) -> KeysSince | Down:
        """What became of keys that were claimed first after `moment`, in the order of the index on that."""
        found = await self.transact("keys since", rows(tuple, SINCE, moment))
        if isinstance(found, Down):
            return found
        actions = {action: Outcomes(refused, others) for _, action, refused, others in found if action is not None}
        return KeysSince(found[0][0], actions)


def _place(what: Recording) -> tuple[object, ...]:
    return (what.id.tenant, what.id.operator, what.id.key, what.fence, what.state)


def _answer(answer: KeptAnswer | None) -> tuple[object, ...]:
    if answer is None:
        return (None,) * 4
    headers = msgspec.json.encode(answer.headers).decode()
    return (answer.status, answer.body, answer.content_type, headers)


def _mirror(what: Recording) -> tuple[object, ...]:
    mirror = what.mirror
    if mirror is None:
        return (None,) * 5
    return (mirror.tenant, mirror.operator, mirror.version, mirror.values, mirror.as_of)


def _kept(row: Any) -> KeptAnswer:
    return KeptAnswer(row["status"], row["body"], row["content_type"], _headers.decode(row["headers"]))


VERDICTS: Final[dict[str, Callable[[Any], Verdict]]] = {
    "claimed": lambda row: Claimed(row["fence"], row["before"]),
    "recorded": lambda row: Recorded(_kept(row)),
    "in-flight": lambda row: InFlight(row["seconds"]),
    "reused": lambda _: Reused(),
    "spent": lambda _: Spent(),
    "busy": lambda row: Busy(row["seconds"]),
}


def _verdict(row: Any) -> Verdict:
    return VERDICTS[row["verdict"]](row)


def _key_id(row: Any) -> KeyId:
    return KeyId(TenantId(row["tenant_id"]), OperatorId(row["operator_id"]), row["key"])


def _unsettled(row: Any) -> Unsettled:
    of = (row["fingerprint"], tuple(row["aggregates"]), row["request"])
    return Unsettled(_key_id(row), *of, row["before"], row["age"], row["fence"])
