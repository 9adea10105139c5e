"""What each widget of the dashboard looks like to a person: a line to take in at a glance, and what is behind it.

One row per widget in `WIDGETS`, in the order in which a desk shows them. Pure, and never an error: content of another
shape than expected shows as the names that are in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

Data = Mapping[str, Any]


class Line(NamedTuple):
    """What a line says on its left and on its right, and in which of rich's styles."""

    left: str
    right: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A widget's content. `glance` says all of it in a few words; `percent` is drawn as a bar."""

    glance: str
    lines: tuple[Line, ...] = ()
    percent: float | None = None


@dataclass(frozen=True, slots=True)
class Widget:
    """A row: the widget's title, the service behind it, and how its data is seen."""

    title: str
    service: str
    see: Callable[[Data], View]

    def view(self, data: Data) -> View:
        """The view of `data`, whatever that is."""
        try:
            return self.see(data)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return View(", ".join(map(str, data)))


def money(minor: int, currency: str) -> str:
    """An amount in minor units, as people write it."""
    return f"{minor / 100:,.2f} {currency}"


def _occupancy(data: Data) -> View:
    lines = (
        Line("arrivals", str(data["arrivals"])),
        Line("departures", str(data["departures"])),
        Line("out of order", str(data["outOfOrder"])),
    )
    glance = f"{data['occupied']} of {data['rooms']} rooms, {data['occupancyPercent']:g} %"
    return View(glance, lines, float(data["occupancyPercent"]))


def _rates(data: Data) -> View:
    rates = data["rates"]
    lowest, highest = min(_amounts(rates)), max(_amounts(rates))
    lines = tuple(Line(rate["roomType"], money(rate["amountMinor"], data["currency"])) for rate in rates)
    return View(f"{lowest / 100:,.2f} to {money(highest, data['currency'])}", lines)


def _amounts(rates: Iterable[Data]) -> Iterable[int]:
    return (rate["amountMinor"] for rate in rates)


def _figures(data: Data) -> View:
    came = [tile for tile in data["tiles"] if tile["status"] == "ok"]
    missing = len(data["tiles"]) - len(came)
    lines = tuple(Line(tile["label"], f"{tile['value']:g} {tile['unit']}".strip() + _trend(tile)) for tile in came)
    return View(f"{missing} missing" if missing else "", lines)


def _trend(tile: Data) -> str:
    trend = tile["trend"]
    return "  " if not trend else " ▲" if trend > 0 else " ▼"


def _stays(data: Data) -> View:
    lines = tuple(Line(stay["guest"], stay["roomNumber"] or "no room") for stay in data["items"])
    return View(str(data["total"]), lines)


def _housekeeping(data: Data) -> View:
    count = Counter(task["status"] for task in data["tasks"])
    lines = tuple(Line(status, str(count[status])) for status in ("dirty", "cleaning", "clean", "inspected"))
    return View(f"{count['dirty']} of {len(data['tasks'])} to do", lines)


def _maintenance(data: Data) -> View:
    waiting = [order for order in data["orders"] if order["status"] != "done"]
    lines = tuple(Line(f"{order['roomNumber']} {order['kind']}", order["status"]) for order in waiting)
    return View(f"{len(waiting)} to do", lines)


def _folios(data: Data) -> View:
    lines = tuple(Line(folio["guest"], money(folio["balanceMinor"], data["currency"])) for folio in data["folios"])
    return View(f"{data['open']} open, {money(data['balanceMinor'], data['currency'])}", lines)


def _alerts(data: Data) -> View:
    waiting = [alert for alert in data["alerts"] if not alert["acknowledged"]]
    styles = {"critical": "bold red", "warning": "yellow"}
    lines = tuple(Line(alert["message"], alert["severity"], styles.get(alert["severity"], "")) for alert in waiting)
    return View(f"{len(waiting)} unread", lines)


def _sync(data: Data) -> View:
    behind = data["staleSync"]
    return View("may be behind" if behind else "in step", (Line("cursor", str(data["cursor"])),))


def _suggestions(data: Data) -> View:
    lines = tuple(Line(one["text"], f"{one['confidence']:.0%}") for one in data["suggestions"])
    return View(str(len(lines)), lines)


WIDGETS: Final[Mapping[str, Widget]] = {
    "occupancy": Widget("Occupancy", "inventory", _occupancy),
    "arrivals": Widget("Arrivals", "reservation", _stays),
    "alerts": Widget("Alerts", "notification", _alerts),
    "rateSnapshot": Widget("Rates today", "pricing", _rates),
    "departures": Widget("Departures", "reservation", _stays),
    "housekeeping": Widget("Housekeeping", "housekeeping", _housekeeping),
    "kpis": Widget("Figures", "analytics", _figures),
    "inHouse": Widget("In house", "reservation", _stays),
    "maintenance": Widget("Maintenance", "maintenance", _maintenance),
    "folioSummary": Widget("Folios", "billing", _folios),
    "sync": Widget("Sync", "sync", _sync),
    "ai": Widget("Suggestions", "ai-orchestrator", _suggestions),
}

# Why a widget is a skeleton, in the words of a desk.
REASONS: Final[Mapping[str, str]] = {
    "UPSTREAM_UNAVAILABLE": "{service} is unavailable",
    "UPSTREAM_TIMEOUT": "{service} did not answer in time",
    "SCHEMA_DRIFT": "{service} answers in an unknown shape",
    "BREAKER_OPEN": "{service} kept failing, and rests",
    "OVERLOADED": "too much is asked of {service}",
}


def why(widget: Widget, reason: str) -> str:
    """A skeleton's reason in one line."""
    return REASONS.get(reason, "{service} has no answer").format(service=widget.service)
