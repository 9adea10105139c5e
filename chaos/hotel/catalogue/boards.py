"""Grafana's two dashboards, as JSON: the catalogue, a panel for each row, and the golden signals (`golden.py`).

They are written, never edited: `bff catalogue --board catalogue` prints one, `deploy/grafana/` keeps it, and a test
says when the two differ. So a row that gets another metric has it in its panel, and no panel outlives its row.

How a counter is drawn is how the rules judge it: a series with labels begins with its first event, and `increase` takes
the first sample for where it stood, so of the first failure nothing would be seen. What was not there before the window
has grown by all that it is (`grown`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from chaos.hotel.catalogue.row import Metric, Row, Section

SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}  # deploy/grafana/provisioning has one of this uid
SCHEMA: Final = 39  # of Grafana 10 and 11
RUNBOOKS: Final = "https://example.com/runbooks"  # what the variable `runbooks` is until somebody says another
ACROSS: Final = 3
WIDTH, HEIGHT = 24 // ACROSS, 7
FIRING: Final = 'ALERTS{alertstate="firing", f=~"F-[0-9]+"}'

# Of a metric that is no counter and no gauge, and of what of it differs from one failure to the next.
HISTOGRAMS: Final = frozenset({"bff_upstream_seconds", "bff_force_logout_seconds", "bff_sse_first_event_seconds"})
SPLIT: Final = {
    "bff_dpop_replay_blocked_total": ("by",),
    "bff_edge_certificate_left_seconds": ("name",),
    "bff_edge_probe_up": ("name",),
    "bff_edge_probes_total": ("name",),
    "bff_idempotency_dedup_total": ("action",),
    "bff_relay_failed_total": ("why",),
    "bff_resident_memory_bytes": ("instance",),
    "bff_schema_drift_total": ("service", "operation"),
    "bff_store_memory_ratio": ("store",),
    "bff_store_up": ("store",),
    "bff_telemetry_events_total": ("outcome",),
    "bff_upstream_calls_total": ("operation", "outcome"),
    "bff_upstream_seconds": ("operation",),
}
# How gauges of several instances become one figure, where the largest is not the one that counts.
FOLDED: Final = {
    "bff_edge_certificate_left_seconds": "min",
    "bff_edge_probe_up": "min",
    "bff_lock_audit_completeness": "min",
    "bff_sse_streams": "sum",
    "bff_store_up": "min",
}
UNITS: Final = (("_seconds", "s"), ("_bytes", "bytes"), ("_ratio", "percentunit"), ("_completeness", "percentunit"))
WINDOW: Final = "5m"


@dataclass(frozen=True, slots=True)
class Target:
    """A line of a panel: what Prometheus is asked, and what the line is called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel as it is declared. `links` are (title, URL)."""

    title: str
    targets: tuple[Target, ...]
    about: str = ""
    unit: str = "short"
    links: tuple[tuple[str, str], ...] = ()
    kind: str = "timeseries"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def grown(selector: str, by: tuple[str, ...] = (), within: str = WINDOW) -> str:
    """How much a counter grew, first events included."""
    return f"sum{_by(by)} (({selector} unless {selector} offset {within}) or increase({selector}[{within}]))"


def quantile(part: float, selector: str, by: tuple[str, ...] = ()) -> str:
    """A quantile of a histogram; `selector` is its name, with labels if need be."""
    name, brace, labels = selector.partition("{")
    return f"histogram_quantile({part}, sum{_by(('le', *by))} (rate({name}_bucket{brace}{labels}[{WINDOW}])))"


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _legend(by: tuple[str, ...], otherwise: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by) or otherwise


def catalogue(sections: Iterable[Section]) -> dict[str, Any]:
    """The board of the catalogue: what fires now, then a panel for each row, under the specification's headings."""
    firing = Panel(
        "What fires now",
        (Target(f"max by (f, severity) ({FIRING})", "{{severity}} {{f}}"),),
        "Each row of the catalogue whose alert fires. Its panel below links to its runbook.",
        kind="state-timeline",
        wide=True,
    )
    groups = [Group(f"{one.number} {one.title}", tuple(map(_panel, one.rows))) for one in sections]
    about = "The 41 ways to fail: what shows each of them, and its runbook."
    return board("bff-catalogue", "bff: the catalogue of failures", about, [Group("Now", (firing,)), *groups])


def _panel(row: Row) -> Panel:
    about = f"Seen by: {row.detection}.\n\nAt the desk: {row.impact}.\n\nWhat is done: {row.mitigation}."
    runbook = ("Runbook", f"${{runbooks}}/{row.runbook}.md")
    return Panel(
        f"{row.id} {row.failure} ({row.severity.name}, {row.alert})",
        targets(row.metric),
        about,
        next((unit for ending, unit in UNITS if row.metric.name.endswith(ending)), "short"),
        (runbook,),
    )


def targets(metric: Metric) -> tuple[Target, ...]:
    """What is drawn of a metric: of a counter how it grows, of a histogram three quantiles, of a gauge itself."""
    by, selector = SPLIT.get(metric.name, ()), str(metric)
    if metric.name in HISTOGRAMS:
        return tuple(
            Target(quantile(part, selector, by), f"{_legend(by, '')} p{part * 100:g}".strip())
            for part in (0.5, 0.95, 0.99)
        )
    if metric.name.endswith("_total"):
        return (Target(grown(selector, by), _legend(by, metric.name)),)
    return (Target(f"{FOLDED.get(metric.name, 'max')}{_by(by)} ({selector})", _legend(by, metric.name)),)


def board(uid: str, title: str, about: str, groups: Iterable[Group]) -> dict[str, Any]:
    """A dashboard as Grafana reads it."""
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["bff"],
        "editable": False,
        "schemaVersion": SCHEMA,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "graphTooltip": 1,
        "templating": {"list": [_runbooks()]},
        "annotations": {"list": [_alerts()]},
        "links": [{"type": "dashboards", "title": "bff", "tags": ["bff"], "asDropdown": False, "keepTime": True}],
        "panels": list(_placed(groups)),
    }


def _runbooks() -> dict[str, Any]:
    current = {"text": RUNBOOKS, "value": RUNBOOKS}
    return {
        "name": "runbooks",
        "label": "Runbooks are at",
        "type": "textbox",
        "query": RUNBOOKS,
        "current": current,
        "options": [{**current, "selected": True}],
    }


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "expr": f"max by (alertname, f, severity) ({FIRING})",
        "titleFormat": "{{severity}} {{alertname}}",
        "textFormat": "{{f}}",
        "iconColor": "red",
    }


def _placed(groups: Iterable[Group]) -> Iterator[dict[str, Any]]:
    """Headings, and three panels in a line below each."""
    numbers, y = count(1), 0
    for group in groups:
        yield {
            "id": next(numbers),
            "type": "row",
            "title": group.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            "panels": [],
        }
        y += 1
        for place, panel in enumerate(group.panels):
            at = {"x": 0, "y": y, "w": 24, "h": HEIGHT}
            if not panel.wide:
                at |= {"x": WIDTH * (place % ACROSS), "y": y + HEIGHT * (place // ACROSS), "w": WIDTH}
            yield _drawn(panel, next(numbers), at)
        y += HEIGHT * -(-len(group.panels) // ACROSS)


def _drawn(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": at,
        "links": [{"title": title, "url": url, "targetBlank": True} for title, url in panel.links],
        "fieldConfig": {"defaults": {"unit": panel.unit, "noValue": "nothing seen"}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": target.expr,
                "legendFormat": target.legend,
                "exemplar": "histogram_quantile" in target.expr,
            }
            for index, target in enumerate(panel.targets)
        ],
    }
