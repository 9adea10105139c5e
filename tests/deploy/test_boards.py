"""grafana/: both boards are what the catalogue writes, and ask for nothing that the server does not show."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from bff.meters import Meters
from bff.workers import Crew
from chaos.hotel.catalogue import ROWS, SECTIONS
from chaos.hotel.catalogue.boards import FOLDED, HISTOGRAMS, SPLIT, catalogue
from chaos.hotel.catalogue.evidence import ROOT, Sources
from chaos.hotel.catalogue.golden import golden

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
BOARDS = {"golden": golden(), "catalogue": catalogue(SECTIONS)}
FAMILIES = {family.name: family for family in Meters().registry.collect()}
PENDING = {row.metric.name for row in ROWS if not Sources().exported(row.metric)}


def queries(board):
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())]


def family(name):
    """(the metric that a name in a query belongs to, and its kind); None where the server shows no such thing."""
    for ending, kinds in (("_total", {"counter"}), ("_bucket", {"histogram"}), ("", {"gauge"})):
        stem = name.removesuffix(ending) if ending else name
        if name.endswith(ending) and stem in FAMILIES and FAMILIES[stem].type in kinds:
            return stem
    return None


@pytest.mark.parametrize("name", BOARDS)
def test_what_is_kept_is_what_is_written(name):
    kept = json.loads((GRAFANA / f"{name}.json").read_text(encoding="utf-8"))
    assert kept == BOARDS[name], f"bff catalogue --board {name} > deploy/grafana/{name}.json"


@pytest.mark.parametrize("name", BOARDS)
def test_every_metric_is_one_that_the_server_shows_in_the_way_it_is_asked_for(name):
    crew = {line.split()[0] for line in Crew([], lambda _: None).figures().splitlines() if line[:1] != "#"}
    for title, expr in queries(BOARDS[name]):
        for asked in set(re.findall(r"\bbff_[a-z0-9_]+", expr)) - crew - PENDING:
            assert family(asked), f"{title}: {asked}"


def test_the_golden_board_waits_for_nothing_that_is_to_come():
    asked = {name for _, expr in queries(BOARDS["golden"]) for name in re.findall(r"\bbff_[a-z0-9_]+", expr)}
    assert not asked & PENDING - {"bff_tenant_probe_leaks_total"}
    assert len(asked) > 25


def test_each_of_the_41_rows_has_its_panel_under_its_section_with_its_runbook():
    panels, heading, found = BOARDS["catalogue"]["panels"], "", []
    for panel in panels:
        if panel["type"] == "row":
            heading = panel["title"]
        elif panel["links"]:
            (link,) = panel["links"]
            found.append((heading, panel["title"].split()[0], link["url"]))
    expected = [
        (f"{section.number} {section.title}", row.id, f"${{runbooks}}/{row.runbook}.md")
        for section in SECTIONS
        for row in section.rows
    ]
    assert found == expected
    assert len(found) == 41
    assert all((ROOT / "deploy/runbooks" / f"{row.runbook}.md").is_file() for row in ROWS)


def test_a_row_s_panel_asks_for_the_row_s_metric_with_its_labels():
    by_title = {panel["title"].split()[0]: panel for panel in BOARDS["catalogue"]["panels"]}
    for row in ROWS:
        labels = str(row.metric).removeprefix(row.metric.name)
        for target in by_title[row.id]["targets"]:
            assert re.search(rf"\b{row.metric.name}(_bucket)?{re.escape(labels)}", target["expr"]), row.id


def test_what_is_said_of_metrics_here_is_so():
    for name in HISTOGRAMS:
        assert FAMILIES[name].type == "histogram"
    for name in {row.metric.name for row in ROWS} - PENDING - HISTOGRAMS:
        assert FAMILIES[name.removesuffix("_total")].type == ("counter" if name.endswith("_total") else "gauge"), name
    assert set(FOLDED) <= {row.metric.name for row in ROWS}
    assert set(SPLIT) <= {row.metric.name for row in ROWS}


@pytest.mark.parametrize("name", BOARDS)
def test_panels_stand_side_by_side_and_none_on_another(name):
    panels = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


@pytest.mark.parametrize("name", BOARDS)
def test_both_ask_the_data_source_that_is_provisioned(name):
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    asked = {
        (target["datasource"]["type"], target["datasource"]["uid"])
        for panel in BOARDS[name]["panels"]
        for target in panel.get("targets", ())
    }
    assert asked == {(source["type"], source["uid"])}


def test_prometheus_understands_every_question(tmp_path):
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not here")
    asked = [expr for board in BOARDS.values() for _, expr in queries(board)]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": rules}]}))
    done = subprocess.run(
        [tool, "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
