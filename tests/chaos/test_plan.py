"""A plan reads what it writes, and whoever wrote a wrong line is told which and why."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.plan import BadPlan, Fault, Plan, Promise, Work, parse_plan, read_plan
from chaos.toxics import Drift, Failover, Hang, Latency, Status

README = """
plan    Pricing hangs while the desks look
owner   front-desk team
lasts   60, then 10 of calm

work    looks desks=6 every=2
fault   pricing hang from 10 until 20     # a comment
fault   redis-session failover lost=2 from 15

always      in-time honest
eventually  whole within 5
"""
PLAN = Plan(
    "Pricing hangs while the desks look",
    "front-desk team",
    60,
    10,
    (Work("looks", (("desks", "6"), ("every", "2"))),),
    (Fault("pricing", Hang(), 10, 20), Fault("redis-session", Failover(lost=2.0), 15)),
    ("in-time", "honest"),
    (Promise("whole", 5),),
)

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,7}", fullmatch=True)
WORDS = st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters="#"), min_size=1, max_size=8)
LINES = st.lists(WORDS, max_size=4).map(" ".join)
TIMES = st.floats(0, 6e5) | st.integers(0, 600) | st.floats(0, 1e-3)
TOXICS = st.one_of(
    st.just(Hang()),
    st.builds(Latency, ms=st.floats(0, 1e9), jitter=st.floats(0, 10), rate=st.floats(0.001, 1)),
    st.builds(Status, code=st.integers(400, 599)),
    st.builds(Drift, field=WORDS.filter(lambda word: word.split() == [word]), missing=st.booleans()),
)


@st.composite
def plans(draw):
    lasts, calm = draw(TIMES.filter(bool)), draw(TIMES.filter(bool))
    begins = st.floats(0, lasts, exclude_max=True)
    targets = WORDS.filter(lambda word: word not in {"from", "until"})
    ends = st.just(math.inf) | st.floats(lasts, 1e6).filter(bool)
    faults = st.builds(Fault, targets, TOXICS, begins, ends)
    sets = st.dictionaries(NAMES, WORDS, max_size=3).map(lambda found: tuple(found.items()))
    return Plan(
        draw(LINES.filter(bool)),
        draw(LINES),
        lasts,
        calm,
        tuple(draw(st.lists(st.builds(Work, NAMES, sets), max_size=3))),
        tuple(draw(st.lists(faults, max_size=3))),
        tuple(draw(st.lists(NAMES, max_size=3))),
        tuple(draw(st.lists(st.builds(Promise, NAMES, st.floats(0, calm)), max_size=3))),
    )


@settings(max_examples=150)
@given(plans())
def test_a_plan_reads_what_it_writes(plan):
    assert parse_plan(str(plan)) == plan


def test_a_plan_as_the_manual_has_it_is_read():
    assert parse_plan(README) == PLAN
    assert parse_plan(README.replace("    ", "\t")) == PLAN, "a tab is a space"


def test_what_is_not_said_is_what_one_would_expect():
    plan = parse_plan("plan x\nlasts 5\nfault pricing hang")
    assert (plan.calm, plan.owner, plan.work) == (10, "", ())
    assert plan.faults == (Fault("pricing", Hang(), 0, math.inf),)


def test_times_are_written_to_the_last_digit_and_never_as_a_power_of_ten():
    written = str(Plan("x", "", 86_400.0, faults=(Fault("a", Hang(), 1e-7, 0.1 + 0.2),)))
    assert "lasts       86400, then 10 of calm" in written
    assert "fault       a hang from 0.0000001 until 0.30000000000000004" in written


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("earthquake", "'earthquake' is not one of plan, owner"),
        ("plan Another", "plan is said twice"),
        ("lasts 5", "lasts is said twice"),
        ("owner", "owner: nothing follows"),
        ("always", "always: nothing follows"),
        ("always In_Time", "'In_Time' is no name"),
        ("work", "'' is no name"),
        ("work looks desks", "'desks' should be name=value"),
        ("work looks desks=", "'desks=' should be name=value"),
        ("work looks a=1 a=2", "set twice"),
        ("work looks A=1", "'A' is no name"),
        ("fault", "it should be like `fault pricing"),
        ("fault pricing", "it should be like `fault pricing"),
        ("fault pricing from 1", "it should be like `fault pricing"),
        ("fault pricing hang from 1 from 2", "it should be like `fault pricing"),
        ("fault pricing hang from", "hang: 'from' is not one of"),
        ("fault pricing hang from soon", "from: 'soon' should be seconds"),
        ("fault pricing hang from -1", "from: '-1' should be seconds"),
        ("fault pricing hang from 1e3", "from: '1e3' should be seconds"),
        ("fault pricing hang from nan", "from: 'nan' should be seconds"),
        ("fault pricing hang until 0", "from 0 until 0 is no time"),
        ("fault pricing hang from 3 until 2", "from 3 until 2 is no time"),
        ("fault pricing hang from 30", "begins after the 30 s that the plan lasts"),
        ("fault pricing earthquake", "no toxic is called 'earthquake'"),
        ("fault pricing status code=200", "code should be from 400 to 599"),
        ("eventually whole", "it should be like `eventually whole within 5`"),
        ("eventually whole within soon", "within: 'soon' should be seconds"),
        ("eventually Whole within 1", "'Whole' is no name"),
        ("eventually whole within 10.5", "the calm is over by then (10 s)"),
    ],
)
def test_a_wrong_line_is_told_in_one_line_with_its_number(line, told):
    with pytest.raises(BadPlan) as caught:
        parse_plan(f"plan x\nlasts 30\n# a drill\n{line}\n")
    message = str(caught.value)
    assert message.startswith("line 4: ") and told in message and "\n" not in message


def test_a_line_that_is_wrong_by_what_comes_after_it_is_told_by_its_own_number():
    with pytest.raises(BadPlan, match=r"^line 2: fault pricing hang from 30: begins after the 30 s"):
        parse_plan("plan x\nfault pricing hang from 30\nlasts 30")
    with pytest.raises(BadPlan, match=r"^line 1: eventually whole within 6: the calm is over"):
        parse_plan("eventually whole within 6\nplan x\nlasts 30, then 5 of calm")


@pytest.mark.parametrize(
    ("lasts", "told"),
    [
        ("", "it should be like `lasts 60`"),
        ("60 then 10", "it should be like `lasts 60`"),
        ("60, then 10", "it should be like `lasts 60`"),
        ("long", "lasts: 'long' should be seconds"),
        ("60, then some of calm", "calm: 'some' should be seconds"),
        ("0", "over 0 and at most a week"),
        ("604801", "over 0 and at most a week"),
        ("60, then 0 of calm", "over 0 and at most a week"),
        ("9" * 400, "over 0 and at most a week"),
    ],
)
def test_a_time_that_no_plan_lasts_is_told_with_its_line(lasts, told):
    with pytest.raises(BadPlan, match=rf"^line 2: .*{re.escape(told)}"):
        parse_plan(f"plan x\nlasts {lasts}")


@pytest.mark.parametrize("text", ["", "plan x", "lasts 5", "# plan x\nlasts 5"])
def test_a_plan_without_a_title_or_an_end_is_none(text):
    with pytest.raises(BadPlan, match="it needs a line `plan TITLE` and a line `lasts SECONDS`"):
        parse_plan(text)


@settings(max_examples=60)
@given(st.text(max_size=60) | st.lists(st.sampled_from(README.split()), max_size=12).map(" ".join))
def test_whatever_is_written_is_read_or_told_in_one_line(text):
    told = "one line"
    try:
        parse_plan("plan x\nlasts 5\n" + text)
    except BadPlan as bad:
        told = str(bad)
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Work("Looks"),
        lambda: Work("looks", (("desks", "6 7"),)),
        lambda: Work("looks", (("desks", ""),)),
        lambda: Work("looks", (("desks", "6"), ("desks", "7"))),
        lambda: Fault("two words", Hang()),
        lambda: Fault("until", Hang()),
        lambda: Fault("a#b", Hang()),
        lambda: Fault("a", Drift(field="x#y")),
        lambda: Fault("a", Hang(), -1),
        lambda: Fault("a", Hang(), math.nan),
        lambda: Promise("whole", -1),
        lambda: Promise("whole", math.nan),
        lambda: Promise("", 1),
        lambda: replace(PLAN, title=""),
        lambda: replace(PLAN, title="two\nlines"),
        lambda: replace(PLAN, title="drill #4"),
        lambda: replace(PLAN, owner=" me"),
        lambda: replace(PLAN, always=("In Time",)),
        lambda: replace(PLAN, lasts=math.inf),
        lambda: replace(PLAN, lasts=math.nan),
        lambda: replace(PLAN, lasts=15),
        lambda: replace(PLAN, calm=4),
    ],
)
def test_a_value_that_could_not_be_written_and_read_cannot_be(make):
    with pytest.raises(BadPlan):
        make()


def test_a_setting_is_a_number_or_what_was_written():
    work = Work("looks", (("desks", "6"), ("pace", "fast")))
    assert (work.number("desks", 1), work.number("every", 2.5), work.text("pace", "slow")) == (6, 2.5, "fast")
    assert work.text("mood", "calm") == "calm"
    with pytest.raises(BadPlan, match="looks pace: 'fast' should be"):
        work.number("pace", 1)


def test_one_fault_less_is_the_same_plan_otherwise():
    first, second = PLAN.faults
    assert PLAN.without(first) == replace(PLAN, faults=(second,))
    twice = replace(PLAN, faults=(first, first))
    assert twice.without(first).faults == (first,)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "drill.plan"
    with pytest.raises(BadPlan, match=r"drill\.plan cannot be read"):
        read_plan(path)
    path.write_bytes(b"\xff")
    with pytest.raises(BadPlan, match=r"drill\.plan cannot be read"):
        read_plan(path)
    path.write_text("plan x\nlasts never", encoding="utf-8")
    with pytest.raises(BadPlan, match=r"drill\.plan: line 2: lasts"):
        read_plan(path)
    path.write_text(README, encoding="utf-8")
    assert read_plan(path) == PLAN
