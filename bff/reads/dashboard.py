"""The dashboard: fourteen calls at once, one deadline, always an answer (F-33).

    cache ──────┐ a short part of the time; the widgets that may be fresh wait for it, the others begin at once
    operator ───┤
    property ───┤
    occupancy ──┤ each a child of one fan-out, under an owner
      ...       │
    ai ─────────┘
                └─ at the reserve at the latest: compose, answer; keep what came afterwards, under the owner

What is slow is a skeleton or what was kept of it; what is broken is too. Nothing here waits for a store: the cache that
hangs costs the two widgets that ask it first a small part of their time, and the others nothing (F-17).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from bff.facts import DashboardServed, WidgetServed
from bff.model import Answer
from bff.outside import rfc3339
from bff.reads.freshness import Shown, shown, to_keep
from bff.reads.looking import Memory, keep, leave_at, patience
from bff.reads.widgets import WIDGETS, Whose
from bff.upstreams.client import Got, Missed, settled
from nurseries import fan_out, remaining, required, tell

if TYPE_CHECKING:
    from bff.outside import Outside
    from bff.reads.widgets import Widget
    from bff.stores.cache import Cache, Entry
    from bff.upstreams.client import Journey, Upstreams
    from nurseries import Outcome, Owner

KEPT = tuple(widget for widget in WIDGETS if widget.cached)


class WidgetBody(msgspec.Struct, rename="camel", omit_defaults=True):
    """One widget on the wire."""

    status: str
    reason: str | None = None
    as_of: str | None = None
    data: Any = None


class DashboardBody(msgspec.Struct, rename="camel"):
    """The dashboard on the wire (CONTRACT section 4)."""

    property_id: str
    generated_at: str
    partial: bool
    deadline_ms: int
    widgets: dict[str, WidgetBody]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The room: what it asks, where it keeps, and who owns what goes on after the answer."""

    upstreams: Upstreams
    cache: Cache
    outside: Outside
    owner: Owner

    async def answer(self, whose: Whose, journey: Journey, *, deadline_ms: int) -> Answer:
        """The dashboard of `whose` property, at the deadline around this call at the latest, whatever breaks."""
        began = trio.current_time()
        left = required("dashboard")
        looking = _Look(self, whose, journey, left)
        outcomes = await fan_out(looking.children(), until=leave_at(left), owner=self.owner)
        answer, entries = looking.composed(outcomes, deadline_ms)
        keep(self.cache, self.owner, entries)
        tell(DashboardServed(looking.partial, trio.current_time() - began, max(0.0, -remaining())))
        return answer


class _Look:
    """One dashboard being composed."""

    def __init__(self, room: Dashboard, whose: Whose, journey: Journey, left: float) -> None:
        self.room = room
        self.whose = whose
        self.journey = journey
        self.common = journey.fields()
        self.memory = Memory(room.cache, whose, KEPT, journey, seconds=patience(left))
        self.partial = False

    def children(self) -> dict[str, Any]:
        """The cache, and a child per widget."""
        asking = {widget.name: _Asking(self, widget) for widget in WIDGETS}
        return {"cache": self.memory.look_up, **asking}

    async def ask(self, widget: Widget) -> Got | Missed | None:
        """The answer for one widget; None where what is kept is fresh."""
        if widget.fresh:
            await self.memory.looked_up()
            if self.memory.fresh(widget, self.room.outside.now()):
                return None
        return await self.room.upstreams.ask(widget.call(self.whose), self.journey, self.common)

    def composed(self, outcomes: dict[str, Outcome[Any]], deadline_ms: int) -> tuple[Answer, list[Entry]]:
        """The answer, and what is worth keeping of it."""
        bodies: dict[str, WidgetBody] = {}
        entries = []
        now = self.room.outside.now()
        for widget in WIDGETS:
            result = settled(outcomes[widget.name])
            memory = self.memory.known.get(widget.name)
            sight = shown(widget, result, memory, now)
            self._place(widget, sight, bodies)
            entry = to_keep(widget, self.whose, result, memory, now)
            if entry is not None:
                entries.append(entry)
        body = DashboardBody(self.whose.property, rfc3339(now), self.partial, deadline_ms, bodies)
        return Answer(200, msgspec.json.encode(body)), entries

    def _place(self, widget: Widget, sight: Shown, bodies: dict[str, WidgetBody]) -> None:
        if sight.status == "skeleton":
            if widget.optional:
                tell(WidgetServed(widget.name, "absent", sight.reason))
                return
            self.partial = True
            bodies[widget.name] = WidgetBody("skeleton", reason=sight.reason)
        else:
            data = widget.hint(sight.data, self.whose)
            bodies[widget.name] = WidgetBody(sight.status, as_of=rfc3339(sight.as_of or 0.0), data=data)
        tell(WidgetServed(widget.name, sight.status, sight.reason))


@dataclass(frozen=True, slots=True)
class _Asking:
    look: _Look
    widget: Widget

    async def __call__(self) -> Got | Missed | None:
        return await self.look.ask(self.widget)
