"""All streams of this instance: who gets one, and who is told to end.

    gate ─► room for one more ─► token ─► tenant's journal ─► where it goes on from ─► 200

A device's stream is in the table of scopes under its tenant and device: a newer one of the device takes its place
there, and ends it, in one step. The same device on another instance has taken a greater token; that word, and all other
words that end a stream, come over the bus.

When a network goes, all of its streams are cut in one moment. Each has some steps to go until it has ended, and taken
together they would leave nobody else a turn meanwhile: so a few end at once, and then the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from bff.events.cursor import parsed
from bff.events.event import Event
from bff.events.farewell import again, moments
from bff.events.stream import End, Start, Stream
from bff.facts.events import StreamEnded, StreamOpened, StreamsCounted
from bff.model import Down, Streamed
from bff.problem import Code, Problem
from bff.stores.bus import Ended, Gone, Held, Superseded
from bff.wire.asgi import ClientLeft
from nurseries import KeyedScopes, required, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bff.events.bus import EventBus
    from bff.events.journal import Journal
    from bff.events.registry import Key, Registry
    from bff.model import Claims, DeviceId, Pieces, SessionId, TenantId
    from bff.outside import Outside
    from bff.stores.bus import Position
    from nurseries import Bulkhead

MEDIA: Final = "text/event-stream"
OUTRUN: Final = 0  # the token of a stream that was opened earlier than another and took longer
LEAVING: Final = 8  # streams that end at once because their desks have left, or were told to go
GIVEN_BACK: Final = (0.1, 0.2, 0.4, 0.8)  # seconds between two looks whether a log has back what its server lost


class Streams:
    """The room. `places` has one for each that is open.

    `lifetime` gives the seconds after which a stream looks for another place (the switch `sse-timeout`). `over` is
    called with the claims of each desk that was told to log out: its session ends with its stream.
    """

    def __init__(
        self,
        bus: EventBus,
        registry: Registry,
        outside: Outside,
        places: Bulkhead,
        *,
        lifetime: Callable[[], float],
        over: Callable[[Claims], None],
    ) -> None:
        self._bus = bus
        self._registry = registry
        self._outside = outside
        self._places = places
        self._lifetime = lifetime
        self._over = over
        self._scopes: KeyedScopes[Key] = KeyedScopes("streams")
        self._open: dict[Key, Stream] = {}
        self._draining = False
        self._leaving = trio.Semaphore(LEAVING)
        self._coming: dict[Key, object] = {}  # of each device, who came last of those that have no token yet
        registry.lost = self._lost
        bus.ears.append(self._hear)

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    async def open(self, desk: Claims, last: str | None) -> Streamed | Problem:
        """A stream for this desk, which goes on after `last` where it can. Raises `nurseries.Unbounded`.

        Of two of a device the later one is the newer, however long the earlier one takes: it may be of a connection
        that broke, and must not take the place of the one that came after it.
        """
        required("events")
        key, me = (desk.tenant, desk.device), object()
        self._coming[key] = me
        try:
            return await self._let_in(desk, last, lambda: self._coming.get(key) is me)
        finally:
            if self._coming.get(key) is me:
                del self._coming[key]

    async def _let_in(self, desk: Claims, last: str | None, newest: Callable[[], bool]) -> Streamed | Problem:
        came, key = trio.current_time(), (desk.tenant, desk.device)
        journal = await self._bus.journal(desk.tenant)
        if isinstance(journal, Down):
            return unavailable(journal, self._places, self._outside)
        start = await begin(self._bus, journal, last)
        if isinstance(start, Down):
            return unavailable(start, self._places, self._outside)
        held = await self._registry.take(desk.tenant, desk.device) if newest() else Held(*key, OUTRUN)
        if isinstance(held, Down):
            return unavailable(held, self._places, self._outside)
        stream = Stream(desk, held, journal, self._bus, self._outside, self._lifetime)
        if held.token == OUTRUN:
            stream.end(End.SUPERSEDED)
        place = self._places.enter()
        if place is None:
            self._registry.leave(held)
            return full(self._places, self._outside)

        async def run(pieces: Pieces) -> None:
            tell(StreamOpened(start.resumed, trio.current_time() - came))
            with place:
                await self._run(stream, start, pieces)

        return Streamed(run, MEDIA)

    def sessions(self) -> Iterator[tuple[TenantId, SessionId]]:
        """Of the desks whose streams are open."""
        return ((stream.desk.tenant, stream.desk.session) for stream in self._open.values())

    def end_session(self, tenant: TenantId, session: SessionId) -> None:
        """That session is over: its stream says so, and ends."""
        for stream in list(self._open.values()):
            if (stream.desk.tenant, stream.desk.session) == (tenant, session):
                stream.end(End.SESSION)

    def drain(self) -> None:
        """This instance leaves: every desk is told when to come back, each at another moment."""
        self._draining = True
        streams = list(self._open.values())
        for stream, back in zip(streams, moments(len(streams), self._outside.entropy), strict=True):
            stream.end(End.DRAINED, back=back)

    async def _run(self, stream: Stream, start: Start, pieces: Pieces) -> None:
        desk, held = stream.desk, stream.held
        key = (desk.tenant, desk.device)
        orderly = _Orderly(pieces, self._leaving)
        try:
            if self._outdated(key, held):
                stream.end(End.SUPERSEDED)
            if self._draining:
                stream.end(End.DRAINED, back=moments(1, self._outside.entropy)[0])
            if stream.why is not End.SUPERSEDED:
                with self._scopes.newest(key) as place:
                    self._open[key] = stream
                    tell(StreamsCounted(len(self._open)))
                    await stream.run(start, orderly)
                if place.superseded:
                    stream.end(End.SUPERSEDED)
            await stream.farewell(orderly)
            if stream.cut:
                raise ClientLeft("the stream was cut in the middle of a write")
        finally:
            if self._open.get(key) is stream:
                del self._open[key]
                tell(StreamsCounted(len(self._open)))
            self._registry.leave(held)
            why = stream.why or End.BROKEN
            tell(StreamEnded(why.value))
            orderly.left()
            if why is End.LOGGED_OUT:
                self._over(desk)

    def _outdated(self, key: Key, held: Held) -> bool:
        """Whether a newer stream of the device is open already: the two came at the same moment."""
        other = self._open.get(key)
        return other is not None and other.held.token > held.token

    def _hear(self, tenant: TenantId, said: Event | Superseded | Ended) -> None:
        match said:
            case Superseded(_, device, token):
                self._supersede(tenant, device, token)
            case Ended(_, session):
                self.end_session(tenant, session)

    def _lost(self, held: Held) -> None:
        self._supersede(held.tenant, held.device, held.token + 1)

    def _supersede(self, tenant: TenantId, device: DeviceId, token: int) -> None:
        stream = self._open.get((tenant, device))
        if stream is not None and stream.held.token < token:
            stream.end(End.SUPERSEDED)


class _Orderly:
    """The `pieces` of a desk that is not said to have left before it is its turn (`stream.Listened`)."""

    __slots__ = ("_pieces", "_taken", "_turns", "write")

    def __init__(self, pieces: Pieces, turns: trio.Semaphore) -> None:
        self.write = pieces.write
        self._pieces = pieces
        self._turns = turns
        self._taken = 0

    async def departed(self) -> None:
        await self._pieces.departed()
        await self.turn()

    async def turn(self) -> None:
        """Wait for it, unless it has come already: the desk may have left, too, of a stream that was told to end."""
        if not self._taken:
            await self._turns.acquire()
            self._taken += 1

    def left(self) -> None:
        """Its stream has ended, for whatever reason."""
        for _ in range(self._taken):
            self._turns.release()


async def begin(bus: EventBus, journal: Journal, last: str | None) -> Start | Down:
    """Where a desk goes on from that has `last` as its last id."""
    at = parsed(last) if last is not None else None
    if at is None:
        return Start(journal.head, resumed=False, reset=last is not None)
    if journal.after(at) is not None:
        return Start(at, resumed=True, reset=False)
    page = await _given_back(bus, journal, at)
    if isinstance(page, Down):
        return page
    if isinstance(page, Gone):
        return Start(page.head, resumed=False, reset=True)
    return Start(at, resumed=True, reset=False, missed=page)


async def _given_back(bus: EventBus, journal: Journal, at: Position) -> tuple[Event, ...] | Gone | Down:
    """What came after that position. Where the log is behind it, its end is lost: who knows that gives it back.

    To a desk that were told of a loss before, all that is given back would come a second time.
    """
    for pause in (*GIVEN_BACK, 0.0):
        page = await bus.page(journal.tenant, at)
        if not isinstance(page, Gone) or page.head.offset >= at.offset:
            break
        await trio.sleep(pause)
    return page


def full(places: Bulkhead, outside: Outside) -> Problem:
    """The last place has gone to somebody else meanwhile."""
    wait = again(places.in_use, outside.entropy)
    return Problem(Code.OVERLOADED, "as many streams as there is room for are open", retry_after=wait)


def unavailable(down: Down, places: Bulkhead, outside: Outside) -> Problem:
    """The session tier, and with it the bus, cannot be asked: each comes again at another moment."""
    wait = again(places.in_use, outside.entropy)
    return Problem(Code.CACHE_UNAVAILABLE, f"events: {down.why}", retry_after=wait)
