"""The judge of what desks heard: silent while all is well, and what is wrong it names."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chaos.hotel.checks.streams import Heard, Posted, judge_streams
from chaos.hotel.fleet.told import Came, Condition, Refetch

DESKS = ("desk-1", "desk-2", "desk-3")


def came(name, at=0.0):
    return Came(name, "alert", {}, at)


@st.composite
def runs(draw):
    """Posted events, each a second after the last; what each desk hears; and one desk that hears two at least."""
    reaches = draw(st.lists(st.sets(st.sampled_from(DESKS)), min_size=3, max_size=12))
    reaches[0], reaches[-1] = reaches[0] | {"desk-1"}, reaches[-1] | {"desk-1"}
    posted = [Posted(f"e-{at}", who, float(at)) for at, who in enumerate(reaches)]
    heard = {desk: [came(one.name, one.at) for one in posted if desk in one.reaches] for desk in DESKS}
    desk = draw(st.sampled_from([desk for desk in DESKS if len(heard[desk]) > 1]))
    return posted, heard, desk


def judged(posted, heard):
    judge_streams(posted, {desk: Heard(told) for desk, told in heard.items()})


@settings(max_examples=30)
@given(runs(), st.data())
def test_what_is_dropped_doubled_swapped_or_foreign_is_named_with_its_desk(run, data):
    posted, heard, desk = run
    judged(posted, heard)
    told = heard[desk]
    at = data.draw(st.integers(0, len(told) - 2))
    one, after = told[at], told[at + 1]
    wrongs = {
        "is missing": [*told[:at], *told[at + 1 :]],
        "comes twice": [*told, one],
        f"{one.id} is missing before {after.id}": [*told[:at], after, one, *told[at + 2 :]],
        "ghost was never posted": [*told[:at], came("ghost"), *told[at:]],
    }
    foreign = [thing.name for thing in posted if desk not in thing.reaches]
    if foreign:
        wrongs[f"{foreign[0]} is not for it"] = [*told[:at], came(foreign[0]), *told[at:]]
    for words, wrong in wrongs.items():
        with pytest.raises(AssertionError, match=rf"^{desk}: (e-\d+ )?{words}"):
            judged(posted, {**heard, desk: wrong})


@settings(max_examples=30)
@given(runs(), st.data())
def test_a_gap_is_excused_by_being_told_to_fetch_anew_after_it_and_by_nothing_else(run, data):
    posted, heard, desk = run
    told = heard[desk]
    at = data.draw(st.integers(0, len(told) - 1))
    rest = [told[:at], told[at + 1 :]]
    judged(posted, {**heard, desk: [*rest[0], Refetch("reset", at=told[at].at), *rest[1]]})
    other = data.draw(st.sampled_from(["too early", "no refetch", "elsewhere"]))
    between = [Condition("offline"), Refetch("reset", at=told[at].at - 0.5), Condition("live")]
    if other == "no refetch":
        between = [between[0], between[2]]
    elif other == "elsewhere":
        assume(rest[1])
        between, rest[1] = [], [*rest[1], Refetch("reset", at=99.0)]
    with pytest.raises(AssertionError, match=f"^{desk}: {told[at].id} is missing"):
        judged(posted, {**heard, desk: [*rest[0], *between, *rest[1]]})


def test_a_swap_across_a_reset_is_late_and_one_who_came_later_knows_nothing_of_before():
    posted = [Posted(f"e-{at}", {"desk-1"}) for at in range(4)]
    judge_streams(posted, {"desk-1": Heard([came("e-1"), came("e-2")], first=1, last=3)})
    for told, why in (
        ([came("e-1"), Refetch("reset"), came("e-3"), came("e-2")], "e-2 comes late"),
        ([came("e-0")], "e-0 was posted before it listened"),
        ([came("e-1"), came("e-2")], "e-3 is missing at the end"),
    ):
        with pytest.raises(AssertionError, match=f"^desk-1: {why}$"):
            judge_streams(posted, {"desk-1": Heard(told, first=1)})


def test_names_are_the_callers():
    posted = [Posted("one", {"desk-1"}), Posted("two", {"desk-1"})]
    told = [Came("x-1", "alert", {"n": "one"}, 0.0), Came("x-2", "alert", {"n": "two"}, 0.0)]
    judge_streams(posted, {"desk-1": Heard(told)}, named=lambda one: one.data["n"])
    with pytest.raises(ValueError, match="two events of one name"):
        judge_streams([posted[0], posted[0]], {})
