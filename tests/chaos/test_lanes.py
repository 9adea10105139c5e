import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.history import CHECKS, FAULTS, Finding, Moment
from chaos.lanes import (
    Bar,
    Lane,
    Level,
    about,
    bars,
    calm_at,
    checks,
    clock,
    column,
    figure,
    lanes,
    legend,
    marks,
    printable,
    printable_lines,
    replay,
    span,
    ticks,
    verdict,
)
from chaos.record import Record

SECONDS = st.floats(0, 700_000)


def a_record(*moments, seconds=70.0, findings=(), **changes):
    facts = {
        "name": "pricing-hangs",
        "title": "Pricing hangs",
        "owner": "front-desk team",
        "date": "2026-02-03T14:05:09.123Z",
        "where": "virtual",
        "seed": 7,
        "digest": "9f3c1e0b77aa42d1",
        "plan": "",
        "figures": {},
        "skipped": (),
        "backlog": (),
    }
    return Record(**{**facts, **changes}, seconds=seconds, findings=tuple(findings), moments=tuple(moments))


def fault(at, word, said="pricing hang"):
    target, _, toxic = said.partition(" ")
    return Moment(at, FAULTS, word, said, data={"target": target, "toxic": toxic})


CALM = Moment(60.0, FAULTS, "calm")


def test_a_fault_is_a_bar_from_its_beginning_to_its_end():
    run = a_record(fault(10.0, "begins"), fault(20.0, "ends"), CALM)
    assert bars(run) == (Bar("pricing hang", 10.0, 20.0),)


def test_a_fault_that_nobody_ended_lasts_until_the_calm():
    assert bars(a_record(fault(48.0, "begins", "postgres kill"), CALM)) == (Bar("postgres kill", 48.0, 60.0),)


def test_without_a_calm_a_fault_that_nobody_ended_is_still_there_at_the_end():
    assert bars(a_record(fault(10.0, "begins"))) == (Bar("pricing hang", 10.0, 70.0, still=True),)


def test_a_failover_is_over_by_itself():
    said = "redis-session failover lost=0.5 takes=4"
    assert bars(a_record(fault(15.0, "begins", said), CALM)) == (Bar(said, 15.0, 19.0),)
    assert bars(a_record(fault(58.0, "begins", said), CALM))[0].ends == 60.0


def test_the_same_fault_twice_is_two_bars_and_the_first_to_begin_is_the_first_to_end():
    run = a_record(fault(1.0, "begins"), fault(2.0, "begins"), fault(3.0, "ends"), fault(9.0, "ends"), CALM)
    assert [(bar.begins, bar.ends) for bar in bars(run)] == [(1.0, 3.0), (2.0, 9.0)]


def test_a_fault_that_could_not_be_done_takes_no_time():
    assert bars(a_record(fault(5.0, "skipped", "postgres stop: not here"), CALM))[0].skipped


def test_lanes_are_in_the_order_of_their_numbers_and_have_neither_faults_nor_checks():
    names = ["thief", "desk-10", "desk-2", FAULTS, CHECKS, "desk-1"]
    assert [lane.name for lane in lanes(a_record(*(Moment(1.0, name, "x") for name in names)))] == [
        *("desk-1", "desk-2", "desk-10"),
        "thief",
    ]


def test_many_desks_are_folded_into_one_lane_with_all_their_moments_in_order():
    desks = [Moment(float(50 - number), f"desk-{number}", "whole") for number in range(1, 51)]
    folded, thief = lanes(a_record(*desks, Moment(1.0, "thief", "refused")))
    assert (folded.name, thief.name) == ("desks 1-50", "thief")
    assert [moment.at for moment in folded.moments] == [float(second) for second in range(50)]


def test_a_folded_lane_with_gaps_says_how_many_there_are():
    some = [Moment(1.0, f"desk-{number}", "whole") for number in range(1, 40, 2)]
    assert [lane.name for lane in lanes(a_record(*some))] == ["desks 1-39 (20)"]


def test_twelve_lanes_are_left_as_they_are():
    assert len(lanes(a_record(*(Moment(1.0, f"desk-{number}", "whole") for number in range(12))))) == 12


@given(st.lists(st.from_regex(r"[a-c](-[0-9]{1,3})?", fullmatch=True), max_size=60), st.integers(1, 12))
def test_whatever_their_names_there_are_few_lanes_and_no_moment_is_lost(names, most):
    run = a_record(*(Moment(float(at), name, "x") for at, name in enumerate(names)))
    shown = lanes(run, most)
    assert len(shown) <= most
    assert sorted(moment.at for lane in shown for moment in lane.moments) == [moment.at for moment in run.moments]


def test_of_several_moments_in_a_column_the_worst_shows_and_of_equals_the_first():
    seen = [Moment(1.0, "a", "whole", good=True), Moment(1.2, "a", "refused", good=False), Moment(1.1, "a", "partial")]
    later = [Moment(9.0, "a", "whole", good=True), Moment(9.5, "a", "partial"), Moment(9.1, "a", "odd")]
    first, second = marks(Lane("a", (*seen, *later)), 10.0, 5)
    assert (first.column, first.worst.word, first.count, first.level) == (0, "refused", 3, Level.BAD)
    assert (second.column, second.worst.word, second.count, second.level) == (4, "odd", 3, Level.NEITHER)


@given(SECONDS, SECONDS.filter(bool), st.integers(1, 300))
def test_every_moment_of_a_run_has_a_column(at, whole, columns):
    assert 0 <= column(min(at, whole), whole, columns) < columns
    assert column(0.0, whole, columns) == 0
    assert column(whole, whole, columns) == columns - 1


def test_a_finding_is_among_the_checks_even_where_its_moment_was_not_kept():
    run = a_record(Moment(61.0, CHECKS, "whole", good=True), findings=[Finding(16.0, "honest", "503 for a read")])
    assert [(one.at, one.word, one.good) for one in checks(run).moments] == [
        (16.0, "honest", False),
        (61.0, "whole", True),
    ]


def test_a_finding_whose_moment_was_kept_is_there_once():
    kept = Moment(16.0, CHECKS, "honest", "503 for a read", good=False)
    assert len(checks(a_record(kept, findings=[Finding(16.0, "honest", "503 for a read")])).moments) == 1


def test_the_timeline_spans_what_happened():
    assert span(a_record(Moment(71.5, "a", "x"))) == 71.5
    assert span(a_record(findings=[Finding(80.0, "heal", "late")])) == 80.0
    assert span(a_record(seconds=0.0)) == 1.0
    assert calm_at(a_record(CALM)) == 60.0 and calm_at(a_record()) is None


@given(st.floats(0.001, 700_000), st.integers(2, 20))
def test_ticks_are_from_the_beginning_apart_by_one_step_and_within_the_run(whole, most):
    there = ticks(whole, most)
    assert there[0] == 0 and there[-1] <= whole and len(there) <= most + 1
    assert len(there) > most // 3  # no step is over three times the next smaller one
    assert list(there) == sorted(set(there))


def test_ticks_are_round():
    assert ticks(0.3, 3) == (0, 0.1, 0.2, 0.3)
    assert ticks(70.0, 8) == (0, 10, 20, 30, 40, 50, 60, 70)
    assert ticks(3600.0, 8) == (0, 600, 1200, 1800, 2400, 3000, 3600)


def test_a_tick_is_said_in_seconds_and_on_a_long_timeline_in_minutes_and_hours():
    assert (clock(0.5, 2.0), clock(30, 70.0), clock(90, 900.0), clock(5400, 7200.0)) == (
        "0.5s",
        "30s",
        "1:30",
        "1:30:00",
    )


def test_the_legend_says_whose_word_it_is_where_a_word_is_good_for_one_and_bad_for_another():
    desk = Lane("desk-1", (Moment(1.0, "desk-1", "whole", good=True), Moment(2.0, "desk-1", "refused", good=False)))
    thief = Lane("thief", (Moment(3.0, "thief", "refused", good=True),))
    assert legend([desk, thief]) == [(Level.GOOD, "refused (thief), whole"), (Level.BAD, "refused (desk)")]


def test_the_legend_of_many_words_is_short():
    words = Lane("a", tuple(Moment(1.0, "a", word) for word in string.ascii_lowercase))
    assert legend([words]) == [(Level.NEITHER, "a, b, c, d, …")]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.0, "0"), (1234567, "1,234,567"), (82.4, "82.4"), (0.137, "0.137"), (0.00012, "0.00012")],
)
def test_a_figure_is_short_and_says_no_less_than_three_digits(value, text):
    assert figure(value) == text


def test_a_figure_in_words_is_left_as_it_is_and_one_that_is_no_number_says_so():
    assert (figure("14 of 14"), figure(float("inf")), figure(float("nan"))) == ("14 of 14", "inf", "nan")


@given(st.text())
def test_what_is_printable_is_one_line_without_control_characters(text):
    said = printable(text)
    assert said.isprintable() and said.splitlines() in ([], [said])
    assert all(line.isprintable() for line in printable_lines(text))


def test_an_escape_sequence_reaches_no_terminal():
    assert printable("red \x1b[31malert\nand more") == "red \ufffd[31malert and more"


def test_a_verdict_counts():
    one = Finding(1.0, "honest", "no")
    assert [verdict([one] * many) for many in (0, 1, 2)] == ["held", "broken, 1 finding", "broken, 2 findings"]


def test_who_when_where_and_how_long_in_a_line():
    assert about(a_record()) == [
        *("front-desk team", "2026-02-03 14:05:09Z", "virtual, seed 7", "70 s"),
        "trace 9f3c1e0b77aa",
    ]
    assert about(a_record(owner="", where="live", seed=None, digest="")) == ["2026-02-03 14:05:09Z", "live", "70 s"]


def test_a_virtual_run_is_replayed_by_one_command_and_a_live_one_by_none():
    assert replay(a_record()) == ["bff gameday run pricing-hangs --virtual --seed 7"]
    assert replay(a_record(name="my plan.txt")) == ["bff gameday run 'my plan.txt' --virtual --seed 7"]
    assert replay(a_record(given="/there/my.plan")) == ["bff gameday run /there/my.plan --virtual --seed 7"]
    assert replay(a_record(where="live", seed=None)) == []


def test_a_run_that_broke_a_promise_is_shrunk_before_it_is_replayed():
    broken = a_record(findings=[Finding(16.0, "honest", "503 for a read")])
    assert replay(broken) == ["bff gameday shrink pricing-hangs --seed 7", *replay(a_record())]
