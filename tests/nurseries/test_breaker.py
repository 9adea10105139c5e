import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from nurseries import listening
from nurseries.breaker import Breaker, BreakerClosed, BreakerHalfOpened, BreakerOpened, BreakerRule, State

RULE = BreakerRule(consecutive=3, ratio=0.5, volume=6, window=10, open_for=5)


def fail(breaker, times=1):
    for _ in range(times):
        breaker.admit().failed()


async def test_failures_in_a_row_open_it_and_no_call_is_admitted(autojump_clock):
    facts = []
    breaker = Breaker("pricing", RULE)
    with listening(facts.append):
        fail(breaker, 3)
    assert breaker.state is State.OPEN
    assert breaker.admit() is None
    assert breaker.retry_after == 5
    assert facts == [BreakerOpened("pricing", "consecutive")]


async def test_a_success_in_between_starts_the_row_anew(autojump_clock):
    breaker = Breaker("pricing", RULE)
    fail(breaker, 2)
    breaker.admit().ok()
    fail(breaker, 2)
    assert breaker.state is State.CLOSED
    assert breaker.retry_after == 0


async def test_too_large_a_part_of_failures_opens_it_though_never_in_a_row(autojump_clock):
    facts = []
    breaker = Breaker("pricing", RULE)
    with listening(facts.append):
        for _ in range(3):
            breaker.admit().ok()
            fail(breaker)
    assert facts == [BreakerOpened("pricing", "ratio")]


async def test_what_has_left_the_window_is_forgotten(autojump_clock):
    breaker = Breaker("pricing", RULE)
    fail(breaker, 2)
    await trio.sleep(11)
    for _ in range(5):
        breaker.admit().ok()
    fail(breaker, 2)
    assert breaker.state is State.CLOSED


async def test_after_its_time_one_probe_at_a_time_is_admitted_and_its_success_closes_it(autojump_clock):
    facts = []
    breaker = Breaker("pricing", RULE)
    fail(breaker, 3)
    await trio.sleep(5)
    with listening(facts.append):
        assert breaker.state is State.HALF_OPEN
        probe = breaker.admit()
        assert breaker.admit() is None
        probe.ok()
        assert breaker.state is State.CLOSED
    assert facts == [BreakerHalfOpened("pricing"), BreakerClosed("pricing")]


async def test_a_failed_probe_opens_it_again_for_the_whole_time(autojump_clock):
    breaker = Breaker("pricing", RULE)
    fail(breaker, 3)
    await trio.sleep(5)
    fail(breaker)
    await trio.sleep(4.9)
    assert breaker.admit() is None
    assert breaker.retry_after == pytest.approx(0.1)


async def test_a_probe_that_says_nothing_leaves_its_place_to_the_next(autojump_clock):
    breaker = Breaker("pricing", RULE)
    fail(breaker, 3)
    await trio.sleep(5)
    with breaker.admit():
        assert breaker.admit() is None
    assert breaker.admit() is not None


async def test_an_impatient_caller_s_call_is_not_counted(autojump_clock):
    breaker = Breaker("pricing", RULE)
    for _ in range(50):
        breaker.admit().ignored()
    assert breaker.state is State.CLOSED


async def test_only_the_first_verdict_counts(autojump_clock):
    breaker = Breaker("pricing", RULE)
    permit = breaker.admit()
    for _ in range(9):
        permit.failed()
    assert breaker.state is State.CLOSED


async def test_a_late_verdict_of_a_call_from_before_is_no_verdict_on_the_probe(autojump_clock):
    breaker = Breaker("pricing", RULE)
    old = breaker.admit()
    fail(breaker, 3)
    await trio.sleep(5)
    probe = breaker.admit()
    old.ok()
    assert breaker.state is State.HALF_OPEN
    probe.failed()
    assert breaker.state is State.OPEN


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ok", "failed", "ignored", "keep"]), st.integers(0, 6)), max_size=60))
def test_it_never_admits_while_open_nor_two_probes_at_once(steps):
    async def main():
        breaker = Breaker("any", RULE)
        kept = []
        facts = []
        with listening(facts.append):
            for verdict, pause in steps:
                await trio.sleep(pause)
                state = breaker.state
                permit = breaker.admit()
                if state is State.CLOSED:
                    assert permit is not None
                if state is State.OPEN:
                    assert permit is None
                    assert 0 < breaker.retry_after <= RULE.open_for
                if state is State.HALF_OPEN and permit is not None:
                    assert breaker.admit() is None
                if permit is None:
                    continue
                if verdict == "keep":
                    kept.append(permit)
                    if state is State.HALF_OPEN:
                        permit.ignored()
                else:
                    getattr(permit, verdict)()
            for permit in kept:
                permit.failed()
            assert all(isinstance(fact, BreakerOpened | BreakerHalfOpened | BreakerClosed) for fact in facts)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
