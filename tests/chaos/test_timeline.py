from dataclasses import replace
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.history import CHECKS, FAULTS, Finding, Moment
from chaos.lanes import printable
from chaos.record import Record
from chaos.timeline import page

SVG = "{http://www.w3.org/2000/svg}"
HTML = "{http://www.w3.org/1999/xhtml}"
DRAWN = {"svg", "defs", "circle", "g", "path", "rect", "line", "text", "title", "use"}
WRITTEN = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "div", "p", "section", "span"),
    *("table", "tr", "td", "pre", "b", "code", "ul", "li"),
}


def fault(at, word, target, toxic):
    return Moment(at, FAULTS, word, f"{target} {toxic}", data={"target": target, "toxic": toxic})


def a_desk(number):
    yield Moment(0.3 * number, f"desk-{number}", "signed-in", good=True)
    for second in range(2, 70, 2):
        at = second + 0.3 * number
        if 15 <= at < 17 and number < 3:
            yield Moment(at, f"desk-{number}", "refused", "503 <SESSION_TIER_DOWN>", good=False, took=0.02)
        elif 10 <= at < 20:
            yield Moment(at, f"desk-{number}", "partial", "rateSnapshot: UPSTREAM_TIMEOUT", took=0.766)
        else:
            yield Moment(at, f"desk-{number}", "whole", "14 of 14 widgets", good=True, took=0.08)


def a_run(desks=3, **changes):
    moments = [
        fault(10.0, "begins", "pricing", "hang"),
        fault(15.0, "begins", "redis-session", "failover lost=0.5"),
        fault(20.0, "ends", "pricing", "hang"),
        Moment(60.0, FAULTS, "calm", "everything is healed"),
        Moment(60.4, CHECKS, "whole", "true after 0.400 s of calm", good=True),
        *(moment for number in range(1, desks + 1) for moment in a_desk(number)),
        *(Moment(float(at), "thief", "refused", "401 DPOP_REPLAYED", good=True) for at in range(5, 70, 5)),
    ]
    run = Record(
        name="pricing-hangs",
        title="Pricing hangs & the desks look",
        owner="front-desk team",
        date="2026-02-03T14:05:09Z",
        where="virtual",
        seed=7,
        digest="9f3c1e0b77aa42d1",
        plan="plan    Pricing hangs & the desks look\nfault   pricing hang from 10 until 20\n",
        seconds=70.0,
        figures={"whole": 95, "dashboard p95 ms": 766.25},
        findings=(Finding(16.3, "honest", "desk-1 was told 503 for a read"),),
        skipped=("postgres stop from 5: only where there is a process",),
        backlog=("Reads fall back direct while the tier fails over",),
        moments=tuple(sorted(moments, key=lambda moment: moment.at)),
    )
    return replace(run, **changes)


def parsed(run):
    return ElementTree.fromstring(page(run))


def drawing(run):
    return parsed(run).find(f".//{SVG}svg")


def marks(run, lane):
    """The kind and the tooltip of each mark of a lane."""
    for group in drawing(run).findall(f"{SVG}g"):
        name = group.find(f"{SVG}text[@class='name']/{SVG}title")
        if name is not None and name.text == lane:
            return [(one.get("class"), one.find(f".//{SVG}title").text) for one in group.findall(f"{SVG}g")]
    raise AssertionError(f"no lane is called {lane}")


def part(run, title):
    section = next(one for one in parsed(run).iter(f"{HTML}section") if one.find(f"{HTML}h2").text == title)
    return " ".join("".join(section.itertext()).split())


def test_the_page_is_whole_in_itself_and_runs_nothing():
    text = page(a_run())
    assert "<script" not in text and "@import" not in text and "url(" not in text
    links = [value for one in parsed(a_run()).iter() for name, value in one.items() if name in {"href", "src"}]
    assert links and all(link.startswith("#") for link in links)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


def test_the_drawing_is_xml_by_itself():
    text = page(a_run())
    drawn = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    assert drawn.tag == f"{SVG}svg"


def test_what_a_mark_points_to_is_there():
    there = {one.get("id") for one in parsed(a_run()).iter()}
    assert {one.get("href")[1:] for one in parsed(a_run()).iter(f"{SVG}use")} == {"good", "neither", "bad"} <= there


def test_a_fault_is_as_long_as_it_was_and_says_its_words():
    bars = {}
    for group in drawing(a_run()).findall(f"{SVG}g"):
        wash = group.find(f"{SVG}rect[@class='wash']")
        if wash is not None:
            bars[group.find(f"{SVG}text").text] = tuple(float(wash.get(side)[:-1]) for side in ("x", "width"))
    assert {said: (round(x * 0.7, 2), round(wide * 0.7, 2)) for said, (x, wide) in bars.items()} == {
        "pricing hang": (10.0, 10.0),
        "redis-session failover lost=0.5": (15.0, 1.0),
    }


def test_the_calm_is_shaded_from_its_beginning_to_the_end():
    shade = drawing(a_run()).find(f"{SVG}rect[@class='shade']")
    assert (shade.get("x"), shade.get("width")) == (f"{60 / 0.7:.3f}%", f"{10 / 0.7:.3f}%")
    assert drawing(a_run(moments=())).find(f"{SVG}rect[@class='shade']") is None


def test_a_mark_says_what_was_seen_and_how_long_it_took():
    seen = marks(a_run(), "desk-1")
    assert ("good", "2.300 s, desk-1, whole: 14 of 14 widgets, took 0.080 s") in seen
    assert ("neither", "10.300 s, desk-1, partial: rateSnapshot: UPSTREAM_TIMEOUT, took 0.766 s") in seen
    assert ("bad", "16.300 s, desk-1, refused: 503 <SESSION_TIER_DOWN>, took 0.020 s") in seen
    assert len(seen) == 35


def test_a_refused_thief_is_a_good_mark():
    assert {kind for kind, _ in marks(a_run(), "thief")} == {"good"}


def test_a_finding_is_a_mark_among_the_checks_and_a_line_through_all_lanes():
    assert [kind for kind, _ in marks(a_run(), "checks")] == ["bad", "good"]
    through = drawing(a_run()).findall(f"{SVG}line[@class='found']")
    assert [line.get("x1") for line in through] == [f"{16.3 / 0.7:.3f}%"]
    assert not drawing(a_run(findings=())).findall(f"{SVG}line[@class='found']")


def test_fifty_desks_are_a_ribbon_in_which_the_worst_is_the_tallest():
    ribbon = [one for one in drawing(a_run(50)).iter(f"{SVG}rect") if one.get("class") == "ribbon"]
    kinds = {kind for kind, _ in marks(a_run(50), "desks 1-50")}
    assert kinds == {"good", "neither", "bad"}
    assert len(ribbon) <= 200 and len({one.get("height") for one in ribbon}) == 3
    assert any("the worst of" in told for _, told in marks(a_run(50), "desks 1-50"))


def test_a_long_run_of_many_desks_is_still_a_small_page():
    assert len(page(a_run(2000))) < 100_000


def test_the_axis_has_seconds():
    labels = [one.text for one in drawing(a_run()).findall(f"{SVG}text") if "soft" in one.get("class")]
    assert labels == ["0s", "10s", "20s", "30s", "40s", "50s", "60s", "70s"]


def test_the_rest_of_the_record_is_there():
    run = a_run()
    assert parsed(run).find(f".//{HTML}h1").text == run.title
    assert "16.300 s" in part(run, "Found") and "desk-1 was told 503 for a read" in part(run, "Found")
    assert "pricing hang from 10 until 20" in part(run, "The plan")
    assert "766.25" in part(run, "Figures")
    assert run.backlog[0] in part(run, "To do")
    assert run.skipped[0] in part(run, "Left out")
    assert part(run, "The same again").endswith("bff gameday run pricing-hangs --virtual --seed 7")
    assert "broken, 1 finding" in page(run) and "seed 7" in page(run)


def test_a_live_run_that_held_says_so_and_has_no_command_that_would_replay_it():
    text = page(a_run(where="live", seed=None, findings=()))
    assert ">held<" in text and "gameday run" not in text


def test_equal_records_give_equal_bytes_in_whatever_order_their_figures_are():
    one = a_run(figures={"a": 1, "b": 2.0})
    other = a_run(figures={"b": 2, "a": 1.0})
    assert one == other and page(one) == page(other)


TEXT = st.text(max_size=40) | st.sampled_from(
    ["</title><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "]]>", "-->", "&lt;", "\x00\x1b[2J\ud800"]
)
MOMENTS = st.builds(
    Moment,
    at=st.floats(0, 100),
    lane=st.sampled_from([FAULTS, CHECKS, "desk-1", "desk-2"]) | TEXT,
    word=st.sampled_from(["begins", "ends", "calm", "skipped"]) | TEXT,
    text=TEXT,
    good=st.none() | st.booleans(),
    took=st.floats(0, 10),
    data=st.dictionaries(st.just("toxic"), TEXT),
)
RECORDS = st.builds(
    Record,
    name=TEXT,
    title=TEXT,
    owner=TEXT,
    date=TEXT,
    where=st.sampled_from(["virtual", "live"]),
    seed=st.none() | st.integers(0),
    digest=TEXT,
    plan=TEXT,
    seconds=st.floats(0, 100),
    figures=st.dictionaries(TEXT, TEXT | st.integers() | st.floats(), max_size=3),
    findings=st.lists(st.builds(Finding, st.floats(0, 100), TEXT, TEXT), max_size=3).map(tuple),
    skipped=st.lists(TEXT, max_size=2).map(tuple),
    backlog=st.lists(TEXT, max_size=2).map(tuple),
    moments=st.lists(MOMENTS, max_size=20).map(tuple),
)


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_no_text_whatever_breaks_out_of_its_place(run):
    text = page(run)
    text.encode()
    for one in ElementTree.fromstring(text).iter():
        if one.tag.startswith(SVG):
            assert one.tag.removeprefix(SVG) in DRAWN
        else:
            assert one.tag.removeprefix(HTML) in WRITTEN
        assert not [name for name in one.keys() if name.startswith("on") or name == "src"]  # noqa: SIM118
    assert (parsed(run).find(f".//{HTML}h1").text or "") == printable(run.title)


@settings(max_examples=30, deadline=None)
@given(RECORDS)
def test_every_place_in_the_drawing_is_within_it(run):
    for one in drawing(run).iter():
        for side in ("x", "x1", "x2", "width"):
            place = one.get(side, "0%")
            assert not place.endswith("%") or 0 <= float(place[:-1]) <= 100
