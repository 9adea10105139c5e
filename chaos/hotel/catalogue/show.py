"""The catalogue as a person reads it, and as a program does. Pure: rows and evidence in, something to print out.

A row of the table has two lines: what fails and what stands for it, then the names to look for. A third says what no
test covers yet, where some do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from chaos.hotel.catalogue.evidence import Evidence
from chaos.hotel.catalogue.row import Inject, Row, Section, Severity

MARKS: Final = {"there": ("●", "green"), "part": ("◐", "cyan"), "later": ("○", "yellow"), "none": ("·", "dim")}
COLUMNS: Final = ("virtual", "live", "game-day", "metric", "alert", "runbook")
ID_WIDTH: Final = 6
INDENT: Final = (0, 0, 0, ID_WIDTH + 1)
LEGEND: Final = {
    "there": "there",
    "part": "in part (of an alert: its rule has no test)",
    "later": "not yet",
    "none": "none meant",
}
STYLES: Final = {Severity.P1: "red", Severity.P2: "yellow", Severity.P3: "dim"}


def table(sections: Iterable[Section], found: Mapping[str, Evidence]) -> RenderableType:
    """Everything, for a terminal of 80 columns or more. `found` has the evidence of every row, by its id."""
    parts: list[RenderableType] = [_legend()]
    rows: list[Row] = []
    for section in sections:
        parts += [Text(), _heading(section)]
        for row in section.rows:
            rows.append(row)
            parts += _row(row, found[row.id])
    return Group(*parts, Text(), *_false(found), *_totals(rows, found))


def _legend() -> RenderableType:
    marks = Text(" ")
    for name, means in LEGEND.items():
        marks.append(*MARKS[name]).append(f" {means}   ", style="dim")
    severities = Text(" ")
    for severity, style in STYLES.items():
        severities.append(severity.name, style=style).append(f" {severity.value}   ", style="dim")
    return Group(marks, severities)


def _heading(section: Section) -> RenderableType:
    columns = [Text(name, style="dim") for name in COLUMNS]
    return _aligned(Text(section.number, style="bold"), Text(section.title, style="bold"), columns)


def _row(row: Row, evidence: Evidence) -> Iterator[RenderableType]:
    yield _aligned(Text(row.id, style="bold"), Text(row.failure), _cells(row, evidence))
    names = Text(style="dim", no_wrap=True, overflow="ellipsis")
    names.append(row.severity.name, style=STYLES[row.severity]).append(f"  {row.metric.name}  {row.runbook}")
    yield Padding(names, INDENT)
    if row.gap:
        yield Padding(Text(f"no test yet: {row.gap}", style="cyan"), INDENT)


def _cells(row: Row, evidence: Evidence) -> list[Text]:
    alert = "later" if not evidence.armed else "there" if evidence.alert_tested else "part"
    return [
        _counted(evidence.virtual, "part" if row.gap else "there", "later"),
        _counted(evidence.live, "part" if row.gap else "there", "none"),
        _gamedays(row, evidence),
        _mark("there" if evidence.exported else "later"),
        _mark(alert),
        _mark("there" if evidence.written else "later"),
    ]


def _counted(tests: tuple[str, ...], some: str, none: str) -> Text:
    return _mark(some, f" {len(tests)}") if tests else _mark(none)


def _gamedays(row: Row, evidence: Evidence) -> Text:
    if not row.gamedays:
        return _mark("none")
    if not evidence.gamedays:
        return _mark("later")
    whole = evidence.gamedays == row.gamedays
    return _mark("there" if whole else "part", "" if whole else f" {len(evidence.gamedays)} of {len(row.gamedays)}")


def _mark(name: str, words: str = "") -> Text:
    sign, style = MARKS[name]
    return Text(f"{sign}{words}", style=style)


def _aligned(first: Text, second: Text, cells: list[Text]) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=ID_WIDTH)
    grid.add_column(ratio=1)
    for name in COLUMNS:
        grid.add_column(width=len(name))
    first.pad_left(1)
    grid.add_row(first, second, *cells)
    return grid


def _totals(rows: list[Row], found: Mapping[str, Evidence]) -> Iterator[RenderableType]:
    every = [found[row.id] for row in rows]
    tested = [row for row in rows if found[row.id].virtual or found[row.id].live]
    planned = {name for row in rows for name in row.gamedays}
    there = {name for one in every for name in one.gamedays}
    counts = (
        sum(bool(one.virtual) for one in every),
        sum(bool(one.live) for one in every),
        f"{len(there)} of {len(planned)}",
        sum(one.exported for one in every),
        sum(one.armed for one in every),
        sum(one.written for one in every),
    )
    words = f"{len(tested)} tested, {sum(bool(row.gap) for row in tested)} in part"
    alert_tests = f"{sum(one.alert_tested for one in every)} alerts tested"
    yield Text(" Detection, impact, mitigation, fixtures and tests of each: bff catalogue --json", style="dim")
    yield Text(" To break one on a running hotel: bff chaos inject SERVICE TOXIC", style="dim")
    yield Text()
    cells = [Text(str(count), style="bold") for count in counts]
    yield _aligned(Text(str(len(rows)), style="bold"), Text(f"{words}; {alert_tests}", style="bold"), cells)


def _false(found: Mapping[str, Evidence]) -> Iterator[RenderableType]:
    lines = [f" {name}: {why}" for name, evidence in found.items() for why in evidence.wrong]
    if lines:
        yield Text(f" False claims: {len(lines)}", style="bold red")
        yield Text("\n".join([*lines, ""]), style="red")


def listed(sections: Iterable[Section], found: Mapping[str, Evidence]) -> list[dict[str, Any]]:
    """The same as JSON has it: one object a row, names as declared and, beside each, whether it is there."""
    return [_object(section, row, found[row.id]) for section in sections for row in section.rows]


def _object(section: Section, row: Row, evidence: Evidence) -> dict[str, Any]:
    return {
        "id": row.id,
        "section": section.number,
        "failure": row.failure,
        "detection": row.detection,
        "impact": row.impact,
        "mitigation": row.mitigation,
        "metric": row.metric.name,
        "labels": dict(row.metric.labels),
        "exported": evidence.exported,
        "alert": row.alert,
        "severity": row.severity.name,
        "armed": evidence.armed,
        "alertTested": evidence.alert_tested,
        "runbook": row.runbook,
        "written": evidence.written,
        "fixtures": [
            {"target": one.target, "toxic": one.toxic} if isinstance(one, Inject) else {"staged": one.how}
            for one in row.fixtures
        ],
        "tests": list(row.tests),
        "virtual": list(evidence.virtual),
        "live": list(evidence.live),
        "gap": row.gap,
        "gamedays": list(row.gamedays),
        "gamedaysThere": list(evidence.gamedays),
        "notYet": list(evidence.missing),
        "falseClaims": list(evidence.wrong),
    }
