"""Whether a dashboard is what CONTRACT section 4 says, given which services failed and how.

A second reading of the contract, made without a look at the server: the table below is copied from the page, and a
judge says what he misses as an `AssertionError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from chaos.hotel.fleet.desk import Seen


@dataclass(frozen=True, slots=True)
class Row:
    """What feeds a widget; how old its answer may be to stand for a new one, and to be shown in an outage. Seconds."""

    service: str
    fresh: float = 0.0
    keep: float = 0.0


TABLE: Final[Mapping[str, Row]] = {
    "operator": Row("tenant", fresh=60, keep=5 * 60),
    "property": Row("property", fresh=5 * 60, keep=24 * 3600),
    "occupancy": Row("inventory"),
    "rateSnapshot": Row("pricing"),
    "arrivals": Row("reservation"),
    "departures": Row("reservation"),
    "inHouse": Row("reservation"),
    "housekeeping": Row("housekeeping", keep=60),
    "maintenance": Row("maintenance", keep=60),
    "folioSummary": Row("billing"),
    "kpis": Row("analytics"),
    "alerts": Row("notification", keep=5 * 60),
    "sync": Row("sync", keep=24 * 3600),
    "ai": Row("ai-orchestrator"),
}
OPTIONAL: Final = "ai"  # its key is absent when it is gone, and nobody calls the answer partial for it
REASONS: Final = frozenset({"UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT", "SCHEMA_DRIFT", "BREAKER_OPEN", "OVERLOADED"})
WHOLE: Final = frozenset({"ok", "stale", "absent"})
DEADLINE_MS: Final = 800


def widgets_of(service: str) -> tuple[str, ...]:
    """The widgets that one service feeds: none for iam and for lock-integration."""
    return tuple(name for name, row in TABLE.items() if row.service == service)


def without(service: str, reason: str, *, kept: bool = False) -> dict[str, str]:
    """The states of a service's widgets while it fails for `reason`, with its last answers `kept` or not."""
    return {name: _without(name, reason, kept) for name in widgets_of(service)}


def _without(name: str, reason: str, kept: bool) -> str:
    if kept and TABLE[name].keep:
        return "stale"
    return "absent" if name == OPTIONAL else reason


def states(seen: Seen) -> dict[str, str]:
    """Each widget's state: `ok`, `stale`, `absent`, or the reason of its skeleton."""
    widgets = seen.body["widgets"]
    strange = widgets.keys() - TABLE.keys()
    assert not strange, f"widgets the contract does not have: {strange}"
    return {name: _state(name, widgets.get(name)) for name in TABLE}


def _state(name: str, widget: Mapping[str, Any] | None) -> str:
    if widget is None:
        assert name == OPTIONAL, f"{name} is not there"
        return "absent"
    if widget["status"] != "skeleton":
        assert widget["status"] in WHOLE, f"{name} is {widget['status']}"
        assert widget.keys() == {"status", "asOf", "data"}, f"{name} has {sorted(widget)}"
        return str(widget["status"])
    assert widget.keys() == {"status", "reason"}, f"{name} has {sorted(widget)}"
    assert widget["reason"] in REASONS and name != OPTIONAL, f"{name} is a skeleton for {widget['reason']}"
    return str(widget["reason"])


def judge(seen: Seen, otherwise: Mapping[str, str], *, deadline_ms: int = DEADLINE_MS) -> None:
    """Every widget is `ok` but for those `otherwise`; `partial` says so; and the answer was in time.

    In time as the desk measures it: to the microsecond, where the way between desk and server takes no time.
    """
    found = states(seen)
    wrong = {
        name: (state, otherwise.get(name, "ok")) for name, state in found.items() if state != otherwise.get(name, "ok")
    }
    assert not wrong, "found, and expected: " + ", ".join(f"{name} {a} {b}" for name, (a, b) in wrong.items())
    partial = not WHOLE.issuperset(found.values())
    assert seen.body["partial"] is partial, f"partial is {seen.body['partial']}"
    assert seen.body["deadlineMs"] == deadline_ms, f"deadlineMs is {seen.body['deadlineMs']}"
    assert seen.took <= deadline_ms / 1000, f"{(seen.took - deadline_ms / 1000) * 1e6:.0f} µs late"
