import asyncpg
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bff.model import Down
from bff.stores.migrate import LOCK, MigrationError, Step, checked, migrate, steps
from bff.stores.postgres import open_ledger
from nurseries import Unbounded, within

NAMES = [step.name for step in steps()]
FIRST = Step(1, "0001_rooms.sql", "CREATE TABLE rooms (id text); CREATE TABLE floors (id text)")
SECOND = Step(2, "0002_keys.sql", "CREATE TABLE keys (id text)")
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


async def test_every_file_is_applied_once_and_a_second_run_has_nothing_to_do(database, sql):
    with trio.fail_after(10):
        assert await migrate(database.admin) == NAMES
        assert await migrate(database.admin) == []
        (rows,) = await sql(database.admin, "SELECT version, name, sha256 FROM schema_version ORDER BY version")
    assert [tuple(row) for row in rows] == [(step.version, step.name, step.sha256) for step in steps()]


async def test_of_two_at_once_one_does_the_work_and_both_are_content(database):
    applied = []

    async def one():
        applied.extend(await migrate(database.admin, [FIRST, SECOND]))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(one)
    assert sorted(applied) == [FIRST.name, SECOND.name]


async def test_a_file_that_changed_after_it_was_applied_is_refused(database, sql):
    changed = Step(1, FIRST.name, FIRST.sql + " -- a word more")
    with trio.fail_after(10):
        await migrate(database.admin, [FIRST])
        with pytest.raises(MigrationError, match=r"^0001_rooms\.sql is not what was applied: .*$") as refused:
            await migrate(database.admin, [changed, SECOND])
        (tables,) = await sql(database.admin, TABLES)
    assert "\n" not in str(refused.value)
    assert [row[0] for row in tables] == ["floors", "rooms", "schema_version"]


async def test_a_file_that_fails_leaves_nothing_of_itself_and_what_went_before_stays(database, sql):
    broken = Step(2, "0002_keys.sql", "CREATE TABLE keys (id text); SELECT 1/0")
    with trio.fail_after(10):
        with pytest.raises(MigrationError, match="division by zero") as refused:
            await migrate(database.admin, [FIRST, broken])
        (tables,) = await sql(database.admin, TABLES)
        assert [row[0] for row in tables] == ["floors", "rooms", "schema_version"]
        assert await migrate(database.admin, [FIRST, SECOND]) == [SECOND.name]
    assert "\n" not in str(refused.value)


async def test_a_database_that_knows_more_is_left_alone(database):
    with trio.fail_after(10):
        await migrate(database.admin, [FIRST, SECOND])
        assert await migrate(database.admin, [FIRST]) == []


async def test_who_waits_for_another_migration_leaves_at_its_deadline(database, border):
    held, done = trio.Event(), border.future()

    async def hold():
        connection = await asyncpg.connect(database.admin)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            held.set()
            await done
        finally:
            connection.terminate()

    async with trio.open_nursery() as nursery:
        with trio.fail_after(10):
            async with border.keeping("somebody else", hold):
                await held.wait()
                with within(0.2) as scope:
                    await migrate(database.admin)
                assert scope.cancelled_caught
            nursery.cancel_scope.cancel()
    with trio.fail_after(10):
        assert await migrate(database.admin) == NAMES


async def test_the_server_s_role_uses_the_tables_and_cannot_change_them(database, sql):
    with trio.fail_after(10):
        await migrate(database.admin)
        device = "INSERT INTO device_sync_status (tenant_id, device_id, cursor_version) VALUES ('resort', 'd1', 'c1')"
        await sql(database.server, device, "UPDATE device_sync_status SET cursor_version = 'c2'")
        for forbidden in (
            "CREATE TABLE more (id text)",
            "ALTER TABLE device_sync_status ADD COLUMN more text",
            "DELETE FROM schema_version",
            "UPDATE schema_version SET version = 99",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql(database.server, forbidden)


async def test_the_server_s_role_finds_a_schema_that_is_up_to_date(database):
    with trio.fail_after(10):
        await migrate(database.admin)
        assert await migrate(database.server) == []


async def test_one_role_for_everything_will_do(database, sql, border):
    await sql(
        database.admin,
        f"CREATE ROLE only_{database.name} LOGIN PASSWORD 'x'",
        f"ALTER DATABASE {database.name} OWNER TO only_{database.name}",
    )
    where = database.admin.split("@")[1]
    url = f"postgresql://only_{database.name}:x@{where}"
    with trio.fail_after(10):
        assert await migrate(url) == NAMES
        async with open_ledger(border, url) as ledger:
            assert await ledger.ping() is None


async def test_a_ledger_without_its_schema_is_down_and_says_what_to_do(database, border):
    async with open_ledger(border, database.server) as ledger:
        with trio.fail_after(10):
            answer = await ledger.ping()
            assert isinstance(answer, Down)
            assert answer.why == f"the schema is at 0 and should be at {len(NAMES)}: run `bff migrate`"
            await migrate(database.admin)
            assert await ledger.ping() is None


async def test_migrating_does_not_wait_without_a_deadline_f33(database):
    with pytest.raises(Unbounded):
        await migrate(database.admin)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:se/cret@127.0.0.1:5432/bff",
        "postgresql://ann:se?cret@127.0.0.1/bff",
        "postgresql://ann:secret@127.0.0.1:54321x/bff",
        "postgresql://ann:secret@[::1/bff",
        "postgresql://ann:secret@/bff",
        "mysql://ann:secret@127.0.0.1/bff",
        "postgresql://ann:secret@127.0.0.1:1/bff",
    ],
)
async def test_an_address_of_no_use_is_one_line_without_the_password(url):
    with trio.fail_after(10):
        with pytest.raises(MigrationError) as refused:
            await migrate(url)
    said = str(refused.value)
    assert said and "\n" not in said
    assert "cret" not in said


async def test_a_wrong_password_is_one_line_without_it(database):
    user, _, rest = database.admin.partition("://")[2].partition(":")
    url = f"postgresql://{user}:s3cret@{rest.partition('@')[2]}"
    with trio.fail_after(10):
        with pytest.raises(MigrationError, match="password authentication failed") as refused:
            await migrate(url)
    assert "s3cret" not in str(refused.value) and "\n" not in str(refused.value)


@given(st.text())
def test_whatever_is_no_address_says_nothing_of_itself(text):
    said = ""
    try:
        checked(text)
    except ValueError as error:
        said = str(error)
    shape = "postgresql://[USER:PASSWORD@]HOST[:PORT][,HOST...][/DATABASE]"
    assert said in {"", f"the URL of postgres should be {shape}, special characters percent-encoded"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1/bff",
        "postgres://ann:p%2Fw@db.internal:5433/bff?sslmode=require",
        "postgresql://ann:pw@[::1]:5432/bff",
        "postgresql://ann:pw@[::1]/bff",
        "postgresql://ann:pw@a:5432,b:5433/bff?target_session_attrs=read-write",
    ],
)
def test_addresses_that_postgresql_knows_pass(url):
    assert checked(url) == url


def test_files_are_numbered_without_a_gap():
    assert [step.version for step in steps()] == list(range(1, len(steps()) + 1))
    assert len({step.sha256 for step in steps()}) == len(steps())
