import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from nurseries import Failed, Ok, Shed, TimedOut, fan_out, listening, open_owner, remaining
from nurseries.owners import OBEYS_WITHIN, OwnedTaskFailed


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
    assert not [fact for fact in facts if isinstance(fact, OwnedTaskFailed)]


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.tuples(st.sampled_from(["ok", "fail", "deaf"]), st.integers(0, 20)),
        max_size=8,
    ),
    st.integers(1, 20),
)
def test_whatever_the_children_do_the_caller_leaves_with_the_last_outcome_or_at_the_deadline(plan, tenths):
    until = tenths / 10 + 0.05

    def child(kind, delay):
        async def work():
            with trio.CancelScope(shield=kind == "deaf"):
                await trio.sleep(delay / 10)
            if kind == "fail":
                raise OSError
            return kind

        return work

    async def main():
        async with open_owner("requests", bound=10) as owner:
            outcomes = await fan_out({n: child(*what) for n, what in plan.items()}, until=until, owner=owner)
            ends = max((delay / 10 for _, delay in plan.values()), default=0)
            assert trio.current_time() == pytest.approx(min(until, ends), abs=1e-9)
            assert trio.current_time() <= until
            for name, (kind, delay) in plan.items():
                expected = TimedOut if delay / 10 > until else Failed if kind == "fail" else Ok
                assert isinstance(outcomes[name], expected)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
