"""What Prometheus would have seen is what a rule's test is fed with: looked at, written down, and read again."""

import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.hotel.recordings.filming import Cut, Unheard, case_of, judged
from chaos.hotel.recordings.promql import Matcher, Selector, read
from chaos.hotel.recordings.rules import load, reads
from chaos.hotel.recordings.scene import Day, Scene, film
from chaos.hotel.recordings.tape import EVERY, Tape, compact, shown
from chaos.hotel.recordings.works import looks

RULES = load()
WORD = re.compile(r"_x(\d+)|(-?[\d.]+)(?:([+-])([\d.]+)x(\d+))?")
FIGURES = st.integers(-1000, 1000) | st.integers(-10_000, 10_000).map(lambda number: number / 8)


def expanded(notation):
    """As promtool reads it."""
    values = []
    for word in notation.split():
        nothing, first, sign, step, times = WORD.fullmatch(word).groups()
        if nothing:
            values += [None] * int(nothing)
        else:
            step = float(f"{sign}{step}") if step else 0.0
            values += [float(first) + step * at for at in range(int(times or 0) + 1)]
    return values


@given(st.lists(st.none() | FIGURES, min_size=1, max_size=30))
def test_what_is_written_down_is_what_was_there(values):
    assert expanded(compact(values)) == pytest.approx(values, nan_ok=False)


def test_what_goes_on_as_it_did_is_one_word():
    assert compact([None, None, 0, *range(0, 480, 2), 7]) == "_x2 0 0+2x239 7"


def test_each_look_has_the_instance_and_what_was_not_there_is_a_gap():
    tape = Tape("bff-1:9090")
    tape.look('a_total{b="c"} 1.0 # {trace_id="t"} 0.1\na_created{b="c"} 9\n# EOF')
    tape.look("")
    own = {"instance": "bff-1:9090", "job": "bff"}
    found = {(name, labels): values for (name, labels), values in tape.series().items()}
    assert {name: dict(labels) for name, labels in found} == {"up": own, "a_total": {**own, "b": "c"}}
    assert [values for (name, _), values in found.items() if name == "a_total"] == [[1.0, None]]
    assert [values for (name, _), values in found.items() if name == "up"] == [[1.0, 0.0]]
    assert 'a_total{b="c",instance="bff-1:9090",job="bff"}' in map(shown, found)


def test_an_expression_is_read_with_its_labels_and_not_its_functions():
    there = read('sum by (a) (increase(x_total{b=~"c|d", e!="f"}[5m])) / on (a) group_left y > 0.5 unless z offset 90s')
    assert there.selectors == (
        Selector("x_total", (Matcher("b", "=~", "c|d"), Matcher("e", "!=", "f"))),
        Selector("y"),
        Selector("z"),
    )
    assert there.grouped == {"a"}
    assert there.selectors[0].fits("x_total", {"b": "d"})
    assert not there.selectors[0].fits("x_total", {"b": "d", "e": "f"})
    assert not there.selectors[0].fits("x_total", {"b": "dd"})


def test_a_rule_on_what_is_recorded_reads_what_that_is_recorded_from_and_of_its_service_alone():
    (rule,) = (one for one in RULES if one.alert == "BffIamRefreshDown")
    found = reads(rule, RULES)
    assert {selector.name for selector in found} == {"bff_upstream_calls_total"}
    asked = {"service": "iam", "operation": "refresh", "outcome": "ok"}
    assert any(selector.fits("bff_upstream_calls_total", asked) for selector in found)
    assert not any(selector.fits("bff_upstream_calls_total", {**asked, "service": "pricing"}) for selector in found)


DAY = Day(works=(looks(1),), calm=60.0)
GONE = Scene(row="F-20", what="postgres kill", day=DAY, fault=(("postgres", "kill"),), lasts=120.0)
BACK = Scene(row="F-20", what="postgres kill for 20 s", day=DAY, fault=GONE.fault, lasts=120.0, heals=20.0, blip=True)


@pytest.fixture(scope="module")
def filmed():
    found = {}
    film(DAY, (GONE, BACK), lambda scene, tape: found.update({scene: tape}))
    return found


def is_up(name, labels):
    return name == "bff_store_up" and ("store", "postgres") in labels


def test_a_scene_shows_what_breaks_after_a_calm_that_all_scenes_of_a_day_share(filmed):
    up = [
        next(values for (name, labels), values in filmed[scene].series().items() if is_up(name, labels))
        for scene in (GONE, BACK)
    ]
    assert up == [[None, *[1.0] * 4, *[0.0] * 8], [None, *[1.0] * 4, 0.0, *[1.0] * 7]]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
def test_a_scene_becomes_a_test_that_says_when_the_alert_fired_and_a_blip_one_that_it_did_not(filmed):
    gone, back = (judged(scene, RULES, filmed[scene].series()) for scene in (GONE, BACK))
    assert isinstance(gone, Cut)
    assert (gone.severity, gone.took, back.took) == ("P1", 74.0, None)
    assert "F-20 fires 74 s after: postgres kill" in case_of(gone, EVERY)
    assert "BffPostgresDown" in case_of(back, EVERY)
    with pytest.raises(Unheard, match="does not fire"):
        judged(GONE, RULES, filmed[BACK].series())
