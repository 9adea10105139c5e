"""Where an answer changes is found to the microsecond; what the probes do not see is missed, and said so."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chaos.frontier import Edge, NoFrontier, frontier


def test_the_edge_says_whether_the_deadline_itself_is_still_inside():
    assert frontier(lambda at: at < 0.8, 0.0, 2.0) == (Edge(0.799999, 0.8, before=True, after=False),)
    assert frontier(lambda at: at <= 0.8, 0.0, 2.0) == (Edge(0.8, 0.800001, before=True, after=False),)


def test_an_answer_that_never_changes_has_no_edge_and_costs_the_probes_alone():
    asked = []
    assert frontier(lambda at: asked.append(at), 0.0, 1.4, probes=8) == ()
    assert asked == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4], abs=1e-6)
    assert asked[0] == 0.0 and asked[-1] == 1.4


def test_several_edges_that_the_probes_separate_are_found_in_the_order_of_time():
    def answer(at):
        return "fine" if at < 0.4 else "stale" if at < 1.1 else "skeleton" if at < 1.6 else "fine"

    edges = frontier(answer, 0.0, 2.0)
    assert [(edge.first, edge.before, edge.after) for edge in edges] == [
        (0.4, "fine", "stale"),
        (1.1, "stale", "skeleton"),
        (1.6, "skeleton", "fine"),
    ]


def test_a_third_answer_between_two_probes_is_met_on_both_sides():
    def answer(at):
        return "before" if at < 0.3 else "between" if at < 0.6 else "after"

    assert [edge.first for edge in frontier(answer, 0.0, 1.0, probes=2)] == [0.3, 0.6]


def test_an_island_between_two_probes_is_missed_and_found_by_more_of_them():
    def answer(at):
        return 0.50 <= at < 0.52

    assert frontier(answer, 0.0, 1.0, probes=8) == ()
    assert [edge.first for edge in frontier(answer, 0.0, 1.0, probes=101)] == [0.5, 0.52]


@given(st.floats(0, 100), st.floats(0.001, 100), st.floats(0, 1), st.sampled_from([1e-6, 1e-3, 0.5, 7.0]))
@example(0.1, 0.7, 0.5, 1e-6)
@example(16.136563193922335, 0.001, 0.0, 0.001)
def test_an_edge_is_one_step_wide_and_true_on_both_sides(low, span, part, resolution):
    high = low + span
    edge_at = low + part * span
    asked = []

    def answer(at):
        asked.append(at)
        return at >= edge_at

    edges = frontier(answer, low, high, resolution=resolution)
    assert all(low <= at <= high for at in asked) and len(set(asked)) == len(asked) <= 8 + 28
    if answer(low) == answer(high):
        assert edges == ()
        return
    (edge,) = edges
    assert (edge.before, edge.after) == (False, True)
    assert edge.last < edge_at <= edge.first
    assert edge.first - edge.last <= resolution + math.ulp(high) * 2


def test_a_time_is_a_decimal_that_can_be_written_into_a_plan():
    (edge,) = frontier(lambda at: at >= 1 / 3, 0.0, 1.0)
    assert (repr(edge.last), repr(edge.first)) == ("0.333333", "0.333334")


def test_the_interval_is_kept_to_where_it_is_no_whole_number_of_steps():
    asked = []
    frontier(lambda at: asked.append(at), 0.0, 1.0, resolution=0.3)
    assert asked == [0.0, 0.3, 0.6, 0.9, 1.0]


def test_an_answer_that_changes_everywhere_has_no_frontier():
    with pytest.raises(NoFrontier, match="more than 256 edges"):
        frontier(lambda at: at, 0.0, 1.0)


@pytest.mark.parametrize(
    ("low", "high", "resolution", "probes"),
    [(1, 1, 1e-6, 8), (2, 1, 1e-6, 8), (0, math.inf, 1e-6, 8), (math.nan, 1, 1e-6, 8), (0, 1, 0, 8), (0, 1, 1e-6, 1)],
)
def test_what_is_no_interval_is_refused_before_anything_is_asked(low, high, resolution, probes):
    with pytest.raises(ValueError, match=r"no interval|two probes"):
        frontier(lambda at: pytest.fail("it was asked"), low, high, resolution=resolution, probes=probes)
