"""The one reader of an instance: what goes by on the bus, into the journals of the tenants that somebody listens to.

    tip ──► own probe goes round ──► each journal catches up ──► in step: follow ──► journals ──► listeners
     ▲                                                             │
     └── the line is another, a call was `Down`, nothing for 2 s ──┘

Out of step nothing is posted from here: what a server has lost is put back first, and then nothing new stands in its
place. Where it does, and where nobody has it, everybody who listens is told `Reset`.

A probe of its own goes round every half second. When none has come back for two, however healthy the line looks, the
bus has stalled: each listener is told once, and the line is given up for another (F-34).

`ears` hear before any listener does: each event of a tenant with a journal here, `force-logout` and `tenant-status` of
any, and the words `Superseded` and `Ended`; some twice, where the reader begins anew. The rest is not even parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard

import trio

from bff.events.event import Event, read
from bff.events.journal import Journal
from bff.events.logs import BREATH, PER_ENTRY, STORE_SECONDS, Logs, in_time
from bff.facts import Surprised
from bff.facts.events import BusBack, BusGap, BusProbed, BusRebuilt, BusStalled
from bff.model import Down
from bff.outside import fraction
from bff.stores.bus import Ended, Entry, Gone, Heard, Page, Passage, Probed, Superseded
from nurseries import Backoff, ErrorsBecome, Flight, Ok, described, open_owner, required, tell, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bff.model import TenantId
    from bff.outside import Outside
    from bff.stores.bus import Bus, Passing, Position, Posting

Ear: TypeAlias = Callable[["TenantId", Event | Superseded | Ended], None]

PROBE_EVERY: Final = 0.5  # seconds
STALL_SECONDS: Final = 2.0  # without a probe of its own, and the bus has stalled
ROUND_SECONDS: Final = 1.0  # for a probe to go round, before the line is given up for another
IDLE_SECONDS: Final = 60.0  # without a listener, and a journal closes
COMPARE_EVERY: Final = 5.0  # seconds: so late is heard what another instance has put back
PAUSES: Final = Backoff(first=0.05, most=0.5)
OPENING: Final = 64  # journals that are opened at once
OF_ALL: Final = (b"force-logout", b"tenant-status")  # types of which the ears hear of every tenant

NOT_SERVED: Final = Down("nobody reads the bus here")
NOT_IN_STEP: Final = Down("not in step with the bus")


class EventBus:
    """`instance` is this process's name on the bus: no other has it, and none had it before."""

    def __init__(self, bus: Bus, outside: Outside, instance: str) -> None:
        self.ears: list[Ear] = []
        self.in_step = False
        self.stalled = False
        self._bus = bus
        self._outside = outside
        self._instance = instance
        self._logs = Logs(bus, outside)
        self._journals: dict[TenantId, Journal] = {}
        self._flight: Flight[TenantId, Journal | Down] | None = None
        self._place: str | None = None  # on the bus, and
        self._line = 0  # the line on which it means something
        self._sound = 0.0  # when the bus last delivered, and we were in step
        self._following = trio.CancelScope()
        self._called = False  # away from following: a call was in vain

    # -- for who listens and who speaks -------------------------------------------------------------------------

    async def journal(self, tenant: TenantId) -> Journal | Down:
        """The journal of a tenant, opened where there is none.

        Ask for it right before listening: one that nobody listens to closes after a while, and hears no more. Raises
        `nurseries.Unbounded` without a deadline above it.
        """
        required("bus")
        known = self._journals.get(tenant)
        if known is not None:
            known.touch()
            await trio.lowlevel.checkpoint()
            return known
        if self._flight is None:
            await trio.lowlevel.checkpoint()
            return NOT_SERVED
        outcome = await self._flight.join(tenant, partial(self._open, tenant), seconds=2 * STORE_SECONDS)
        return outcome.value if isinstance(outcome, Ok) else Down("the journal could not be opened")

    async def page(self, tenant: TenantId, after: Position) -> tuple[Event, ...] | Gone | Down:
        """What the log has after that position, at most `bff.stores.bus.PAGE` events: none at its end.

        A tenant's journal has by then all that this has shown, so that who reads on comes to where he can listen.
        """
        page = await self._logs.page(tenant, after)
        if not isinstance(page, Page):
            return page
        journal = self._journals.get(tenant)
        if journal is not None:
            journal.touch()
            down = await self._logs.catch_up(journal) if journal.head != page.head else None
            if down is not None:
                return down
        return tuple(read(tenant, entry) for entry in page.entries)

    async def post(self, postings: Sequence[Posting]) -> tuple[Position, ...] | Down:
        """Say each of them, in order; `Down` at once while out of step. As `bff.stores.bus.Bus.post` otherwise.

        It is known here by then, whoever listens, and is given back to a server that loses it.
        """
        if not self.in_step:
            await trio.lowlevel.checkpoint()
            return NOT_IN_STEP
        for tenant in dict.fromkeys(one.tenant for one in postings if one.tenant not in self._journals):
            await in_time(partial(self.journal, tenant))  # where that cannot be, posting cannot either
        answer = await in_time(partial(self._bus.post, postings))
        down = answer if isinstance(answer, Down) else await self._learn(postings, answer)
        if down is not None:
            self._out_of_step()
            return down
        return answer

    async def said(self, tenant: TenantId, uid: str) -> bool | Down:
        """As `bff.stores.bus.Bus.said`."""
        return await in_time(partial(self._bus.said, tenant, uid))

    async def say(self, word: Superseded | Ended) -> Down | None:
        """Put a word on the bus."""
        return await in_time(partial(self._bus.say, word))

    async def ping(self) -> Down | None:
        """How it is, for readiness; asks nobody."""
        await trio.lowlevel.checkpoint()
        if self.stalled:
            return Down(f"nothing delivered for {trio.current_time() - self._sound:.0f} s")
        return NOT_SERVED if self._flight is None else None

    @property
    def journals(self) -> tuple[Journal, ...]:
        """Those that are open."""
        return tuple(self._journals.values())

    # -- the reader ---------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Read for ever; a service for an owner."""
        self._sound = trio.current_time()
        self._place = None
        try:
            async with open_owner("journals", bound=OPENING) as owner, trio.open_nursery() as nursery:
                self._flight = Flight("journal", owner)
                nursery.start_soon(self._probe, name="bus probe")
                nursery.start_soon(self._watch, name="bus watch")
                nursery.start_soon(self._compare, name="bus compare")
                await self._read()
        finally:
            self._flight = None
            self.in_step = False

    async def _read(self) -> None:
        failures = 0
        while True:
            if await self._come_into_step():
                failures = 0
                await self._follow()
                self.in_step = False
            elif self._bus.connections != self._line:
                failures = 0  # the line was made anew meanwhile: somebody is there
            else:
                failures += 1
                await trio.sleep(PAUSES.after(failures, fraction(self._outside.entropy)))

    async def _come_into_step(self) -> bool:
        """A place on the bus, a probe that goes round from there, and then all that the journals have missed."""
        self._called = False
        if self._place is None or self._bus.connections != self._line:
            self._line, self._place = self._bus.connections, None
            tip = await in_time(self._bus.tip)
            if isinstance(tip, Down):
                return False
            self._place = tip
        if not (await self._goes_round(self._place) and await self._logs.all_catch_up(self.journals)) or self._called:
            return False
        tell(BusRebuilt())
        self.in_step = True
        if self.stalled:
            self._turn(stalled=False)
        self._sound = trio.current_time()
        return True

    async def _goes_round(self, place: str) -> bool:
        """Whether a probe does. What goes by meanwhile will again: the journals are not ready for it."""
        number = _stamp()
        if await in_time(partial(self._bus.say, Probed(self._instance, number))) is not None:
            return False
        with within(ROUND_SECONDS):
            while True:
                passage = await self._passage(place)
                if passage is None:
                    return False
                if any(self._is_own(one) and one.number >= number for one in passage.passing):
                    return True
                place = passage.after
        self._hang_up()
        return False

    async def _follow(self) -> None:
        """As long as we are in step."""
        while self.in_step and self._place is not None:
            passage = await self._passage(self._place)
            if passage is None or not await self._take(passage.passing):
                return
            self._place = passage.after

    async def _passage(self, place: str) -> Passage | None:
        """What goes by after `place`; None where the place means nothing any more, or we were called away."""
        passage: Passage | Down | None = None
        with within(STORE_SECONDS) as self._following:
            passage = await self._bus.follow(place)
        if isinstance(passage, Passage) and self._bus.connections == self._line:
            return passage
        if passage is not None or trio.current_time() >= self._following.deadline:
            self._place = None
        return None

    async def _take(self, passing: Iterable[Passing]) -> bool:
        """Into the journals with it; False where the log had to be asked, and could not be."""
        work = 0
        for one in passing:
            if isinstance(one, Heard):
                work += PER_ENTRY
                journal = self._journals.get(one.tenant)
                if journal is None:
                    self._overhear(one.tenant, one.entry)
                elif not await self._heard(journal, one.entry):
                    return False
                else:
                    work += journal.listeners
            elif isinstance(one, Superseded | Ended):
                self._to_ears(one.tenant, one)
            elif self._is_own(one):
                self._sound = trio.current_time()
                tell(BusProbed(self._sound - one.number / 1e6))
            if work >= BREATH:
                work = 0
                await trio.lowlevel.checkpoint()
        return True

    async def _heard(self, journal: Journal, entry: Entry) -> bool:
        if journal.append(entry):
            return True
        tell(BusGap())
        return await self._logs.catch_up(journal) is None

    # -- what was missed ----------------------------------------------------------------------------------------

    async def _open(self, tenant: TenantId) -> Journal | Down:
        """What goes by from when its place is taken is appended; what did between `head` and then is read."""
        now = self._outside.now()
        head = await in_time(partial(self._bus.head, tenant, now))
        if isinstance(head, Down):
            return head
        journal = Journal(tenant, head, now, first=partial(self._to_ears, tenant), stalled=self.stalled)
        self._journals[tenant] = journal
        await self._logs.catch_up(journal)  # where that cannot be, the next comparison does
        return journal

    async def _compare(self) -> None:
        """Whether the logs have what nobody said here: the last one missed, or put back by somebody else."""
        while True:
            await trio.sleep(COMPARE_EVERY)
            for journal in self.journals:
                if self.in_step and journal.listeners:
                    await self._logs.catch_up(journal)

    # -- whether it is alive ------------------------------------------------------------------------------------

    async def _probe(self) -> None:
        """Whether a probe could be said does not matter: whether one comes back does."""
        while True:
            next_one = trio.current_time() + PROBE_EVERY
            with within(PROBE_EVERY):
                await self._bus.say(Probed(self._instance, _stamp()))
            for journal in self.journals:
                if journal.idle(IDLE_SECONDS):
                    journal.close()
                    del self._journals[journal.tenant]
            await trio.sleep_until(next_one)

    async def _watch(self) -> None:
        while True:
            await trio.sleep_until(self._sound + STALL_SECONDS)
            if trio.current_time() < self._sound + STALL_SECONDS:
                continue
            if self.stalled:
                await trio.sleep(PROBE_EVERY)
                continue
            self._turn(stalled=True)
            if self.in_step:
                self._out_of_step()
                self._hang_up()

    def _turn(self, *, stalled: bool) -> None:
        self.stalled = stalled
        seconds = trio.current_time() - self._sound
        tell(BusStalled(seconds) if stalled else BusBack(seconds))
        for journal in self._journals.values():
            journal.turn(stalled=stalled)

    def _out_of_step(self) -> None:
        self.in_step = False
        self._called = True
        self._following.cancel()

    def _hang_up(self) -> None:
        self._bus.hang_up()
        self._place = None

    # -- the rest -----------------------------------------------------------------------------------------------

    async def _learn(self, postings: Sequence[Posting], positions: Sequence[Position]) -> Down | None:
        said: dict[Journal, list[Entry]] = {}
        for one, position in zip(postings, positions, strict=True):
            if (journal := self._journals.get(one.tenant)) is not None:
                said.setdefault(journal, []).append(Entry(position, one.payload, one.at, one.uid))
        downs = [await self._logs.learn(journal, entries) for journal, entries in said.items()]
        return next((down for down in downs if down is not None), None)

    def _overhear(self, tenant: TenantId, entry: Entry) -> None:
        if any(word in entry.payload for word in OF_ALL) and (event := read(tenant, entry)).said is not None:
            self._to_ears(tenant, event)

    def _to_ears(self, tenant: TenantId, what: Event | Superseded | Ended) -> None:
        for ear in self.ears:
            with ErrorsBecome(lambda error: tell(Surprised("ear", described(error)))):
                ear(tenant, what)

    def _is_own(self, one: Passing) -> TypeGuard[Probed]:
        return isinstance(one, Probed) and one.instance == self._instance


def _stamp() -> int:
    """A probe's number: when it was said, in microseconds on Trio's clock."""
    return round(trio.current_time() * 1e6)
