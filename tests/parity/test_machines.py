"""The simulated stores and the real ones, stepped together: whatever is asked, broken and left in the middle.

Where an outcome is certain both answer the same. Where it is not (a write whose caller left, or whose connection broke)
each shows what was before or what is after, and nothing else; then the write is asked again, as a client would, and
both are one again. Everything here may be asked twice.
"""

from functools import partial
from itertools import count

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from bff.stores.cache import CacheKey, Entry, Kept
from bff.stores.tier import Presented, SessionBlob
from nurseries import within

SHORT = 0.01  # seconds to live, where something is to expire
EARLY = 0.002  # seconds; Redis tells the time once per turn of its loop, in whole milliseconds
ASKED_AT_MOST = 10_000  # times, until it has expired

MOMENTS = st.sampled_from([0.0, 0.0003, 0.001, 0.003])
A_WRITE = st.runner().flatmap(lambda machine: machine.WRITES)


def step(call):
    """The step of asking a store one thing."""

    async def asked(store, faults):
        return await call(store)

    return asked


def steps(calls):
    async def asked(store, faults):
        return [await call(store) for call in calls]

    return asked


def left_after(seconds, call, pace):
    """Ask, and leave; in memory a call takes `pace` times as long as one waits for it."""

    async def asked(store, faults):
        faults.slow(seconds * pace)
        with within(seconds):
            await call(store)
        faults.slow(0.0)

    return asked


def at_once(calls, seconds):
    """Each waits as long as it says; the answers of those who got one, None for the others."""

    async def asked(store, faults):
        answers = [None] * len(calls)

        async def ask(number):
            with within(seconds[number]):
                answers[number] = [await calls[number](store)]

        faults.slow(0.001)
        async with trio.open_nursery() as nursery:
            for number in range(len(calls)):
                nursery.start_soon(ask, number)
        faults.slow(0.0)
        return answers

    return asked


def while_it_hangs(leaving, staying, end):
    """All ask, one leaves, and `end` of the faults is done to the store; the answers of those who stay."""

    async def asked(store, faults):
        answers = [None] * len(staying)

        async def ask(number):
            answers[number] = await staying[number](store)

        async def leave(scope):
            with scope:
                await leaving(store)

        faults.stop()
        scope = within(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave, scope)
            for number in range(len(staying)):
                nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            getattr(faults, end)()
        assert scope.cancelled_caught
        return answers

    return asked


def outlived(write, is_gone):
    """Write what has `SHORT` to live, and ask until it is gone; whether it lived as long as it should."""

    async def asked(store, faults):
        began = trio.current_time()
        await write(store)
        for number in range(ASKED_AT_MOST):
            if await is_gone(store, number):
                return trio.current_time() - began >= SHORT - EARLY
            await faults.pass_by(SHORT / 3)
        raise AssertionError(f"it is still there after {ASKED_AT_MOST} questions")

    return asked


may_die = precondition(lambda machine: machine.kills < machine.KILLS)


class Machine(RuleBasedStateMachine):
    """What any store should do. A subclass says which, what is written (`FIRST`, `WRITES`), and how it is seen."""

    PORT = ""
    FIRST = ()
    WRITES = st.nothing()
    KILLS = 100  # at most, in one example

    def __init__(self, worlds, fresh):
        super().__init__()
        self.prefix = fresh("machine")
        self.numbers = count()
        self.kills = 0
        self.worlds = worlds(self.PORT)

    def reads(self):
        """The calls that see everything, a part each."""
        raise NotImplementedError

    def write(self, what):
        """The call that writes it."""
        raise NotImplementedError

    def look(self):
        """Everything, the same in both."""
        return self.worlds.same(steps(self.reads()))

    def settle(self, before, write):
        """After a write of which nobody knows: seen wholly or not at all, and certain once it is asked again."""
        seen = self.worlds.each(steps(self.reads()))
        self.worlds.same(step(write))
        after = self.look()
        for world in seen:
            assert all(part in (was, is_) for part, was, is_ in zip(world, before, after, strict=True))

    def kill(self):
        self.kills += 1
        self.worlds.down()

    def come_back(self):
        self.worlds.again()
        assert self.worlds.same(lambda store, faults: faults.noticed(store.ping)) is None

    @initialize()
    def begins_with_something_everywhere(self):
        for what in self.FIRST:
            self.worlds.same(step(self.write(what)))
        self.look()

    @rule(what=A_WRITE)
    def is_written(self, what):
        self.worlds.same(step(self.write(what)))

    @rule()
    def is_looked_at(self):
        self.look()
        assert self.worlds.same(lambda store, faults: store.ping()) is None

    @rule(what=A_WRITE, seconds=MOMENTS, pace=st.sampled_from([0.5, 1.5, 3]))
    def somebody_leaves_in_mid_call(self, what, seconds, pace):
        before, write = self.look(), self.write(what)
        self.worlds.each(left_after(seconds, write, pace))
        self.settle(before, write)

    @rule(seconds=st.lists(MOMENTS | st.just(5), min_size=10, max_size=40))
    def of_many_at_once_some_leave(self, seconds):
        expected = self.look()
        calls = [call for _ in seconds for call in self.reads()][: len(seconds)]
        for answers in self.worlds.each(at_once(calls, seconds)):
            for number, answer in enumerate(answers):
                assert answer == [expected[number % len(expected)]] or (answer is None and seconds[number] != 5)

    @rule(what=A_WRITE)
    def somebody_leaves_while_it_hangs(self, what):
        before, write = self.look(), self.write(what)
        answers = self.worlds.each(while_it_hangs(write, self.reads(), "again"))
        self.settle(before, write)
        after = self.look()
        for world in answers:
            assert all(part in (was, is_) for part, was, is_ in zip(world, before, after, strict=True))

    @may_die
    @rule(what=A_WRITE)
    def it_hangs_and_is_killed_with_callers_waiting(self, what):
        self.kills += 1
        before, write = self.look(), self.write(what)
        self.worlds.same(while_it_hangs(write, self.reads(), "down"))
        self.come_back()
        self.settle(before, write)

    @may_die
    @rule(what=A_WRITE)
    def it_is_killed_and_comes_back(self, what):
        before = self.look()
        self.kill()
        self.worlds.same(steps([*self.reads(), self.write(what), *self.reads()]))
        assert self.worlds.same(lambda store, faults: store.ping()) == "down"
        self.come_back()
        assert self.look() == before, "what was acknowledged is there, and what was refused is not"

    @may_die
    @rule()
    def it_restarts_with_nobody_asking_meanwhile(self):
        before = self.look()
        self.kill()
        self.worlds.again()
        assert self.look() == before

    def teardown(self):
        self.worlds.close()


TENANTS = ("resort", "city")
SESSIONS = ("s1", "s2")


class TierMachine(Machine):
    PORT = "tier"
    WHOSE = st.tuples(st.sampled_from(TENANTS), st.sampled_from(SESSIONS))
    FIRST = (
        *(("keep", (tenant, session), session) for tenant in TENANTS for session in SESSIONS),
        ("status", "city", "suspended"),
    )
    CHANGES = (
        ("revoke", ("resort", "s1")),
        ("status", "city", "active"),
        ("keep", ("city", "s2"), None),
        ("present", "a", "x"),
    )
    WRITES = st.one_of(
        st.tuples(st.just("present"), st.sampled_from("abc"), st.sampled_from("xy")),
        st.tuples(st.just("keep"), WHOSE, st.sampled_from(["c1", None])),
        st.tuples(st.just("revoke"), WHOSE),
        st.tuples(st.just("status"), st.sampled_from(TENANTS), st.sampled_from(["active", "suspended"])),
    )

    def proof(self, jti="", nonce="n", whose=(None, None), ttl=60.0):
        tenant, session = whose
        named = jti or f"new-{next(self.numbers)}"
        return Presented(tenant and self.prefix + tenant, session, "k" * 43, self.prefix + named, nonce, ttl)

    def seen(self, whose):
        proof = self.proof(whose=whose)
        return lambda tier: tier.present(proof)

    def reads(self):
        return [self.seen((tenant, session)) for tenant in TENANTS for session in SESSIONS]

    def blob(self, whose, cursor=None):
        return SessionBlob(self.prefix + whose[0], "ann", "d1", whose[1], "k" * 43, cursor, 1.5e9)

    def write(self, what):
        match what:
            case "present", jti, nonce:
                return lambda tier: tier.present(self.proof(jti, nonce, ("resort", "s1")))
            case "keep", whose, cursor:
                return lambda tier: tier.keep(self.blob(whose, cursor), 60)
            case "revoke", (tenant, session):
                return lambda tier: tier.revoke(self.prefix + tenant, session, 60)
            case "status", tenant, status:
                return lambda tier: tier.set_tenant_status(self.prefix + tenant, status)

    @rule(jti=st.sampled_from("abcdef"), many=st.integers(2, 40))
    def many_present_one_proof_at_once(self, jti, many):
        """At most one is first, by a nonce that is his alone; who, is the store's affair."""
        own = next(self.numbers)
        proofs = [self.proof(jti, f"{own}-{number}") for number in range(many)]
        calls = [partial(lambda proof, tier: tier.present(proof), proof) for proof in proofs]
        answers = self.worlds.each(at_once(calls, [5] * many))
        first = [sum(answer.fresh for (answer,) in world) for world in answers]
        assert first[0] == first[1] <= 1
        assert self.worlds.same(step(lambda tier: tier.present(self.proof(jti, f"{own}-later")))).fresh is False

    @rule()
    def a_proof_is_forgotten_when_its_time_is_over(self):
        jti = f"short-{next(self.numbers)}"
        write = step(lambda tier: tier.present(self.proof(jti, "first", ttl=SHORT)))

        async def forgotten(tier, number):
            return (await tier.present(self.proof(jti, f"again-{number}"))).fresh

        assert self.worlds.same(outlived(partial(write, faults=None), forgotten))

    @rule(whose=WHOSE)
    def a_session_ends_when_its_time_is_over(self, whose):
        async def ended(tier, number):
            return (await self.seen(whose)(tier)).blob is None

        assert self.worlds.same(outlived(lambda tier: tier.keep(self.blob(whose), SHORT), ended))
        self.look()

    @rule(whose=WHOSE)
    def a_revocation_ends_when_its_time_is_over(self, whose):
        async def ended(tier, number):
            return not (await self.seen(whose)(tier)).revoked

        revoke = lambda tier: tier.revoke(self.prefix + whose[0], whose[1], SHORT)  # noqa: E731
        assert self.worlds.same(outlived(revoke, ended))
        assert self.worlds.same(step(self.seen(whose))).blob is None


class CacheMachine(Machine):
    PORT = "cache"
    PARTS = ("a", "b", "c", "d")
    CHANGES = tuple([(part, bytes([number])), (part, b"")] for number, part in enumerate("abcd"))
    FIRST = ([(part, part.encode()) for part in PARTS],)
    WRITES = st.lists(st.tuples(st.sampled_from(PARTS), st.binary(max_size=40)), min_size=1, max_size=6)

    def key(self, part):
        return CacheKey(self.prefix, "widget", (part,))

    def reads(self):
        return [partial(lambda key, cache: cache.get_many([key]), self.key(part)) for part in self.PARTS]

    def write(self, what):
        entries = [Entry(self.key(part), Kept(1.0, body), 60) for part, body in what]
        return lambda cache: cache.put_many(entries)

    @rule(parts=st.lists(st.sampled_from((*PARTS, "never")), max_size=8))
    def many_are_asked_for(self, parts):
        kept = self.worlds.same(lambda cache, faults: cache.get_many([self.key(part) for part in parts]))
        assert len(kept) == len(parts)

    @rule(part=st.sampled_from(PARTS))
    def an_answer_goes_when_its_time_is_over(self, part):
        async def gone(cache, number):
            return await cache.get_many([self.key(part)]) == (None,)

        short = Entry(self.key(part), Kept(2.0, b"short"), SHORT)
        assert self.worlds.same(outlived(lambda cache: cache.put_many([short]), gone))
        self.look()


class LedgerMachine(Machine):
    PORT = "ledger"
    FIRST, CHANGES = ("ping",), ("ping",) * 4
    WRITES = st.just("ping")
    KILLS = 1  # a crash recovery may take seconds

    def reads(self):
        return [lambda ledger: ledger.ping()] * 4

    def write(self, what):
        return lambda ledger: ledger.ping()


MACHINES = [(TierMachine, 3, 12), (CacheMachine, 3, 10), (LedgerMachine, 2, 8)]


def run(machine, worlds, fresh, **kept):
    run_state_machine_as_test(
        partial(machine, worlds, fresh),
        settings=settings(deadline=None, suppress_health_check=list(HealthCheck), **kept),
    )


@pytest.mark.parametrize(
    "machine",
    [TierMachine, CacheMachine, pytest.param(LedgerMachine, marks=pytest.mark.soak)],
    ids=["tier", "cache", "ledger"],
)
def test_every_fault_once_and_a_change_in_the_middle_of_each(worlds, fresh, machine):
    """What a few examples may leave out."""
    walked = machine(worlds, fresh)
    try:
        walked.begins_with_something_everywhere()
        left, hung, killed, refused = machine.CHANGES
        walked.somebody_leaves_in_mid_call(what=left, seconds=0.001, pace=1.5)
        walked.somebody_leaves_while_it_hangs(what=hung)
        walked.it_hangs_and_is_killed_with_callers_waiting(what=killed)
        walked.it_is_killed_and_comes_back(what=refused)
        walked.it_restarts_with_nobody_asking_meanwhile()
        walked.of_many_at_once_some_leave(seconds=[0.0, 0.0003, 0.001, 0.003, 5] * 8)
    finally:
        walked.teardown()


@pytest.mark.parametrize(("machine", "examples", "steps"), MACHINES, ids=lambda value: getattr(value, "PORT", None))
def test_the_two_worlds_of_a_store_are_one(worlds, fresh, machine, examples, steps):
    run(machine, worlds, fresh, max_examples=examples, stateful_step_count=steps)


@pytest.mark.soak
@pytest.mark.parametrize("machine", [machine for machine, _, _ in MACHINES], ids=lambda value: value.PORT)
def test_the_two_worlds_of_a_store_are_one_for_long(worlds, fresh, machine):
    run(machine, worlds, fresh, max_examples=60, stateful_step_count=30)
