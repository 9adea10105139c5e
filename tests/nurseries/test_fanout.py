import contextvars

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from nurseries import Failed, Ok, Shed, StragglerLetGo, TimedOut, fan_out, listening, open_owner, remaining, within
from nurseries.owners import OBEYS_WITHIN


def after(seconds, value="done"):
    async def child():
        await trio.sleep(seconds)
        return value

    return child


def shielded(seconds):
    async def child():
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    return child


async def broken():
    await trio.lowlevel.checkpoint()
    raise OSError("refused")


async def test_each_outcome_is_a_value_in_the_order_of_the_children(autojump_clock):
    async with open_owner("requests", bound=10) as owner:
        outcomes = await fan_out({"c": after(0.1), "a": broken, "b": after(9)}, until=0.8, owner=owner)
        assert list(outcomes) == ["c", "a", "b"]
        assert outcomes["c"] == Ok("done")
        assert isinstance(outcomes["a"], Failed)
        assert isinstance(outcomes["a"].error, OSError)
        assert outcomes["b"] == TimedOut(0.8)


async def test_it_is_left_as_soon_as_the_last_outcome_is_in(autojump_clock):
    async with open_owner("requests", bound=10) as owner:
        await fan_out({"a": after(0.2), "b": after(0.3)}, until=0.8, owner=owner)
        assert trio.current_time() == 0.3


async def test_f33_a_child_that_shields_itself_cannot_hold_the_answer_back(autojump_clock):
    async with open_owner("requests", bound=10) as owner:
        outcomes = await fan_out({"deaf": shielded(10), "good": after(0.1)}, until=0.8, owner=owner)
        assert trio.current_time() == 0.8
        assert outcomes == {"deaf": TimedOut(0.8), "good": Ok("done")}
        assert owner.live == ("fan-out",)
        await trio.sleep(10)
        assert owner.live == ()


async def test_f33_a_child_that_swallows_its_cancellation_cannot_hold_the_answer_back(autojump_clock):
    async def stubborn():
        for _ in range(5):
            with trio.CancelScope() as scope:
                try:
                    await trio.sleep(0.5)
                except trio.Cancelled:
                    scope.shield = True
                    await trio.sleep(0.5)  # noqa: ASYNC102 - the child that does not obey
                    raise
        return "too late"

    async with open_owner("requests", bound=10) as owner:
        outcomes = await fan_out({"stubborn": stubborn}, until=0.8, owner=owner)
        assert trio.current_time() == 0.8
        assert isinstance(outcomes["stubborn"], TimedOut)


async def test_children_see_the_deadline_though_they_live_under_the_owner(autojump_clock):
    async def ask():
        await trio.lowlevel.checkpoint()
        return remaining()

    async with open_owner("requests", bound=10) as owner:
        outcomes = await fan_out({"a": ask}, until=0.8, owner=owner)
        assert outcomes == {"a": Ok(0.8)}


async def test_when_the_caller_is_cancelled_its_children_are_cancelled_and_not_waited_for(autojump_clock):
    told = []

    async def listens():
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            told.append(trio.current_time())
            raise

    async with open_owner("requests", bound=10) as owner:
        with trio.move_on_after(0.3) as scope:
            await fan_out({"a": listens, "deaf": shielded(5)}, until=0.8, owner=owner)
        assert scope.cancelled_caught
        assert trio.current_time() == 0.3
        await trio.testing.wait_all_tasks_blocked()
        assert told == [0.3]


async def test_children_that_do_not_let_go_are_bounded_by_name_and_then_shed(autojump_clock):
    async with open_owner("requests", bound=10) as owner:
        for _ in range(2):
            await fan_out({"deaf": shielded(100)}, until=trio.current_time() + 1, owner=owner, stragglers=2)
        await trio.sleep(2 * OBEYS_WITHIN)
        assert owner.stragglers("deaf") == 2
        outcomes = await fan_out(
            {"deaf": shielded(1), "good": after(0)}, until=trio.current_time() + 1, owner=owner, stragglers=2
        )
        assert outcomes == {"deaf": Shed("2 calls of deaf did not let go"), "good": Ok("done")}
        await trio.sleep(100)
        assert owner.stragglers("deaf") == 0
        again = await fan_out({"deaf": after(0)}, until=trio.current_time() + 1, owner=owner, stragglers=2)
        assert again == {"deaf": Ok("done")}


async def test_those_that_do_not_let_go_are_told_in_the_children_s_order(autojump_clock):
    async with open_owner("requests", bound=10) as owner:
        await fan_out({name: shielded(5) for name in "hotelbar"}, until=1, owner=owner)
        await trio.sleep(1)
        assert list(owner.overstaying) == list("hotelbar")


async def test_many_that_obey_at_the_same_moment_are_not_taken_for_stragglers(autojump_clock):
    results = []

    async def one(owner):
        results.append(await fan_out({"slow": after(9)}, until=1, owner=owner, stragglers=1))
        results.append(await fan_out({"slow": after(0.1)}, until=2, owner=owner, stragglers=1))

    async with open_owner("requests", bound=100) as owner, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one, owner)
    assert results.count({"slow": Ok("done")}) == 20


async def test_an_owner_that_is_full_sheds_all_children(autojump_clock):
    async with open_owner("requests", bound=1) as owner:
        owner.start(trio.sleep_forever, name="other")
        assert await fan_out({"a": after(0)}, until=1, owner=owner) == {"a": Shed("requests holds 1 tasks already")}


async def test_no_children_no_wait(autojump_clock):
    async with open_owner("requests", bound=1) as owner:
        assert await fan_out({}, until=1, owner=owner) == {}
        assert owner.live == ()


async def test_a_child_that_is_late_but_obeys_is_never_counted_however_often_it_is_late(autojump_clock):
    async with open_owner("requests", bound=10) as owner:
        for turn in range(1, 41):
            got = await fan_out({"slow": after(9)}, until=turn, owner=owner)
            assert got == {"slow": TimedOut(1)}
        await trio.sleep(2 * OBEYS_WITHIN)
        assert owner.stragglers("slow") == 0


async def test_when_the_time_is_over_already_no_child_is_begun(autojump_clock):
    begun = []

    async def child():
        begun.append(1)

    await trio.sleep(3)
    async with open_owner("requests", bound=10) as owner:
        assert await fan_out({"a": child}, until=3, owner=owner) == {"a": TimedOut(0)}
        await trio.testing.wait_all_tasks_blocked()
    assert begun == []


async def test_a_caller_that_is_cancelled_already_begins_no_child(autojump_clock):
    begun = []

    async def child():
        begun.append(1)

    async with open_owner("requests", bound=10) as owner:
        with trio.CancelScope() as scope:
            scope.cancel()
            await fan_out({"a": child}, until=3, owner=owner)
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert owner.live == ()
        assert owner.overstaying == {}
    assert begun == []


async def test_nothing_is_begun_for_a_caller_that_leaves_in_the_moment_it_asks(autojump_clock):
    begun = []

    async def child():
        begun.append(1)

    async def request(owner, scope):
        with scope:
            await fan_out({"a": child}, until=3, owner=owner)
            begun.clear()  # it was not cancelled in time: then the child may begin

    async def cancels(scope):
        scope.cancel()

    async with open_owner("requests", bound=100) as owner:
        for _ in range(60):  # Trio runs what is ready in any order: sixty times, and each order has come
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(request, owner, scope)
                nursery.start_soon(cancels, scope)
        await trio.sleep(1)
        assert (begun, owner.live, owner.overstaying) == ([], (), {})


async def test_children_believe_in_the_caller_s_deadline_where_it_is_earlier(autojump_clock):
    async def ask():
        return remaining()

    async with open_owner("requests", bound=10) as owner:
        with within(0.5):
            assert await fan_out({"a": ask}, until=0.8, owner=owner) == {"a": Ok(0.5)}


async def test_children_that_end_with_their_owner_are_shed_and_the_caller_does_not_wait(autojump_clock):
    async with trio.open_nursery() as nursery, open_owner("requests", bound=10) as owner:
        got = []

        async def request():
            got.append(await fan_out({"good": after(0), "slow": after(9)}, until=8, owner=owner))

        nursery.start_soon(request)
        await trio.sleep(1)
        owner.cancel()
        await trio.sleep(1)
        assert got == [{"good": Ok("done"), "slow": Shed("requests was left")}]
        assert await fan_out({"a": after(0)}, until=8, owner=owner) == {"a": Shed("requests is being left")}


async def test_an_error_beside_a_cancellation_is_told_and_ends_neither_the_answer_nor_the_owner(autojump_clock):
    async def fails_when_told_to_stop():
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("while it was cleaning up")

    async def both():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_when_told_to_stop)
            nursery.start_soon(trio.sleep_forever)

    async with open_owner("requests", bound=10) as owner:
        assert await fan_out({"a": both, "b": after(0)}, until=1, owner=owner) == {"a": TimedOut(1), "b": Ok("done")}
        await trio.sleep(1)
        assert owner.last_error == "OSError: while it was cleaning up"
        assert owner.live == ()


async def test_a_group_of_errors_is_an_outcome_like_any_error(autojump_clock):
    async def two():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broken)
            nursery.start_soon(broken)

    async with open_owner("requests", bound=10) as owner:
        outcomes = await fan_out({"a": two}, until=1, owner=owner)
    assert isinstance(outcomes["a"], Failed)
    assert isinstance(outcomes["a"].error, ExceptionGroup)


async def test_what_is_no_error_travels_by_way_of_the_owner(autojump_clock):
    async def interrupted():
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    with pytest.RaisesGroup(pytest.RaisesGroup(KeyboardInterrupt)):
        async with open_owner("requests", bound=10) as owner:
            await fan_out({"a": interrupted, "b": after(9)}, until=9, owner=owner)
            await trio.sleep_forever()
    assert trio.current_time() == 0


async def test_children_inherit_the_caller_s_context_variables(autojump_clock):
    request = contextvars.ContextVar("request")

    async def ask():
        return request.get()

    async with open_owner("requests", bound=10) as owner:
        request.set("r-1")
        assert await fan_out({"a": ask}, until=1, owner=owner) == {"a": Ok("r-1")}


async def test_a_failure_after_the_time_is_over_is_told_to_nobody_s_answer_and_harms_no_neighbour(autojump_clock):
    facts = []

    async def late_and_broken():
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        raise OSError("late")

    with listening(facts.append):
        async with open_owner("requests", bound=2) as owner:
            assert await fan_out({"a": late_and_broken}, until=1, owner=owner) == {"a": TimedOut(1)}
            await trio.sleep(5)
            assert owner.live == ()
    assert facts == [StragglerLetGo("requests", "a", 1)]


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.tuples(st.sampled_from(["ok", "fail", "deaf"]), st.integers(0, 20)),
        max_size=8,
    ),
    st.integers(1, 20),
)
def test_whatever_the_children_do_the_caller_leaves_with_the_last_outcome_or_at_the_deadline(
    simulate, plan, sixteenths
):
    until = sixteenths / 16 + 1 / 32  # sixteenths: floats add them exactly

    def child(kind, delay):
        async def work():
            with trio.CancelScope(shield=kind == "deaf"):
                await trio.sleep(delay / 16)
            if kind == "fail":
                raise OSError
            return kind

        return work

    async def main():
        async with open_owner("requests", bound=10) as owner:
            outcomes = await fan_out({n: child(*what) for n, what in plan.items()}, until=until, owner=owner)
            ends = max((delay / 16 for _, delay in plan.values()), default=0)
            assert trio.current_time() == min(until, ends)
            for name, (kind, delay) in plan.items():
                expected = TimedOut if delay / 16 > until else Failed if kind == "fail" else Ok
                assert isinstance(outcomes[name], expected)

    simulate(main)


async def test_a_process_held_up_past_both_deadlines_still_has_the_outcomes_f33(mock_clock):
    """A stall lets the fan-out's time and its caller's own pass in one moment: what is in is given, not thrown away."""
    async with open_owner("test", bound=8) as owner:

        async def quick():
            return 1

        async def stalls():
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(5)
            await trio.sleep_forever()

        with within(1) as caller:
            outcomes = await fan_out({"quick": quick, "stalls": stalls}, until=trio.current_time() + 0.9, owner=owner)
            assert outcomes["quick"] == Ok(1)
            assert isinstance(outcomes["stalls"], TimedOut)
        assert not caller.cancelled_caught


async def test_who_is_cancelled_before_the_time_is_over_is_cancelled(mock_clock):
    async with open_owner("test", bound=8) as owner:

        async def stalls():
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(0.5)
            await trio.sleep_forever()

        with within(0.5) as caller:
            await fan_out({"stalls": stalls}, until=trio.current_time() + 0.9, owner=owner)
        assert caller.cancelled_caught
