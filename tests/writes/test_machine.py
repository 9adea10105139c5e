"""Whatever desks ask and whatever breaks, in whatever order: in the end each key was done once, or not at all."""

import json
from collections import Counter
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.model import TenantId
from bff.upstreams.client import Call
from bff.writes import locks, mutation
from bff.writes.actions import ACTIONS
from bff.writes.audit import Chain
from bff.writes.mutation import DOMAIN_EVENTS, LEASE
from bff.writes.order import Lines
from chaos.hotel.fleet.changes import MUTATION_SECONDS, Tried, tried_by
from chaos.hotel.world import open_world
from nurseries import within

SERVERS = ("one", "two")
DESKS = tuple((person, server) for person in (0, 1) for server in SERVERS)  # two operators, at each of two servers
FAULTS = ("hang", "lose-answer", "status code=503", "down", "garbage", "drip")
SERVICES = ("billing", "lock-integration", "housekeeping")
UNTIL = "2015-08-16T12:00:00Z"

# What a desk can ask: its action, the path, and a body that is another one for each number.
CHANGES = (
    ("folio.charge", "/v1/folios/f-00870/charges", lambda n: {"amountMinor": n, "currency": "EUR", "description": "x"}),
    ("folio.charge", "/v1/folios/f-00934/charges", lambda n: {"amountMinor": n, "currency": "EUR", "description": "y"}),
    ("task.transition", "/v1/housekeeping/tasks/t-praia-103/transition", lambda n: {"to": ("clean", "dirty")[n % 2]}),
    (
        "lock.issue",
        "/v1/locks/lock-praia-103/keys",
        lambda n: {"reservationId": "r-00870", "validUntil": f"2015-08-16T12:{n % 60:02}:00Z"},
    ),
    ("lock.issue", "/v1/locks/lock-serra-101/keys", lambda _: {"reservationId": "r-00981", "validUntil": UNTIL}),
)
OUTSIDE = {1: "/v1/locks/lock-serra-101/keys"}  # what is not there for an operator


@dataclass
class Ask:
    """One key, what it was asked for, and what its desk was told, try by try."""

    number: int
    desk: int
    change: int
    tries: list[tuple[float, Tried]] = field(default_factory=list)
    asked_at: float = 0.0
    again: bool = False  # asked again while things were as they were, perhaps of the other server

    @property
    def key(self):
        return f"k-{self.number}"

    @property
    def operator(self):
        return ("ines", "tiago")[DESKS[self.desk][0]]

    @property
    def action(self):
        return CHANGES[self.change][0]

    @property
    def path(self):
        return CHANGES[self.change][1]

    @property
    def body(self):
        return CHANGES[self.change][2](self.number + 1)

    @property
    def answers(self):
        return [tried for _, tried in self.tries if tried.again is None]

    @property
    def done(self):
        return any(tried.status < 300 for tried in self.answers)


class Machine:
    """The world, every key there was, and what the services did, in the order in which they did it."""

    def __init__(self, world, desks, nursery):
        self.world = world
        self.desks = desks
        self.nursery = nursery
        self.asks = []
        self.effects = []  # (operator, key)
        for name in SERVICES:
            self._watch(world.estate.doors[name].service)

    def _watch(self, service):
        """A key that comes anew is done, even where that leaves all as it was; and so is what has an effect without."""
        heard = service.answer

        def answered(operation, call):
            count = service.counts[operation.name]
            before = count.keys, count.effects
            reply = heard(operation, call)
            if reply.status < 300 and (count.keys, count.effects) != before:
                self.effects.append((call.operator, call.key))
            return reply

        service.answer = answered

    # -- steps ---------------------------------------------------------------------------------------------------

    async def step(self, word, *more):
        await getattr(self, word)(*more)

    async def new(self, desk, change):
        ask = Ask(len(self.asks), desk, change, asked_at=trio.current_time())
        self.asks.append(ask)
        self.nursery.start_soon(self._try, ask)
        await trio.testing.wait_all_tasks_blocked()

    async def retry(self, back, desk):
        if self.asks:
            ask = self.asks[-1 - back % len(self.asks)]
            other = next(n for n in (desk, 3 - desk) if DESKS[n][0] == DESKS[ask.desk][0])
            ask.again = True
            self.nursery.start_soon(self._try, ask, other)

    async def reuse(self, back):
        """A key that is known is used for something else: nothing is done."""
        known = [ask for ask in self.asks if ask.answers or any(tried.status == 409 for _, tried in ask.tries)]
        if known:
            ask = known[-1 - back % len(known)]
            body = {**CHANGES[0][2](1), "description": "another"}
            tried = await tried_by(self.desks[ask.desk], CHANGES[0][1], body, ask.key)
            assert tried.code == "IDEMPOTENCY_KEY_REUSED" or tried.again is not None, (ask, tried)

    async def crash(self, server):
        await self.world.servers[SERVERS[server]].kill()
        await self.world.serve(SERVERS[server])

    async def dies(self, desk, change, seconds):
        """A server dies while a new key is under way there."""
        await self.new(desk, change)
        await trio.sleep(seconds)
        await self.crash(SERVERS.index(DESKS[desk][1]))

    async def store(self, name, toxic):
        if toxic:
            self.world.clear(name)
            self.world.inject(name, toxic)
        else:
            self.world.clear(name)

    async def service(self, name, toxic):
        self.world.clear(name)
        if toxic:
            self.world.inject(name, toxic)

    async def switch(self, server, name, value):
        with within(2.0):
            await self.world.servers[SERVERS[server]].house.switches.turn(name, value, by="tester", why="")

    async def time(self, seconds):
        await trio.sleep(seconds)

    async def _try(self, ask, desk=None):
        tried = await tried_by(self.desks[ask.desk if desk is None else desk], ask.path, ask.body, ask.key)
        ask.tries.append((trio.current_time(), tried))
        if tried.status:
            assert tried.took <= MUTATION_SECONDS, (ask.key, tried)

    # -- the end -------------------------------------------------------------------------------------------------

    async def calm(self):
        """All is healed, every key is asked for till there is an answer, and once more."""
        self.world.heal()
        for name in ("mutations", "locks"):
            await self.switch(0, name, "on")
        await trio.sleep(2.0)
        for ask in self.asks:
            await self._until_answered(ask)
        for ask in self.asks:
            await self._try(ask)
            assert ask.tries[-1][1].again is None, ask
            assert ask.tries[-1][1].replayed or not ask.done, ask
        await trio.sleep(5.0)

    async def _until_answered(self, ask):
        with within(10 * LEASE):
            while not ask.answers:
                await self._try(ask)
                if not ask.answers:
                    await trio.sleep(ask.tries[-1][1].again)
            return
        raise AssertionError(f"no answer: {ask}")

    async def judge(self):
        self._once()
        self._in_order()
        ledger = self.world.stores.ledger
        assert not [key.asked.id for key in ledger.keys.pending.values()], "nobody knows what came of it"
        with within(MUTATION_SECONDS):
            backlog = await ledger.session().backlog()
            whole = await ledger.session().lock_completeness(grace=0.0)
            rows = await ledger.session().trail(TenantId("resort"), after=0, limit=5000)
        assert (backlog.depth, backlog.dead) == (0, 0)
        assert whole.gaps == ()
        assert Chain(TenantId("resort")).follow(rows) is None
        self._on_record([json.loads(row.entry) for row in rows])
        events = self.world.authority.pubsub.published(DOMAIN_EVENTS)
        assert events.distinct == sum(ask.done for ask in self.asks)

    def _once(self):
        done = Counter(self.effects)
        assert max(done.values(), default=0) <= 1, done
        assert done.keys() <= {(ask.operator, ask.key) for ask in self.asks}
        for ask in self.asks:
            assert len({(tried.status, tried.body) for tried in ask.answers}) == 1, ask
            assert done[ask.operator, ask.key] == ask.done, ask
            wanted = 404 if OUTSIDE.get(DESKS[ask.desk][0]) == ask.path else ACTIONS[ask.action].status
            assert ask.answers[0].status == wanted, ask

    def _in_order(self):
        """Of two that one server got, one after the other, and that were both done at the first and only try."""
        at = {effect: number for number, effect in enumerate(self.effects)}
        first = [ask for ask in self.asks if ask.done and not ask.again and ask.tries[0][1].status in {200, 201}]
        for number, one in enumerate(first):
            for other in first[number + 1 :]:
                if (one.desk, one.path) == (other.desk, other.path) and one.tries[0][0] >= other.asked_at:
                    assert at[one.operator, one.key] < at[other.operator, other.key], (one, other)

    def _on_record(self, entries):
        said = {}
        for entry in entries:
            said.setdefault((entry["operator"], entry["key"]), []).append(entry.get("outcome") or entry["kind"])
        locks = {(ask.operator, ask.key): ask for ask in self.asks if ACTIONS[ask.action].audited}
        assert said.keys() == locks.keys()
        for whose, ask in locks.items():
            assert said[whose][-1] == ("success" if ask.done else "failure"), (ask, said[whose])


DESK, CHANGE, BACK = st.integers(0, 3), st.integers(0, len(CHANGES) - 1), st.integers(0, 5)
NEW = st.tuples(st.just("new"), DESK, CHANGE)
DIES = st.tuples(st.just("dies"), DESK, CHANGE, st.sampled_from([0.0, 0.01, 0.025, 0.04, 0.06]))
LATER = st.tuples(st.just("time"), st.sampled_from([0.01, 0.05, 0.5, 3.0, 11.0]))
ON_OFF = st.sampled_from(["on", "off"])
TROUBLE = st.one_of(
    st.tuples(st.just("store"), st.just("postgres"), st.sampled_from(["", "stop", "down", "latency ms=300"])),
    st.tuples(st.just("store"), st.just("redis-session"), st.sampled_from(["", "down"])),
    st.tuples(st.just("service"), st.sampled_from(SERVICES), st.sampled_from(["", *FAULTS])),
    st.tuples(st.just("switch"), st.integers(0, 1), st.sampled_from(["mutations", "locks"]), ON_OFF),
    st.tuples(st.just("crash"), st.integers(0, 1)),
)
AGAIN = st.one_of(st.tuples(st.just("retry"), BACK, DESK), st.tuples(st.just("reuse"), BACK))
STEPS = st.one_of(NEW, NEW, DIES, LATER, TROUBLE, AGAIN)


async def played(steps, seed):
    async with open_world(seed=seed, servers=SERVERS, answers_take=(0.02, 0.05)) as world:
        desks = [await world.desk(world.hotel.operators[person], server=server) for person, server in DESKS]
        async with trio.open_nursery() as nursery:
            here = Machine(world, desks, nursery)
            for step in steps:
                await here.step(*step)
        await here.calm()
        await here.judge()


def check(simulate, steps, seed):
    try:
        simulate(played, steps, seed, seed=seed)
    except BaseExceptionGroup as group:  # of a try that was under way
        raise _first(group) from None


def _first(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@settings(max_examples=18, deadline=None)
@given(st.lists(STEPS, min_size=12, max_size=25), st.integers(0, 1000))
def test_each_key_is_done_once_and_answered_the_same_whatever_breaks_meanwhile_f32(simulate, steps, seed):
    check(simulate, steps, seed)


@pytest.mark.soak
@settings(max_examples=600, deadline=None)
@given(st.lists(STEPS, min_size=20, max_size=60), st.integers(0, 100_000))
def test_each_key_is_done_once_in_long_runs_too_f32(simulate, steps, seed):
    check(simulate, steps, seed)


# -- it can fail -----------------------------------------------------------------------------------------------------


def test_a_service_that_is_not_told_the_key_is_found(simulate, monkeypatch):
    def keyless(operation, fields, *, body, key):
        return Call(operation, fields, body=body)

    monkeypatch.setattr(mutation, "Call", keyless)
    with pytest.raises(AssertionError, match="'ines', None"):
        check(simulate, [("new", 0, 0), ("time", 0.5)], 1)


def test_an_owner_who_died_and_of_whom_the_trail_says_nothing_is_found(simulate, monkeypatch):
    monkeypatch.setattr(locks, "abandoned", lambda *_: None)
    with pytest.raises(AssertionError, match="no outcome of row 1"):
        check(simulate, [("dies", 0, 3, 0.01), ("time", 9.0)], 1)


def test_a_line_that_lets_everybody_through_is_found(simulate, monkeypatch):
    monkeypatch.setattr(Lines, "first", lambda *_: True)
    with pytest.raises(AssertionError, match="asked_at"):
        check(
            simulate, [("store", "postgres", "latency ms=300"), *(("new", 0, 0) for _ in range(6)), ("time", 11.0)], 1
        )
