"""What the process remembers of proofs, and for how long; that it never accepts one twice, whatever the clock does."""

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.facts import WindowFull
from bff.gate.proof import WINDOW
from bff.gate.replay import MOST_SLICES, ReplayWindow, Verdict
from nurseries import listening

NOW = 1_440_000_000.0
FRESH, SEEN, FULL = Verdict


def test_a_proof_is_fresh_once_and_seen_from_then_on():
    window = ReplayWindow()
    assert window.claim("k", "j", NOW) is FRESH
    assert window.claim("k", "j", NOW) is SEEN
    assert window.claim("k", "j", NOW + 2 * WINDOW) is SEEN


def test_the_same_jti_of_another_key_is_another_proof():
    window = ReplayWindow()
    assert [window.claim(key, "j", NOW) for key in ("k", "l")] == [FRESH, FRESH]


def test_no_two_pairs_of_key_and_jti_are_taken_for_each_other():
    window = ReplayWindow()
    pairs = [("k", "lj"), ("kl", "j"), ("k", "l\0j"), ("k", "\0"), ("k", ""), ("k", "\ud800")]
    assert [window.claim(*pair, NOW) for pair in pairs] == [FRESH] * len(pairs)


def test_what_cannot_hold_any_more_is_forgotten_and_gives_its_memory_back():
    window = ReplayWindow()
    for i in range(1000):
        window.claim("k", str(i), NOW + i)
    assert len(window) <= 1.25 * window.keep + 1
    assert window.claim("k", "999", NOW + 1000 + 2 * window.keep) is FRESH
    assert len(window) == 1


async def test_full_it_refuses_what_is_new_and_says_so_and_still_knows_what_it_has_seen():
    window, told = ReplayWindow(bound=2), []
    with listening(told.append):
        assert [window.claim("k", jti, NOW) for jti in "abca"] == [FRESH, FRESH, FULL, SEEN]
    assert told == [WindowFull(2)]
    assert window.claim("k", "c", NOW + 2 * window.keep) is FRESH


async def test_of_many_claims_of_one_proof_at_once_exactly_one_is_fresh():
    window, verdicts = ReplayWindow(), []

    async def claim():
        await trio.lowlevel.checkpoint()
        verdicts.append(window.claim("k", "j", NOW))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(claim)
    assert sorted(verdict.name for verdict in verdicts) == ["FRESH"] + 99 * ["SEEN"]


def test_a_clock_set_back_a_little_costs_nothing():
    window = ReplayWindow()
    for i in range(300):
        window.claim("k", str(i), NOW + i)
    assert window.claim("k", "next", NOW + 299 - 4) is FRESH


def test_a_clock_set_back_behind_what_is_forgotten_makes_the_window_refuse_until_it_has_caught_up():
    window = ReplayWindow()
    assert window.claim("k", "stolen", NOW) is FRESH
    assert window.claim("k", "later", NOW + 200) is FRESH  # and `stolen` is forgotten
    assert window.claim("k", "stolen", NOW + 50) is FULL  # it would hold again
    assert window.claim("k", "later", NOW + 50) is SEEN
    assert window.claim("k", "new", NOW + 2 * WINDOW) is FULL
    assert window.claim("k", "new", NOW + 2 * WINDOW + 0.001) is FRESH


def test_a_clock_that_leapt_a_year_and_came_back_is_forgiven_in_two_windows():
    window = ReplayWindow()
    window.claim("k", "a", NOW)
    window.claim("k", "b", NOW + 365 * 86_400)
    assert window.claim("k", "a", NOW + 1) is FULL
    assert window.claim("k", "c", NOW + 2 * WINDOW + 1) is FRESH
    for i in range(1000):
        assert window.claim("k", str(i), NOW + 200 + i) is FRESH
    assert len(window) < 200


def test_a_clock_that_jumps_about_makes_no_endless_row_of_slices():
    window = ReplayWindow()
    verdicts = {window.claim("k", str(i), NOW + 16 * (i % 4) * (-1) ** i) for i in range(1000)}
    assert verdicts == {FRESH}
    assert len(window._slices) == MOST_SLICES


Step = st.tuples(
    st.one_of(st.just(0.0), st.floats(0, 70), st.sampled_from([15.625, 60.0, 125.0, 156.25, 1000.0])),
    st.integers(0, 7),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(Step, max_size=60))
def test_while_the_clock_goes_on_it_agrees_with_a_plain_list_of_times(steps):
    window, accepted, now = ReplayWindow(), {}, NOW
    for passed, jti in steps:
        now += passed
        verdict = window.claim("k", str(jti), now)
        since = now - accepted.get(jti, -1e12)
        if since <= window.keep:
            assert verdict is SEEN
        elif since > window.keep * 1.25 + 0.001:
            assert verdict is FRESH
        if verdict is FRESH:
            accepted[jti] = now
    assert len(window) <= len(accepted)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.floats(-400, 400), st.integers(0, 9)), max_size=80), st.integers(0, 2**32))
def test_wherever_the_clock_is_set_no_proof_is_accepted_twice(steps, seed):
    """Ten proofs made within 100 s, each presented wherever the clock says that it holds."""
    window, accepted, now = ReplayWindow(), set(), NOW
    made = {jti: NOW + (seed >> jti) % 100 for jti in range(10)}
    for step, jti in steps:
        now += step
        if abs(made[jti] - now) > WINDOW:
            now = made[jti] + WINDOW * (step / 400)  # a thief is patient: he waits until it holds
        if window.claim("k", str(jti), now) is FRESH:
            assert jti not in accepted
            accepted.add(jti)
