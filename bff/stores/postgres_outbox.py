"""The outbox on PostgreSQL, its dead letters, and who leads: every verb is one statement, and so one commit.

The lead of a job is a lock that a session of the server holds, on a connection that is kept for it alone. It goes with
that connection, however that ends, and no clock is asked: a process that was killed leads no longer. One that only
thinks it leads has an older fence than the next one, and is refused where it matters, under a lock on the fence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from bff.model import Down
from bff.stores.outbox import Backlog, DeadLetter, Letter, Waiting
from bff.stores.postgres_line import Hold, Line, done, rows, value
from nurseries import required

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bff.stores.border import Border

LETTER: Final = "topic, ordering_key, kind, payload, message_id"
APPEND: Final = f"""
    INSERT INTO outbox ({LETTER})
        SELECT {LETTER} FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[])
            WITH ORDINALITY AS given ({LETTER}, place) ORDER BY place
    ON CONFLICT (message_id) DO NOTHING
"""  # noqa: S608 - nobody's words are in these

# What a transaction wrote that is still under way nobody sees; what one wrote that began after it waits for it.
NEXT: Final = f"""
    SELECT number, {LETTER}, extract(epoch FROM clock_timestamp() - written_at)::float8 AS age FROM outbox
    WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) AND topic <> ALL ($2::text[]) ORDER BY xid, number LIMIT $1
"""  # noqa: S608

# A leader to come waits until this has committed; one that came meanwhile is seen, since the row is read again.
LED: Final = "led AS (SELECT 1 FROM leaders WHERE job = 'relay' AND fence = $1 FOR SHARE)"
PUBLISHED: Final = f"""
    WITH {LED}, gone AS (DELETE FROM outbox WHERE number = ANY ($2::bigint[]) AND EXISTS (SELECT FROM led))
    SELECT EXISTS (SELECT FROM led)
"""  # noqa: S608
BURY: Final = f"""
    WITH {LED}, gone AS (
        DELETE FROM outbox WHERE number = $2 AND EXISTS (SELECT FROM led) RETURNING number, {LETTER}
    ), dead AS (
        INSERT INTO dead_letters (number, {LETTER}, reason) SELECT number, {LETTER}, $3 FROM gone
    )
    SELECT EXISTS (SELECT FROM led)
"""  # noqa: S608
BACKLOG: Final = """
    SELECT count(*) AS depth, coalesce(extract(epoch FROM clock_timestamp() - min(written_at)), 0)::float8 AS oldest,
        (SELECT count(*) FROM dead_letters) AS dead
    FROM outbox
"""
DEAD: Final = f"""
    SELECT number, {LETTER}, reason, extract(epoch FROM died_at)::float8 AS died FROM dead_letters
    WHERE number > $1 ORDER BY number LIMIT $2
"""  # noqa: S608
RAISE: Final = f"""
    WITH raised AS (
        DELETE FROM dead_letters WHERE number = ANY ($1::bigint[]) RETURNING number, {LETTER}
    ), waiting AS (
        INSERT INTO outbox ({LETTER}) SELECT {LETTER} FROM raised ORDER BY number ON CONFLICT (message_id) DO NOTHING
    )
    SELECT count(*) FROM raised
"""  # noqa: S608
TRIM: Final = """
    WITH old AS (
        SELECT number FROM dead_letters WHERE died_at < clock_timestamp() - make_interval(secs => $1)
        ORDER BY died_at, number LIMIT $2
    ), gone AS (
        DELETE FROM dead_letters WHERE number IN (SELECT number FROM old) RETURNING 1
    )
    SELECT count(*) FROM gone
"""

TAKE: Final = """
    WITH taken AS MATERIALIZED (SELECT pg_try_advisory_lock(hashtextextended('lead ' || $1, 3)) AS got)
    INSERT INTO leaders AS l (job, fence) SELECT $1, 1 FROM taken WHERE got
    ON CONFLICT (job) DO UPDATE SET fence = l.fence + 1 RETURNING fence
"""
LIVES: Final = "SELECT 1"
CLOSED: Final = Down("the ledger is closed")


@dataclass(frozen=True, slots=True)
class Lead:
    """A job is led under `fence` for as long as `connection` lives."""

    connection: Any
    fence: int


class PostgresOutbox(Line):
    """`bff.stores.outbox.Outbox` on PostgreSQL."""

    def __init__(self, border: Border, url: str) -> None:
        super().__init__(border, url)
        self._leads: dict[str, Lead] = {}
        self._turns: dict[str, trio.Lock] = {}

    async def append(self, letters: tuple[Letter, ...]) -> Down | None:
        """Write letters, in one commit."""
        return await self.transact("append", done(APPEND, *columns(letters)))

    async def lead(self, job: str) -> int | Down | None:
        """The fence under which this process leads `job`, or None.

        Who leaves while it is asked cuts the connection, and with it the lead: nobody knows what has become of either.
        """
        required("lead")
        async with self._turns.setdefault(job, trio.Lock()):  # a connection carries one statement at a time
            hold = Hold()
            return await self._crossed("lead", partial(self._led, job, hold), hold)

    async def _led(self, job: str, hold: Hold) -> int | Down | None:
        lead = self._leads.get(job)
        if lead is not None and not lead.connection.is_closed():
            await _on(lead.connection, hold, LIVES)
            return lead.fence
        connection = await self._connected(hold)
        fence: int | None = await _on(connection, hold, TAKE, job)
        if self._closed:
            connection.terminate()
            return CLOSED
        if fence is None:
            self._free.append(connection)
        else:
            self._leads[job] = Lead(connection, fence)
        return fence

    async def next_letters(self, *, limit: int, without: tuple[str, ...] = ()) -> tuple[Waiting, ...] | Down:
        """The first `limit` letters that may be handed out, in their order; none of the topics in `without`."""
        return await self.transact("next letters", rows(_waiting, NEXT, limit, without))

    async def published(self, fence: int, numbers: tuple[int, ...]) -> bool | Down:
        """They have been said, and go; False when the fence is not the newest."""
        return await self.transact("published", value(PUBLISHED, fence, list(numbers)))

    async def bury(self, fence: int, number: int, reason: str) -> bool | Down:
        """To the dead letters with it; False when the fence is not the newest. A NUL in `reason` becomes U+FFFD."""
        return await self.transact("bury", value(BURY, fence, number, reason.replace("\0", "\ufffd")))

    async def backlog(self) -> Backlog | Down:
        """How much there is."""

        async def work(connection: Any) -> Backlog:
            return Backlog(*await connection.fetchrow(BACKLOG))

        return await self.transact("backlog", work)

    async def dead_letters(self, *, after: int, limit: int) -> tuple[DeadLetter, ...] | Down:
        """Dead letters numbered above `after`, in order."""
        return await self.transact("dead letters", rows(_dead, DEAD, after, limit))

    async def raise_letters(self, numbers: tuple[int, ...]) -> int | Down:
        """Back into the outbox, as if written now; how many there were."""
        return await self.transact("raise letters", value(RAISE, list(numbers)))

    async def trim_dead(self, *, older_than: float, limit: int) -> int | Down:
        """Forget what died long ago; how many there were."""
        return await self.transact("trim dead", value(TRIM, older_than, limit))

    def close(self) -> None:
        """Drop the connections, and what is led with them. For `postgres.open_ledger` alone."""
        super().close()
        for lead in self._leads.values():
            lead.connection.terminate()


def columns(letters: Iterable[Letter]) -> tuple[list[str] | list[bytes], ...]:
    """Letters as PostgreSQL unnests them: topics, ordering keys, kinds, payloads, message ids."""
    several = tuple(letters)
    return (
        [letter.topic for letter in several],
        [letter.ordering_key for letter in several],
        [letter.kind for letter in several],
        [letter.payload for letter in several],
        [letter.message_id for letter in several],
    )


async def _on(connection: Any, hold: Hold, statement: str, *given: object) -> Any:
    """Its first value; a connection on which it did not end well is gone."""
    hold.connection = connection
    try:
        return await connection.fetchval(statement, *given)
    except BaseException:
        connection.terminate()
        raise


def _letter(row: Any) -> Letter:
    return Letter(row["topic"], row["ordering_key"], row["kind"], row["payload"], row["message_id"])


def _waiting(row: Any) -> Waiting:
    return Waiting(row["number"], _letter(row), row["age"])


def _dead(row: Any) -> DeadLetter:
    return DeadLetter(row["number"], _letter(row), row["reason"], row["died"])
