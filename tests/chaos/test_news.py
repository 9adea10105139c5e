"""What a receptionist reads of what happened: words and names, whatever came."""

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from chaos.hotel.fleet.desk import Seen
from chaos.hotel.fleet.news import CONDITIONS, EVENTS, LONGEST, Happened, News, ended, names_in, words
from chaos.hotel.fleet.screen import MOST_NEWS, screen
from chaos.hotel.fleet.told import Came, Condition, Refetch
from chaos.hotel.fleet.views import WIDGETS

NAMES = {"r-1": "Teresa Gomes", "t-1": "Room 303", "a-1": "The lift stands"}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
DAY = {
    "propertyId": "p",
    "generatedAt": "2015-08-15T08:00:00.000Z",
    "partial": True,
    "deadlineMs": 800,
    "widgets": {name: {"status": "skeleton", "reason": "UPSTREAM_TIMEOUT"} for name in WIDGETS},
}


def came(event, **data):
    return Came("1-1", event, data, 0.0)


def picture(news, width=120, height=50):
    console = Console(width=width, height=height, force_terminal=True, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(screen(Seen(DAY, 0.04), width=width, height=height, news=news))
    return captured.get()


def test_what_has_changed_is_told_by_the_name_that_people_have_for_it():
    told = {
        "Teresa Gomes has checked in": came("board-changed", action="reservation.check-in", changed=["stay:r-1"]),
        "task t-9: housekeeping has moved on": came("board-changed", action="task.transition", changed=["task:t-9"]),
        "The day has changed": came("dashboard-stale", action="one of tomorrow", changed=["stay:r-1"]),
        "Alert: The lift stands": came("alert", id="a-1"),
        "You have been logged out: your desk was stolen": came("force-logout", reason="your desk\x1b was \n stolen"),
        "The house is open again": came("tenant-status", status="active"),
        "Something was missed: everything is looked at anew": Refetch("a gap", 0.0),
        "one-of-tomorrow": came("one-of-tomorrow"),
    }
    for said, what in told.items():
        assert words(what, NAMES) == said


def test_names_are_found_in_what_the_dashboard_shows():
    widgets = {
        "arrivals": {"data": {"items": [{"id": "r-1", "guest": "Teresa Gomes"}, {"id": "r-2"}, "odd"]}},
        "housekeeping": {"data": {"tasks": [{"id": "t-1", "roomNumber": "303"}]}},
        "rates": {"status": "skeleton"},
        "odd": None,
    }
    assert names_in(widgets) == {"r-1": "Teresa Gomes", "t-1": "Room 303"}


def test_a_desk_that_ends_for_good_says_why_and_one_whose_session_is_over_begins_anew():
    assert ended("logged-out", Condition("ended", "stolen")) == "you have been logged out: stolen"
    assert ended("logged-out", None) == "you have been logged out"
    assert "goes on there" in ended("superseded", Condition("ended", "whatever"))
    assert ended("session-over", Condition("ended", "401")) == ""


@settings(max_examples=60)
@given(st.sampled_from([*EVENTS, "other"]), st.dictionaries(st.sampled_from(["action", "changed", "id"]), ANYTHING))
def test_data_of_any_shape_are_one_line_and_no_error(event, data):
    said = words(Came("1-1", event, data, 0.0), NAMES)
    assert said
    assert said.isprintable()
    assert len(said) <= LONGEST


def test_how_a_desk_hears_stands_below_its_day_with_the_newest_first():
    happened = tuple(Happened(f"08:00:0{n}", came("alert", message=f"number {n}")) for n in range(8, -1, -1))
    for state, (mark, _, meaning) in CONDITIONS.items():
        lines = picture(News(Condition(state, "why"), happened)).rstrip("\n").split("\n")[-MOST_NEWS:]
        assert f" {mark} {state}" in lines[0]
        assert f"{meaning}: why" in lines[0]
        assert [line.split("number ")[1].strip() for line in lines[1:]] == ["8", "7", "6", "5"]
    assert picture(None) in picture(News(Condition("live", "")))


def test_where_there_is_one_line_for_it_it_is_the_newest_of_what_happened():
    news = News(Condition("live", ""), (Happened("08:00:01", came("alert", message="newest")),))
    lines = picture(news, 120, len(WIDGETS) + 3).rstrip("\n").split("\n")
    assert "newest" in lines[-1]
    assert "● live" in lines[-1]


@settings(max_examples=40)
@given(st.integers(20, 200), st.integers(10, 80), st.integers(0, 12))
def test_it_fits_the_terminal_however_much_happened(width, height, count):
    happened = tuple(Happened("08:00:00", came("alert", message="x" * 300)) for _ in range(count))
    lines = picture(News(Condition("polling", "why"), happened), width, height).rstrip("\n").split("\n")
    assert len(lines) <= max(height, len(WIDGETS) + 2)
    assert all(len(line) <= width for line in lines)
