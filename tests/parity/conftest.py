"""Two worlds behind one port: a test that takes `tier`, `cache` or `ledger` runs in memory and on the real store."""

import itertools
from contextlib import asynccontextmanager

import pytest
import trio

from bff.facts import StoreChanged
from bff.stores.border import open_border
from bff.stores.migrate import migrate
from bff.stores.postgres import open_ledger
from bff.stores.redis_cache import open_cache
from bff.stores.redis_tier import open_tier
from chaos.hotel.stores.cache import SimCache
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.stores.tier import SimTier
from chaos.live.stores import Given, start_stores
from nurseries import listening, within

WORLDS = ["simulated", "real"]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    with start_stores(tmp_path_factory.mktemp("stores"), Given()) as stores:
        yield stores


@pytest.fixture
def fresh():
    """Names that no other test has used: real stores keep what they were given."""
    return lambda word: f"{word}-{next(_numbers)}"


class Faults:
    """The same faults for both worlds, healed at the end; and what was told of the store meanwhile."""

    def __init__(self, real, simulated):
        self._real = real
        self._simulated = simulated
        self.told = []
        self._up = trio.Event()

    def hear(self, fact):
        if isinstance(fact, StoreChanged):
            self.told.append((fact.store, fact.up))
            if fact.up:
                self._up.set()

    def down(self):
        self._real.kill() if self._real else self._simulated.down()

    def stop(self):
        self._real.freeze() if self._real else self._simulated.stop()

    async def start(self, ping):
        """Works again; returns when the adapter has found out, by being asked or by itself."""
        self._up = trio.Event()
        (self._real or self._simulated).start()
        if await ping() is not None:
            await self._up.wait()
            assert await ping() is None


@asynccontextmanager
async def one_world(store, name, running, real_one, simulated_one):
    """(the store, its faults) with everything told from the very beginning."""
    real = running.stores[name] if store == "real" else None
    simulated = None if real else simulated_one()
    faults = Faults(real, simulated)
    with listening(faults.hear):
        if simulated:
            yield simulated, faults
            return
        async with open_border() as border, real_one(border) as opened:
            with within(10):
                assert await opened.ping() is None
            try:
                yield opened, faults
            finally:
                real.start()


@pytest.fixture(params=WORLDS)
async def tier_and_faults(request, running):
    def real(border):
        return open_tier(border, running.redis_session_url)

    async with one_world(request.param, "redis-session", running, real, SimTier) as world:
        yield world


@pytest.fixture
def tier(tier_and_faults):
    return tier_and_faults[0]


@pytest.fixture(params=WORLDS)
async def cache_and_faults(request, running):
    def real(border):
        return open_cache(border, running.redis_cache_url)

    async with one_world(request.param, "redis-cache", running, real, SimCache) as world:
        yield world


@pytest.fixture
def cache(cache_and_faults):
    return cache_and_faults[0]


@pytest.fixture(scope="session")
def migrated(running):
    async def apply():
        with within(10):
            await migrate(running.postgres_admin_url)

    trio.run(apply)


@pytest.fixture(params=WORLDS)
async def ledger_and_faults(request, running, migrated):
    def real(border):
        return open_ledger(border, running.postgres_url)

    async with one_world(request.param, "postgres", running, real, SimLedger) as world:
        yield world


@pytest.fixture
def ledger(ledger_and_faults):
    return ledger_and_faults[0]
