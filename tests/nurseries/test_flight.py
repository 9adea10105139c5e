from functools import partial

import trio
import trio.lowlevel
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from nurseries import Failed, Ok, Shed, TimedOut, open_owner, remaining
from nurseries.flight import Flight


async def test_many_wait_and_one_works(autojump_clock):
    worked = []
    got = []

    async def work():
        worked.append(remaining())
        await trio.sleep(1)
        return "keys"

    async with open_owner("flights", bound=4) as owner:
        flight = Flight("jwks", owner)

        async def wait():
            got.append(await flight.join("iam", work, seconds=3))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(wait)
        assert got == [Ok("keys")] * 10
        assert worked == [3]
        await wait()
        assert len(worked) == 2


async def test_a_waiter_s_cancellation_is_its_own(autojump_clock):
    got = []

    async def work():
        await trio.sleep(1)
        return trio.current_time()

    async with open_owner("flights", bound=4) as owner:
        flight = Flight("jwks", owner)

        async def wait(patience):
            with trio.move_on_after(patience):
                got.append(await flight.join("iam", work, seconds=3))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, 0.2)
            nursery.start_soon(wait, 5)
    assert got == [Ok(1.0)]


async def test_the_work_has_a_deadline_of_its_own_and_waiters_learn_of_it(autojump_clock):
    async with open_owner("flights", bound=4) as owner:
        outcome = await Flight("jwks", owner).join("iam", trio.sleep_forever, seconds=2)
        assert outcome == TimedOut(2)
        await trio.testing.wait_all_tasks_blocked()
        assert owner.live == ()


async def test_what_the_work_raises_is_its_waiters_outcome(autojump_clock):
    async def work():
        await trio.lowlevel.checkpoint()
        raise OSError("refused")

    async with open_owner("flights", bound=4) as owner:
        outcome = await Flight("jwks", owner).join("iam", work, seconds=2)
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, OSError)


async def test_a_full_owner_sheds_and_the_next_may_fly(autojump_clock):
    async with open_owner("flights", bound=1) as owner:
        owner.start(trio.sleep, 1, name="other")
        flight = Flight("jwks", owner)
        assert await flight.join("iam", trio.sleep_forever, seconds=1) == Shed("flights holds 1 tasks already")
        await trio.sleep(2)
        assert await flight.join("iam", trio.lowlevel.checkpoint, seconds=1) == Ok(None)


async def test_when_the_owner_is_left_its_waiters_are_told(autojump_clock):
    got = []
    async with trio.open_nursery() as nursery, open_owner("flights", bound=1) as owner:
        flight = Flight("jwks", owner)

        async def wait():
            got.append(await flight.join("iam", trio.sleep_forever, seconds=9))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
    assert got == [Shed("flights was left")]


def deaf(seconds):
    async def work():
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    return work


async def test_work_that_shields_itself_holds_neither_its_waiters_nor_its_key(autojump_clock):
    async with open_owner("flights", bound=4) as owner:
        flight = Flight("jwks", owner)
        assert await flight.join("iam", deaf(50), seconds=2) == TimedOut(2)
        assert trio.current_time() == 2
        assert await flight.join("iam", trio.lowlevel.checkpoint, seconds=2) == Ok(None)
        await trio.sleep(1)
        assert owner.stragglers("jwks") == 1
        await trio.sleep(50)
        assert owner.stragglers("jwks") == 0


async def test_all_waiters_of_work_that_shields_itself_are_let_go_and_it_is_one_straggler(autojump_clock):
    got = []
    async with open_owner("flights", bound=4) as owner:
        flight = Flight("jwks", owner)

        async def wait():
            got.append(await flight.join("iam", deaf(50), seconds=2))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
        assert (got, trio.current_time()) == ([TimedOut(2)] * 3, 2)
        await trio.sleep(1)
        assert owner.stragglers("jwks") == 1


async def test_a_key_whose_waiters_all_left_is_free_again_after_the_work_s_time(autojump_clock):
    async with open_owner("flights", bound=4) as owner:
        flight = Flight("jwks", owner)
        with trio.move_on_after(1):
            await flight.join("iam", deaf(50), seconds=2)
        await trio.sleep(5)
        assert await flight.join("iam", trio.lowlevel.checkpoint, seconds=2) == Ok(None)
        await trio.sleep(1)
        assert owner.stragglers("jwks") == 1


async def test_works_that_do_not_let_go_are_bounded(autojump_clock):
    async with open_owner("flights", bound=9) as owner:
        flight = Flight("jwks", owner, stragglers=2)
        for _ in range(2):
            await flight.join("iam", deaf(50), seconds=2)
        await trio.sleep(1)
        assert await flight.join("iam", deaf(50), seconds=2) == Shed("2 works of jwks did not let go")
        await trio.sleep(100)
        assert await flight.join("iam", trio.lowlevel.checkpoint, seconds=2) == Ok(None)


async def test_the_work_goes_on_when_nobody_waits_so_that_the_next_finds_it_done(autojump_clock):
    began = []

    async def work():
        began.append(trio.current_time())
        await trio.sleep(2)
        return "keys"

    async with open_owner("flights", bound=4) as owner:
        flight = Flight("jwks", owner)
        with trio.move_on_after(1):
            await flight.join("iam", work, seconds=3)
        assert await flight.join("iam", work, seconds=3) == Ok("keys")
        assert trio.current_time() == 2
    assert began == [0]


async def test_two_keys_fly_side_by_side(autojump_clock):
    async with open_owner("flights", bound=4) as owner, trio.open_nursery() as nursery:
        flight = Flight("jwks", owner)

        async def join(key):
            assert await flight.join(key, partial(trio.sleep, 1), seconds=3) == Ok(None)
            assert trio.current_time() == 1

        nursery.start_soon(join, "a")
        nursery.start_soon(join, "b")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(1, 20)), max_size=20))
def test_whoever_comes_and_goes_a_key_is_worked_on_once_at_a_time(simulate, callers):
    async def main():
        working = {}
        async with open_owner("flights", bound=100) as owner:
            flight = Flight("any", owner)

            async def caller(key, start, patience):
                async def work():
                    working[key] = working.get(key, 0) + 1
                    assert working[key] == 1
                    await trio.sleep(0.75)
                    working[key] -= 1
                    return key

                await trio.sleep(start / 10)
                with trio.move_on_after(patience / 10 + 0.01):
                    assert await flight.join(key, work, seconds=5) == Ok(key)

            async with trio.open_nursery() as nursery:
                for who in callers:
                    nursery.start_soon(caller, *who)

    simulate(main)
