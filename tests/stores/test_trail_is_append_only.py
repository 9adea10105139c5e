"""What only the real ledger can show: permissions, triggers, and a record that ends in its middle."""

from functools import partial

import asyncpg
import pytest
import trio

from bff.model import Down
from bff.stores.keys import Claimed, Claiming, InFlight, KeptAnswer, KeyId, Recording
from bff.stores.migrate import migrate
from bff.stores.mirrors import Mirror
from bff.stores.outbox import Letter
from bff.stores.postgres import open_ledger
from bff.stores.trail import Checkpoint, link

ENTRY = '{"kind": "intent", "operator": "ann", "key": "k1"}'
ASKED = Claiming(KeyId("resort", "ann", "k1"), b"f", ("lock:1",), b"r", 60.0, intent=ENTRY)
ANSWER = KeptAnswer(200, b"{}", "application/json")
LETTER = Letter("topic", "resort", "board-changed", b"{}", "m1")
RECORD = Recording(ASKED.id, 1, "recorded", ANSWER, (ENTRY, ENTRY), (LETTER,), Mirror("resort", "ann", 1, b"{}", 1.0))
CHANGES = [
    "UPDATE audit_trail SET entry = '{}'",
    "DELETE FROM audit_trail",
    "DELETE FROM audit_trail WHERE false",
    "TRUNCATE audit_trail",
    "UPDATE audit_checkpoints SET seq = 2",
    "DELETE FROM audit_checkpoints",
    "TRUNCATE audit_checkpoints, audit_trail",
    "INSERT INTO audit_trail (tenant_id, entry) VALUES ('resort', '{}')"
    " ON CONFLICT (tenant_id, seq) DO UPDATE SET entry = '{}'",
    "MERGE INTO audit_trail USING (VALUES (1)) AS given ON true WHEN MATCHED THEN DELETE",
]
ROWS = "SELECT tenant_id, seq, entry, previous, hash FROM audit_trail ORDER BY seq"
EVERYTHING = """
    SELECT (SELECT count(*) FROM audit_trail) AS trail, (SELECT count(*) FROM outbox) AS letters,
        (SELECT count(*) FROM operator_preferences) AS mirrors,
        (SELECT count(*) FROM idempotency_keys WHERE state = 'recorded') AS recorded
"""


@pytest.fixture
async def ledger(database, border):
    with trio.fail_after(10):
        await migrate(database.admin)
    async with open_ledger(border, database.server) as opened:
        yield opened


@pytest.fixture
async def written(ledger):
    with trio.fail_after(5):
        assert await ledger.claim(ASKED) == Claimed(1, "new")
        assert await ledger.sign(Checkpoint("resort", 1, b"h" * 32, 1.0, b"s" * 64)) is None


async def test_nobody_changes_what_is_written_the_owner_and_a_superuser_neither_f27(written, database, sql):
    (before,) = await sql(database.admin, ROWS)
    for role in (database.server, database.admin):
        for change in CHANGES:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql(role, change)
    for change in CHANGES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is only ever added to"):
            await sql(database.admin, "SET session_replication_role = replica", change)
    (after,) = await sql(database.admin, ROWS)
    assert [tuple(row) for row in after] == [tuple(row) for row in before] and len(before) == 1


async def test_the_server_s_role_cannot_put_the_guard_away_or_say_numbers_and_hashes_itself_f27(written, database, sql):
    for guard in (
        "ALTER TABLE audit_trail DISABLE TRIGGER only_added_to",
        "DROP TRIGGER chained ON audit_trail",
        "DROP TABLE audit_trail",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "INSERT INTO schema_version (version, name, sha256) VALUES (99, 'x', 'y')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql(database.server, guard)
    forged = "INSERT INTO audit_trail VALUES ('resort', 77, '{}', 'p', 'h', '2001-01-01')"
    await sql(database.server, forged)
    await sql(database.admin, "SET session_replication_role = replica", forged)
    ((first, *others),) = await sql(database.admin, ROWS)
    for number, row in enumerate(others, 2):
        assert (row["seq"], row["previous"]) == (number, first["hash"])
        assert row["hash"] == link("resort", number, "{}", first["hash"])
        first = row
    ((fresh,),) = await sql(database.admin, "SELECT min(at) > now() - interval '1 hour' FROM audit_trail")
    assert len(others) == 2 and fresh[0]


async def test_what_was_rolled_back_leaves_no_gap_f27(ledger, database, sql):
    add = "INSERT INTO audit_trail (tenant_id, entry) VALUES ('resort', '{}')"
    with pytest.raises(asyncpg.DivisionByZeroError):
        await sql(database.server, f"WITH added AS ({add} RETURNING seq) SELECT 1 / (seq - 1) FROM added")
    with trio.fail_after(5):
        await ledger.add_to_trail("resort", ("{}", "{}"))
        assert [row.seq for row in await ledger.trail("resort", after=0, limit=9)] == [1, 2]


async def everything(database, sql):
    ((row,),) = await sql(database.admin, EVERYTHING)
    return dict(row)


NOTHING_MORE = {"trail": 1, "letters": 0, "mirrors": 0, "recorded": 0}
ALL = {"trail": 3, "letters": 1, "mirrors": 1, "recorded": 1}


async def test_a_record_of_which_one_part_cannot_be_written_is_none_at_all_f32(written, ledger, database, sql):
    nobody = Letter("topic", "resort", "board-changed", None, "m2")
    broken = Recording(RECORD.id, 1, "recorded", ANSWER, RECORD.trail, (LETTER, nobody), RECORD.mirror)
    no_json = Recording(RECORD.id, 1, "recorded", ANSWER, (ENTRY, "{"), (LETTER,), RECORD.mirror)
    with trio.fail_after(5):
        with pytest.raises(asyncpg.NotNullViolationError):
            await ledger.record(broken)
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await ledger.record(no_json)
        assert await everything(database, sql) == NOTHING_MORE
        assert isinstance(await ledger.claim(ASKED), InFlight)
        assert await ledger.record(RECORD) is True
    assert await everything(database, sql) == ALL


async def test_a_claim_of_which_the_intent_cannot_be_written_is_none_at_all_f27(ledger):
    asked = Claiming(KeyId("resort", "ann", "k1"), b"f", ("lock:1",), b"r", 60.0, attestation="a1", intent="{")
    with trio.fail_after(5):
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await ledger.claim(asked)
        assert await ledger.spent_on("a1") is None
        assert await ledger.claim(ASKED) == Claimed(1, "new")


async def cut_in_the_middle(url, started):
    """Hold what a record writes last until it waits for that, and then end its connection."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE operator_preferences")
            started()
            waiting = "SELECT pid FROM pg_locks WHERE relation = 'operator_preferences'::regclass AND NOT granted"
            while (pid := await connection.fetchval(waiting)) is None:
                pass
            assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    finally:
        connection.terminate()


async def test_a_record_that_is_cut_off_in_its_middle_is_none_at_all_and_done_when_asked_again_f32(
    written, ledger, database, sql, border
):
    answers, locked = [], trio.Event()

    async def ask():
        await locked.wait()
        answers.append(await ledger.record(RECORD))

    with trio.fail_after(8):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await border.run("cut", partial(cut_in_the_middle, database.admin, locked.set))
        assert isinstance(answers[0], Down)
        assert await everything(database, sql) == NOTHING_MORE
        assert [await ledger.record(RECORD) for _ in range(2)] == [True, True]
        assert await everything(database, sql) == ALL
