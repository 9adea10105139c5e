"""Real stores, started once for all tests of this folder; each test has tenants, or a database, of its own."""

import itertools
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import trio

from bff.stores.border import open_border
from chaos.live.stores import Given, start_stores

_numbers = itertools.count()


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    with start_stores(tmp_path_factory.mktemp("stores"), Given()) as stores:
        yield stores


@pytest.fixture
async def border():
    async with open_border() as opened:
        yield opened


async def _executed(url, *statements):
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return [await connection.fetch(statement) for statement in statements]
    finally:
        connection.terminate()


@pytest.fixture
def sql(border):
    """Statements, one transaction each, at a URL; the rows of each."""

    async def executed(url, *statements):
        with trio.fail_after(5):
            return await border.run("sql", partial(_executed, url, *statements))

    return executed


class Database:
    """A database of its own, with nothing in it: `admin` may do everything, `server` is the server's role."""

    def __init__(self, running, name):
        self.name = name
        self.admin = self.by(running.postgres_admin_url)
        self.server = self.by(running.postgres_url)

    def by(self, url):
        return urlunsplit(urlsplit(url)._replace(path=f"/{self.name}"))


@pytest.fixture
async def database(running, sql):
    made = Database(running, f"t{next(_numbers)}")
    await sql(running.postgres_admin_url, f"CREATE DATABASE {made.name}")
    yield made
    await sql(running.postgres_admin_url, f"DROP DATABASE {made.name} WITH (FORCE)")


@pytest.fixture
def fresh():
    """Names that no other test has used: real stores keep what they were given."""
    return lambda word: f"{word}-{next(_numbers)}"
