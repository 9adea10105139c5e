"""The outbox of a simulated ledger, its dead letters, and who leads: what `bff.stores.postgres_outbox` does.

A write is one effect, had at one moment, so that letters are ordered as they were written: here no transaction is under
way beside another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from bff.model import Down
from bff.stores.outbox import Backlog, DeadLetter, Waiting
from chaos.hotel.stores.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bff.stores.outbox import Letter
    from chaos.hotel.stores.journal import Journal
    from chaos.hotel.stores.ledger import SimLedger

RELAY: Final = "relay"


@dataclass(frozen=True, slots=True)
class Written:
    """A letter in the outbox, and when it was written, on Trio's clock."""

    letter: Letter
    at: float


class Lead:
    """A process's connection for one job: while it is whole the process may lead by it, under `fence` if it does."""

    __slots__ = ("broken", "fence")

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.fence = 0


class OutboxTables:
    """What is kept. A letter's number is never given to another, and dead letters keep theirs."""

    def __init__(self, journal: Journal) -> None:
        self._waiting: Rows[int, Written] = Rows(journal)
        self._dead: Rows[int, DeadLetter] = Rows(journal)
        self._by_id: Rows[str, int] = Rows(journal)
        self._fences: Rows[str, int] = Rows(journal)
        self._leads: dict[str, Lead] = {}  # no writes: they are lost with the connections, and not with a tail
        self._numbers = 0

    def write(self, letters: Iterable[Letter]) -> None:
        """Those whose message ids do not wait already."""
        for letter in letters:
            if self._by_id.get(letter.message_id) is None:
                self._numbers += 1
                self._by_id.put(letter.message_id, self._numbers)
                self._waiting.put(self._numbers, Written(letter, trio.current_time()))

    def _drop(self, number: int) -> Letter | None:
        written = self._waiting.drop(number)
        if written is None:
            return None
        self._by_id.drop(written.letter.message_id)
        return written.letter

    # -- who leads ----------------------------------------------------------------------------------------------

    def lead(self, job: str, by: Lead) -> int | None:
        """The fence under which `by` leads from now on, or does already."""
        holder = self._leads.get(job)
        if holder is not None:
            return by.fence if holder is by else None
        by.fence = (self._fences.get(job) or 0) + 1
        self._fences.put(job, by.fence)
        if not by.broken:
            self._leads[job] = by
        return by.fence

    def break_lead(self, by: Lead) -> None:
        """What was led by it is to be had again."""
        by.broken = True
        self._leads = {job: holder for job, holder in self._leads.items() if holder is not by}

    def break_leads(self) -> None:
        """That of everybody."""
        for holder in list(self._leads.values()):
            self.break_lead(holder)

    def _is_led_under(self, fence: int) -> bool:
        return self._fences.get(RELAY) == fence

    # -- letters ------------------------------------------------------------------------------------------------

    def next(self, limit: int, without: tuple[str, ...]) -> tuple[Waiting, ...]:
        """The first `limit` that wait, of all topics but those in `without`."""
        now = trio.current_time()
        first = [row for row in sorted(self._waiting.items()) if row[1].letter.topic not in without][:limit]
        return tuple(Waiting(number, written.letter, now - written.at) for number, written in first)

    def published(self, fence: int, numbers: Iterable[int]) -> bool:
        """They go, if the fence is the newest."""
        led = self._is_led_under(fence)
        for number in numbers if led else ():
            self._drop(number)
        return led

    def bury(self, fence: int, number: int, reason: str) -> bool:
        """To the dead letters with it, if the fence is the newest."""
        led = self._is_led_under(fence)
        letter = self._drop(number) if led else None
        if letter is not None:
            told = reason.replace("\0", "\ufffd")
            self._dead.put(number, DeadLetter(number, letter, told, trio.current_time()))
        return led

    def backlog(self) -> Backlog:
        """How much there is."""
        oldest = min((written.at for written in self._waiting.values()), default=trio.current_time())
        return Backlog(len(self._waiting), trio.current_time() - oldest, len(self._dead))

    def dead(self, after: int, limit: int) -> tuple[DeadLetter, ...]:
        """Dead letters numbered above `after`."""
        return tuple(letter for number, letter in sorted(self._dead.items()) if number > after)[:limit]

    def raise_(self, numbers: Iterable[int]) -> int:
        """Back, in the order of their numbers."""
        raised = [dead.letter for number in sorted(set(numbers)) if (dead := self._dead.drop(number))]
        self.write(raised)
        return len(raised)

    def trim(self, older_than: float, limit: int) -> int:
        """Forget what died long ago."""
        until = trio.current_time() - older_than
        old = [dead for dead in self._dead.values() if dead.died < until]
        old = sorted(old, key=lambda dead: dead.died)[:limit]  # of one moment: as they died
        for dead in old:
            self._dead.drop(dead.number)
        return len(old)


class OutboxSession:
    """`bff.stores.outbox.Outbox`, for one process."""

    def __init__(self, store: SimLedger) -> None:
        self.store = store
        self._leads: dict[str, Lead] = {}
        self._closed = False

    async def append(self, letters: tuple[Letter, ...]) -> Down | None:
        """Write letters, in one commit."""
        return await self.store.asked(lambda: self.store.outbox.write(letters))

    async def lead(self, job: str) -> int | Down | None:
        """The fence under which this process leads `job`, or None; who leaves while it is asked breaks the lead."""
        by = self._leads.get(job)
        if by is None or by.broken:
            by = self._leads[job] = Lead(broken=self._closed)
        answer: int | Down | None = Down("its caller left")
        try:
            answer = await self.store.asked(lambda: self.store.outbox.lead(job, by))
        finally:
            if isinstance(answer, Down):
                self.store.outbox.break_lead(by)
        return answer

    async def next_letters(self, *, limit: int, without: tuple[str, ...] = ()) -> tuple[Waiting, ...] | Down:
        """The first `limit` letters that may be handed out, in their order; none of the topics in `without`."""
        return await self.store.asked(lambda: self.store.outbox.next(limit, without))

    async def published(self, fence: int, numbers: tuple[int, ...]) -> bool | Down:
        """They have been said, and go; False when the fence is not the newest."""
        return await self.store.asked(lambda: self.store.outbox.published(fence, numbers))

    async def bury(self, fence: int, number: int, reason: str) -> bool | Down:
        """To the dead letters with it; False when the fence is not the newest."""
        return await self.store.asked(lambda: self.store.outbox.bury(fence, number, reason))

    async def backlog(self) -> Backlog | Down:
        """How much there is."""
        return await self.store.asked(self.store.outbox.backlog)

    async def dead_letters(self, *, after: int, limit: int) -> tuple[DeadLetter, ...] | Down:
        """Dead letters numbered above `after`, in order."""
        return await self.store.asked(lambda: self.store.outbox.dead(after, limit))

    async def raise_letters(self, numbers: tuple[int, ...]) -> int | Down:
        """Back into the outbox, as if written now; how many there were."""
        return await self.store.asked(lambda: self.store.outbox.raise_(numbers))

    async def trim_dead(self, *, older_than: float, limit: int) -> int | Down:
        """Forget what died long ago; how many there were."""
        return await self.store.asked(lambda: self.store.outbox.trim(older_than, limit))

    def close(self) -> None:
        """The process is gone, and whatever it led is to be had again."""
        self._closed = True
        for by in self._leads.values():
            self.store.outbox.break_lead(by)
