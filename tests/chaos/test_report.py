import re
from dataclasses import replace

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from trio.testing import MockClock

from chaos.history import CHECKS, FAULTS, Finding, Moment
from chaos.plan import parse_plan
from chaos.play import Cast, play
from chaos.record import Record
from chaos.report import listing, report

PLAN = """\
plan    Pricing hangs while the desks look
owner   front-desk team
lasts   60, then 10 of calm

work    looks desks=3 every=2
work    thief every=5
fault   pricing hang from 10 until 20
fault   redis-session failover lost=0.5 from 15

always      honest
eventually  whole within 5
"""


class Estate:
    """What is broken, and since when."""

    def __init__(self):
        self.wrong = {}

    async def inject(self, target, toxic):
        self.wrong[target] = trio.current_time()

    async def clear(self, target, toxic=None):
        self.wrong = {} if target is None else {name: at for name, at in self.wrong.items() if name != target}

    def failing_over(self):
        return trio.current_time() < self.wrong.get("redis-session", -9.0) + 2.0


async def looks(estate, history, work):
    async with trio.open_nursery() as desks:
        for number in range(int(work.number("desks", 3))):
            desks.start_soon(look, estate, history, f"desk-{number + 1}", number * 0.3 % 2)


async def look(estate, history, desk, after):
    await trio.sleep(after)
    history.note(desk, "signed-in", good=True)
    while True:
        if estate.failing_over() and desk != "desk-3":
            history.note(desk, "refused", "503 SESSION_TIER_DOWN", good=False)
        elif "pricing" in estate.wrong:
            history.note(desk, "partial", "rateSnapshot: UPSTREAM_TIMEOUT", took=0.766)
        else:
            history.note(desk, "whole", "14 of 14 widgets", good=True, took=0.08)
        await trio.sleep(2)


async def thief(estate, history, work):
    while True:
        await trio.sleep(work.number("every", 5))
        history.note("thief", "refused", "401 DPOP_REPLAYED", good=True)


def honest():
    def judge(moment):
        wrong = moment.lane == "desk-2" and moment.word == "refused" and 16 < moment.at < 17
        return "desk-2 was told [503] for a read" if wrong else None

    return judge


def whole(history):
    return "" if any(one.word == "whole" and one.at > history.calm_at for one in history.moments) else "nobody saw all"


CAST = Cast({"looks": looks, "thief": thief}, {"honest": honest}, {"whole": whole})


def a_run(text=PLAN, **changes):
    plan = parse_plan(text)
    played = trio.run(play, plan, Estate(), CAST, clock=MockClock(autojump_threshold=0))
    run = Record(
        name="pricing-hangs",
        title=plan.title,
        owner=plan.owner,
        date="2026-02-03T14:05:09Z",
        where="virtual",
        seed=7,
        digest="9f3c1e0b77aa42d1",
        plan=str(plan),
        seconds=70.0,
        figures={"whole": 95, "partial": 13, "dashboard p95 ms": 766.25},
        findings=played.findings,
        skipped=("postgres stop from 5: only where there is a process",),
        backlog=("Reads fall back direct while the tier fails over",),
        moments=played.moments,
    )
    return replace(run, **changes)


def shown(picture, width):
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(picture)
    return [line.rstrip() for line in captured.get().splitlines()]


def row(lines, name):
    return next(line for line in lines if line.startswith(f" {name} "))


@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_run_fits_its_terminal_and_ends_with_the_command_that_replays_it(width):
    lines = shown(report(a_run(), width=width), width)
    assert max(map(cell_len, lines)) <= width
    assert lines[-1].strip() == "bff gameday run pricing-hangs --virtual --seed 7"


def test_a_live_run_has_no_command_that_would_replay_it():
    lines = shown(report(a_run(where="live", seed=None), width=100), 100)
    assert not any("gameday run" in line for line in lines)
    assert "live" in lines[1]


def test_the_head_says_what_was_played_and_how_it_came_out():
    lines = shown(report(a_run(), width=100), 100)
    assert lines[0].split("  ")[0].strip() == "Pricing hangs while the desks look"
    assert lines[0].endswith("✗ broken, 1 finding")
    assert all(word in lines[1] for word in ("front-desk team", "2026-02-03 14:05:09Z", "virtual, seed 7", "70 s"))
    assert shown(report(a_run(findings=()), width=100), 100)[0].endswith("● held")


def test_the_plan_is_there_line_by_line():
    run = a_run()
    lines = [line.strip() for line in shown(report(run, width=100), 100)]
    assert [line[2:] for line in lines if line.startswith("│ ")] == run.plan.splitlines()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_without_colour_a_desk_s_marks_stand_under_the_faults_that_made_them(width):
    lines = shown(report(a_run(), width=width), width)
    axis = next(line for line in lines if "├" in line)
    begins, ends = (axis.index(tick) for tick in "├╪")
    columns = (ends - begins) / 60
    desk = row(lines, "desk-1")
    marks = {(at - begins) / columns: mark for at, mark in enumerate(desk) if mark in "●◐✗"}
    hanging = "".join(mark for at, mark in marks.items() if 11 < at < 19)
    assert re.fullmatch("◐+✗+◐*", hanging)
    assert {mark for at, mark in marks.items() if at < 9 or at > 21} == {"●"}
    bar = row(lines, "faults")
    first = bar.index("┣")
    assert abs((first - begins) / columns - 10) < 1 and abs((bar.index("┫") - begins) / columns - 20) < 1


def test_a_refused_thief_is_a_good_mark_and_the_legend_tells_it_from_a_refused_desk():
    lines = shown(report(a_run(), width=160), 160)
    assert set(row(lines, "thief")) & set("●◐✗") == {"●"}
    assert any("● came true, refused (thief)" in line and "✗ a finding, refused (desk)" in line for line in lines)


def test_the_lane_of_checks_has_the_finding_and_what_came_true_in_the_calm():
    lines = shown(report(a_run(), width=100), 100)
    axis, found = next(line for line in lines if "├" in line), row(lines, "checks")
    assert [mark for mark in found if mark in "●◐✗"] == ["✗", "●"]
    assert found.index("●") >= axis.index("╪") > found.index("✗")
    assert " calm " in axis


def test_a_finding_says_when_which_promise_and_what():
    lines = shown(report(a_run(), width=100), 100)
    assert any(re.fullmatch(r" +✗ 16\.\d{3} s +honest +desk-2 was told \[503\] for a read", line) for line in lines)


def test_of_many_findings_the_first_are_shown_and_the_rest_counted():
    many = tuple(Finding(float(at), "honest", f"no {at}") for at in range(60))
    lines = shown(report(a_run(findings=many), width=100), 100)
    assert any(line.endswith("no 19") for line in lines) and not any(line.endswith("no 20") for line in lines)
    assert any("and 40 more" in line for line in lines)


def test_figures_what_was_left_out_and_what_is_to_be_done_are_listed():
    text = "\n".join(shown(report(a_run(), width=100), 100))
    assert re.search(r"dashboard p95 ms +766\.25", text) and re.search(r"whole +95", text)
    assert "⊘ postgres stop from 5: only where there is a process" in text
    assert "□ Reads fall back direct while the tier fails over" in text


def test_fifty_desks_are_one_lane_in_which_the_worst_shows():
    lines = shown(report(a_run(PLAN.replace("desks=3", "desks=50")), width=100), 100)
    assert not any(line.startswith(" desk-") for line in lines)
    assert {"●", "◐", "✗"} <= set(row(lines, "desks 1-50"))


def test_many_faults_are_counted_where_there_is_no_room_for_them():
    begun = [Moment(float(at), FAULTS, "begins", f"service-{at} hang") for at in range(30)]
    lines = shown(report(a_run(moments=tuple(begun)), width=80), 80)
    drawn = sum("hang" in line and "┣" in line for line in lines)
    assert drawn == 10
    assert any("20 more faults" in line for line in lines)


def test_words_that_have_no_room_in_their_bar_stand_beside_it_whole():
    late = [Moment(68.0, FAULTS, "begins", "reservation latency ms=300 jitter=50")]
    lines = shown(report(a_run(moments=tuple(late)), width=80), 80)
    assert row(lines, "faults").endswith("reservation latency ms=300 jitter=50 ┣▶")


def test_a_run_of_nothing_has_a_report_too():
    empty = a_run(moments=(), findings=(), figures={}, skipped=(), backlog=(), plan="", seconds=0.0, owner="")
    assert "● held" in shown(report(empty, width=80), 80)[0]


def test_the_last_tick_is_said_too():
    for width in (100, 160):
        lines = shown(report(a_run(), width=width), width)
        axis = next(at for at, line in enumerate(lines) if "├" in line)
        assert lines[axis + 1].split() == ["0s", "10s", "20s", "30s", "40s", "50s", "60s", "70s"]


TEXT = st.text(max_size=30) | st.sampled_from(["\x1b[2Jgone\x07", "[bold]no markup[/]", "[/]", "日本語" * 9])
MOMENTS = st.builds(
    Moment,
    at=st.floats(0, 100),
    lane=st.sampled_from([FAULTS, CHECKS, "desk-1", "日本"]) | TEXT,
    word=st.sampled_from(["begins", "ends", "calm", "skipped"]) | TEXT,
    text=TEXT,
    good=st.none() | st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(MOMENTS, max_size=20), TEXT, st.integers(60, 160))
def test_whatever_was_written_nothing_leaves_the_terminal_s_width_or_steers_it(moments, text, width):
    run = a_record_of(tuple(moments), text)
    lines = shown(report(run, width=width), width)
    assert max(map(cell_len, lines)) <= width
    assert not any("\x1b" in line or "\x07" in line for line in lines)


def a_record_of(moments, text):
    return Record(
        name="x",
        title=text,
        owner=text,
        date=text,
        where="virtual",
        seed=1,
        digest="",
        plan=text,
        seconds=70.0,
        figures={text: text},
        findings=(Finding(1.0, text, text),),
        skipped=(text,),
        backlog=(text,),
        moments=moments,
    )


def test_a_listing_of_nothing_says_what_to_do():
    assert "No game-day has been played yet" in shown(listing([]), 80)[0]


def test_a_listing_has_a_row_for_each_run():
    runs = [a_run(findings=(), backlog=()), a_run(date="2026-02-04T09:00:00Z", where="live", seed=None)]
    lines = [line.split() for line in shown(listing(runs), 120)]
    first, second = (line for line in lines if line[:1] in (["2026-02-03"], ["2026-02-04"]))
    assert first[1:] == ["14:05", "pricing-hangs", "virtual", "7", "●", "held", "front-desk", "team", "–"]
    assert second[1:] == [
        *("09:00", "pricing-hangs", "live", "–", "✗", "1", "finding"),
        *("front-desk", "team", "1"),
    ]


def test_a_listing_fits_a_narrow_terminal():
    lines = shown(listing([a_run(name="dpop-replay-attempt"), a_run(name="plans/of-mine/" * 4)]), 80)
    assert max(map(cell_len, lines)) <= 80
    for name in ("dpop-replay-attempt", "plans/of-mine/plans…"):
        assert any("2026-02-03" in line and name in line and "✗ 1 finding" in line for line in lines)


def test_what_is_to_be_done_is_open_until_a_later_run_says_it_no_more():
    before = a_run(backlog=("Fall back direct", "Alert sooner"))
    after = a_run(date="2026-02-05T10:00:00Z", backlog=("Alert sooner",))
    text = "\n".join(shown(listing([before, after]), 100))
    assert text.count("Alert sooner") == 1 and "Fall back direct" not in text
    assert "Fall back direct" in "\n".join(shown(listing([before, replace(after, name="another")]), 100))
    assert "Nothing is left to do" in "\n".join(shown(listing([before, replace(after, backlog=())]), 100))
