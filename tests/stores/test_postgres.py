import asyncpg
import pytest
import trio
import trio.testing

from bff.facts import StoreChanged
from bff.model import Down
from bff.stores import postgres_line
from bff.stores.migrate import migrate
from bff.stores.postgres import open_ledger
from nurseries import listening, within

MAKE = "CREATE TABLE done (id int)"


@pytest.fixture
async def ledger(database, border, sql):
    await sql(database.admin, MAKE)
    async with open_ledger(border, database.admin) as opened:
        yield opened


async def transacted(ledger, work, seconds=5):
    with trio.fail_after(seconds):
        return await ledger.transact("test", work)


async def backend(connection):
    return await connection.fetchval("SELECT pg_backend_pid()")


async def rows(ledger):
    return await transacted(ledger, lambda connection: connection.fetchval("SELECT count(*) FROM done"))


async def test_a_transaction_is_one_crossing_and_connections_are_used_again(ledger):
    async def work(connection):
        async with connection.transaction():
            await connection.execute("INSERT INTO done VALUES (1)")
            return await backend(connection)

    first = await transacted(ledger, work)
    assert await transacted(ledger, work) == first
    assert await rows(ledger) == 2


async def test_who_leaves_in_mid_statement_leaves_nothing_behind(ledger, database, sql):
    """Neither a row, nor a lock, nor a connection in doubt."""

    async def work(connection):
        async with connection.transaction():
            await connection.execute("INSERT INTO done VALUES (1)")
            await connection.execute("LOCK TABLE done")
            await connection.execute("SELECT pg_sleep(60)")

    before = await transacted(ledger, backend)
    sleeping = f"SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = {before}"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transacted, ledger, work)
        while (await sql(database.admin, sleeping))[0][0][0] is not True:
            pass
        nursery.cancel_scope.cancel()
    assert await transacted(ledger, backend) != before
    assert await rows(ledger) == 0, "it waited for the lock, and the lock went"


async def test_who_leaves_a_ledger_that_hangs_leaves_no_task_behind(ledger, border, running):
    async def work(connection):
        async with connection.transaction():
            await connection.execute("INSERT INTO done VALUES (1)")

    await transacted(ledger, work)
    running.stores["postgres"].freeze()
    try:
        for _ in range(3):
            with within(0.02) as scope:
                await ledger.transact("work", work)
            assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not border._tasks
    finally:
        running.stores["postgres"].start()
    assert await rows(ledger) >= 1


async def test_many_leave_at_any_moment_and_none_is_half_done(ledger):
    async def pair(connection):
        async with connection.transaction():
            await connection.execute("INSERT INTO done VALUES (1)")
            await connection.execute("INSERT INTO done VALUES (2)")

    async def hurried(number):
        with within(0.0003 * (number % 40)):
            await ledger.transact("pair", pair)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for number in range(120):
                nursery.start_soon(hurried, number)
        for _ in range(20):
            await transacted(ledger, pair)
    counts = await transacted(ledger, lambda c: c.fetch("SELECT id, count(*) FROM done GROUP BY id"))
    ones, twos = (row["count"] for row in counts)
    assert ones == twos >= 20


async def test_an_error_that_only_a_bug_can_cause_is_raised(ledger):
    with pytest.raises(asyncpg.UndefinedColumnError):
        await transacted(ledger, lambda connection: connection.fetch("SELECT nothing FROM done"))
    assert await rows(ledger) == 0


async def test_a_connection_whose_work_failed_is_not_used_again(ledger):
    async def fails(connection):
        await connection.execute("BEGIN; INSERT INTO done VALUES (1)")
        raise LookupError("a bug, in the middle of a transaction")

    before = await transacted(ledger, backend)
    with pytest.raises(LookupError):
        await transacted(ledger, fails)
    assert await transacted(ledger, backend) != before
    assert await rows(ledger) == 0


async def test_a_connection_cut_by_the_server_is_down_once_and_then_dialled_anew(database, border, sql):
    await migrate_within(database)
    told = []
    with listening(told.append), trio.fail_after(5):
        async with open_ledger(border, database.server) as ledger:
            assert await ledger.ping() is None
            cut = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database.name}'"
            others = f"{cut} AND pid <> pg_backend_pid()"
            await sql(database.admin, others)
            assert await ledger.ping() is None, "a connection seen to be closed is not used"
            answer = await ledger.transact("cut", lambda c: c.execute(cut.replace("5000", "0")))
            assert isinstance(answer, Down)
            assert await ledger.ping() is None
    assert told == [
        StoreChanged("postgres", True, ""),
        StoreChanged("postgres", False, answer.why),
        StoreChanged("postgres", True, ""),
    ]


async def migrate_within(database):
    with trio.fail_after(10):
        await migrate(database.admin)


async def test_no_more_connections_than_places_and_those_who_wait_are_bounded(ledger, monkeypatch, border):
    monkeypatch.setattr(postgres_line, "WAITING", 3)
    may_end, most, now = border.future(), 0, 0
    answers, full = [], trio.Event()

    async def hold(_):
        nonlocal most, now
        now += 1
        most = max(most, now)
        if now == postgres_line.CONNECTIONS:
            full.set()
        await may_end
        now -= 1

    async def ask():
        answers.append(await transacted(ledger, hold))

    async with trio.open_nursery() as nursery:
        for _ in range(postgres_line.CONNECTIONS + 3):
            nursery.start_soon(ask)
        with trio.fail_after(5):
            await full.wait()
        assert await transacted(ledger, hold) == Down("too many wait")
        may_end.set_result(None)
    assert answers == [None] * (postgres_line.CONNECTIONS + 3)
    assert most == postgres_line.CONNECTIONS


async def test_opening_does_not_fail_where_nobody_is_and_shows_no_password(border):
    async with open_ledger(border, "postgresql://ann:s3cret@127.0.0.1:1/bff") as ledger:
        with trio.fail_after(5):
            answer = await ledger.ping()
    assert isinstance(answer, Down) and "s3cret" not in answer.why and "\n" not in answer.why


async def test_a_database_that_is_not_there_and_a_wrong_password_are_down(border, database):
    where = database.admin.partition("@")[2]
    for url in (database.admin.replace(database.name, "nowhere"), f"postgresql://bff_server:s3cret@{where}"):
        async with open_ledger(border, url) as ledger:
            with trio.fail_after(5):
                answer = await ledger.ping()
        assert isinstance(answer, Down) and "s3cret" not in answer.why


async def test_an_address_of_no_use_is_one_line_without_the_password(border):
    with pytest.raises(ValueError, match=r"^the URL of postgres should be postgresql://") as refused:
        async with open_ledger(border, "postgresql://ann:se/cret@127.0.0.1/bff"):
            pass
    assert "cret" not in str(refused.value)
