"""What is shrunk still breaks, and with any one thing less it does not."""

import math
from dataclasses import replace

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.choices import Drawn, Replayed
from chaos.plan import BadPlan, Fault, Plan, Promise, Work, parse_plan
from chaos.shrink import fewest, shrink_plan, shrink_schedule
from chaos.sim.clock import simulate
from chaos.toxics import Down, Hang

PLAN = parse_plan("""
plan        Everything at once
lasts       600, then 60 of calm
work        looks desks=6 every=2.5
work        charges desks=40
fault       pricing hang from 10 until 200
fault       iam down
fault       stay latency ms=5 from 123.456 until 456.789
fault       stay reset from 7
always      in-time honest
eventually  whole within 5
eventually  settled within 30
""")


def found_in(plan, target):
    return [fault for fault in plan.faults if fault.target == target]


@st.composite
def questions(draw):
    """Any question of which the answer for everything is yes: sets of which one has to be there; or a mere count."""
    most = draw(st.integers(0, 20))
    sets = draw(st.lists(st.frozensets(st.integers(0, most)), max_size=4)) or [frozenset()]
    modulo = draw(st.none() | st.integers(1, 3))

    def breaks(items):
        if modulo is not None and (len(items) - most - 1) % modulo:
            return False
        return any(needed <= set(items) for needed in sets)

    return tuple(range(most + 1)), breaks


@given(questions())
def test_the_fewest_still_break_in_their_order_and_not_with_any_one_less(question):
    items, breaks = question
    left = fewest(items, breaks, most=10_000)
    assert breaks(left) and list(left) == sorted(left)
    for at in range(len(left)):
        assert not breaks(left[:at] + left[at + 1 :])


@given(questions(), st.integers(1, 40))
def test_no_more_is_asked_than_was_allowed_nothing_twice_and_the_answer_breaks(question, most):
    items, breaks = question
    asked = []

    def counted(subset):
        asked.append(subset)
        return breaks(subset)

    left = fewest(items, counted, most=most)
    assert breaks(left)
    assert len(asked) <= most and len(set(asked)) == len(asked)


def test_two_of_a_thousand_are_found_in_a_few_tries():
    asked = []
    assert fewest(range(1000), lambda kept: asked.append(0) or {17, 940} <= set(kept), most=100) == (17, 940)


def test_equal_items_are_told_apart_by_their_place():
    assert fewest("aabab", lambda kept: kept.count("b") == 2) == ("b", "b")


def test_what_can_only_go_after_another_has_gone_goes_too():
    def breaks(kept):
        return {"c", "d"} <= set(kept) and ("b" not in kept or "a" in kept)

    assert fewest("acbd", breaks) == ("c", "d")


def test_nothing_is_left_where_nothing_is_needed():
    assert fewest("abc", lambda kept: True) == ()
    assert fewest((), lambda kept: True) == ()


def test_what_does_not_break_cannot_be_shrunk():
    with pytest.raises(ValueError, match="does not break"):
        fewest("abc", lambda kept: False)
    with pytest.raises(ValueError, match="does not break"):
        shrink_schedule([1, 2], lambda record: False)
    with pytest.raises(ValueError, match="does not break"):
        shrink_plan(PLAN, lambda plan: False)


@given(st.lists(st.integers(0, 3), max_size=25), st.sets(st.integers(0, 24), max_size=4))
def test_a_schedule_keeps_the_fewest_decisions_in_their_places(record, needed):
    kept = {at for at in needed if at < len(record) and record[at]}

    def breaks(schedule):
        return all(at < len(schedule) and schedule[at] == record[at] for at in kept)

    left = shrink_schedule(record, breaks)
    assert left == tuple(record[at] if at in kept else 0 for at in range(max(kept, default=-1) + 1))


def test_a_race_is_shrunk_to_the_decisions_that_make_it():
    async def racing():
        order = []

        async def one(name):
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                order.append(name)

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(one, name)
        return "".join(order)

    def breaks(record):
        order = simulate(racing, choices=Replayed(record))
        return order.index("c") < order.index("a")

    assert not breaks(())
    drawn = next(run for run in map(_drawn(racing), range(50)) if breaks(run.taken) and sum(map(bool, run.taken)) > 3)
    left = shrink_schedule(drawn.taken, breaks)
    assert breaks(left) and left[-1]
    assert sum(map(bool, left)) == 1, "one task goes ahead of another"


def _drawn(main):
    def run(seed):
        choices = Drawn(seed)
        simulate(main, choices=choices)
        return choices

    return run


def test_a_plan_is_shrunk_to_what_a_person_sees_at_once():
    def breaks(plan):
        """Twenty seconds of a hanging pricing, with three desks that charge."""
        desks = sum(work.number("desks", 0) for work in plan.work if work.word == "charges")
        long = [fault for fault in found_in(plan, "pricing") if min(fault.ends, plan.lasts) - fault.begins >= 20]
        return bool(long) and desks >= 3

    assert str(shrink_plan(PLAN, breaks)) == (
        "plan        Everything at once\n"
        "lasts       20, then 0.001 of calm\n"
        "work        charges desks=3\n"
        "fault       pricing hang from 0\n"
    )


def test_a_fault_that_must_come_and_go_keeps_the_narrowest_round_time():
    def breaks(plan):
        return any(fault.begins <= 123.6 and 124.02 < fault.ends < plan.lasts for fault in found_in(plan, "stay"))

    (fault,) = shrink_plan(PLAN, breaks).faults
    assert (fault.begins, fault.ends) == (123.6, 124.03)


def test_times_are_said_as_coarsely_as_the_interval_is_wide():
    def breaks(plan):
        return any(fault.begins <= 33.3333 and min(fault.ends, plan.lasts) >= 177.7777 for fault in plan.faults)

    plan = shrink_plan(replace(PLAN, faults=(Fault("a", Hang(), 1.2345, 456.789),)), breaks)
    assert (plan.faults[0].begins, plan.faults[0].ends) == (30.0, math.inf), "33.3 says no more of 150 seconds"
    assert plan.lasts in (178.0, 179.0, 180.0)


def test_what_the_checks_need_is_kept_and_the_rest_of_them_is_not():
    plan = shrink_plan(PLAN, lambda plan: Promise("settled", 30) in plan.eventually and "honest" in plan.always)
    assert (plan.always, plan.eventually) == (("honest",), (Promise("settled", 30),))
    assert plan.calm == 30.0 and plan.faults == () and plan.work == ()


def test_a_setting_becomes_one_where_one_is_enough_and_what_is_no_whole_number_stays():
    plan = shrink_plan(PLAN, lambda plan: any(work.word == "looks" for work in plan.work))
    assert plan.work == (Work("looks", (("desks", "1"), ("every", "2.5"))),)


def test_a_plan_that_cannot_be_does_not_break():
    def breaks(plan):
        if len(plan.faults) == 1:
            raise BadPlan("this stage wants two")
        return bool(found_in(plan, "iam"))

    plan = shrink_plan(PLAN, breaks)
    assert len(plan.faults) == 2 and found_in(plan, "iam")


def test_another_error_of_the_question_is_the_asker_s():
    with pytest.raises(ZeroDivisionError):
        shrink_plan(PLAN, lambda plan: 1 / 0)


FAULTS = st.builds(
    Fault,
    st.sampled_from(["pricing", "iam", "stay"]),
    st.sampled_from([Hang(), Down()]),
    st.floats(0, 50).map(lambda seconds: round(seconds, 2)),
    st.just(math.inf) | st.floats(51, 120).map(lambda seconds: round(seconds, 2)),
)
PLANS = st.builds(
    Plan,
    st.just("x"),
    st.just(""),
    st.sampled_from([60.0, 100.0, 77.77]),
    work=st.lists(st.integers(1, 9).map(lambda desks: Work("looks", (("desks", str(desks)),))), max_size=3).map(tuple),
    faults=st.lists(FAULTS, min_size=1, max_size=4).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(PLANS, st.sets(st.sampled_from(["pricing", "iam", "stay"]), max_size=2), st.floats(0, 60), st.integers(0, 9))
def test_any_shrunk_plan_breaks_and_not_with_any_one_fault_or_work_less(plan, targets, at, desks):
    def breaks(tried):
        there = {fault.target for fault in tried.faults if fault.begins <= at < min(fault.ends, tried.lasts)}
        return targets <= there and sum(work.number("desks", 0) for work in tried.work) >= desks

    if not breaks(plan):
        return
    left = shrink_plan(plan, breaks, most=2000)
    assert breaks(left)
    assert parse_plan(str(left)) == left and left.lasts <= plan.lasts
    assert not any(breaks(left.without(fault)) for fault in left.faults)
    for gone in range(len(left.work)):
        assert not breaks(replace(left, work=left.work[:gone] + left.work[gone + 1 :]))


@pytest.mark.parametrize("most", [1, 2, 7, 30, 100])
def test_the_smallest_so_far_is_the_answer_when_the_tries_are_used_up(most):
    asked = []

    def breaks(plan):
        asked.append(plan)
        return bool(found_in(plan, "pricing"))

    left = shrink_plan(PLAN, breaks, most=most)
    assert found_in(left, "pricing") and len(asked) <= most
    assert len(set(asked)) == len(asked)
