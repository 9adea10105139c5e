"""Every rule is about a row, is called as its row says, and reads what servers really export."""

import re
from dataclasses import replace

import pytest

from bff.meters import ROWS as METERS
from bff.reads.widgets import WIDGETS
from bff.upstreams.services import LOCATED, OPERATIONS
from bff.workers import Crew
from chaos.hotel.catalogue import ROWS, SECTIONS
from chaos.hotel.catalogue.evidence import ROOT
from chaos.hotel.recordings.filming import STEMS, section_of
from chaos.hotel.recordings.promql import BadExpression, read
from chaos.hotel.recordings.rules import RULES, load
from chaos.hotel.recordings.scenes import SCENES
from chaos.live.stores import NAMES as STORES

BY_ID = {row.id: row for row in ROWS}
LOADED = load()
ALERTS = [rule for rule in LOADED if rule.alert]
RECORDED = {rule.record for rule in LOADED if rule.record}
SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}
FROM_OUTSIDE = {"job", "instance", "worker"}  # Prometheus's own, and a supervisor's
CODES = {"UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT", "SCHEMA_DRIFT", "BREAKER_OPEN", "OVERLOADED"}
VALUES = {  # what a label may say, where the server has it as a table
    "service": {*LOCATED},
    "operation": {*(one.name for one in OPERATIONS), "publish"},
    "outcome": {"ok", "cancelled", "refused", "written", "left-out", "buffered", "flushed", *CODES},
    "store": {*STORES, "bus"},
    "widget": {widget.name for widget in WIDGETS},
    "name": {"public", "fallback"},
    "what": {"proof", "attestation", "key", "preferences", "cursor"},
    "passed": {"True", "False"},
    "why": {"ok", "dns", "connect", "tls", "timeout", "blocked", "status"},
    "topic": {"bff-desks", "bff-domain-events", "bff-telemetry"},
    "budget": {"instances", "streams", "egress"},
    "action": {"probe-replays"},
    "route": {"/v1/dashboard"},
    "job": {"bff"},
}


def exported():
    """The labels of everything that a server shows, by its name as Prometheus has it."""
    found = {"up": FROM_OUTSIDE}
    for row in METERS:
        for suffix in SUFFIXES[row.kind.__name__]:
            found[row.name + suffix] = {*row.labels, *FROM_OUTSIDE, *({"le"} if suffix == "_bucket" else ())}
    bounds = {f"{row.name}_bucket": {str(float(one)) for one in row.buckets} for row in METERS}
    supervisor = (line.split(" ")[0] for line in Crew([], lambda _: None).figures().splitlines() if line[0] != "#")
    return found | dict.fromkeys(supervisor, FROM_OUTSIDE), bounds


EXPORTED, BOUNDS = exported()


def flaws(rule):
    """What of a rule's expression no server has."""
    try:
        there = read(rule.expression)
    except BadExpression as why:
        return [str(why)]
    found = []
    for selector in there.selectors:
        if selector.name in RECORDED:
            continue
        if selector.name not in EXPORTED:
            found.append(f"nobody exports {selector.name}")
            continue
        for matcher in selector.matchers:
            if matcher.label not in EXPORTED[selector.name]:
                found.append(f"{selector.name} has no {matcher.label}")
            allowed = BOUNDS[selector.name] if matcher.label == "le" else VALUES.get(matcher.label, set())
            found += [f"no {matcher.label} is {word!r}" for word in matcher.words() if word not in allowed]
    known = set().union(*(EXPORTED.get(one.name, set()) for one in there.selectors), {"service", "operation"})
    return [*found, *(f"nothing has a label {label}" for label in sorted(there.grouped - known))]


@pytest.mark.parametrize("rule", LOADED, ids=lambda rule: rule.record or rule.said)
def test_a_rule_reads_what_servers_export(rule):
    assert flaws(rule) == []


@pytest.mark.parametrize(
    ("expression", "flaw"),
    [
        ("bff_made_up_total > 0", "nobody exports bff_made_up_total"),
        ("bff_outbox_depth_total > 0", "nobody exports bff_outbox_depth_total"),
        ('bff_store_up{shop="postgres"} == 0', "bff_store_up has no shop"),
        ('bff_store_up{store="oracle"} == 0', "no store is 'oracle'"),
        ('bff_upstream_calls_total{outcome=~"ok|well"}', "no outcome is 'well'"),
        ('bff_upstream_seconds_bucket{le="0.7"}', "no le is '0.7'"),
        ("sum by (tenant) (bff_sse_streams)", "nothing has a label tenant"),
        ("median(bff_sse_streams)", "no function that is known here is called median"),
        ("bff_sse_streams @ 5", "not understood: '@ 5'"),
        ("bff_store_up{store==postgres}", "no matcher: store==postgres"),
    ],
)
def test_what_nobody_has_is_named(expression, flaw):
    assert flaw in flaws(replace(LOADED[0], expression=expression))


def test_every_row_has_a_rule_that_is_called_as_it_says_in_the_file_of_its_section():
    found = {(rule.row, rule.alert, rule.file) for rule in ALERTS}
    assert found == {(row.id, row.alert, f"{section_of(row.id)}.yaml") for row in ROWS}
    assert sorted(path.stem for path in RULES.glob("*.yaml")) == sorted(["recorded", *STEMS.values()])
    assert len(STEMS) == len(SECTIONS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_s_gravest_rule_is_as_grave_as_the_row_and_each_has_its_page(row):
    mine = [rule for rule in ALERTS if rule.row == row.id]
    assert min(rule.labels["severity"] for rule in mine) == row.severity.name
    for rule in mine:
        assert rule.labels["runbook"] == row.runbook
        assert (ROOT / "deploy/runbooks" / f"{row.runbook}.md").is_file()


def test_every_rule_says_what_it_is_what_it_means_at_the_desk_and_what_to_type_first():
    for rule in ALERTS:
        assert rule.labels.keys() - {"sign"} == {"f", "severity", "runbook"}, rule.said
        assert rule.annotations.keys() == {"summary", "desk", "command"}, rule.said
        assert all(rule.annotations.values()), rule.said


def test_the_first_command_is_one_of_the_runbook_s():
    strange = []
    for rule in ALERTS:
        page = (ROOT / "deploy/runbooks" / f"{rule.labels['runbook']}.md").read_text(encoding="utf-8")
        if rule.annotations["command"] not in page:
            strange.append((rule.said, rule.annotations["command"]))
    assert strange == []


def test_rules_of_one_alert_are_told_apart_by_their_sign_and_no_rule_is_there_twice():
    named = [(rule.alert, rule.sign) for rule in ALERTS]
    assert len(set(named)) == len(named)
    several = {alert for alert, _ in named if sum(one == alert for one, _ in named) > 1}
    assert [name for name in named if (name[0] in several) is not bool(name[1])] == []


def test_what_is_recorded_is_read_by_a_rule_and_there_once():
    names = [rule.record for rule in LOADED if rule.record]
    assert len(set(names)) == len(names)
    read_by_rules = {selector.name for rule in LOADED for selector in read(rule.expression).selectors}
    assert set(names) - read_by_rules == set()
    assert all(re.fullmatch(r"[a-z_]+:bff_[a-z_]+:[a-z0-9_]+", name) for name in names)


def test_a_grave_rule_waits_no_longer_than_two_minutes_allow():
    seconds = {"s": 1, "m": 60, "h": 3600}
    waits = {rule.said: int(rule.wait[:-1]) * seconds[rule.wait[-1]] for rule in ALERTS}
    grave = [rule.said for rule in ALERTS if rule.labels["severity"] == "P1"]
    assert [name for name in grave if waits[name] > 75] == []


def test_every_scene_is_about_a_rule():
    rules = {(rule.row, rule.sign) for rule in ALERTS}
    assert [scene.what for scene in SCENES if (scene.row, scene.sign) not in rules] == []
    assert {scene.row for scene in SCENES if not scene.blip} <= BY_ID.keys()
