"""Prometheus's own tool judges the rules: that they are rules, and that each fires when it should and not otherwise.

`promtool` comes with Debian's package `prometheus`; where it is not there, these tests are skipped and say so.
"""

import re
import shutil
from collections import defaultdict

import msgspec
import pytest

from chaos.hotel.catalogue import ROWS
from chaos.hotel.catalogue.row import Severity
from chaos.hotel.recordings.promtool import promtool
from chaos.hotel.recordings.rules import PROMETHEUS, RULES, load

TESTS = sorted((PROMETHEUS / "tests").rglob("*.yaml"))
TOKEN = "/run/secrets/ops_token"
NAMED = re.compile(r"(F-\d+)(?: \((\S+)\))? fires (\d+) s after: ")
SOON = 120.0  # seconds: MTTD of P1 (FAILURE_MODES section 4)
P1 = {row.id for row in ROWS if row.severity is Severity.P1}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")


def cases(path):
    return msgspec.yaml.decode(path.read_bytes())["tests"]


def firing():
    """(row, sign, seconds from the fault to the alert) of every recording in which one fires."""
    for path in TESTS:
        for case in cases(path):
            if found := NAMED.match(case["name"]):
                yield found[1], found[2] or "", float(found[3])


@needs_promtool
def test_every_rule_is_one():
    code, said = promtool("check", "rules", "--lint-fatal", *sorted(RULES.glob("*.yaml")))
    assert code == 0, said


@needs_promtool
def test_the_configuration_is_one_and_has_the_rules(tmp_path):
    shutil.copytree(RULES, tmp_path / "rules")
    token = tmp_path / "token"
    token.write_text("a token")
    told = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    assert TOKEN in told
    (tmp_path / "prometheus.yml").write_text(told.replace(TOKEN, str(token)), encoding="utf-8")
    code, said = promtool("check", "config", tmp_path / "prometheus.yml")
    assert (code, said.count("rules found")) == (0, len(list(RULES.glob("*.yaml")))), said


@needs_promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_when_it_should_and_not_otherwise(path):
    code, said = promtool("test", "rules", path)
    assert code == 0, said


@needs_promtool
def test_a_recording_of_which_the_fault_is_taken_away_makes_its_test_fail(tmp_path):
    """Or else a test would hold whatever the rule says."""
    (tmp_path / "tests" / "stores").mkdir(parents=True)
    shutil.copytree(RULES, tmp_path / "rules")
    whole = (PROMETHEUS / "tests/stores/postgres-down.yaml").read_text(encoding="utf-8")
    well = re.sub(r"0\+0x\d+'", "1+0x9'", whole)
    assert well != whole
    path = tmp_path / "tests" / "stores" / "postgres-down.yaml"
    path.write_text(well, encoding="utf-8")
    code, said = promtool("test", "rules", path)
    assert (code, "BffPostgresDown" in said) == (1, True)


def test_every_rule_has_a_test_in_which_it_fires_and_one_in_which_its_alert_does_not():
    fires, silent = set(), set()
    for path in TESTS:
        for case in cases(path):
            for one in case.get("promql_expr_test", ()):
                if one["exp_samples"]:
                    labels = dict(re.findall(r'(\w+)="([^"]*)"', one["exp_samples"][0]["labels"]))
                    fires.add((labels["alertname"], labels.get("sign", "")))
            silent |= {one["alertname"] for one in case.get("alert_rule_test", ()) if one["exp_alerts"] == []}
    rules = {(rule.alert, rule.sign) for rule in load() if rule.alert}
    assert rules - fires == set()
    assert {alert for alert, _ in rules} - silent == set()


def test_what_calls_somebody_is_noticed_within_two_minutes():
    """Of F-30 once the probe looks, which it does each hour; the specification asks for each night."""
    took = defaultdict(list)
    for row, sign, seconds in firing():
        took[row, sign].append(seconds)
    grave = {(rule.row, rule.sign) for rule in load() if rule.alert and rule.labels["severity"] == "P1"}
    assert {row for row, _ in grave} == P1
    assert {one: min(took[one]) for one in grave if min(took[one]) >= SOON} == {}
