import math

import pytest
import trio

from nurseries import (
    DetachedCutOff,
    Unbounded,
    detached,
    listening,
    open_owner,
    remaining,
    required,
    reserve,
    until,
    within,
)


async def test_no_deadline_means_infinitely_much_remains(autojump_clock):
    assert remaining() == math.inf


async def test_an_inner_scope_can_only_shorten_the_outer_one(autojump_clock):
    with within(2):
        with within(5):
            assert remaining() == 2
        with until(trio.current_time() + 1):
            assert remaining() == 1


async def test_an_infinite_duration_keeps_the_deadline_around_it(autojump_clock):
    with within(2), within(math.inf):
        assert remaining() == 2


async def test_a_scope_is_left_at_its_deadline_and_says_so(autojump_clock):
    with within(0.8) as scope:
        await trio.sleep(10)
    assert scope.cancelled_caught
    assert trio.current_time() == 0.8


async def test_the_reserve_leaves_time_to_say_what_failed(autojump_clock):
    with within(0.8):
        with reserve(0.05) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        assert remaining() == pytest.approx(0.05)


async def test_a_reserve_without_a_deadline_to_keep_a_part_of_is_refused(autojump_clock):
    with pytest.raises(Unbounded):
        reserve(0.05)


async def test_f33_a_network_await_without_a_deadline_raises_the_first_time_it_runs(autojump_clock):
    with pytest.raises(Unbounded, match="redis: no deadline"):
        required("redis")
    with within(3):
        assert required("redis") == 3


async def test_a_cancelled_scope_has_nothing_left(autojump_clock):
    with within(3) as scope:
        scope.cancel()
        assert remaining() == -math.inf


@pytest.mark.parametrize("scope", [within, until])
async def test_a_time_that_is_not_a_number_is_refused(autojump_clock, scope):
    with pytest.raises(ValueError, match="NaN"):
        scope(math.nan)


async def test_detached_work_outlives_its_request_but_not_its_own_deadline(autojump_clock):
    left = []
    ended = trio.Event()

    async def audit():
        left.append(remaining())
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    facts = []
    with listening(facts.append):
        async with open_owner("background", bound=4) as owner:
            with within(0.1):
                detached("audit outcome", owner, audit, seconds=5)
                assert owner.live == ("audit outcome",)
            await ended.wait()
            await trio.testing.wait_all_tasks_blocked()
    assert left == [5]
    assert trio.current_time() == 5
    assert facts == [DetachedCutOff("audit outcome", 5)]


async def test_detached_work_that_is_done_in_time_tells_nothing(autojump_clock):
    facts = []
    with listening(facts.append):
        async with open_owner("background", bound=4) as owner:
            detached("audit outcome", owner, trio.lowlevel.checkpoint, seconds=5)
            await trio.sleep(1)
            assert owner.live == ()
    assert facts == []


async def test_work_cannot_be_detached_from_every_deadline(autojump_clock):
    async with open_owner("background", bound=4) as owner:
        with pytest.raises(Unbounded, match="audit outcome: detached work needs a deadline of its own"):
            detached("audit outcome", owner, trio.sleep_forever, seconds=math.inf)
