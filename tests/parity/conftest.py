"""Two worlds behind one port: a test that takes `tier`, `cache` or `ledger` runs in memory and on the real store.

A state machine is no Trio task and steps both at once: it takes `worlds`, and each runs in a thread of its own.

A test in which time goes by (`faults.time_goes_by`) takes `clock` itself, too: in memory time is virtual, and the real
ledger's rows are made older. What another process would see is seen by another line (`faults.beside`). A ledger is
empty at the beginning of each test.
"""

import itertools
import queue
import threading
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import asyncpg
import pytest
import trio
from trio.testing import MockClock

from bff.facts import StoreChanged, StoreTakenOver
from bff.model import Down
from bff.stores.border import open_border
from bff.stores.migrate import migrate
from bff.stores.postgres import open_ledger
from bff.stores.redis_bus import open_bus
from bff.stores.redis_cache import open_cache
from bff.stores.redis_tier import open_tier
from chaos.hotel.stores.cache import SimCache
from chaos.hotel.stores.ledger import Session, SimLedger
from chaos.hotel.stores.tier import SimTier
from chaos.live.stores import Given, start_stores
from nurseries import listening, within

WORLDS = ["simulated", "real"]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """The real stores, with the schema that this server needs."""

    async def apply():
        with within(10):
            await migrate(stores.postgres_admin_url)

    with start_stores(tmp_path_factory.mktemp("stores"), Given()) as stores:
        trio.run(apply)
        yield stores


@pytest.fixture
def fresh():
    """Names that no other test has used: real stores keep what they were given."""
    return lambda word: f"{word}-{next(_numbers)}"


class Faults:
    """The same faults for both worlds, healed at the end; and what was told of the store meanwhile.

    `beside` opens the line of another process to the same store. `simulated` is the store in memory, None where it is
    real. `as_admin` does statements in a real ledger, as its owner, in one transaction.
    """

    def __init__(self, real, simulated, beside, as_admin):
        self._real = real
        self._simulated = self.simulated = simulated
        self.beside = beside
        self.as_admin = as_admin
        self.told = []
        self.taken_over = []
        self._up = trio.Event()

    def hear(self, fact):
        if isinstance(fact, StoreTakenOver):
            self.taken_over.append(fact.store)
        if isinstance(fact, StoreChanged):
            self.told.append((fact.store, fact.up))
            if fact.up:
                self._up.set()

    def down(self):
        self._real.kill() if self._real else self._simulated.down()

    def stop(self):
        self._real.freeze() if self._real else self._simulated.stop()

    def again(self):
        """Works again. A process that begins here lives as long as this thread."""
        self._up = trio.Event()
        (self._real or self._simulated).start()

    async def start(self, ping):
        """Works again; returns when the adapter has found out, by being asked or by itself."""
        self.again()
        await self.noticed(ping)

    async def noticed(self, ping):
        if await ping() is not None:
            await self._up.wait()
            assert await ping() is None

    def slow(self, seconds):
        """What a call takes; the real one has its own measure."""
        if self._simulated:
            self._simulated.latency(seconds)

    async def pass_by(self, seconds):
        """Let them, in virtual time; the real one is asked again instead."""
        if self._simulated:
            await trio.sleep(seconds)
        else:
            await trio.lowlevel.checkpoint()

    async def time_goes_by(self, seconds):
        """In virtual time; in a real ledger everything is made so much older instead."""
        if self._simulated:
            await trio.sleep(seconds)
        else:
            await self.as_admin(unlocked("; ".join(older(seconds))))


AGED = {
    "idempotency_keys": ("first_claimed_at", "claimed_at", "lease_until"),
    "attestations": ("spent_at",),
    "audit_trail": ("at",),
    "outbox": ("written_at",),
    "dead_letters": ("died_at",),
}


def older(seconds):
    for table, columns in AGED.items():
        earlier = ", ".join(f"{column} = {column} - interval '{seconds} s'" for column in columns)
        yield f"UPDATE {table} SET {earlier}"


def unlocked(statements):
    """What only somebody may do who may change the table itself, and does."""
    alter = "ALTER TABLE audit_trail {0} TRIGGER only_added_to; ALTER TABLE audit_checkpoints {0} TRIGGER only_added_to"
    return f"{alter.format('DISABLE')}; {statements}; {alter.format('ENABLE ALWAYS')}"


async def executed(url, statements):
    connection = await asyncpg.connect(url, timeout=5)
    try:
        await connection.execute(statements)
    finally:
        connection.terminate()


EMPTY = """
    TRUNCATE idempotency_keys, attestations, audit_trail, audit_checkpoints, outbox, dead_letters, leaders,
        operator_preferences, device_sync_status, switches RESTART IDENTITY
"""


@dataclass(frozen=True)
class Port:
    """A port and what is behind it: the store's name, its adapter by a border and the running stores, its double.

    `line` is what a process has of the double, `end` what its end does to that; `begin` is done in the real one before
    a test. `ask` asks it something that has an answer whenever it is there.
    """

    store: str
    real: object
    simulated: object
    line: object = lambda store: store
    end: object = lambda line: None
    begin: str = ""
    ask: object = lambda store: store.ping()


PORTS = {
    "bus": Port(
        "redis-session",
        lambda border, running: open_bus(border, running.redis_session_url),
        SimTier,
        line=lambda tier: tier.bus,
        ask=lambda bus: bus.tip(),
    ),
    "tier": Port("redis-session", lambda border, running: open_tier(border, running.redis_session_url), SimTier),
    "cache": Port("redis-cache", lambda border, running: open_cache(border, running.redis_cache_url), SimCache),
    "ledger": Port(
        "postgres",
        lambda border, running: open_ledger(border, running.postgres_url),
        SimLedger,
        line=SimLedger.session,
        end=Session.close,
        begin=unlocked(EMPTY),
    ),
}


def one_world(port, world, running):
    """(the store, its faults) with everything told from the very beginning."""
    return in_memory(port) if world == "simulated" else for_real(port, running)


@asynccontextmanager
async def in_memory(port):
    store = port.simulated()

    @asynccontextmanager
    async def beside():
        line = port.line(store)
        try:
            yield line
        finally:
            port.end(line)

    faults = Faults(None, store, beside, None)
    with listening(faults.hear):
        yield port.line(store), faults


@asynccontextmanager
async def for_real(port, running):
    real = running.stores[port.store]

    async def as_admin(statements):
        with within(5):
            await border.run("admin", partial(executed, running.postgres_admin_url, statements))

    async with open_border() as border:
        faults = Faults(real, None, partial(port.real, border, running), as_admin)
        if port.begin:
            await as_admin(port.begin)
        with listening(faults.hear):
            async with port.real(border, running) as opened:
                with within(10):
                    assert not isinstance(await port.ask(opened), Down)
                try:
                    yield opened, faults
                finally:
                    real.start()


@pytest.fixture(params=WORLDS)
def world(request):
    return request.param


@pytest.fixture
def clock(world):
    """For a test that takes it itself: virtual time in memory, and real time for what is real."""
    return MockClock(autojump_threshold=0) if world == "simulated" else None


def in_both_worlds(name):
    @pytest.fixture
    async def store_and_faults(world, running):
        async with one_world(PORTS[name], world, running) as both:
            yield both

    return store_and_faults


bus_and_faults, tier_and_faults, cache_and_faults, ledger_and_faults = map(in_both_worlds, PORTS)


@pytest.fixture
def bus(bus_and_faults):
    return bus_and_faults[0]


@pytest.fixture
def tier(tier_and_faults):
    return tier_and_faults[0]


@pytest.fixture
def cache(cache_and_faults):
    return cache_and_faults[0]


@pytest.fixture
def ledger(ledger_and_faults):
    return ledger_and_faults[0]


class Aside:
    """A Trio run in a thread of its own, for somebody who is no Trio task."""

    def __init__(self, clock=None):
        self._begun = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._live,), kwargs={"clock": clock})

    async def _live(self):
        self._token, self._over = trio.lowlevel.current_trio_token(), trio.Event()
        async with trio.open_nursery() as self.nursery:
            self._begun.set()
            await self._over.wait()

    def ask(self, work, *args):
        """Have it done there; gives what it gives."""
        return trio.from_thread.run(work, *args, trio_token=self._token)

    def ask_sync(self, work, *args):
        return trio.from_thread.run_sync(work, *args, trio_token=self._token)

    def __enter__(self):
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_):
        self.ask_sync(lambda: self._over.set())
        self._thread.join(10)
        assert not self._thread.is_alive()


class World:
    """A world that lives aside. A step is an async function of the store and its faults."""

    def __init__(self, aside, port, name, running):
        self._aside, self._real = aside, name == "real"
        self._left, self._gone = trio.Event(), threading.Event()
        opened = queue.SimpleQueue()
        aside.ask_sync(aside.nursery.start_soon, self._stay, port, name, running, opened)
        self._store, self._faults = opened.get(timeout=10)

    async def _stay(self, port, name, running, opened):
        try:
            async with one_world(port, name, running) as world:
                opened.put(world)
                await self._left.wait()
        finally:
            self._gone.set()

    def ask(self, step):
        async def bounded():
            with trio.fail_after(5):
                return await step(self._store, self._faults)

        return plain(self._aside.ask(bounded))

    def time_goes_by(self, seconds):
        self._aside.ask(self._faults.time_goes_by, seconds)

    def down(self):
        self._faults.down() if self._real else self._aside.ask_sync(self._faults.down)

    def again(self):
        """From here, where the thread lasts, because a process that begins ends with the thread that began it."""
        self._faults.again() if self._real else self._aside.ask_sync(self._faults.again)

    def close(self):
        self.again()
        self._aside.ask_sync(self._left.set)
        assert self._gone.wait(10)


def plain(answer):
    """What both worlds can agree on: why it is down is told in different words."""
    if isinstance(answer, list | tuple):
        return [plain(part) for part in answer]
    return "down" if isinstance(answer, Down) else answer


class Worlds:
    """Both worlds of a port, stepped together."""

    def __init__(self, simulated, real):
        self._both = (simulated, real)

    def each(self, step):
        """What each gives, the simulated one first."""
        return [world.ask(step) for world in self._both]

    def same(self, step):
        """What both give."""
        expected, given = self.each(step)
        assert given == expected
        return expected

    def time_goes_by(self, seconds):
        for world in self._both:
            world.time_goes_by(seconds)

    def down(self):
        for world in self._both:
            world.down()

    def again(self):
        for world in self._both:
            world.again()

    def close(self):
        with ExitStack() as closing:
            for world in self._both:
                closing.callback(world.close)


@pytest.fixture
def worlds(running):
    """Both worlds of the port of that name, opened anew at each call."""
    with Aside() as real, Aside(MockClock(autojump_threshold=0)) as virtual:
        yield lambda name: Worlds(
            World(virtual, PORTS[name], "simulated", running), World(real, PORTS[name], "real", running)
        )
