"""Every fault at every moment of a dashboard, and the moments at which the answer changes, to the microsecond."""

import os

import pytest
from click.testing import CliRunner

from chaos.frontier import frontier
from chaos.hotel.checks.answers import states
from chaos.hotel.sweeps import SWEEPS
from chaos.hotel.sweeps.commands import sweep
from chaos.hotel.sweeps.dashboard import DashboardSweep
from chaos.hotel.sweeps.looks import composed_at, open_looks
from chaos.hotel.sweeps.onsets import ONSETS, Onset
from chaos.sim.clock import simulate
from chaos.sweep import Fault, Ran, sliced
from chaos.toxics import split

SWEEP = DashboardSweep()
PAIRS_IN_MAKE_TEST = 30
MICROSECOND = 1e-6


def test_every_single_fault_at_every_moment_costs_what_the_contract_says_and_leaves_nothing_f33(account_of):
    cases = SWEEP.cases(pairs=False)
    account = account_of(SWEEP, cases, 0, whole=True)
    assert account.broken == ()
    assert account.missing == ()
    assert account.cases == len(cases) > 2500


def test_a_slice_of_the_pairs_of_faults_too_f33(account_of):
    alone = len(SWEEP.cases(pairs=False))
    cases = sliced(SWEEP.cases(pairs=True)[alone:], PAIRS_IN_MAKE_TEST, seed=20150815)
    account = account_of(SWEEP, cases, 1)
    assert account.broken == ()
    assert account.cases == PAIRS_IN_MAKE_TEST


@pytest.mark.soak
def test_all_the_pairs_by_the_command_on_all_cores_and_going_on_where_it_was_stopped_f33(tmp_path):
    cores = ["--cores", str(os.cpu_count())] if (os.cpu_count() or 1) > 1 else []
    asked = ["run", "dashboard", "--pairs", *cores, "--journal", str(tmp_path / "pairs")]
    ended = CliRunner().invoke(sweep, asked)
    assert ended.exit_code == 0, ended.output
    journal = (tmp_path / "pairs").read_text()
    again = CliRunner().invoke(sweep, asked)
    assert again.exit_code == 0, again.output
    assert (tmp_path / "pairs").read_text() == journal, "what was done is not done again"


def test_faults_come_before_during_and_at_the_deadline_and_a_microsecond_on_either_side_of_it():
    names = ("before", "beginning", "half", "deadline-1us", "deadline", "deadline+1us", "reserve-1us", "reserve+1us")
    assert set(names) < set(ONSETS)
    cases = {case.name for case in SWEEP.cases(pairs=False)}
    assert {"pricing hang at deadline+1us", "iam down at before", "tenant wrong-tenant at reserve"} < cases


def test_a_server_that_is_wrong_is_a_broken_case_and_the_others_go_on(account_of, monkeypatch):
    """The sweep can fail: a server that answers another tenant's data is found, alone, and nothing else is."""
    cases = [case for case in SWEEP.cases(pairs=False) if case.onset in {"before", "half"}]
    few = [case for case in cases if str(case.faults[0]) in {"pricing hang", "pricing wrong-tenant"}]
    monkeypatch.setattr("bff.upstreams.client.parsed", lambda body, decoder, tenant: decoder.decode(body))
    account = account_of(SWEEP, few, 0)
    assert [ran.name for ran in account.broken] == ["pricing wrong-tenant at before", "pricing wrong-tenant at half"]
    assert all("rateSnapshot is ok, and should be SCHEMA_DRIFT" in ran.error for ran in account.broken)
    assert account.cases == len(few) == 4


def test_a_mark_that_is_not_reached_is_missing_from_a_whole_sweep(account_of):
    few = [case for case in SWEEP.cases(pairs=False) if case.name == "pricing hang at before"]
    assert "BreakerOpened why=ratio" in account_of(SWEEP, few, 0, whole=True).missing
    assert account_of(SWEEP, few, 0).missing == ()


def answer_of(fault, widget, way):
    """What a widget is, by the second at which the fault began; the way to its service takes `way` seconds."""
    reserve = composed_at()

    async def look(seconds):
        async with open_looks(0, reserve=reserve) as looks:
            onset = Onset(f"{seconds}s", offset=seconds)
            await looks.settle(onset)
            looks.ways[fault.target] = way
            return states(await looks.meeting([fault], onset))[widget]

    return lambda seconds: simulate(look, seconds)


RESERVE = composed_at()
EDGES = [
    # what, its widget, the way there in seconds; each edge: when, and from which answer to which
    ("pricing status code=503", "rateSnapshot", 0.2, [(0.2, "UPSTREAM_UNAVAILABLE", "ok")]),
    ("billing hang", "folioSummary", 0.3, [(0.3, "UPSTREAM_TIMEOUT", "ok")]),
    ("analytics garbage", "kpis", 0.01, [(0.01, "SCHEMA_DRIFT", "ok")]),
    (
        "inventory down",  # the news takes a way, and the dial that is refused two more
        "occupancy",
        0.2,
        [(RESERVE - 0.6, "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"), (0.2, "UPSTREAM_TIMEOUT", "ok")],
    ),
]


@pytest.mark.parametrize(("said", "widget", "way", "edges"), EDGES, ids=[edge[0] for edge in EDGES])
def test_the_answer_changes_at_the_microsecond_at_which_the_ways_say_so(said, widget, way, edges):
    target, toxic = said.split(" ", 1)
    found = frontier(answer_of(Fault(target, split(toxic)), widget, way), 0.0, 0.8, probes=9)
    assert [(edge.before, edge.after) for edge in found] == [edge[1:] for edge in edges]
    for edge, (when, *_) in zip(found, edges, strict=True):
        assert edge.last - MICROSECOND / 2 <= when <= edge.first + MICROSECOND / 2


def test_an_answer_is_shown_to_the_last_microsecond_before_it_is_composed():
    """The other side of it: no fault at all, and a way that grows."""

    def answer(way):
        async def look():
            async with open_looks(0, reserve=RESERVE) as looks:
                await looks.settle(Onset("none"))
                looks.ways["pricing"] = way
                return states(await looks.meeting([], Onset("none")))["rateSnapshot"]

        return simulate(look)

    (edge,) = frontier(answer, 0.1, 0.5, probes=3)
    assert (edge.before, edge.after) == ("ok", "UPSTREAM_TIMEOUT")
    assert edge.last - MICROSECOND <= RESERVE / 2 <= edge.first + MICROSECOND


def test_the_command_names_what_there_is_and_runs_a_case_by_its_name():
    listed = CliRunner().invoke(sweep, ["list"])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.output.splitlines()] == list(SWEEPS)
    named = CliRunner().invoke(sweep, ["cases", "dashboard"]).output.splitlines()
    assert named == [case.name for case in SWEEP.cases(pairs=False)]
    pairs = CliRunner().invoke(sweep, ["cases", "dashboard", "--pairs"]).output.splitlines()
    assert "pricing hang + billing drip at reserve" in pairs
    assert len(pairs) == len(set(pairs)) > 50_000
    one = CliRunner().invoke(sweep, ["run", "dashboard", "--case", "pricing hang at reserve"])
    assert (one.exit_code, one.output) == (0, "ok: pricing hang at reserve\n")
    unknown = CliRunner().invoke(sweep, ["run", "dashboard", "--case", "pricing hangs"])
    assert unknown.exit_code == 2
    assert "no case 'pricing hangs'" in unknown.output
    assert CliRunner().invoke(sweep, ["run", "weather"]).exit_code == 2


def test_a_broken_case_is_told_with_the_command_that_replays_it(monkeypatch):
    monkeypatch.setattr(SWEEP.__class__, "cases", lambda self, *, pairs: cases_of("pricing", "wrong-tenant"))
    monkeypatch.setattr("bff.upstreams.client.parsed", lambda body, decoder, tenant: decoder.decode(body))
    ended = CliRunner().invoke(sweep, ["run", "dashboard", "--slice", "9", "--seed", "4"])
    assert ended.exit_code == 1
    assert "dashboard, seed 4: 1 cases, 1 broken" in ended.output
    assert "  bff sweep run dashboard --seed 4 --case 'pricing wrong-tenant at before'" in ended.output
    replayed = CliRunner().invoke(sweep, ["run", "dashboard", "--case", "pricing wrong-tenant at before"])
    assert replayed.exit_code == 1
    assert replayed.output.startswith("broken: pricing wrong-tenant at before\n  AssertionError: rateSnapshot is ok")


CASES = {case.name: case for case in SWEEP.cases(pairs=False)}


def cases_of(service, toxic):
    return [CASES[f"{service} {toxic} at before"]]


def test_shards_say_together_what_one_process_says_and_a_journal_goes_on(tmp_path):
    path = tmp_path / "journal"
    asked = ["run", "dashboard", "--slice", "12", "--seed", "9", "--journal", str(path)]
    ended = CliRunner().invoke(sweep, [*asked, "--cores", "2"])
    assert ended.exit_code == 0, ended.output
    assert "12 cases, 0 broken" in ended.output
    lines = path.read_text().splitlines(keepends=True)
    ran = [line for line in lines if line.startswith("ok")]
    assert len(ran) == 12
    path.write_text("".join([line for line in lines if line not in ran[5:]]) + ran[5][:-3])  # killed in mid-line
    again = CliRunner().invoke(sweep, asked)
    assert again.exit_code == 0, again.output
    assert "12 cases, 0 broken" in again.output
    names = [line.split("\t")[2] for line in path.read_text().splitlines() if line.startswith("ok")]
    assert sorted(names) == sorted(line.split("\t")[2].strip() for line in ran)
    other = CliRunner().invoke(sweep, [*asked[:5], "10", *asked[6:]])
    assert other.exit_code == 2
    assert "is the journal of another sweep" in other.output
    assert other.output.count("\n") == 1


def test_a_case_that_was_told_is_one_line():
    (ran,) = [one for one in SWEEP.run(cases_of("pricing", "hang"), 0, SWEEP.marks()) if isinstance(one, Ran)]
    assert ran.error == ""
    assert ran.seconds > 0
