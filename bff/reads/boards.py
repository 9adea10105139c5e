"""What a desk works on: the workbench, the boards, the inbox, a folio.

    board     one call, and what is kept beside it: ok, or stale for a short outage, then why not (F-7, F-8, F-12)
    workbench reservation's call decides (F-4); the house's metadata is a widget beside it, that may be stale (F-16)
    folio     one call, and nothing kept: money is as billing says it is, or it is not shown (F-9)

The boards and the inbox are the dashboard's widgets with a page of their own: the same call, the same breaker, the same
kept answer. Whoever looked last, at either, has renewed what an outage will show.

A service that says there is no such thing has answered: that is 404, and what is kept is not shown against its word.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bff.model import Answer
from bff.outside import rfc3339
from bff.reads.dashboard import WidgetBody
from bff.reads.freshness import shown, to_keep
from bff.reads.looking import Memory, keep, leave_at, patience
from bff.reads.widgets import WIDGETS
from bff.upstreams import services
from bff.upstreams.client import Call, Got, Missed, Reason, settled
from bff.upstreams.schemas.money import Posting
from bff.upstreams.schemas.rooms import Order, Task
from bff.upstreams.schemas.signals import Alert
from bff.upstreams.schemas.stay import Reservation, Room
from nurseries import fan_out, required, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.model import Claims
    from bff.outside import Outside
    from bff.problem import Problem
    from bff.reads.widgets import Whose, Widget
    from bff.stores.cache import Cache
    from bff.upstreams.client import Journey, Upstreams
    from nurseries import Owner

# Of the deadline: the longest that a workbench waits for its house's metadata. It is more than the part of its budget
# after which a call that ran out says something of its service (`client.FAIR_PART`), so that a breaker may learn.
PROPERTY_PART: Final = 0.4

BY_NAME: Final = {widget.name: widget for widget in WIDGETS}
PROPERTY: Final = BY_NAME["property"]


class WorkbenchQuery(msgspec.Struct, frozen=True):
    """Which day: the house's business day where none is said."""

    date: datetime.date | msgspec.UnsetType = msgspec.UNSET


class WorkbenchBody(msgspec.Struct, frozen=True, rename="camel"):
    """A day's work on the wire; `property` is judged on its own, as a widget of the dashboard is."""

    property_id: str
    date: datetime.date
    property: WidgetBody
    arrivals: tuple[Reservation, ...]
    departures: tuple[Reservation, ...]
    in_house: tuple[Reservation, ...]
    rooms: tuple[Room, ...]


class HousekeepingBody(msgspec.Struct, frozen=True, rename="camel"):
    """Housekeeping's board on the wire, true at `as_of`; `stale` where the service did not answer just now."""

    property_id: str
    tasks: tuple[Task, ...]
    as_of: str
    stale: bool


class MaintenanceBody(msgspec.Struct, frozen=True, rename="camel"):
    """Maintenance's board on the wire, as housekeeping's."""

    property_id: str
    orders: tuple[Order, ...]
    as_of: str
    stale: bool


class AlertsBody(msgspec.Struct, frozen=True, rename="camel"):
    """The inbox on the wire, as the boards."""

    property_id: str
    alerts: tuple[Alert, ...]
    as_of: str
    stale: bool


class FolioBody(msgspec.Struct, frozen=True, rename="camel"):
    """A folio on the wire: the balance is what billing says it is, in minor units of `currency`."""

    id: str
    property_id: str
    reservation_id: str
    guest: str
    currency: str
    balance_minor: int
    lines: tuple[Posting, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One row: the dashboard's widget that it is, and what its answer looks like."""

    widget: Widget
    body: Callable[[Any, str, bool], msgspec.Struct]


HOUSEKEEPING: Final = Board(
    BY_NAME["housekeeping"],
    lambda board, as_of, stale: HousekeepingBody(board.property_id, board.tasks, as_of, stale),
)
MAINTENANCE: Final = Board(
    BY_NAME["maintenance"],
    lambda board, as_of, stale: MaintenanceBody(board.property_id, board.orders, as_of, stale),
)
INBOX: Final = Board(
    BY_NAME["alerts"],
    lambda inbox, as_of, stale: AlertsBody(inbox.property_id, inbox.alerts, as_of, stale),
)


@dataclass(frozen=True, slots=True)
class Boards:
    """The room: whom it asks, where it keeps, and who owns what goes on after the answer.

    Each of its answers needs a finite deadline around it and raises `nurseries.Unbounded` without one.
    """

    upstreams: Upstreams
    cache: Cache
    outside: Outside
    owner: Owner

    async def board(self, board: Board, whose: Whose, journey: Journey) -> Answer | Problem:
        """The board of `whose` property: now, or as it last was, or why not."""
        widget, left = board.widget, required(board.widget.name)
        memory = Memory(self.cache, whose, (widget,), journey, seconds=patience(left))
        ask = partial(self.upstreams.ask, widget.call(whose), journey, journey.fields())
        children: dict[str, Callable[[], Any]] = {"cache": memory.look_up, widget.name: ask}
        outcomes = await fan_out(children, until=leave_at(left), owner=self.owner, name="board")
        result = settled(outcomes[widget.name])
        self._keep(widget, whose, result, memory)
        sight = shown(widget, result, memory.known.get(widget.name), self.outside.now())
        if isinstance(result, Missed) and (sight.as_of is None or result.status == 404):
            return result.problem(widget.operation.service)
        return _answer(board.body(sight.data, rfc3339(sight.as_of or 0.0), sight.status == "stale"))

    async def workbench(self, whose: Whose, day: datetime.date | None, journey: Journey) -> Answer | Problem:
        """All of `day` in `whose` property, the business day where none is said; whatever reservation does not give
        is no workbench, and whatever property does not give is left out of it.
        """
        left = required("workbench")
        memory = Memory(self.cache, whose, (PROPERTY,), journey, seconds=patience(left))
        about = {"pid": whose.property}
        call = Call(services.WORKBENCH, about, f"date={day.isoformat()}" if day is not None else "")
        children: dict[str, Callable[[], Any]] = {
            "cache": memory.look_up,
            "workbench": partial(self.upstreams.ask, call, journey, journey.fields()),
            "property": partial(self._house, whose, journey, memory, PROPERTY_PART * left),
        }
        outcomes = await fan_out(children, until=leave_at(left), owner=self.owner, name="workbench")
        house = settled(outcomes["property"])
        self._keep(PROPERTY, whose, house, memory)
        result = settled(outcomes["workbench"])
        if isinstance(result, Missed):
            return result.problem(services.WORKBENCH.service)
        work = result.value
        return _answer(
            WorkbenchBody(
                property_id=work.property_id,
                date=work.date,
                property=self._metadata(house, memory),
                arrivals=work.arrivals,
                departures=work.departures,
                in_house=work.in_house,
                rooms=work.rooms,
            )
        )

    async def folio(self, claims: Claims, folio: str, journey: Journey) -> Answer | Problem:
        """One folio of the tenant's, in a property of `claims`. `folio` is an id, and no part of a path."""
        left = required("folio")
        calls = {"folio": Call(services.FOLIO, {"id": folio})}
        result = (await self.upstreams.gather(calls, journey, until=leave_at(left)))["folio"]
        if isinstance(result, Missed):
            return result.problem(services.FOLIO.service)
        found = result.value
        if found.property_id not in claims.properties:
            # Billing was told the scope, and should have said so itself: what it says then, to the letter.
            absent = Missed(Reason.UPSTREAM_UNAVAILABLE, "out of scope", status=404)
            return absent.problem(services.FOLIO.service)
        return _answer(
            FolioBody(
                id=found.id,
                property_id=found.property_id,
                reservation_id=found.reservation_id,
                guest=found.guest,
                currency=found.currency,
                balance_minor=found.balance_minor,
                lines=found.lines,
            )
        )

    async def _house(self, whose: Whose, journey: Journey, memory: Memory, seconds: float) -> Got | Missed | None:
        """The property's answer, not waited for longer than `seconds`; None where what is kept is fresh."""
        await memory.looked_up()
        if memory.fresh(PROPERTY, self.outside.now()):
            return None
        with within(seconds):
            return await self.upstreams.ask(PROPERTY.call(whose), journey, journey.fields())
        return Missed(Reason.UPSTREAM_TIMEOUT, "not waited for any longer")

    def _metadata(self, result: Got | Missed | None, memory: Memory) -> WidgetBody:
        sight = shown(PROPERTY, result, memory.known.get(PROPERTY.name), self.outside.now())
        if sight.as_of is None:
            return WidgetBody(sight.status, reason=sight.reason)
        return WidgetBody(sight.status, as_of=rfc3339(sight.as_of), data=sight.data)

    def _keep(self, widget: Widget, whose: Whose, result: Got | Missed | None, memory: Memory) -> None:
        entry = to_keep(widget, whose, result, memory.known.get(widget.name), self.outside.now())
        if entry is not None:
            keep(self.cache, self.owner, (entry,))


def _answer(body: msgspec.Struct) -> Answer:
    return Answer(200, msgspec.json.encode(body))
