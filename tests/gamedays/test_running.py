"""Game-days and plans in files, as `bff gameday` runs them in virtual time, and their records."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from chaos.history import CHECKS, FAULTS, Moment
from chaos.hotel.gamedays import GameDay, find, game_days
from chaos.hotel.gamedays.commands import gameday
from chaos.hotel.gamedays.running import rehearse, shrunk
from chaos.plan import BadPlan, parse_plan
from chaos.play import Cast
from chaos.record import load_records, thinned

WELL = """
plan        Pricing hangs while two desks look
owner       front desk
lasts       10, then 15 of calm
work        looks desks=2 every=2
fault       pricing hang from 3 until 6
fault       redis-cache stop from 4
always      in-time honest answered
eventually  whole within 15
"""
BROKEN = WELL.replace("whole within 15", "whole within 0.01").replace("15 of calm", "2 of calm")


@pytest.fixture
def run(tmp_path):
    """`run(*words)`: what `bff gameday` says, its records in the test's own folder."""

    def one(*words):
        recorded = ("--records", str(tmp_path / "records")) if words[0] in {"run", "report"} else ()
        done = CliRunner().invoke(gameday, [*map(str, words), *recorded], env={"COLUMNS": "100"})
        return done.exit_code, done.stdout, done.stderr

    return one


@pytest.fixture
def written(tmp_path):
    """A plan in a file."""

    def one(text, name="morning.plan"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return one


def test_every_game_day_has_an_owner_a_purpose_and_a_plan_that_its_cast_knows():
    for name, day in game_days().items():
        assert (day.name, bool(day.about), bool(day.plan.owner)) == (name, True, True)
        assert parse_plan(str(day.plan)) == day.plan
        assert day.plan.always and day.plan.eventually


def test_a_plan_in_a_file_is_played_recorded_and_listed(run, written, tmp_path):
    code, out, _ = run("run", written(WELL), "--virtual", "--seed", 3)
    assert code == 0
    assert "Pricing hangs while two desks look" in out
    assert out.split()[-7:] == ["bff", "gameday", "run", str(tmp_path / "morning.plan"), "--virtual", "--seed", "3"]
    [record] = load_records(tmp_path / "records")
    assert (record.name, record.owner, record.where, record.seed) == ("morning", "front desk", "virtual", 3)
    assert record.held and record.backlog == ()
    assert record.figures["of them partial"] > 0
    code, out, _ = run("report")
    assert code == 0 and "morning" in out
    code, out, _ = run("report", "--json")
    assert [one["name"] for one in json.loads(out)] == ["morning"]


def test_a_promise_that_is_broken_is_exit_1_and_an_entry_in_the_backlog(run, written, tmp_path):
    page = tmp_path / "report.html"
    code, out, _ = run("run", written(BROKEN), "--virtual", "--html", page)
    assert code == 1
    assert "not within 0.01 s of calm" in out
    [record] = load_records(tmp_path / "records")
    assert [line for line in record.backlog if line.startswith("whole was broken")]
    assert "not within 0.01 s of calm" in page.read_text(encoding="utf-8")


def test_a_plan_that_breaks_is_shrunk_to_what_still_does_and_can_be_kept_as_a_file(run, written):
    code, out, _ = run("shrink", written(BROKEN))
    assert code == 0
    plan = parse_plan(out)
    assert plan.faults == () and plan.work[0].number("desks", 9) == 1
    assert not rehearse(GameDay("smaller", plan), 0).held


def test_a_plan_that_holds_has_nothing_to_shrink(run, written):
    code, _, err = run("shrink", written(WELL), "--seed", 2)
    assert (code, err) == (2, "bff: morning keeps every promise from seed 2: there is nothing to shrink\n")
    with pytest.raises(ValueError, match="break"):
        shrunk(find(str(written(WELL))), 0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plan x\nlasts 5\nwork dances\n", "work: nobody knows 'dances'"),
        ("plan x\nlasts 5\nfault pricing hand\n", "line 3: no toxic is called 'hand'"),
        ("plan x\nlasts 5\nalways right\n", "always: nobody knows 'right'"),
    ],
)
def test_a_plan_that_cannot_be_played_is_one_line_and_exit_2(run, written, text, line):
    code, _, err = run("run", written(text), "--virtual")
    assert code == 2 and line in err and err.count("\n") == 1


def test_a_game_day_there_is_not_is_one_line(run):
    code, _, err = run("run", "no-such-day", "--virtual")
    assert (code, err) == (
        2,
        f"bff: no game-day is called 'no-such-day', and no file: there are {', '.join(game_days())}\n",
    )


def test_without_a_hotel_a_live_run_is_one_line(run, written, tmp_path):
    code, _, err = run("run", written(WELL), "--data", tmp_path)
    assert code == 2 and "nothing runs on" in err


def test_nothing_is_recorded_of_a_run_that_is_not_to_be(run, written, tmp_path):
    assert run("run", written(WELL), "--virtual", "--no-record")[0] == 0
    assert load_records(tmp_path / "records") == []


def test_what_a_fault_cannot_do_here_is_left_out_and_said(written):
    record = rehearse(find(str(written(WELL + "fault pricing failover from 2\nfault nobody hang from 3\n"))), 0)
    assert [line.split(" from ")[0] for line in record.skipped] == ["pricing failover", "nobody hang"]
    assert [line.startswith("not exercised here: ") for line in record.backlog] == [True, True]
    assert record.held


def test_what_is_still_alive_when_the_world_ends_is_a_finding():
    async def forgets(stage, history, work):
        stage._world.servers["bff"].owner.start(trio.sleep_forever, name="forgotten")

    day = GameDay("leak", parse_plan("plan x\nlasts 1\nwork forgets\n"), Cast({"forgets": forgets}))
    [finding] = rehearse(day, 0).findings
    assert finding.check == "world" and "bff: forgotten" in finding.text


def test_the_list_names_every_game_day(run):
    code, out, _ = run("list")
    assert code == 0 and all(name in out for name in game_days())
    code, out, _ = run("list", "--json")
    assert [one["name"] for one in json.loads(out)] == list(game_days())


def test_a_file_that_is_no_plan_is_refused_with_its_name(tmp_path):
    with pytest.raises(BadPlan, match="cannot be read"):
        find(str(tmp_path))


def moments(count, **what):
    return [Moment(at, **{"lane": "desk-1", "word": "whole", "good": True, **what}) for at in range(count)]


def test_a_record_keeps_every_fault_and_check_and_the_rest_from_beginning_to_end():
    bad = moments(3, word="refused", good=False)
    told = [*moments(40, lane=FAULTS, good=None), *moments(40, lane=CHECKS, good=None), *bad]
    kept = thinned([*told, *moments(5_000)], most=200)
    assert [one for one in kept if one.lane in {FAULTS, CHECKS}] == told[:80]
    assert [one for one in kept if one.good is False] == bad
    well = [one.at for one in kept if one.good]
    assert 80 <= len(well) <= 120 and well[0] == 0 and well[-1] > 4_900
    assert len({later - earlier for earlier, later in pairwise(well)}) == 1


def test_a_record_of_a_short_run_keeps_all_of_it():
    few = moments(30)
    assert thinned(few) == tuple(few)
    assert thinned([]) == ()


def test_a_thousand_bad_moments_do_not_make_a_record_of_bad_moments_only():
    kept = thinned([*moments(3_000, good=False), *moments(3_000)], most=100)
    assert 100 <= len(kept) <= 200 and any(one.good for one in kept)


def test_the_scenario_in_the_readme_can_be_played_and_holds():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^```\n(plan .*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert len(text.splitlines()) <= 10
    assert rehearse(GameDay("readme", parse_plan(text)), 7).held
