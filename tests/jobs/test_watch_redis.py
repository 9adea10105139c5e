"""A session tier that gets full remembers proofs with less memory, by itself, and with more again later (F-41)."""

import math

import pytest
import trio

from bff.facts.cost import JtiMemorySeen, JtiModeTurned, StoreSized
from bff.jobs.watch_redis import EVERY, STAYS, TAKES_EFFECT, RedisWatch, wanted
from bff.stores.jti import Filter, JtiMemory
from bff.stores.tier import Presented
from chaos.hotel.stores.cache import SimCache
from chaos.hotel.stores.jti import KEY_BYTES
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.stores.tier import SimTier
from nurseries import listening, within

HONEST = 65.0  # seconds for which a proof holds that was made just now, with the slack
KEPT = 125.0
FILTER = Filter(bits=2**15)


class Store:
    """A tier, and a watch of each of two instances."""

    def __init__(self):
        self.tier = SimTier(FILTER)
        self.ledger = SimLedger()
        self.watches = [RedisWatch(self.tier, SimCache(), self.ledger.session()) for _ in range(2)]
        self.told = []
        self.number = 0

    def room_for(self, rate):
        """Let it be as large as proofs take at that rate a second, remembered exactly."""
        self.tier.most = int(rate * KEPT * KEY_BYTES)

    async def lives(self, seconds, *, rate):
        """So long, with so many proofs a second; gives what was turned meanwhile."""
        seen = len(self.told)
        with listening(self.told.append):
            for _ in range(int(seconds / EVERY)):
                for _ in range(int(rate * EVERY)):
                    self.number += 1
                    proof = Presented(None, None, "k" * 43, str(self.number), "n", KEPT, HONEST)
                    with within(1):
                        assert (await self.tier.present(proof)).fresh
                for watch in self.watches:
                    await watch.turn()
                await trio.sleep(EVERY)
        return [fact.mode for fact in self.told[seen:] if isinstance(fact, JtiModeTurned)]

    @property
    def ratio(self):
        last = [fact for fact in self.told if isinstance(fact, StoreSized) and fact.store == "redis-session"][-1]
        return last.used / last.most

    @property
    def mode(self):
        return [fact for fact in self.told if isinstance(fact, JtiMemorySeen)][-1].mode


async def test_a_tier_that_gets_full_trims_and_nothing_is_turned_while_that_is_enough_f41(autojump_clock):
    store = Store()
    store.room_for(5)
    assert await store.lives(300, rate=2) == []
    assert await store.lives(400, rate=4.4) == ["trimmed"]
    assert store.ratio < 0.6


async def test_where_a_trim_is_not_enough_the_filter_holds_it_and_each_proof_is_still_fresh_once_f41(autojump_clock):
    store = Store()
    store.room_for(3)
    assert await store.lives(600, rate=5) == ["trimmed", "bloom"]
    assert store.ratio < 0.6
    with within(1):
        again = await store.tier.present(Presented(None, None, "k" * 43, str(store.number - 100), "m", KEPT, HONEST))
    assert not again.fresh and again.filtered


async def test_when_the_spike_is_over_it_goes_back_step_by_step_each_after_its_time_f41(autojump_clock):
    store = Store()
    store.room_for(3)
    assert await store.lives(600, rate=5) == ["trimmed", "bloom"]
    assert await store.lives(50, rate=1) == []
    assert await store.lives(100, rate=1) == ["trimmed"]
    assert await store.lives(STAYS - 100, rate=1) == []
    assert await store.lives(100, rate=1) == ["exact"]
    assert await store.lives(300, rate=1) == []
    assert store.mode == "exact"


async def test_under_a_load_that_only_the_filter_holds_it_does_not_turn_to_and_fro_f41(autojump_clock):
    store = Store()
    store.room_for(3)
    turned = await store.lives(1800, rate=5)
    assert turned[:2] == ["trimmed", "bloom"]
    assert len(turned) <= 2 + 2 * 1800 / STAYS


async def test_with_nobody_to_lead_the_figures_are_told_and_nothing_is_turned(autojump_clock):
    store = Store()
    store.room_for(3)
    store.ledger.down()
    assert await store.lives(300, rate=5) == []
    assert store.ratio > 0.9


async def test_a_tier_without_a_bound_is_never_short_of_memory_and_one_that_is_down_says_nothing(autojump_clock):
    store = Store()
    assert await store.lives(100, rate=5) == []
    assert {fact.most for fact in store.told if isinstance(fact, StoreSized)} == {0}
    store.tier.down()
    seen = len(store.told)
    with listening(store.told.append):
        await store.watches[0].turn()
    assert {fact.store for fact in store.told[seen:] if isinstance(fact, StoreSized)} == {"redis-cache"}


@pytest.mark.parametrize(
    ("mode", "lasted", "ratio", "then"),
    [
        ("exact", math.inf, 0.79, "exact"),
        ("exact", 0.0, 0.80, "trimmed"),
        ("exact", 0.0, 0.90, "bloom"),
        ("trimmed", TAKES_EFFECT - 1, 0.89, "trimmed"),
        ("trimmed", TAKES_EFFECT, 0.80, "bloom"),
        ("trimmed", 0.0, 0.90, "bloom"),
        ("trimmed", STAYS - 1, 0.1, "trimmed"),
        ("trimmed", STAYS, 0.60, "exact"),
        ("bloom", STAYS, 0.61, "bloom"),
        ("bloom", STAYS, 0.60, "trimmed"),
        ("bloom", STAYS, 0.99, "bloom"),
    ],
)
def test_what_is_wanted_follows_the_table_f41(mode, lasted, ratio, then):
    assert wanted(JtiMemory(mode, lasted, 0.0), ratio) == then
