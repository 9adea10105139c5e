import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from nurseries import Backoff, RetryBudget, RetryDenied, Unbounded, listening, retry, within
from nurseries.retry import SLOTS

PAUSES = Backoff(first=0.125, most=0.5)


class Asked:
    """Answers one word after the other, the last for ever, each after `seconds`; keeps when it was asked."""

    def __init__(self, *words, seconds=0.0):
        self.words = words
        self.seconds = seconds
        self.times = []

    async def __call__(self):
        self.times.append(trio.current_time())
        await trio.sleep(self.seconds)
        return self.words[min(len(self.times), len(self.words)) - 1]


async def tried(asked, *, budget=None, attempts=3, jitter=0.0, least=0.05):
    return await retry(
        asked,
        again=lambda word: word != "good",
        budget=budget or RetryBudget(),
        backoff=PAUSES,
        jitter=lambda: jitter,
        attempts=attempts,
        least=least,
    )


async def test_a_good_result_is_given_at_once(autojump_clock):
    with within(2):
        assert await tried(asked := Asked("good")) == "good"
    assert asked.times == [0]


async def test_another_attempt_is_made_after_each_pause_until_the_result_is_good(autojump_clock):
    with within(2):
        assert await tried(asked := Asked("bad", "worse", "good")) == "good"
    assert asked.times == [0, 0.125, 0.375]


async def test_jitter_makes_a_pause_shorter(autojump_clock):
    with within(2):
        await tried(asked := Asked("bad", "good"), jitter=0.5)
    assert asked.times == [0, 0.09375]


async def test_after_the_last_attempt_its_result_stands_without_a_pause_or_a_withdrawal(autojump_clock):
    budget = RetryBudget(floor=0.3)
    with within(2):
        assert await tried(asked := Asked("bad", "worse", "worst", "good"), budget=budget) == "worst"
    assert asked.times == [0, 0.125, 0.375]
    assert trio.current_time() == 0.375
    assert budget.withdraw()
    assert not budget.withdraw()


async def test_one_attempt_is_no_retry(autojump_clock):
    with within(2):
        assert await tried(asked := Asked("bad"), attempts=1) == "bad"
    assert asked.times == [0]


async def test_each_result_is_judged_once(autojump_clock):
    judged = []

    def again(word):
        judged.append(word)
        return True

    with within(2):
        await retry(
            Asked("a", "b", "c"), again=again, budget=RetryBudget(), backoff=PAUSES, jitter=lambda: 0.0, attempts=3
        )
    assert judged == ["a", "b", "c"]


async def test_with_an_empty_budget_the_last_result_stands_and_that_is_a_fact(autojump_clock):
    facts = []
    with listening(facts.append), within(2):
        assert await tried(asked := Asked("bad", "good"), budget=RetryBudget("iam", floor=0)) == "bad"
    assert asked.times == [0]
    assert trio.current_time() == 0
    assert facts == [RetryDenied("iam")]


async def test_in_an_outage_what_is_added_to_the_load_is_what_the_successes_before_it_paid_for(autojump_clock):
    budget = RetryBudget(ratio=0.1, floor=0)
    with within(9):
        for _ in range(200):
            await tried(Asked("good"), budget=budget)
        outage = [Asked("bad") for _ in range(300)]
        for asked in outage:
            await tried(asked, budget=budget)
    assert sum(len(asked.times) for asked in outage) == 300 + 20


async def test_a_pause_that_would_leave_too_little_time_is_not_begun(autojump_clock):
    budget = RetryBudget(floor=0.1)
    with within(0.17):
        assert await tried(asked := Asked("bad", "good"), budget=budget) == "bad"
        assert trio.current_time() == 0
    assert asked.times == [0]
    assert budget.withdraw(), "a retry that was not made has cost nothing"


async def test_an_attempt_is_made_where_just_enough_time_is_left(autojump_clock):
    with within(0.1875):
        assert await tried(asked := Asked("bad", "good"), least=0.0625) == "good"
    assert asked.times == [0, 0.125]


async def test_no_attempt_begins_when_the_time_has_become_too_short_in_the_pause(autojump_clock):
    asked = Asked("bad", "good")
    got = []

    async def caller(scope):
        with scope:
            got.append(await tried(asked))

    async with trio.open_nursery() as nursery:
        scope = within(2)
        nursery.start_soon(caller, scope)
        await trio.sleep(0.1)
        scope.deadline = 0.15
    assert got == ["bad"]
    assert (asked.times, trio.current_time()) == ([0], 0.125)


async def test_what_the_work_raises_travels_at_once(autojump_clock):
    times = []

    async def breaks():
        times.append(trio.current_time())
        raise OSError("refused")

    with within(2), pytest.raises(OSError, match="refused"):
        await tried(breaks)
    assert times == [0]


async def test_a_cancellation_in_a_pause_travels(autojump_clock):
    asked = Asked("bad")
    scope = within(2)

    async def cancels():
        await trio.sleep(0.0625)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancels)
        with scope:
            await tried(asked)
            pytest.fail("the cancellation was swallowed")
    assert (asked.times, trio.current_time()) == ([0], 0.0625)


async def test_f33_without_a_deadline_there_is_no_total_to_stay_inside_of(autojump_clock):
    asked = Asked("good")
    with pytest.raises(Unbounded):
        await tried(asked)
    assert asked.times == []


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 5),
    st.integers(0, 12),
    st.integers(1, 32),
    st.integers(1, 5),
    st.integers(0, 5),
)
def test_however_long_attempts_take_none_begins_too_late_and_none_is_left_out(
    simulate, bad, takes, total, attempts, paid
):
    async def main():
        asked = Asked(*["bad"] * bad, "good", seconds=takes / 16)
        deadline = total / 16 + 1 / 32
        with within(deadline) as scope:
            await retry(
                asked,
                again=lambda word: word == "bad",
                budget=RetryBudget(floor=paid, window=1),
                backoff=PAUSES,
                jitter=lambda: 0.0,
                attempts=attempts,
                least=1 / 16,
            )
        expected, now = [0.0], takes / 16
        for pause in (0.125, 0.25, 0.5, 0.5):
            over = len(expected) in (bad + 1, attempts, paid + 1)
            if over or now + pause + 1 / 16 > deadline:
                break
            expected.append(now + pause)
            now += pause + takes / 16
        assert asked.times == expected
        assert trio.current_time() == min(now, deadline)
        assert scope.cancelled_caught == (now > deadline)

    simulate(main)


async def test_a_budget_begins_with_the_floor_of_a_whole_window(autojump_clock):
    budget = RetryBudget(floor=0.5, window=10)
    assert [budget.withdraw() for _ in range(6)] == [True] * 5 + [False]


async def test_ten_successes_pay_for_one_retry(autojump_clock):
    budget = RetryBudget(ratio=0.1, floor=0)
    for _ in range(9):
        budget.deposit()
    assert not budget.withdraw()
    budget.deposit()
    assert budget.withdraw()
    assert not budget.withdraw()


async def test_what_is_spent_comes_back_with_the_window_and_what_was_saved_is_lost_with_it(autojump_clock):
    budget = RetryBudget(ratio=1, floor=0.1, window=10)
    assert budget.withdraw()
    budget.deposit()
    await trio.sleep(11)
    assert budget.withdraw(), "the floor's one, come back"
    assert not budget.withdraw(), "what was saved in a calm hour is not spent in one bad second"


async def test_what_was_spent_at_the_end_of_a_tenth_comes_back_no_sooner_than_after_a_window(autojump_clock):
    budget = RetryBudget(floor=0.1, window=10)
    await trio.sleep(0.75)
    assert budget.withdraw()
    await trio.sleep(9.5)
    assert not budget.withdraw()
    await trio.sleep(0.75)
    assert budget.withdraw()


async def test_a_budget_keeps_sums_and_no_calls(autojump_clock):
    budget = RetryBudget(window=10)
    for _ in range(500):
        budget.deposit()
        await trio.sleep(0.25)
    assert len(budget._slots) == SLOTS + 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["deposit", "withdraw", "withdraw"]) | st.integers(1, 44), max_size=80),
    st.sampled_from([0, 0.125, 0.5, 1]),
    st.sampled_from([0, 0.125, 1]),
)
def test_in_any_window_no_more_is_taken_out_than_was_put_in_and_nothing_is_refused_that_was(
    simulate, steps, ratio, floor
):
    window, tenth = 10.0, 1.0

    async def main():
        budget = RetryBudget(ratio=ratio, floor=floor, window=window)
        deposits, retries = [], []

        def since(times, seconds):
            return sum(1 for when in times if when > trio.current_time() - seconds)

        for step in steps:
            if step == "withdraw":
                if budget.withdraw():
                    retries.append(trio.current_time())
                    put_in = floor * window + ratio * since(deposits, window + tenth)
                    assert since(retries, window) <= put_in
                else:
                    put_in = floor * window + ratio * since(deposits, window)
                    assert since(retries, window + tenth) + 1 > put_in
            elif step == "deposit":
                budget.deposit()
                deposits.append(trio.current_time())
            else:
                await trio.sleep(step / 4)

    simulate(main)
