"""The same events by long poll, for a desk that cannot hold a stream, or whose stream has stalled (CONTRACT section 5).

    after ─► window or log ─► something for the desk? ─► answer
                                     └─ no ─► wait for it, for as long as the desk will

The ids are the stream's: a desk may go from one to the other and back. A poll takes nobody's stream away.

Who waits holds no place in the house. The head of its answer has left by then, so that all that can be refused is
refused before. Of one device's polls the newest waits; the others are answered. So is one whose session is over: the
next is refused.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
import trio

from bff.events.cursor import written
from bff.events.event import Event
from bff.events.journal import Reset
from bff.events.streams import begin, full, unavailable
from bff.facts.events import ForceLogoutDelivered
from bff.model import Answer, Down, Streamed
from bff.stores.bus import Ended, Gone
from nurseries import KeyedScopes, required, tell, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from bff.events.bus import EventBus
    from bff.events.journal import Journal, Listener
    from bff.events.registry import Key
    from bff.model import Claims, Pieces, SessionId, TenantId
    from bff.outside import Outside
    from bff.problem import Problem
    from bff.stores.bus import Position, Superseded
    from nurseries import Bulkhead, BulkheadPermit

LONGEST_MS: Final = 25_000  # that a poll waits; more is clamped (CONTRACT section 5)
STALLED_SECONDS: Final = 1.0  # that a poll waits while the bus delivers nothing: the next one asks the log again
RESERVE: Final = 0.05  # seconds of the deadline that are kept for the answer
MEDIA: Final = "application/json"


class PollQuery(msgspec.Struct, frozen=True, rename="camel"):
    """`after` is an event's id, or the last answer's `next`; `waitMs` how long to wait where there is nothing."""

    after: str = ""
    wait_ms: int = 0

    EXAMPLE: ClassVar[Any] = {"waitMs": 0}


class Polled(msgspec.Struct, frozen=True):
    """One event."""

    id: str
    event: str
    data: msgspec.Raw


class PollAnswer(msgspec.Struct, frozen=True):
    """What was said since. `next` is where the next poll goes on; `reset`: some of it is lost, fetch all anew."""

    events: tuple[Polled, ...]
    next: str
    reset: bool


class Polls:
    """The room. `places` has one for each who waits.

    `over` is called with the claims of a desk that was told to log out: its session ends with that.
    """

    def __init__(self, bus: EventBus, outside: Outside, places: Bulkhead, over: Callable[[Claims], None]) -> None:
        self._bus = bus
        self._outside = outside
        self._places = places
        self._over = over
        self._waiting: KeyedScopes[Key] = KeyedScopes("polls")
        self._drained = trio.Event()
        self._scopes: dict[Listener, trio.CancelScope] = {}  # of those who wait
        bus.ears.append(self._hear)

    async def answer(self, desk: Claims, query: PollQuery) -> Answer | Streamed | Problem:
        """What was said after `query.after`, at once where there is something. Raises `nurseries.Unbounded`."""
        required("events")
        journal = await self._bus.journal(desk.tenant)
        if isinstance(journal, Down):
            return unavailable(journal, self._places, self._outside)
        start = await begin(self._bus, journal, query.after or None)
        if isinstance(start, Down):
            return unavailable(start, self._places, self._outside)
        if not query.after or start.reset:
            return _answer((), start.at, reset=start.reset)
        said = start.missed or await self._said(journal, start.at)
        if said is None:  # the window has moved on since: the next poll reads on from there
            return _answer((), start.at)
        lost = [event.position for event in said if event.lost]
        if lost:
            return _answer((), lost[-1], reset=True)
        at = said[-1].position if said else start.at
        events = [event for event in said if event.reaches(desk)]
        patience = self._patience(desk, query)
        if events or patience <= 0:
            self._judge(desk, events)
            return _answer(events, at)
        place = self._places.enter()
        if place is None:
            return full(self._places, self._outside)
        return Streamed(partial(self._wait, desk, journal, at, trio.current_time() + patience, place), MEDIA)

    async def _said(self, journal: Journal, at: Position) -> Sequence[Event] | None:
        """What came after that place. While nothing comes here by itself the log is asked, not the window (F-34)."""
        said = journal.after(at)
        if said or not self._bus.stalled:
            return said
        page = await self._bus.page(journal.tenant, at)
        return page if not isinstance(page, Gone | Down) else said

    def sessions(self) -> Iterator[tuple[TenantId, SessionId]]:
        """Of the desks that wait."""
        return ((listener.claims.tenant, listener.claims.session) for listener in self._scopes)

    def end_session(self, tenant: TenantId, session: SessionId) -> None:
        """That session is over: who waits by it is answered now."""
        for listener, scope in self._scopes.items():
            if (listener.claims.tenant, listener.claims.session) == (tenant, session):
                scope.cancel(reason="poll: its session is over")

    def drain(self) -> None:
        """This instance leaves: whoever waits is answered now."""
        self._drained.set()

    def _patience(self, desk: Claims, query: PollQuery) -> float:
        """Seconds to wait: as asked, within the request's deadline, the token's time, and the instance's."""
        if self._drained.is_set():
            return 0.0
        asked = min(max(0, query.wait_ms), LONGEST_MS) / 1000
        if self._bus.stalled:
            asked = min(asked, STALLED_SECONDS)
        return min(asked, required("poll") - RESERVE, desk.expires_at - self._outside.now())

    async def _wait(
        self, desk: Claims, journal: Journal, at: Position, over: float, place: BulkheadPermit, pieces: Pieces
    ) -> None:
        """Say what comes, when it comes; or that nothing has."""
        with place:
            answer = await self._heard(desk, journal, at, over, pieces)
            await pieces.write((answer or _answer((), at)).body)

    async def _heard(self, desk: Claims, journal: Journal, at: Position, over: float, pieces: Pieces) -> Answer | None:
        """What came first, or where the journal is when nothing has; None where that cannot be said."""
        listener = journal.listen(desk, at)
        if listener is None:
            return None
        heard: list[Answer] = []

        async def listen(within: trio.CancelScope) -> None:
            heard.append(await self._first(desk, journal, listener, at))
            within.cancel(reason="poll: something came")

        try:
            with self._waiting.newest((desk.tenant, desk.device)), until(over) as scope:
                self._scopes[listener] = scope
                async with trio.open_nursery() as nursery:
                    for wait in (partial(listen, scope), partial(_until, self._drained.wait, scope)):
                        nursery.start_soon(wait)
                    await _until(pieces.departed, scope)
            if heard:
                return heard[0]
            return None if listener.waits else _answer((), journal.head)
        finally:
            self._scopes.pop(listener, None)
            listener.leave()

    async def _first(self, desk: Claims, journal: Journal, listener: Listener, at: Position) -> Answer:
        """What there is to say, when there is something; of more than can wait, that the log is to be read."""
        while True:
            items = await listener.next()
            if listener.cut:
                return _answer((), at)
            lost = [item.position for item in items if isinstance(item, Reset)]
            if lost:
                return _answer((), lost[-1], reset=True)
            events = [item for item in items if isinstance(item, Event)]
            if events:
                self._judge(desk, events)
                return _answer(events, journal.head)

    def _hear(self, tenant: TenantId, said: Event | Superseded | Ended) -> None:
        if isinstance(said, Ended):
            self.end_session(tenant, said.session)

    def _judge(self, desk: Claims, events: Sequence[Event]) -> None:
        """A desk that is told to log out has no session any more, however it heard."""
        for event in events:
            if event.said is not None and event.said.type == "force-logout":
                tell(ForceLogoutDelivered(max(0.0, self._outside.now() - event.at)))
                self._over(desk)


async def _until(happens: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    """End the wait when it does."""
    await happens()
    scope.cancel(reason="poll: nobody need wait any more")


def _answer(events: Sequence[Event], after: Position, *, reset: bool = False) -> Answer:
    polled = tuple(
        Polled(written(event.position), event.said.type, msgspec.Raw(event.data))
        for event in events
        if event.said is not None
    )
    return Answer(200, msgspec.json.encode(PollAnswer(polled, written(after), reset)))
