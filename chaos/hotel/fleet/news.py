"""What happens, in the words of a receptionist: one line for each thing that a desk is told.

An event names what has changed by its id; what people call it is found in the dashboard that is in view. Pure, and
never an error: an event of another shape than expected is told by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chaos.hotel.fleet.told import Came, Condition, Over, Refetch

Data = Mapping[str, Any]
Names = Mapping[str, str]

REMEMBERED: Final = 12  # things that happened, the newest first
LONGEST: Final = 200  # characters of what somebody else has written


@dataclass(frozen=True, slots=True)
class Happened:
    """One thing a desk was told. `clock` is the time of day, as a person reads it."""

    clock: str
    what: Came | Refetch


@dataclass(frozen=True, slots=True)
class News:
    """How the desk hears, and what happened, the newest first."""

    condition: Condition
    happened: tuple[Happened, ...] = ()


CONDITIONS: Final[Mapping[str, tuple[str, str, str]]] = {  # mark, style, and what it means
    "live": ("●", "green", "changes show at once"),
    "polling": ("◐", "cyan", "changes show within seconds"),
    "offline": ("○", "yellow", "changes show late"),
    "ended": ("·", "red", "this session hears nothing more"),
}

ACTIONS: Final[Mapping[str, str]] = {  # of a mutation, with what it was done to
    "reservation.check-in": "{} has checked in",
    "reservation.check-out": "{} has checked out",
    "reservation.room": "{} has got a room",
    "task.transition": "{}: housekeeping has moved on",
    "order.transition": "{}: maintenance has moved on",
    "folio.charge": "A charge for {}",
    "folio.refund": "A refund for {}",
    "lock.issue": "A key was cut for {}",
    "lock.revoke": "A key for {} was revoked",
    "alert.ack": "Somebody takes care of: {}",
    "preferences.save": "Your preferences were changed elsewhere",
}

ENDS: Final[Mapping[Over, str]] = {  # after which a desk is not begun anew
    "logged-out": "you have been logged out",
    "superseded": "this desk was opened somewhere else, and goes on there",
}


def words(what: Came | Refetch, names: Names) -> str:
    """What happened, in a line. `names` are `names_in` the dashboard."""
    if isinstance(what, Refetch):
        return "Something was missed: everything is looked at anew"
    try:
        said = EVENTS[what.event](what.data, names)
    except (KeyError, TypeError, ValueError, AttributeError):
        said = what.event
    return _line(said)


def ended(over: Over, last: Condition | None) -> str:
    """What a desk says when it ends for good, '' where it does not."""
    if over == "logged-out" and last is not None and last.why:
        return f"{ENDS[over]}: {_line(last.why)}"
    return ENDS.get(over, "")


def names_in(widgets: Data) -> Names:
    """What people call the things that the dashboard shows, by their ids."""
    found: dict[str, str] = {}
    for item in _items(widgets):
        name = (
            item.get("guest") or item.get("message") or (f"Room {item['roomNumber']}" if "roomNumber" in item else "")
        )
        for key in ("id", "folioId", "lockId"):
            if name and isinstance(item.get(key), str):
                found.setdefault(item[key], str(name))
    return found


def _line(said: str) -> str:
    """One line of what somebody else has written: nothing in it tells a terminal what to do."""
    return " ".join("".join(one if one.isprintable() else " " for one in said).split())[:LONGEST]


def _items(widgets: Data) -> Iterator[Data]:
    for widget in widgets.values():
        data = widget.get("data") if isinstance(widget, Mapping) else None
        for rows in data.values() if isinstance(data, Mapping) else ():
            if isinstance(rows, list):
                yield from (row for row in rows if isinstance(row, Mapping))


def _changed(otherwise: str) -> Callable[[Data, Names], str]:
    """What a mutation has done, or `otherwise` where nobody says which it was."""

    def said(data: Data, names: Names) -> str:
        if data.get("action") not in ACTIONS:
            return otherwise
        kind, _, id = data["changed"][0].partition(":")
        return ACTIONS[data["action"]].format(names.get(id, f"{kind} {id}"))

    return said


def _alert(data: Data, names: Names) -> str:
    text = data.get("message") or data.get("text") or names.get(data.get("id", ""), "")
    return f"Alert: {text}" if text else "There is a new alert"


def _logged_out(data: Data, _: Names) -> str:
    return f"You have been logged out: {data['reason']}" if data.get("reason") else "You have been logged out"


def _status(data: Data, _: Names) -> str:
    return "The house is suspended: nothing can be done" if data["status"] == "suspended" else "The house is open again"


EVENTS: Final[Mapping[str, Callable[[Data, Names], str]]] = {
    "board-changed": _changed("A board has changed"),
    "dashboard-stale": _changed("The day has changed"),
    "alert": _alert,
    "force-logout": _logged_out,
    "tenant-status": _status,
    "sync-cursor": lambda _data, _names: "What was done elsewhere has come in",
}
