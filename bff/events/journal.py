"""A tenant's latest events, and who waits for the next.

    EventBus ──append, read_on──► window (256) ──► listeners: 256 waiting each, one parked task or none
                                     │
    a desk that comes again ──listen(after)──► what it missed, and from there on live: one step

History ends and live begins within one call, with no await in it, so there is no moment in between in which an event
could be missed or had twice. What is older than the window is read from the log, page by page (`EventBus.page`), until
the window has it.

Nothing here waits for anybody: a listener that does not keep up is cut, and its neighbours do not notice. They are
woken one after the other (`bff.events.turns`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from bff.events.event import Event, read
from bff.events.turns import Turns
from bff.stores.bus import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bff.model import Claims, TenantId
    from bff.stores.bus import Position

WINDOW: Final = 256  # events kept of a tenant
WAITING: Final = 256  # that may wait for a listener; one event more, and it is cut (CONTRACT section 5)


@dataclass(frozen=True, slots=True)
class Reset:
    """Events are lost that nobody can bring back: the tenant's log goes on from `position` (CONTRACT's `reset`)."""

    position: Position


@dataclass(frozen=True, slots=True)
class Stalled:
    """The bus does not deliver; what is said meanwhile comes later (F-34)."""


@dataclass(frozen=True, slots=True)
class Alive:
    """It delivers again, and nothing of what came before is missing: it went before this, or a `Reset` did."""


@dataclass(frozen=True, slots=True)
class Full:
    """The listener was cut. Nothing comes after this, however often it is asked for."""


Item: TypeAlias = Event | Reset | Stalled | Alive | Full

STALLED: Final = Stalled()
ALIVE: Final = Alive()
FULL: Final = Full()


class Closed(RuntimeError):
    """A journal that hears no more was listened to: it was to be asked for again (`EventBus.journal`)."""


class Listener:
    """A desk's place at a journal: what waits for it, in order. Made by `Journal.listen`; leave it with `leave`.

    `when_cut` is called once, at the moment it is `cut`: for a stream that is in the middle of a write.
    """

    __slots__ = ("_in_line", "_journal", "_task", "_waiting", "claims", "cut", "when_cut")

    def __init__(self, journal: Journal, claims: Claims) -> None:
        self.claims = claims
        self.cut = False
        self.when_cut: Callable[[], None] | None = None
        self._journal = journal
        self._waiting: list[Item] = []
        self._task: trio.lowlevel.Task | None = None
        self._in_line = False

    async def next(self) -> tuple[Item, ...]:
        """All that waits; parks until something does. For one task at a time.

        `Stalled` and `Alive` take turns, and of two that nobody has fetched yet both are gone. A cut listener gives
        `(Full(),)` for ever.
        """
        if self._waiting or self.cut:
            await trio.lowlevel.checkpoint()
        while not (self._waiting or self.cut):  # `Alive` may take back a `Stalled` that has just woken it
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._gives_up)
            self._journal.turns.taken()
        if self.cut:
            return (FULL,)
        waiting, self._waiting = self._waiting, []
        return tuple(waiting)

    @property
    def waits(self) -> bool:
        """Whether something waits for it."""
        return bool(self._waiting) or self.cut

    def leave(self) -> None:
        """Hear no more. May be called again."""
        self._journal.forget(self)

    def offer(self, event: Event) -> None:
        """One event more for it; the journal's to call. It is cut where there is no room."""
        if len(self._waiting) >= WAITING:
            self._cut()
        else:
            self._waiting.append(event)
        self._wake()

    def reset(self, reset: Reset) -> None:
        """The log goes on from elsewhere; the journal's to call. Of two in a row the later one tells all."""
        if self._waiting and isinstance(self._waiting[-1], Reset):
            self._waiting.pop()
        self._waiting.append(reset)
        self._wake()

    def turn(self, signal: Stalled | Alive) -> None:
        """The bus has stalled, or is back; the journal's to call."""
        if self._waiting and isinstance(self._waiting[-1], Stalled | Alive):
            self._waiting.pop()
        else:
            self._waiting.append(signal)
        self._wake()

    def _cut(self) -> None:
        self.cut = True
        self._waiting = []
        self._journal.forget(self)
        if self.when_cut is not None:
            self.when_cut()

    def rouse(self) -> bool:
        """Its turn has come (`bff.events.turns`)."""
        task, self._task, self._in_line = self._task, None, False
        if task is not None:
            trio.lowlevel.reschedule(task)
        return task is not None

    def _wake(self) -> None:
        if self._task is not None and not self._in_line:
            self._in_line = True
            self._journal.turns.wake(self)

    def _gives_up(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class Journal:
    """One tenant's. `head` is the position of the last event, `base` the one before the first that is kept.

    `first` is called with each event before any listener gets it. `at` is when it was opened, in POSIX seconds. `turns`
    are those of its listeners.
    """

    def __init__(
        self,
        tenant: TenantId,
        head: Position,
        at: float,
        *,
        first: Callable[[Event], None] | None = None,
        stalled: bool = False,
    ) -> None:
        self.tenant = tenant
        self.turns = Turns()
        self.head = self.base = head
        self.stalled = stalled
        self._idle_since = trio.current_time()
        self._closed = False
        self._begins = at
        self._first = first
        self._kept: deque[tuple[Entry, Event]] = deque()
        self._listeners: dict[Listener, None] = {}  # in order of arrival, so that a run can be had again

    # -- for who listens ----------------------------------------------------------------------------------------

    def listen(self, claims: Claims, after: Position | None) -> Listener | None:
        """Hear what is for these claims: all after that position, or from now on where there is none.

        None where the window does not have that position: then it is to be read from the log. Raises `Closed` where
        nobody has asked for this journal for a while.
        """
        if self._closed:
            raise Closed(self.tenant)
        history = () if after is None else self.after(after)
        if history is None:
            return None
        listener = Listener(self, claims)
        for event in history:
            if event.lost:
                listener.reset(Reset(event.position))
            elif event.reaches(claims):
                listener.offer(event)
        if self.stalled:
            listener.turn(STALLED)
        self._listeners[listener] = None
        return listener

    def after(self, position: Position) -> tuple[Event, ...] | None:
        """What came after it, for whomever; None where the window does not know that position."""
        index = position.offset - self.base.offset
        return tuple(event for _, event in islice(self._kept, index, None)) if self._knows(position) else None

    def forget(self, listener: Listener) -> None:
        """It hears no more."""
        if listener in self._listeners:
            del self._listeners[listener]
            self._idle_since = trio.current_time()

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._listeners)

    def idle(self, seconds: float) -> bool:
        """Whether nobody has listened for so long."""
        return not self._listeners and trio.current_time() >= self._idle_since + seconds

    def close(self) -> None:
        """Nothing is appended any more."""
        self._closed = True

    def touch(self) -> None:
        """Somebody is about to listen."""
        self._idle_since = trio.current_time()

    # -- for who reads the bus ----------------------------------------------------------------------------------

    def append(self, entry: Entry) -> bool:
        """An entry went by on the bus. What is known is passed over; False where the log has to be asked.

        That is where one is missing in between, where another stands in its place, and for the first one of another
        epoch: a server that has lost some may have given out numbers again that are known here.
        """
        position = entry.position
        if position.offset <= self.head.offset:
            return position.offset < self.base.offset or self._knows(position)
        if position.offset != self.head.offset + 1 or position.epoch != self.head.epoch:
            return False
        self._add(entry)
        return True

    def read_on(self, entries: Iterable[Entry]) -> None:
        """Entries that the log has after `head`, or had after a former one: what is known by now is passed over."""
        for entry in entries:
            if entry.position.offset > self.head.offset:
                self._add(entry)

    def known(self) -> tuple[Entry, ...]:
        """What a server that has lost it can be given back, the oldest first: `base` itself says nothing any more."""
        return (Entry(self.base, b"", self._begins), *(entry for entry, _ in self._kept))

    def reset(self, position: Position) -> None:
        """What is kept is not what the log has: it goes on from `position`, and everybody is told."""
        self.head = self.base = position
        self._kept.clear()
        self._tell_lost(position)

    def turn(self, *, stalled: bool) -> None:
        """The bus has stalled, or is back: each listener is told once."""
        if self.stalled is not stalled:
            self.stalled = stalled
            for listener in self._listeners:
                listener.turn(STALLED if stalled else ALIVE)

    def _tell_lost(self, position: Position) -> None:
        for listener in self._listeners:
            listener.reset(Reset(position))

    def _add(self, entry: Entry) -> None:
        event = read(self.tenant, entry)
        self.head = entry.position
        self._kept.append((entry, event))
        if len(self._kept) > WINDOW:
            dropped, _ = self._kept.popleft()
            self.base, self._begins = dropped.position, dropped.at
        if event.lost:
            self._tell_lost(event.position)
        if event.said is None:
            return
        if self._first is not None:
            self._first(event)
        for listener in tuple(self._listeners):  # one that is cut leaves
            if event.said.reaches(listener.claims):
                listener.offer(event)

    def _knows(self, position: Position) -> bool:
        if position == self.base:
            return True
        index = position.offset - self.base.offset - 1
        return 0 <= index < len(self._kept) and self._kept[index][0].position == position
