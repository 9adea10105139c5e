"""The standby of a simulated store takes over: exactly its tail is lost, and time goes on."""

import math

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.facts import StoreChanged, StoreTakenOver
from bff.model import Down
from bff.stores.cache import CacheKey, Entry, Kept
from bff.stores.tier import Presented, SessionBlob
from chaos.hotel.stores.cache import SimCache
from chaos.hotel.stores.expiring import Expiring
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.stores.tier import SimTier
from chaos.toxics import parse
from nurseries import listening, within

BLOB = SessionBlob("resort", "ann", "d1", "s1", "k", None, 900.0)
WHERE = CacheKey("resort", "w", ())


async def sits(tier, nonce, *, jti="j"):
    """How a session stands, by a proof that is presented for it."""
    return await tier.present(Presented("resort", "s1", "k", jti, nonce, 120.0))


@pytest.mark.parametrize(("age", "survives"), [(0.999999, False), (1.0, True), (1.000001, True)])
async def test_exactly_the_tail_is_lost_to_the_microsecond_f19(autojump_clock, age, survives):
    tier, cache = SimTier(), SimCache()
    with within(100):
        await trio.sleep(10)
        await tier.keep(BLOB, 60)
        await tier.set_tenant_status("resort", "suspended")
        await cache.put_many([Entry(WHERE, Kept(1.0, b"x"), 60)])
        assert (await sits(tier, "n1")).fresh
        await trio.sleep(age)
        assert tier.failover(lost=1.0) == (0 if survives else 3)
        cache.failover(lost=1.0)
        seen = await sits(tier, "n2")
        assert seen.fresh is not survives
        assert seen.blob == (BLOB if survives else None)
        assert seen.tenant_status == ("suspended" if survives else None)
        assert await cache.get_many([WHERE]) == (Kept(1.0, b"x") if survives else None,)


async def test_what_the_tail_replaced_is_back_and_a_revocation_in_it_never_was_f19(autojump_clock):
    tier, cache = SimTier(), SimCache()
    with within(100):
        await tier.keep(BLOB, 60)
        await tier.set_tenant_status("resort", "active")
        await cache.put_many([Entry(WHERE, Kept(1.0, b"old"), 60)])
        await trio.sleep(5)
        await tier.keep(SessionBlob("resort", "ann", "d1", "s1", "k", "c9", 900.0), 60)
        await tier.set_tenant_status("resort", "suspended")
        await tier.revoke("resort", "s1", 60)
        await cache.put_many([Entry(WHERE, Kept(2.0, b"new"), 60), Entry(WHERE, Kept(3.0, b"newest"), 60)])
        tier.failover(lost=1.0)
        cache.failover(lost=1.0)
        seen = await sits(tier, "n1")
        assert (seen.revoked, seen.tenant_status, seen.blob) == (False, "active", BLOB)
        assert await cache.get_many([WHERE]) == (Kept(1.0, b"old"),)


async def test_a_failover_that_loses_nothing_keeps_every_session_f19(autojump_clock):
    tier = SimTier()
    with within(100):
        await tier.keep(BLOB, 60)
        assert (await sits(tier, "n1")).fresh
        assert tier.failover() == 0
        seen = await sits(tier, "n2")
        assert (seen.fresh, seen.blob) == (False, BLOB)


async def test_time_to_live_counts_on_through_a_failover(autojump_clock):
    """What the tail had made longer is as short again as it was, and what has expired meanwhile stays so."""
    tier = SimTier()
    with within(100):
        await tier.keep(BLOB, 10)
        await trio.sleep(9)
        await tier.keep(BLOB, 60)
        await trio.sleep(0.5)
        tier.failover(lost=1.0)
        await trio.sleep(0.499)
        assert (await sits(tier, "n1")).blob == BLOB
        await trio.sleep(0.001)
        assert (await sits(tier, "n1")).blob is None
        await tier.keep(BLOB, 10)
        await trio.sleep(9.9)
        await tier.keep(BLOB, 60)
        await trio.sleep(0.5)
        tier.failover(lost=1.0)
        assert (await sits(tier, "n1")).blob is None


async def test_a_takeover_refuses_for_as_long_as_it_takes_and_then_serves_by_itself_f19(autojump_clock):
    tier, told = SimTier(), []
    with within(100), listening(told.append):
        assert await tier.ping() is None
        tier.failover(takes=20.0)
        for pause in (0.0, 10.0, 9.999999):
            await trio.sleep(pause)
            assert await tier.ping() == Down("nobody listens")
        await trio.sleep(0.000001)
        assert await tier.ping() is None
    changed = [(fact.up, fact.why) for fact in told if isinstance(fact, StoreChanged)]
    assert changed == [(True, ""), (False, "nobody listens"), (True, "")]
    assert told.count(StoreTakenOver("redis-session")) == 1


@pytest.mark.parametrize(("seconds", "lost", "done"), [(0.04, 0.0, False), (0.06, 0.0, True), (0.06, 0.02, False)])
async def test_who_is_under_way_at_a_failover_is_told_and_his_write_may_be_in_the_tail(
    autojump_clock, seconds, lost, done
):
    tier, answers = SimTier(), []
    tier.latency(0.1)

    async def ask():
        answers.append(await sits(tier, "n1"))
        assert trio.current_time() == pytest.approx(seconds)

    with within(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(seconds)
            tier.failover(lost=lost)
        assert answers == [Down("the connection broke")]
        assert (await sits(tier, "n2")).fresh is not done


@pytest.mark.parametrize("fault", ["down", "stop"])
async def test_a_primary_that_stopped_working_long_ago_has_its_tail_before_that(autojump_clock, fault):
    tier = SimTier()
    with within(100):
        await tier.keep(BLOB, 60)
        await trio.sleep(5)
        await tier.set_tenant_status("resort", "suspended")
        getattr(tier, fault)()
        await trio.sleep(10)
        tier.failover(lost=1.0)
        seen = await sits(tier, "n1")
        assert (seen.blob, seen.tenant_status) == (BLOB, None)


async def test_what_hung_in_the_old_primary_is_gone_with_it(autojump_clock):
    tier, answers = SimTier(), []

    async def ask():
        answers.append(await sits(tier, "n1"))

    with within(10):
        await tier.ping()
        tier.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.1)
            tier.failover()
        tier.start()
        assert answers == [Down("the connection broke")]
        assert (await sits(tier, "n2")).fresh


async def test_a_failover_as_a_toxic_loses_what_it_says_and_start_ends_a_kill(autojump_clock):
    tier = SimTier()
    with within(10):
        await tier.keep(BLOB, 60)
        await trio.sleep(1.5)
        await tier.set_tenant_status("resort", "active")
        tier.inject(parse("failover", ["lost=1", "takes=0"]))
        seen = await sits(tier, "n1")
        assert (seen.blob, seen.tenant_status) == (BLOB, None)
        tier.inject(parse("kill"))
        tier.inject(parse("start"))
        assert (await sits(tier, "n2")).blob == BLOB


@pytest.mark.parametrize(
    "wrong", [{"lost": -1}, {"lost": 30.1}, {"lost": math.nan}, {"takes": -1}, {"takes": math.inf}]
)
async def test_a_failover_that_cannot_be_is_refused_and_changes_nothing(autojump_clock, wrong):
    tier = SimTier()
    with within(10):
        await tier.keep(BLOB, 60)
        with pytest.raises(ValueError):
            tier.failover(**wrong)
        assert (await sits(tier, "n1")).blob == BLOB


async def test_writes_that_no_failover_can_lose_are_not_remembered(autojump_clock):
    """For as long as it may be lost, a write costs its way back; a busy day must not."""
    cache = SimCache()
    for second in range(100):
        with within(10):
            await cache.put_many([Entry(WHERE, Kept(float(second), b"x"), 60)])
        await trio.sleep(1)
    assert len(cache._journal._undo) == 31
    assert cache.failover(lost=30.0) == 29
    with within(10):
        assert await cache.get_many([WHERE]) == (Kept(70.0, b"x"),)


WRITES = st.tuples(st.sampled_from(["put", "drop"]), st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 3))


@settings(max_examples=60, deadline=None)
@given(st.lists(WRITES, max_size=25), st.lists(st.tuples(st.integers(0, 25), st.integers(0, 30)), max_size=3))
def test_after_any_failover_everything_is_as_it_was_at_its_edge_f19(simulate, writes, failovers):
    """Against a copy of all there was, taken before each write."""

    async def main():
        store = SimLedger()
        entries, model, past = Expiring(store._journal), {}, []
        for number, (verb, key, ttl, pause) in enumerate(writes):
            now = trio.current_time()
            past.append((now, dict(model)))
            if verb == "put":
                entries.put(key, number, ttl)
                model[key] = (now + ttl, number)
            else:
                entries.drop(key)
                model.pop(key, None)
            await trio.sleep(pause)
            for _, lost in [one for one in failovers if one[0] == number]:
                store.failover(lost=lost)
                while past and past[-1][0] > trio.current_time() - lost:
                    _, model = past.pop()
            for name in "abc":
                until, value = model.get(name, (0, None))
                assert entries.get(name) == (value if until > trio.current_time() else None)

    simulate(main)
