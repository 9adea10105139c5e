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


async def test_a_probe_whose_permit_was_lost_keeps_the_place_no_longer_than_the_breaker_was_open(autojump_clock):
    breaker = Breaker("pricing", RULE)
    fail(breaker, 3)
    await trio.sleep(5)
    lost = breaker.admit()
    await trio.sleep(4.9)
    assert breaker.admit() is None
    await trio.sleep(0.2)
    probe = breaker.admit()
    assert probe is not None
    lost.ok()
    assert breaker.state is State.HALF_OPEN, "the verdict of a lost probe is not the next one's"
    probe.ok()
    assert breaker.state is State.CLOSED


class Model:
    """The rule once more, as plainly as it can be said: all calls since the last turn are kept and looked at anew."""

    def __init__(self, rule):
        self.rule = rule
        self.state, self.turns, self.since = "closed", 0, 0
        self.verdicts, self.probe, self.probed = [], None, 0
        self.born, self.judged = [], set()

    def turn(self, state, now):
        self.state, self.turns, self.since, self.verdicts, self.probe = state, self.turns + 1, now, [], None

    def admit(self, now):
        if self.state == "open" and now >= self.since + self.rule.open_for:
            self.turn("half-open", now)
        free = self.probe is None or now >= self.probed + self.rule.open_for
        if self.state == "open" or (self.state == "half-open" and not free):
            return None
        self.born.append(self.turns)
        if self.state == "half-open":
            self.probe, self.probed = len(self.born) - 1, now
        return len(self.born) - 1

    def judge(self, now, call, verdict):
        if call in self.judged:
            return
        self.judged.add(call)
        if call == self.probe:
            self.probe = None
            if verdict != "ignored":
                self.turn("closed" if verdict == "ok" else "open", now)
        elif verdict != "ignored" and self.state == "closed" and self.born[call] == self.turns:
            self.verdicts.append((now, verdict == "failed"))
            self.look(now)

    def look(self, now):
        row = [bad for _, bad in self.verdicts][-self.rule.consecutive :]
        recent = [bad for when, bad in self.verdicts if when > now - self.rule.window]
        too_many = len(recent) >= self.rule.volume and sum(recent) >= self.rule.ratio * len(recent)
        if (len(row) == self.rule.consecutive and all(row)) or (recent[-1] and too_many):
            self.turn("open", now)


VERDICTS = st.sampled_from(["ok", "failed", "failed", "ignored"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), VERDICTS | st.none()),
        st.tuples(st.just("call"), st.just("failed")),
        st.tuples(st.just("judge"), st.integers(0, 60), VERDICTS),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 2.5, 5, 11])),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_in_any_order_of_calls_verdicts_and_pauses_it_does_what_its_rule_says(simulate, steps):
    async def main():
        breaker, model, permits = Breaker("any", RULE), Model(RULE), []
        for what, *how in steps:
            now = trio.current_time()
            if what == "wait":
                await trio.sleep(how[0])
            elif what == "judge" and permits:
                call = how[0] % len(permits)
                getattr(permits[call], how[1])()
                model.judge(now, call, how[1])
            elif what == "call":
                permit, call = breaker.admit(), model.admit(now)
                assert (permit is None) == (call is None)
                if permit is not None:
                    permits.append(permit)
                    if how[0]:
                        getattr(permit, how[0])()
                        model.judge(now, call, how[0])
            due = model.state == "open" and trio.current_time() >= model.since + RULE.open_for
            assert breaker.state.value == ("half-open" if due else model.state)
            assert (breaker.retry_after > 0) == (breaker.state is State.OPEN)

    simulate(main)
