"""The catalogue is the specification's, and claims nothing that is not so. `failures.txt` is the copy of section 1."""

import json
import re
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bff import facts
from bff.cli.main import GROUP
from bff.facts.cost import StoreSized
from bff.facts.probes import EdgeProbed
from bff.meters import Meters
from chaos.hotel.catalogue import ROWS, SECTIONS, commands
from chaos.hotel.catalogue.evidence import ROOT, Sources, false_claims, look
from chaos.hotel.catalogue.row import ALERT, GAMEDAY, KINDS, LATER, METRIC, RUNBOOK, Inject, Metric
from chaos.hotel.catalogue.worlds import FalseClaim, Kind

# CONTRACT section 7: the metrics that the specification names.
NAMED = {
    "F-21": "bff_outbox_depth",
    "F-27": "bff_lock_audit_completeness",
    "F-28": "bff_dpop_replay_blocked_total",
    "F-29": "bff_mfa_attestation_replay_success_total",
    "F-32": "bff_idempotency_dedup_total",
    "F-33": "bff_dashboard_partial_total",
    "F-34": "bff_sse_first_event_seconds",
    "F-38": "bff_dlq_depth",
}
BY_ID = {row.id: row for row in ROWS}
SOURCES = Sources()
ROW = BY_ID["F-15"]  # one that has everything but an alert, a runbook and a game-day


def specified():
    """(section, title, (id, failure, detection, impact, mitigation, runbook)) in the order of the page."""
    section = title = ""
    for line in Path(__file__).with_name("failures.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("| "):
            yield section, title, tuple(cell.strip() for cell in line.strip("|").split("|"))
        else:
            section, _, title = line.partition(" ")


def test_the_rows_are_the_specification_s_word_for_word_in_its_order():
    ours = [
        (one.number, one.title, (row.id, row.failure, row.detection, row.impact, row.mitigation, row.runbook))
        for one in SECTIONS
        for row in one.rows
    ]
    assert ours == list(specified())
    assert [row.id for row in ROWS] == [f"F-{number}" for number in range(1, 42)]


def test_no_row_claims_what_is_not_there():
    assert false_claims(ROWS, SOURCES) == ()


def test_the_metrics_that_the_specification_names_are_called_as_the_contract_has_them():
    assert {name: BY_ID[name].metric.name for name in NAMED} == NAMED


def test_every_alert_has_a_name_of_its_own_made_of_its_runbook_s():
    assert len({row.alert for row in ROWS}) == len(ROWS)
    assert BY_ID["F-1"].alert == "BffIamRefreshDown"
    assert BY_ID["F-21"].alert == "BffOutboxBacklog"


def told(metric):
    """A fact that the metric of a row counts, for the labels of the row."""
    labels = dict(metric.labels)
    if metric.name == "bff_store_memory_ratio":
        return StoreSized(labels["store"], 1, 2)
    if metric.name == "bff_store_failovers_total":
        return facts.StoreTakenOver(labels["store"])
    if "store" in labels:
        return facts.StoreChanged(labels["store"], up=False, why="")
    if metric.name.startswith("bff_edge_"):
        return EdgeProbed(labels.get("name", "public"), labels.get("why", "ok"))
    if "what" in labels:
        return facts.MirrorDiverged(labels["what"])
    return facts.UpstreamCalled(labels["service"], labels.get("operation", "any"), "UPSTREAM_UNAVAILABLE", 0.1)


def series(text):
    """(the name without a histogram's ending, its labels) of every line of an exposition."""
    for name, labels in re.findall(r"^(\w+){(.*)} ", text, re.MULTILINE):
        yield name.removesuffix("_count"), set(re.findall(r'(\w+)="([^"]*)"', labels))


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.metric.labels and SOURCES.exported(row.metric)], ids=lambda row: row.id
)
def test_a_metric_that_is_exported_has_the_labels_that_single_the_failure_out(row):
    meters = Meters()
    meters.hear(told(row.metric))
    shown = list(series(meters.shown()[0].decode()))
    assert any(name == row.metric.name and set(row.metric.labels) <= labels for name, labels in shown)


def test_an_operation_that_the_server_does_not_have_is_not_counted_though_its_metric_is_there():
    assert SOURCES.exported(Metric("bff_upstream_calls_total", (("service", "iam"), ("operation", "refresh"))))
    for labels in (
        (("service", "iam"), ("operation", "forget")),
        (("service", "tenant"), ("operation", "refresh")),
        (("service", "weather"),),
    ):
        assert not SOURCES.exported(Metric("bff_upstream_calls_total", labels))
    assert SOURCES.exported(Metric("bff_store_up", (("store", "postgres"),)))
    assert not SOURCES.exported(Metric("bff_store_up", (("store", "mysql"),)))


FALSE = {
    "a file": ({"tests": ("tests/reads/test_nothing.py::test_x",)}, "there is no file tests/reads/test_nothing.py"),
    "no test's file": ({"tests": ("bff/app.py::test_x",)}, "there is no file bff/app.py"),
    "a function": ({"tests": ("tests/house/test_catalogue.py::test_nothing",)}, "there is no test test_nothing in"),
    "not a test": ({"tests": ("tests/house/test_catalogue.py::specified",)}, "there is no test specified in"),
    "no function": ({"tests": ("tests/house/test_catalogue.py",)}, "there is no test (unnamed) in"),
    "no world": (
        {"tests": ("tests/house/test_catalogue.py::test_no_row_claims_what_is_not_there",)},
        "is neither in virtual time nor on real parts",
    ),
    "twice": ({"tests": (ROW.tests[0], ROW.tests[0])}, "is named twice"),
    "a toxic": ({"fixtures": (Inject("pricing", "hand"),)}, "no toxic is called 'hand'"),
    "a toxic's value": ({"fixtures": (Inject("pricing", "status code=200"),)}, "status: code should be"),
    "a target": ({"fixtures": (Inject("weather", "hang"),)}, "no service and no store is called 'weather'"),
    "a store's toxic": ({"fixtures": (Inject("pricing", "kill"),)}, "kill cannot be done to pricing"),
    "a service's toxic": ({"fixtures": (Inject("postgres", "garbage"),)}, "garbage cannot be done to postgres"),
    "no fixture": ({"fixtures": ()}, "nothing says how it is made to happen"),
    "a gap": ({"tests": (), "gap": "all of it"}, "there is no gap where there are no tests"),
    "a metric": ({"metric": Metric("bff_nothing_total")}, "metric bff_nothing_total is not there"),
    "an alert": ({"runbook": "bff/no-such", "later": (RUNBOOK, GAMEDAY)}, "alert BffNoSuch is not there"),
    "a runbook": ({"runbook": "bff/no-such", "later": (ALERT, GAMEDAY)}, "runbook bff/no-such is not there"),
    "a game-day": ({"gamedays": ("no-such",), "later": (ALERT, RUNBOOK)}, "gameday no-such is not there"),
    "a word": ({"later": (*LATER, "everything")}, "'everything' cannot come later"),
}


@pytest.mark.parametrize("case", FALSE)
def test_a_false_claim_is_named_with_its_row_and_nothing_else_is(case):
    changes, line = FALSE[case]
    (found,) = false_claims([replace(ROW, **changes), BY_ID["F-5"]], SOURCES)
    assert found.startswith("F-15: ")
    assert line in found


def test_what_is_to_come_is_no_false_claim_and_is_shown_as_not_there():
    row = replace(ROW, metric=Metric("bff_nothing_total"), runbook="bff/no-such", gamedays=("no-such",), later=KINDS)
    found = look(row, SOURCES)
    assert (found.wrong, found.missing) == ((), KINDS)
    assert (found.exported, found.armed, found.written, found.gamedays) == (False, False, False, ())


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_what_lands_is_there_without_a_change_to_its_row(tmp_path):
    row = replace(ROW, tests=(), gamedays=("dpop-replay", "lock-outage"))
    rules, runbook = "deploy/prometheus/rules/app.yaml", "deploy/runbooks/bff/schema-drift.md"
    write(tmp_path, rules, "groups:\n  - rules:\n      - alert: BffSchemaDriftOfOld\n")
    assert look(row, Sources(tmp_path)).missing == (ALERT, RUNBOOK, GAMEDAY)

    write(tmp_path, rules, "groups:\n  - rules:\n      - alert: BffSchemaDrift\n")
    write(tmp_path, runbook, "")
    write(tmp_path, "chaos/hotel/gamedays/dpop_replay.py", "'A thief.'\n")
    half = look(row, Sources(tmp_path))
    assert half.missing == (RUNBOOK, GAMEDAY), "an empty runbook is none, and one exercise is not both"
    assert (half.armed, half.alert_tested, half.gamedays) == (True, False, ("dpop-replay",))

    write(tmp_path, "deploy/prometheus/tests/app.yaml", "      - alertname: BffSchemaDrift\n")
    write(tmp_path, "chaos/hotel/gamedays/lock_outage.py", "'A lock.'\n")
    write(tmp_path, runbook, "# Schema drift\n")
    whole = look(row, Sources(tmp_path))
    assert (whole.missing, whole.alert_tested, whole.written) == ((), True, True)


CONFTEST = """
@pytest.fixture(scope="session")
def running(): ...
@pytest.fixture(params=["simulated", "real"])
async def tier_and_faults(request, running): ...
@pytest.fixture
def tier(tier_and_faults): ...
def in_both_worlds(port):
    @pytest.fixture
    async def store(request, running): ...
    return store
cache, ledger = map(in_both_worlds, (CACHE, LEDGER))
NOTES = map(len, (CACHE, LEDGER))
"""
TESTS = """
async def test_jumps(autojump_clock, tier): ...
def test_runs_itself():
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
def test_by_the_plugin(simulate): ...
def test_a_game_day(seed):
    assert rehearse(find("dpop-replay"), seed).held
async def test_real(tier): ...
async def test_made(ledger): ...
async def test_unmade(NOTES): ...
async def test_its_own(world): ...
@pytest.fixture
def world(mock_clock): ...
def test_nothing(number, ask): ...
def ask(running): ...
@pytest.mark.skip(reason="later")
async def test_skipped(autojump_clock): ...
@pytest.mark.xfail
async def test_expected_to_fail(autojump_clock): ...
@pytest.mark.skipif(windows, reason="no fork")
async def test_skipped_elsewhere(autojump_clock): ...
"""


@pytest.fixture
def elsewhere(tmp_path):
    write(tmp_path, "tests/rooms/test_rooms.py", TESTS)
    write(tmp_path, "tests/conftest.py", CONFTEST)
    return Sources(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("test_jumps", Kind.VIRTUAL),
        ("test_runs_itself", Kind.VIRTUAL),
        ("test_its_own", Kind.VIRTUAL),
        ("test_skipped_elsewhere", Kind.VIRTUAL),
        ("test_by_the_plugin", Kind.VIRTUAL),
        ("test_a_game_day", Kind.VIRTUAL),
        ("test_real", Kind.LIVE),
        ("test_made", Kind.LIVE),
    ],
)
def test_the_fixtures_of_a_test_say_in_which_world_it_runs(elsewhere, name, kind):
    assert elsewhere.kind(f"tests/rooms/test_rooms.py::{name}") is kind


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("test_nothing", "is neither"),
        ("test_unmade", "is neither"),
        ("test_skipped", "is skipped"),
        ("test_expected_to_fail", "or expected to fail"),
        ("world", "there is no test world"),
    ],
)
def test_a_test_that_proves_nothing_cannot_be_claimed(elsewhere, name, why):
    with pytest.raises(FalseClaim, match=why):
        elsewhere.kind(f"tests/rooms/test_rooms.py::{name}")


# -- the command -------------------------------------------------------------------------------------------------------


def typed(*words):
    done = CliRunner().invoke(commands.catalogue, list(words))
    return done.exit_code, done.stdout, done.stderr


def test_as_json_it_is_a_list_of_41_that_says_what_is_there():
    code, out, _ = typed("--json")
    rows = json.loads(out)
    assert (code, len(rows)) == (0, 41)
    for row in rows:
        assert (ROOT / "deploy/runbooks" / f"{row['runbook']}.md").is_file() == row["written"]
        assert set(row["virtual"]) | set(row["live"]) == set(row["tests"])
        assert (METRIC in row["notYet"]) != row["exported"]
        assert (ALERT in row["notYet"]) != row["armed"]
    first = rows[0]
    assert (first["id"], first["metric"], first["alert"]) == ("F-1", "bff_upstream_calls_total", "BffIamRefreshDown")
    assert first["labels"] == {"service": "iam", "operation": "refresh"}
    assert first["fixtures"][0] == {"target": "iam", "toxic": "status code=503"}
    assert rows[25]["fixtures"] == [{"staged": BY_ID["F-26"].fixtures[0].how}]


def test_as_a_table_every_row_is_there_and_no_line_is_longer_than_a_terminal_of_100_columns():
    code, out, _ = typed()
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines if re.match(r" F-\d", line)] == [row.id for row in ROWS]
    assert [line.split()[0] for line in lines if re.match(r" 1\.\d", line)] == ["1.1", "1.2", "1.3", "1.4", "1.5"]
    assert "…" not in out
    for row in ROWS:
        assert f"{row.severity.name}  {row.metric.name}  {row.runbook}" in out
        assert not row.gap or f"no test yet: {row.gap}" in out


def test_the_last_line_of_the_table_has_the_totals_of_each_column():
    _, out, _ = typed()
    found = [look(row, SOURCES) for row in ROWS]
    tested, partly = sum(bool(one.virtual or one.live) for one in found), sum(bool(row.gap) for row in ROWS)
    planned, there = {name for row in ROWS for name in row.gamedays}, {name for one in found for name in one.gamedays}
    assert out.splitlines()[-1].split() == [
        *("41", str(tested), "tested,", str(partly), "in", "part;"),
        *(str(sum(one.alert_tested for one in found)), "alerts", "tested"),
        *(str(sum(bool(one.virtual) for one in found)), str(sum(bool(one.live) for one in found))),
        *(str(len(there)), "of", str(len(planned)), str(sum(one.exported for one in found))),
        *(str(sum(one.armed for one in found)), str(sum(one.written for one in found))),
    ]


def command(name):
    if name == commands.catalogue.name:
        return commands.catalogue
    (point,) = entry_points(group=GROUP, name=name)
    return point.load()


def test_every_command_that_the_table_names_exists_with_its_options():
    named = re.findall(r"\bbff ((?:[a-z-]+ ?)+)", typed()[1])
    assert len(named) == 2
    for line in named:
        first, *words = line.split()
        found = command(first)
        for word in words:
            if word.startswith("--"):
                assert word in {option for one in found.params for option in one.opts}
            else:
                assert isinstance(found, click.Group)
                found = found.commands[word]


def test_a_false_claim_is_in_both_forms_and_is_exit_1(monkeypatch):
    broken = replace(ROW, tests=("tests/reads/test_nothing.py::test_x",))
    section = replace(SECTIONS[0], rows=(broken,))
    monkeypatch.setattr(commands, "ROWS", (broken,))
    monkeypatch.setattr(commands, "SECTIONS", (section,))
    code, out, _ = typed()
    assert (code, "F-15: there is no file tests/reads/test_nothing.py" in out) == (1, True)
    code, out, _ = typed("--json")
    assert (code, json.loads(out)[0]["falseClaims"]) == (1, ["there is no file tests/reads/test_nothing.py"])


def test_where_the_sources_are_not_it_says_so_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(commands, "Sources", lambda: Sources(tmp_path))
    code, out, err = typed()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "run it from a clone" in err
