"""Rung 0: what a bucket allows, whom a flood touches, and who is let in while the house is full or leaving."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.config import Rates
from bff.gate.admission import DEVICE_BYTES, OPENING, STREAM_AGAIN, TRY_AGAIN, Admission, Buckets
from nurseries import BulkheadPermit

HERE = "192.0.2.1"


def codes(admission, *, address=HERE, device=b"desk-1", times=1, stream=False):
    """What is answered to so many requests in one moment, each leaving at once."""
    said = []
    for _ in range(times):
        place = admission.enter(address, device, stream=stream)
        if isinstance(place, BulkheadPermit):
            place.leave()
            said.append("in")
        else:
            said.append(place.code.word)
    return said


# -- buckets -----------------------------------------------------------------------------------------------------------


async def test_a_burst_is_let_in_at_once_and_then_one_at_a_time(autojump_clock):
    buckets = Buckets(50.0, 100.0)
    assert [buckets.take("k") for _ in range(101)] == [True] * 100 + [False]
    assert buckets.wait("k") == pytest.approx(0.02)
    await trio.sleep(buckets.wait("k"))
    assert [buckets.take("k") for _ in range(2)] == [True, False]


async def test_who_waits_as_long_as_he_is_told_is_let_in(autojump_clock):
    buckets = Buckets(5 / 60, 5.0)
    for _ in range(5):
        buckets.take("k")
    await trio.sleep(buckets.wait("k") - 0.001)
    assert not buckets.take("k")
    await trio.sleep(0.001)
    assert buckets.take("k")


async def test_a_refusal_takes_nothing(autojump_clock):
    buckets = Buckets(1.0, 1.0)
    assert buckets.take("k")
    for _ in range(50):
        assert not buckets.take("k")
    await trio.sleep(1.0)
    assert buckets.take("k")


async def test_looking_takes_nothing(autojump_clock):
    buckets = Buckets(1.0, 1.0)
    assert [buckets.wait("k") for _ in range(5)] == [0.0] * 5
    assert buckets.take("k")


async def test_no_rate_is_no_limit_and_nothing_to_remember(autojump_clock):
    buckets = Buckets(0.0, 0.0)
    assert all(buckets.take("k") for _ in range(1_000))
    assert (buckets.wait("k"), len(buckets)) == (0.0, 0)


async def test_a_rate_below_one_lets_one_in(autojump_clock):
    buckets = Buckets(0.1, 0.2)
    assert [buckets.take("k"), buckets.take("k")] == [True, False]
    assert buckets.wait("k") == pytest.approx(10.0)


async def test_a_bucket_that_is_full_again_is_forgotten(autojump_clock):
    buckets = Buckets(10.0, 10.0)
    for key in range(50):
        buckets.take(key)
    await trio.sleep(0.2)
    buckets.take("last")
    assert len(buckets) == 1


async def test_a_flood_of_keys_is_bounded_and_refuses_nobody_else(autojump_clock):
    buckets = Buckets(1.0, 2.0, keys=10)
    buckets.take("mine")
    for key in range(1_000):
        assert buckets.take(key)
        assert len(buckets) <= 10
    assert [buckets.take("mine") for _ in range(3)] == [True, True, False]


async def test_who_is_forgotten_is_the_one_who_came_longest_ago(autojump_clock):
    buckets = Buckets(0.001, 1.0, keys=2)
    for key in ("a", "b", "c"):
        buckets.take(key)
    assert [buckets.wait(key) > 0 for key in ("a", "b", "c")] == [False, True, True]


async def test_who_comes_again_is_not_the_one_who_came_longest_ago(autojump_clock):
    buckets = Buckets(0.001, 2.0, keys=2)
    for key in ("a", "b", "a", "c"):
        buckets.take(key)
    assert [buckets.wait("a") > 0, len(buckets)] == [True, 2]


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([0.5, 1.0, 5.0, 50.0]),
    burst=st.integers(1, 20),
    pauses=st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0]), min_size=1, max_size=80),
)
def test_in_no_window_are_more_let_in_than_the_burst_and_what_the_rate_gives(simulate, rate, burst, pauses):
    async def main():
        buckets, let_in = Buckets(rate, float(burst)), []
        for pause in pauses:
            await trio.sleep(pause)
            free = buckets.wait("k") == 0
            assert buckets.take("k") == free
            if free:
                let_in.append(trio.current_time())
        return let_in

    let_in = simulate(main)
    for first, since in enumerate(let_in):
        for count, until in enumerate(let_in[first:], start=1):
            assert count <= burst + rate * (until - since) + 1e-6
    assert len(let_in) >= min(burst, len(pauses))


# -- who is let in -----------------------------------------------------------------------------------------------------


async def test_a_device_may_ask_fifty_times_a_second_and_a_hundred_at_once(autojump_clock):
    admission = Admission(Rates())
    assert codes(admission, times=101) == ["in"] * 100 + ["RATE_LIMITED"]
    assert admission.enter(HERE, b"desk-1").retry_after == pytest.approx(0.02)
    await trio.sleep(1.0)
    assert codes(admission, times=51) == ["in"] * 50 + ["RATE_LIMITED"]


async def test_nobody_can_use_up_what_a_foreign_device_may_do(autojump_clock):
    admission = Admission(Rates())
    codes(admission, address="203.0.113.9", device=b"desk-1", times=200)
    assert codes(admission, address=HERE, device=b"desk-1") == ["in"]
    codes(admission, address=HERE, device=b"desk-2", times=200)
    assert codes(admission, address=HERE, device=b"desk-1") == ["in"]


async def test_an_address_has_no_limit_by_default_and_one_where_it_is_set(autojump_clock):
    def through(rates):
        admission = Admission(rates)
        return [codes(admission, device=b"%d" % number)[0] for number in range(25)].count("in")

    assert through(Rates()) == 25
    assert through(Rates(address=10.0)) == 20


async def test_who_is_refused_for_the_address_has_used_nothing_of_the_device(autojump_clock):
    admission = Admission(Rates(requests=1.0, address=5.0))
    for number in range(10):
        codes(admission, device=b"%d" % number)
    assert codes(admission, device=b"mine", times=5) == ["RATE_LIMITED"] * 5
    await trio.sleep(0.4)
    assert codes(admission, device=b"mine", times=2) == ["in", "in"]


async def test_rates_are_off_at_zero(autojump_clock):
    assert codes(Admission(Rates(requests=0.0)), times=1_000) == ["in"] * 1_000


async def test_of_a_device_s_name_no_more_is_kept_than_a_name_needs(autojump_clock):
    admission = Admission(Rates())
    codes(admission, device=b"x" * 32_000)
    (kept,) = admission._devices._full_at
    assert len(kept[1]) == DEVICE_BYTES


async def test_a_full_house_lets_in_what_is_urgent_until_it_is_quite_full(autojump_clock):
    admission = Admission(Rates(requests=0.0), in_flight=5, kept=2)
    held = [admission.enter(HERE, b"") for _ in range(3)]
    assert codes(admission) == ["OVERLOADED"]
    held += [admission.enter(HERE, b"", urgent=True) for _ in range(2)]
    assert admission.enter(HERE, b"", urgent=True).code.word == "OVERLOADED"
    for place in held:
        place.leave()
    assert codes(admission) == ["in"]


async def test_who_asks_too_fast_holds_no_place(autojump_clock):
    admission = Admission(Rates(requests=1.0))
    codes(admission, times=50)
    assert admission.places.in_use == 0


async def test_who_leaves_lets_nobody_in_and_says_so_first(autojump_clock):
    admission = Admission(Rates(requests=1.0), in_flight=1, kept=0)
    assert codes(admission, times=3) == ["in", "in", "RATE_LIMITED"]
    admission.enter(HERE, b"other")
    assert codes(admission) == ["OVERLOADED"]
    admission.draining = True
    refused = admission.enter(HERE, b"", urgent=True)
    assert (refused.code.word, refused.status, refused.code.retryable) == ("DRAINING", 503, True)
    assert refused.retry_after


# -- streams -----------------------------------------------------------------------------------------------------------


async def test_a_device_opens_five_streams_at_once_and_then_one_a_second(autojump_clock):
    admission = Admission(Rates())
    assert codes(admission, stream=True, times=6) == ["in"] * 5 + ["RATE_LIMITED"]
    assert codes(admission) == ["in"]  # and asks for everything else as it likes
    assert codes(admission, device=b"desk-2", stream=True) == ["in"]
    refused = admission.enter(HERE, b"desk-1", stream=True)
    assert refused.retry_after == pytest.approx(1.0)
    await trio.sleep(refused.retry_after)
    assert codes(admission, stream=True, times=2) == ["in", "RATE_LIMITED"]


async def test_streams_have_no_rate_where_it_is_off(autojump_clock):
    assert codes(Admission(Rates(requests=0.0, streams=0.0)), stream=True, times=1_000) == ["in"] * 1_000


async def test_a_storm_of_streams_takes_no_place_from_anybody_else_f26(autojump_clock):
    admission = Admission(Rates(), in_flight=1, kept=0)
    held = [admission.enter(HERE, b"%d" % number, stream=True) for number in range(OPENING)]
    assert all(isinstance(place, BulkheadPermit) for place in held)
    assert codes(admission, device=b"one more", stream=True) == ["OVERLOADED"]
    assert codes(admission) == ["in"]
    held.pop().leave()
    assert codes(admission, device=b"one more", stream=True) == ["in"]


async def test_a_full_house_still_opens_streams(autojump_clock):
    admission = Admission(Rates(), in_flight=1, kept=0)
    admission.enter(HERE, b"other")
    assert [codes(admission), codes(admission, stream=True)] == [["OVERLOADED"], ["in"]]


async def test_no_more_streams_are_open_than_the_process_may_have(autojump_clock):
    admission = Admission(Rates(), streams=2)
    places = [admission.streams.enter() for _ in range(2)]  # as the room holds them
    assert [codes(admission, stream=True), codes(admission)] == [["OVERLOADED"], ["in"]]
    places.pop().leave()
    assert codes(admission, stream=True) == ["in"]


@pytest.mark.parametrize(
    ("rates", "least"), [(Rates(), TRY_AGAIN), (Rates(address=1.0), 0.0)], ids=["no room", "too fast"]
)
async def test_who_is_turned_away_with_his_whole_hotel_comes_back_at_a_moment_of_his_own(autojump_clock, rates, least):
    lots = [number / 100 for number in range(100)]
    waiting = list(lots)
    admission = Admission(rates, streams=1, lot=lambda: waiting.pop(0))
    if rates.address:
        codes(admission, times=2)
    else:
        admission.streams.enter()
    told = [admission.enter(HERE, b"%d" % number, stream=True).retry_after for number in range(100)]
    first = told[0]
    assert first >= least
    assert told == pytest.approx([first + STREAM_AGAIN * lot for lot in lots])


async def test_who_leaves_opens_no_stream(autojump_clock):
    admission = Admission(Rates())
    admission.draining = True
    assert codes(admission, stream=True) == ["DRAINING"]
