"""A device's stream: one scope per device, from hello to its last word.

    hello ─► (reset) ─► what was missed, page by page ─► live ─► last word

What ends it, and what the desk hears then:

    a newer stream of the device      superseded        here or on another instance (F-26)
    the token's time is over          expired           with its reason
    the session is over               expired           with its reason; of a force-logout, that event (F-31)
    the tenant is suspended           tenant-status     that event
    this instance leaves, or it is    drain             with the moment to come back at (F-37, F-39)
    time to look for another place
    256 events wait for the desk      nothing           it reads too slowly to hear anything
    the desk has left                 nothing

A desk that comes again with the last id it has goes on right after it. History is read before anything is live, and
the step from the one to the other has no moment in between (`bff.events.journal`).

A stream that is told to end between two writes says its last word. One that is in the middle of a write has a second to
finish it; what was cut in there gets no other word, since half an event would run into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import trio

from bff.events.cursor import written
from bff.events.event import Event
from bff.events.farewell import moments
from bff.events.journal import Alive, Full, Reset, Stalled
from bff.facts.events import ForceLogoutDelivered
from bff.model import Down, Pieces
from bff.outside import fraction
from bff.stores.bus import Gone
from bff.wire.asgi import ClientLeft
from bff.wire.sse import comment, encode
from nurseries import tell, within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bff.events.bus import EventBus
    from bff.events.journal import Item, Journal, Listener
    from bff.model import Claims
    from bff.outside import Outside
    from bff.stores.bus import Held, Position

HEARTBEAT: Final = 15.0  # seconds between two comments (CONTRACT section 5)
LAST_SECONDS: Final = 1.0  # for a write that is under way when the stream ends, and for the last word
PAGE_SECONDS: Final = 1.0  # for reading one page of what was missed
SPREAD: Final = 0.2  # of its lifetime: by how much a stream may end earlier
STALE_OFFSET: Final = 2_500  # events of others that go by until a desk is told where it is by now
BEAT: Final = comment("")


class End(Enum):
    """Why a stream ended."""

    LEFT = "left"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    SESSION = "session-ended"
    LOGGED_OUT = "logged-out"
    SUSPENDED = "tenant-suspended"
    DRAINED = "drained"
    SLOW = "slow"
    BROKEN = "broken"


class Listened(Pieces, Protocol):
    """The peer of a stream."""

    async def turn(self) -> None:
        """Wait until this stream may end: many are told to at once, and all should hear it before the first is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream goes on from: `at`, and whether that is where the desk was (`resumed`) or must be told (`reset`).

    `missed` is the first of what was said since, as read from the log.
    """

    at: Position
    resumed: bool
    reset: bool
    missed: tuple[Event, ...] = ()


class Stream:
    """One device's. `lifetime` gives the seconds after which it should look for another place: asked at each beat, so
    that a switch turned shortens the streams that there are (F-39). `logged_out` is called when it was told to.
    """

    def __init__(
        self,
        desk: Claims,
        held: Held,
        journal: Journal,
        bus: EventBus,
        outside: Outside,
        lifetime: Callable[[], float],
    ) -> None:
        self.desk = desk
        self.held = held
        self.why: End | None = None
        self.began = trio.current_time()
        self._journal = journal
        self._bus = bus
        self._outside = outside
        self._scope = trio.CancelScope(deadline=self.began + desk.expires_at - outside.now())
        self._writing = False
        self._greeted = False
        self._back = 0  # milliseconds after which the desk should come again
        self._at: Position = journal.head
        self._told: Position = journal.head  # what the desk has as its last id
        self._lifetime = lifetime
        self._part = 1 - SPREAD * fraction(outside.entropy)  # so that streams opened together do not all end together

    @property
    def cut(self) -> bool:
        """Whether it ended in the middle of a write, or with nobody there."""
        return self._writing or self.why is End.LEFT

    def end(self, why: End, *, back: int = 0, now: bool = True) -> None:
        """End it, for the first reason that there is. `back` is in milliseconds, for `DRAINED`.

        Where not `now` it says nothing more, and ends by itself when it is its turn.
        """
        if self.why is not None:
            return
        self.why, self._back = why, back
        if not now:
            return
        if not self._writing or why in {End.LEFT, End.SLOW}:
            self._scope.cancel(reason=f"stream: {why.value}")
        else:
            self._scope.deadline = min(self._scope.deadline, trio.current_time() + LAST_SECONDS)

    async def run(self, start: Start, pieces: Listened) -> None:
        """From hello to where it ends; the last word is `farewell`'s."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, pieces)
                with self._scope:
                    if self.why is None:  # told to end before it began: its last word is all there is to say
                        await self._tell(start, pieces)
                nursery.cancel_scope.cancel(reason="stream: its telling has ended")
        finally:
            if self.why is None and self._scope.cancelled_caught:
                self.why = End.EXPIRED

    async def farewell(self, pieces: Listened) -> None:
        """The last word, where one can be said."""
        word = self._last_word()
        if word and not self._writing:
            with within(LAST_SECONDS):
                await self._write(pieces, word)

    def _last_word(self) -> bytes:
        match self.why:
            case End.SUPERSEDED:
                return encode("superseded", b"{}", None)
            case End.EXPIRED | End.SESSION:
                return encode("expired", msgspec.json.encode({"reason": self.why.value}), None)
            case End.DRAINED:
                at = (
                    written(self._at) if self._greeted else None
                )  # else it goes on from where it was, and misses nothing
                return encode("drain", msgspec.json.encode({"reconnectAfterMs": self._back}), at)
            case _:
                return b""

    async def _watch(self, pieces: Listened) -> None:
        await pieces.departed()
        self.end(End.LEFT)

    async def _tell(self, start: Start, pieces: Listened) -> None:
        try:
            listener = await self._catch_up(start, pieces)
            if listener is None:
                return
            listener.when_cut = lambda: self.end(End.SLOW)
            try:
                await self._live(listener, pieces)
            finally:
                listener.leave()
        except ClientLeft:
            self.end(End.LEFT)

    async def _catch_up(self, start: Start, pieces: Listened) -> Listener | None:
        """Hello, and what was missed; then a place at the journal, or None where the stream ends before."""
        self._at = self._told = start.at
        hello = {"heartbeatMs": round(HEARTBEAT * 1000), "resumed": start.resumed}
        word = encode("hello", msgspec.json.encode(hello), written(start.at))
        await self._write(pieces, word + (self._reset(start.at) if start.reset else b""))
        self._greeted = True
        await self._say(start.missed, pieces)
        while self.why is None and await self._asks_for_its_journal():
            listener = self._journal.listen(self.desk, self._at)
            if listener is not None:
                return listener
            missed = await self._page()
            if missed is None:
                return None
            await self._say(missed, pieces)
        return None

    async def _asks_for_its_journal(self) -> bool:
        """Whether there is one. That of before has closed if what was missed took long to say, and nobody listened."""
        with within(PAGE_SECONDS):
            journal = await self._bus.journal(self.desk.tenant)
            if not isinstance(journal, Down):
                self._journal = journal
                return True
        self.end(End.BROKEN)
        return False

    async def _page(self) -> Sequence[Item] | None:
        """The next page of what was missed, or that it is lost; None where the log cannot be asked."""
        with within(PAGE_SECONDS):
            page = await self._bus.page(self._journal.tenant, self._at)
            if isinstance(page, Gone):
                return (Reset(page.head),)
            if not isinstance(page, Down):
                return page
        self.end(End.BROKEN)  # the desk comes again with its last id
        return None

    async def _live(self, listener: Listener, pieces: Listened) -> None:
        beat = trio.current_time() + HEARTBEAT
        while self.why is None:
            retires = self.began + self._part * self._lifetime()
            if trio.current_time() >= retires:
                self.end(End.DRAINED, back=moments(1, self._outside.entropy)[0])
                return
            items: tuple[Item, ...] = ()
            with trio.move_on_at(min(beat, retires)):
                items = await listener.next()
            await self._say(items, pieces)
            if self.why is None and trio.current_time() >= beat:
                beat += HEARTBEAT
                await self._beat(listener, pieces)

    async def _beat(self, listener: Listener, pieces: Listened) -> None:
        """A comment while the bus is alive; and where the desk is, when all that went by was for others.

        An id without an event moves a desk's last id and nothing else (WHATWG, 9.2.6). Without it a desk in a quiet
        house would come back with one that is too old to go on from.
        """
        if self._journal.stalled:
            return
        place = b""
        if not listener.waits:
            self._at = self._journal.head
            if self._at.offset - self._told.offset >= STALE_OFFSET:
                place, self._told = b"id: %b\n" % written(self._at).encode(), self._at
        await self._write(pieces, place + BEAT)

    async def _say(self, items: Sequence[Item], pieces: Listened) -> None:
        """Write them in one piece, up to and with the one that ends the stream.

        A stream that has been told to end says nothing of them: where it is does not move without their being said, or
        its last word would send the desk on past them.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        said: list[bytes] = []
        why = None
        for item in items:
            said.append(self._frame(item))
            why = self._ends(item)
            if why is not None:
                break
        words = b"".join(said)
        if words:
            await self._write(pieces, words)
        if why is not None:
            self._hear_the_end(why, items[len(said) - 1])
            await pieces.turn()

    def _ends(self, item: Item) -> End | None:
        """Which end it is, if it is one. What was missed has others' events in it, which end nothing here."""
        if isinstance(item, Full):
            return End.SLOW
        if not isinstance(item, Event) or item.said is None or not item.reaches(self.desk):
            return None
        if item.said.type == "force-logout":
            return End.LOGGED_OUT
        return End.SUSPENDED if item.said.suspends else None

    def _frame(self, item: Item) -> bytes:
        match item:
            case Event():
                self._at = item.position
                if item.lost:
                    return self._reset(item.position)
                if not item.reaches(self.desk):
                    return b""
                self._told = item.position
                return item.frame
            case Reset(position):
                return self._reset(position)
            case Stalled():
                return encode("bus-stalled", b"{}", None)
            case Alive():
                return BEAT
        return b""

    def _reset(self, position: Position) -> bytes:
        self._at = self._told = position
        return encode("reset", b"{}", written(position))

    def _hear_the_end(self, why: End, item: Item) -> None:
        if why is End.LOGGED_OUT and isinstance(item, Event):
            tell(ForceLogoutDelivered(max(0.0, self._outside.now() - item.at)))
        self.end(why, now=False)

    async def _write(self, pieces: Pieces, words: bytes) -> None:
        """All of it, or nothing where the stream was told to end in the moment in which there was something to say."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._writing = True
        await pieces.write(words)
        self._writing = False
