"""How proofs are remembered in a tier that is short of memory, in memory and on the real store (F-41)."""

import math
from contextlib import AsyncExitStack

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.stores.border import open_border
from bff.stores.jti import BITS, CAPACITY, MODES, STATED, Filter, false_positives
from bff.stores.redis_line import open_line
from bff.stores.redis_tier import open_tier
from bff.stores.tier import Presented, Standing
from chaos.hotel.stores.tier import SimTier

KEY = "k" * 43
SMALL = Filter(bits=2**14)


def presented(jti, nonce="n1", ttl=60.0, holds=None):
    return Presented(None, None, KEY, jti, nonce, ttl, holds)


async def be(tier, mode):
    """Remember proofs that way from now on, however it was."""
    before = (await tier.jti_memory()).mode
    if before != mode:
        assert await tier.remember_jtis(mode, instead_of=before) is True


@pytest.fixture
async def turned(tier):
    """The tier, which goes back to what it was."""
    yield tier
    with trio.fail_after(5):
        await be(tier, "exact")


@pytest.mark.parametrize("mode", MODES)
async def test_in_every_mode_a_proof_is_fresh_once_its_own_nonce_is_no_replay_and_any_other_is_f28(turned, fresh, mode):
    jti = fresh("jti")
    with trio.fail_after(5):
        await be(turned, mode)
        for nonce, first in (("n1", True), ("n1", True), ("n2", False), ("n1", True)):
            assert await turned.present(presented(jti, nonce)) == Standing(first, False, None, None, mode)


@pytest.mark.parametrize("before", MODES)
@pytest.mark.parametrize("after", MODES)
async def test_no_turn_forgets_what_was_remembered_another_way_f41(turned, fresh, before, after):
    jti = fresh("jti")
    with trio.fail_after(5):
        await be(turned, before)
        assert (await turned.present(presented(jti))).fresh
        await be(turned, after)
        assert not (await turned.present(presented(jti, "n2"))).fresh


async def test_whoever_turns_it_from_what_it_is_no_more_turns_nothing_f41(turned):
    with trio.fail_after(5):
        assert await turned.remember_jtis("bloom", instead_of="trimmed") is False
        assert await turned.remember_jtis("trimmed", instead_of="exact") is True
        assert await turned.remember_jtis("trimmed", instead_of="exact") is False
        memory = await turned.jti_memory()
    assert memory.mode == "trimmed" and memory.lasted < 5


async def test_in_the_mode_trimmed_a_proof_is_kept_for_as_long_as_it_may_hold_and_in_exact_for_longer_f41(
    turned, fresh
):
    short, long = fresh("jti"), fresh("jti")
    with trio.fail_after(5):
        await be(turned, "exact")
        await turned.present(presented(long, ttl=60.0, holds=0.1))
        await be(turned, "trimmed")
        await turned.present(presented(short, ttl=60.0, holds=0.1))
        await trio.sleep(0.2)
        assert (await turned.present(presented(short, "n2", ttl=60.0, holds=0.1))).fresh
        assert not (await turned.present(presented(long, "n2", ttl=60.0, holds=0.1))).fresh


async def test_a_proof_whose_nonce_is_gone_is_known_by_its_bits_for_its_time_and_then_forgotten_f41(
    clock, world, running, fresh
):
    """The key of a proof goes with its nonce; in the filter it is for a turn at least, and two at most."""
    filter, jti = Filter(bits=2**15, turns=1.0), fresh("jti")
    async with AsyncExitStack() as stack:
        if world == "simulated":
            tier = SimTier(filter)
        else:
            border = await stack.enter_async_context(open_border())
            url = running.redis_session_url
            line = await stack.enter_async_context(open_line(border, "redis-session", url))
            tier = await stack.enter_async_context(open_tier(border, url, filter))
        with trio.fail_after(10):
            if world == "real":
                await line.ask(("FLUSHALL",))  # other tests' bitmaps, which have longer to live
            await be(tier, "bloom")
            assert (await tier.present(presented(jti, ttl=0.3))).fresh
            await be(tier, "exact")  # turned back: what is in the filter counts until it is gone
            standing = await tier.present(presented(jti, "n2", ttl=0.3))
            assert (standing.fresh, standing.filtered) == (False, False)
            await trio.sleep(0.5)
            standing = await tier.present(presented(jti, "n2", ttl=0.3))
            assert (standing.fresh, standing.filtered) == (False, True)
            await trio.sleep(1.6)
            assert (await tier.present(presented(jti, "n2", ttl=0.3))).fresh


async def test_the_fill_is_estimated_from_a_part_of_the_bits(turned, fresh):
    with trio.fail_after(20):
        await be(turned, "bloom")
        before = (await turned.jti_memory()).fill
        for _ in range(40):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(turned.present, presented(fresh("jti"), ttl=125.0))
        grown = (await turned.jti_memory()).fill - before
    assert grown == pytest.approx(4000 / CAPACITY, rel=0.15)


def test_up_to_its_capacity_the_filter_calls_fewer_than_one_fresh_proof_in_a_million_used_f41():
    assert false_positives(1.0) <= STATED
    assert CAPACITY == 1_048_576 and BITS == 8 * 4 * 1024 * 1024
    assert false_positives(math.inf) == 1.0


async def test_a_full_filter_is_as_wrong_as_it_says_and_never_the_other_way_f41(autojump_clock):
    tier = SimTier(SMALL)
    capacity = SMALL.bits // 32
    with trio.fail_after(60):
        await be(tier, "bloom")
        for number in range(4 * capacity):
            await tier.present(presented(f"used-{number}", ttl=125.0))
            if number == capacity:
                filled = (await tier.jti_memory()).fill
        assert filled == pytest.approx(1.0, rel=0.05)
        fill = (await tier.jti_memory()).fill
        await be(tier, "exact")  # asked, and not marked
        told = [(await tier.present(presented(f"fresh-{number}", ttl=0.001))).fresh for number in range(8_000)]
        assert not any(
            [(await tier.present(presented(f"used-{number}", "n2"))).fresh for number in range(4 * capacity)]
        )
    one = (1 - math.exp(-fill / 2)) ** 16
    assert told.count(False) / len(told) == pytest.approx(one, rel=0.1)


OPERATIONS = st.one_of(
    st.tuples(st.just("show"), st.sampled_from("abcd"), st.sampled_from("xy")),
    st.tuples(st.just("turn"), st.sampled_from(MODES), st.sampled_from(MODES)),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATIONS, min_size=5, max_size=30))
async def test_whatever_is_shown_and_turned_both_worlds_answer_the_same_f41(running, fresh, operations):
    prefix, simulated = fresh("run"), SimTier()
    async with open_border() as border, open_tier(border, running.redis_session_url) as real:
        with trio.fail_after(10):
            await be(real, "exact")
            for operation in operations:
                match operation:
                    case "show", jti, nonce:
                        asked = [await t.present(presented(prefix + jti, nonce)) for t in (simulated, real)]
                    case "turn", after, before:
                        asked = [await t.remember_jtis(after, instead_of=before) for t in (simulated, real)]
                assert asked[0] == asked[1]
            await be(real, "exact")
