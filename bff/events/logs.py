"""How a journal keeps up with its tenant's log: what was missed is read on, and what a server has lost is given back.

    page(head) ──► a page of it      read on, until the log has no more
        └────────► Gone ──► restore(all that is known) ──► page(head) ──► a page: it was given back, by whomever
                                                               └────────► Gone: it is lost, said in the log, reset

The log decides in the end: whoever is behind has what is his own put back by others too, and finds it at the next page.
Who was away when something was lost has an id from before, and would read on over the gap: so the log itself says it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count, takewhile
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from bff.events.cursor import written
from bff.events.event import LOSS
from bff.facts.events import EventsLost, EventsRestored
from bff.model import Down
from bff.stores.bus import KEPT_SECONDS, Gone, Page, Posting
from nurseries import tell, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bff.events.journal import Journal
    from bff.model import TenantId
    from bff.outside import Outside
    from bff.stores.bus import Bus, Entry, Position

T = TypeVar("T")

STORE_SECONDS: Final = 1.0  # for one call: more than the adapter's own patience, which knows why it was in vain
AT_ONCE: Final = 8  # journals that catch up
TRIES: Final = 4  # of a log that does not have what it had a moment ago
BREATH: Final = 2_048  # of work between two checkpoints, where an entry costs
PER_ENTRY: Final = 32  # and each listener one

LATE: Final = Down(f"no answer within {STORE_SECONDS:.0f} s")
LOST: Final = Down("lost as soon as it was said")
RESTLESS: Final = Down("the log does not hold still")


async def in_time(verb: Callable[[], Awaitable[T | Down]]) -> T | Down:
    """What the store says; `Down` where that is not in time."""
    with within(STORE_SECONDS):
        return await verb()
    return LATE


class Logs:
    """All tenants'."""

    def __init__(self, bus: Bus, outside: Outside) -> None:
        self._bus = bus
        self._outside = outside

    async def page(self, tenant: TenantId, after: Position) -> Page | Gone | Down:
        """As `bff.stores.bus.Bus.page`."""
        page: Page | Gone | Down = await in_time(partial(self._bus.page, tenant, after, self._outside.now()))
        return page

    async def all_catch_up(self, journals: Sequence[Journal]) -> bool:
        """Whether each of them did."""
        waiting, done = list(journals), True

        async def some() -> None:
            nonlocal done
            while waiting and done:
                done = await self.catch_up(waiting.pop()) is None and done

        async with trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, len(waiting))):
                nursery.start_soon(some)
        return done

    async def catch_up(self, journal: Journal) -> Down | None:
        """Read on from the journal's head to the log's. May be done by several at once."""
        tries = 0
        while tries < TRIES:
            head = journal.head
            page = await self.page(journal.tenant, head)
            if isinstance(page, Down):
                return page
            if isinstance(page, Page):
                await _read_on(journal, page.entries)
                if not page.entries or journal.head.offset >= page.head.offset:
                    return None
                continue
            if tries and journal.head == head:
                lost = await self._say_lost(journal, page.head)
                if isinstance(lost, Down):
                    return lost
                tell(EventsLost(journal.listeners))
                journal.reset(lost)
            else:
                down = await self._give_back(journal, page.head)
                if down is not None:
                    return down
            tries += 1
        return RESTLESS

    async def learn(self, journal: Journal, said: Sequence[Entry]) -> Down | None:
        """What was said from here, before it has come back over the bus: a server may die with it in that moment.

        `Down` where it is lost already, or where nobody can tell: it is to be said again.
        """
        if all(journal.append(entry) for entry in said):
            return None
        down = await self.catch_up(journal)
        if down is None and not all(journal.append(entry) for entry in said):
            return LOST
        return down

    async def _give_back(self, journal: Journal, last: Position) -> Down | None:
        """What a server has lost whose log ends with `last`, as far as it is known here."""
        known = journal.known()
        restored = await in_time(partial(self._bus.restore, journal.tenant, known))
        if isinstance(restored, Down):
            return restored
        kept = next((at for at, entry in enumerate(known) if entry.position == last), 0)
        if restored and len(known) - 1 > kept:
            tell(EventsRestored(len(known) - 1 - kept))
        return None

    async def _say_lost(self, journal: Journal, last: Position) -> Position | Down:
        """Where the journal goes on: after a word in the log, or at its end where nobody can be misled by it.

        Nobody can where the log has gone far ahead, and has none of what is known here: no id from before the loss
        leads on then. So it is with who only was too slow for it.
        """
        behind = last.offset <= journal.head.offset or await self._has_some(journal)
        if behind is not True:
            return last if behind is False else behind
        uid = f"lost {written(journal.head)}"
        word = Posting(journal.tenant, uid, LOSS, self._outside.now(), KEPT_SECONDS)
        said = await in_time(partial(self._bus.post, [word]))
        return said if isinstance(said, Down) else said[0]

    async def _has_some(self, journal: Journal) -> bool | Down:
        """Whether the log has any of what is known here: looked for from the end, in steps that grow."""
        known = journal.known()
        steps = takewhile(lambda step: step < len(known), (1 << power for power in count()))
        for at in (*(len(known) - 1 - step for step in steps), 0):
            page = await self.page(journal.tenant, known[at].position)
            if not isinstance(page, Gone):
                return page if isinstance(page, Down) else True
        return False


async def _read_on(journal: Journal, entries: Sequence[Entry]) -> None:
    at_once = BREATH // (PER_ENTRY + journal.listeners) + 1
    for at in range(0, len(entries), at_once):
        journal.read_on(entries[at : at + at_once])
        await trio.lowlevel.checkpoint()
