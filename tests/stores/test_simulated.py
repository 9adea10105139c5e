"""The simulated stores in virtual time: what the real ones cannot show without waiting for it."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.facts import StoreChanged, StoreTakenOver
from bff.model import Down
from bff.stores import PATIENCE
from bff.stores.cache import CacheKey, Entry, Kept
from bff.stores.keys import Claimed, Claiming, InFlight, KeptAnswer, KeyId, Recorded, Recording
from bff.stores.mirrors import Mirror
from bff.stores.outbox import Letter
from bff.stores.tier import Presented, SessionBlob
from chaos.hotel.stores.cache import SimCache
from chaos.hotel.stores.expiring import SWEPT_FROM, Expiring
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.stores.tier import SimTier
from chaos.toxics import BadToxic, parse
from nurseries import listening, within


def proof(nonce, ttl=120.0):
    return Presented("resort", "s1", "k", "j", nonce, ttl)


BLOB = SessionBlob("resort", "ann", "d1", "s1", "k", None, 900.0)
WHERE = CacheKey("resort", "w", ())


async def test_a_proof_is_remembered_to_the_end_of_its_time_and_not_longer_f28(autojump_clock):
    tier = SimTier()
    with within(1000):
        assert (await tier.present(proof("n1"))).fresh
        await trio.sleep(119.999)
        assert not (await tier.present(proof("n2"))).fresh
        await trio.sleep(0.001)
        assert (await tier.present(proof("n3"))).fresh


async def test_blobs_marks_and_answers_go_when_their_time_is_over(autojump_clock):
    tier, cache = SimTier(), SimCache()
    with within(1000):
        await tier.keep(BLOB, 10)
        await cache.put_many([Entry(WHERE, Kept(1.0, b"x"), 10)])
        await trio.sleep(9.999)
        assert (await tier.present(proof("n1"))).blob == BLOB
        assert await cache.get_many([WHERE]) == (Kept(1.0, b"x"),)
        await tier.revoke("resort", "s1", 10)
        await trio.sleep(0.001)
        assert await cache.get_many([WHERE]) == (None,)
        await trio.sleep(9.998)
        assert (await tier.present(proof("n2"))).revoked
        await trio.sleep(0.002)
        assert not (await tier.present(proof("n3"))).revoked


async def test_who_leaves_on_the_way_back_has_been_served_and_on_the_way_there_has_not(autojump_clock):
    tier = SimTier()
    tier.latency(0.1)
    for seconds, served in ((0.04, False), (0.06, True)):
        with within(seconds) as scope:
            await tier.present(Presented(None, None, "k", str(seconds), "n1", 60))
        assert scope.cancelled_caught
        with within(10):
            again = await tier.present(Presented(None, None, "k", str(seconds), "n2", 60))
        assert again.fresh is not served


@pytest.mark.parametrize(("seconds", "served"), [(0.04, False), (0.06, True)])
async def test_a_break_is_noticed_at_once_and_on_the_way_back_the_work_is_done(autojump_clock, seconds, served):
    tier, answers = SimTier(), []
    tier.latency(0.1)

    async def ask():
        answers.append(await tier.present(proof("n1")))
        assert trio.current_time() == pytest.approx(seconds)

    with within(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(seconds)
            tier.down()
        tier.start()
        assert answers == [Down("the connection broke")]
        assert (await tier.present(proof("n2"))).fresh is not served


async def test_what_hung_when_the_store_died_was_not_done(autojump_clock):
    tier, answers = SimTier(), []

    async def ask():
        answers.append(await tier.present(proof("n1")))

    with within(10):
        tier.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.1)
            tier.down()
            tier.start()
        assert answers == [Down("the connection broke")]
        assert (await tier.present(proof("n2"))).fresh


async def test_latency_is_what_a_call_takes(autojump_clock):
    ledger = SimLedger()
    ledger.latency(0.3)
    with within(10):
        began = trio.current_time()
        assert await ledger.session().ping() is None
        assert trio.current_time() - began == pytest.approx(0.3)


async def test_hanging_takes_patience_to_the_microsecond_and_a_thaw_within_it_serves(autojump_clock):
    tier = SimTier()
    tier.stop()
    with within(10):
        began = trio.current_time()
        assert await tier.ping() == Down("no answer within 500 ms")
        assert trio.current_time() - began == pytest.approx(PATIENCE, abs=1e-6)
        assert await tier.ping() == Down("no answer within 500 ms")
        assert trio.current_time() - began == pytest.approx(PATIENCE, abs=1e-6), "told at once, the second time"
        tier.start()
        tier.stop()

        async def thaw():
            await trio.sleep(0.2)
            tier.start()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(thaw)
            began = trio.current_time()
            assert await tier.ping() is None
            assert trio.current_time() - began == pytest.approx(0.2)


async def test_only_changes_are_told(autojump_clock):
    ledger, told = SimLedger(), []
    with listening(told.append), within(10):
        for change in (ledger.start, ledger.start, ledger.down, ledger.start):
            change()
            await ledger.session().ping()
            await ledger.session().ping()
    assert told == [
        StoreChanged("postgres", True, ""),
        StoreChanged("postgres", False, "nobody listens"),
        StoreTakenOver("postgres"),
        StoreChanged("postgres", True, ""),
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(0, 4)), max_size=30))
def test_entries_expire_like_the_list_of_what_was_put(simulate, steps):
    async def main():
        entries, model = Expiring(), {}
        for number, (key, ttl, pause) in enumerate(steps):
            entries.put(key, number, ttl)
            model[key] = (trio.current_time() + ttl, number)
            await trio.sleep(pause)
            for name in "abc":
                until, value = model.get(name, (0, None))
                assert entries.get(name) == (value if until > trio.current_time() else None)

    simulate(main)


async def test_what_nobody_asks_for_again_does_not_stay_for_ever(autojump_clock):
    entries = Expiring()
    for number in range(10 * SWEPT_FROM):
        entries.put(number, "", 0.5)
        if number % SWEPT_FROM == 0:
            await trio.sleep(1)
    assert len(entries) <= 2 * SWEPT_FROM


async def test_what_came_while_it_hung_is_done_when_it_goes_on_though_its_caller_has_left(autojump_clock):
    """In the order in which it came; the caller who was told `Down` has written all the same."""
    tier = SimTier()
    with within(10):
        await tier.ping()
        tier.stop()
        with within(0.1):
            await tier.keep(BLOB, 60)
        with within(0.1):
            await tier.revoke("resort", "s1", 60)
        assert isinstance(await tier.present(proof("n1")), Down)
        tier.start()
        seen = await tier.present(proof("n2"))
        assert (seen.fresh, seen.revoked, seen.blob) == (False, True, None)


async def test_a_line_that_hangs_is_cut_for_all_who_share_it_and_a_connection_for_its_caller_alone(autojump_clock):
    """Redis has one line for everybody; PostgreSQL a connection each, and less patience for a ping."""
    tier, ledger = SimTier(), SimLedger()
    for store, line, ends in ((tier, tier, [0.5, 0.5, 0.5]), (ledger, ledger.session(), [0.4, 0.7, 1.4])):
        ended = []

        async def ask(line, began, ended):
            assert isinstance(await line.ping(), Down)
            ended.append(trio.current_time() - began)

        with within(10):
            await line.ping()
            store.stop()
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, line, began, ended)
                await trio.sleep(0.3)
                nursery.start_soon(ask, line, began, ended)
            await trio.sleep(began + 1 - trio.current_time())
            await ask(line, began + (0.5 if store.store == "redis-session" else 0), ended)
        assert ended == pytest.approx(ends, abs=1e-6)


async def test_a_failover_loses_the_whole_of_a_change_or_nothing_of_it_f20(autojump_clock):
    ledger = SimLedger()
    line = ledger.session()
    asked = Claiming(KeyId("resort", "ann", "k1"), b"f", ("lock:1",), b"", 100.0, attestation="a1", intent="{}")
    letter, mirror = Letter("topic", "resort", "kind", b"{}", "m1"), Mirror("resort", "ann", 1, b"{}", 1.0)
    answer = KeptAnswer(200, b"{}", "application/json")
    what = Recording(asked.id, 1, "recorded", answer, ("{}", "{}"), (letter,), mirror)

    async def seen():
        rows = await line.trail("resort", after=0, limit=9)
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        letters, kept = await line.next_letters(limit=9), await line.mirrored("resort", "ann")
        return len(rows), len(letters), kept, await line.spent_on("a1")

    with within(100):
        for lost, left, verdict in (
            (1.0, (3, 1, mirror, asked.id), Recorded(answer)),
            (2.0, (1, 0, None, asked.id), InFlight(97.0)),
            (3.5, (0, 0, None, None), Claimed(1, "new")),
        ):
            assert await line.claim(asked) == Claimed(1, "new")
            await trio.sleep(1.5)
            assert await line.record(what)
            await trio.sleep(1.5)
            ledger.failover(lost=lost)
            assert await seen() == left
            assert await line.claim(asked) == verdict
            await trio.sleep(1)
            ledger.failover(lost=10)
            assert await seen() == (0, 0, None, None)


async def test_each_break_is_another_connection_when_it_serves_again(autojump_clock):
    tier, seen = SimTier(), []
    with within(100):
        for change in (
            lambda: None,
            tier.down,
            tier.start,
            tier.failover,
            lambda: tier.failover(takes=1.0),
            tier.start,
            tier.stop,
            tier.start,
        ):
            change()
            await tier.ping()
            await tier.ping()
            seen.append(tier.connections)
    assert seen == [1, 1, 2, 3, 3, 4, 4, 5]


async def test_another_server_is_told_when_it_first_serves_and_a_pause_or_a_latency_is_none_f19(autojump_clock):
    tier, told = SimTier(), []
    with within(100), listening(lambda fact: told.append(fact) if isinstance(fact, StoreTakenOver) else None):
        tier.failover()
        await tier.ping()
        assert told == [], "whom nobody met before is not another one"
        for count, change in enumerate((tier.failover, tier.down, lambda: tier.failover(takes=1.0))):
            change()
            assert len(told) == count
            tier.start()
            await tier.ping()
            await tier.ping()
            assert told == (count + 1) * [StoreTakenOver("redis-session")]
        tier.stop()
        await tier.ping()
        tier.start()
        tier.latency(0.1)
        await tier.ping()
        assert len(told) == 3


async def test_a_thaw_before_anybody_lost_patience_is_the_same_connection(autojump_clock):
    tier = SimTier()
    with within(10):
        await tier.ping()
        tier.stop()
        with within(0.4):
            await tier.ping()
        tier.start()
        assert (await tier.ping(), tier.connections) == (None, 1)


@pytest.mark.parametrize("toxic", ["kill", "down", "stop", "hang", "failover takes=5", "latency ms=600"])
async def test_a_toxic_is_the_fault_of_its_name_and_is_healed_by_clearing_it(autojump_clock, toxic):
    ledger = SimLedger()
    word, *pairs = toxic.split()
    with within(10):
        ledger.inject(parse(word, pairs))
        assert isinstance(await ledger.session().ping(), Down)
        ledger.clear()
        began = trio.current_time()
        assert (await ledger.session().ping(), trio.current_time()) == (None, began)


@pytest.mark.parametrize(
    ("toxic", "why"),
    [
        ("drift", "drift is for services; for a store there are kill, stop, start, failover, down, hang, latency"),
        ("kill rate=0.5", "kill: a store has no rate"),
        ("latency jitter=5", "latency: a store in virtual time has no jitter"),
        ("failover lost=31", "failover: lost should be at most 30, as far as a standby may be behind"),
    ],
)
async def test_what_a_store_cannot_have_is_refused_in_one_line_and_changes_nothing(autojump_clock, toxic, why):
    tier = SimTier()
    word, *pairs = toxic.split()
    with within(10):
        with pytest.raises(BadToxic) as refused:
            tier.inject(parse(word, pairs))
        assert str(refused.value) == why
        assert await tier.ping() is None


async def test_a_store_that_does_not_run_cannot_be_stopped(autojump_clock):
    tier = SimTier()
    with within(10):
        tier.down()
        with pytest.raises(BadToxic, match=r"^redis-session does not run: start it first$"):
            tier.inject(parse("stop"))
        assert await tier.ping() == Down("nobody listens")
