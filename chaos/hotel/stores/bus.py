"""The bus in memory, in virtual time: what `bff.stores.redis_bus` does, by the same port, on the session tier's server.

It has no state of its own for what can be wrong: it is on the tier's server, and down, hanging or failed over with it.
A server that starts, or takes over, gives out positions of another epoch.
"""

from __future__ import annotations

import hashlib
from collections import deque
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import trio

from bff.model import Down
from bff.stores.bus import (
    FOLLOW_SECONDS,
    IDLE_SECONDS,
    Entry,
    Gone,
    Heard,
    Held,
    Page,
    Passage,
    Passing,
    Position,
    Posting,
    Superseded,
    Word,
)
from chaos.hotel.stores.expiring import Expiring
from chaos.hotel.stores.logs import Log
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bff.model import DeviceId, TenantId
    from chaos.hotel.stores.faulty import Faulty

PASSING: Final = 20_000  # that can still be read on the bus


class SimBus:
    """`bff.stores.bus.Bus`. Times to live are on the Trio clock.

    `witnesses` are told all that goes by, in the moment in which it does: whoever judges a run must know what was said.
    """

    def __init__(self, server: Faulty) -> None:
        journal = server.journal
        self.witnesses: list[Callable[[Passing], None]] = []
        self._server = server
        self._journal = journal
        self._logs: Expiring[TenantId, Log] = Expiring(journal)
        self._said: Expiring[tuple[TenantId, str], Position] = Expiring(journal)
        self._tokens: Expiring[tuple[TenantId, DeviceId], int] = Expiring(journal)
        self._passing: deque[tuple[int, Passing]] = deque(maxlen=PASSING)
        self._number = 0
        self._news = trio.Event()

    @property
    def connections(self) -> int:
        """How often the line was (re)made."""
        return self._server.connections

    async def post(self, postings: Sequence[Posting]) -> tuple[Position, ...] | Down:
        """Say each of them, in order."""
        return await self._server.asked(lambda: tuple([self._post(posting) for posting in postings]))

    def _post(self, posting: Posting) -> Position:
        name = (posting.tenant, posting.uid)
        known = self._said.get(name)
        if known is not None:
            return known
        log = self._log(posting.tenant, posting.at)
        position = Position(self._epoch(posting.tenant), log.head.offset + 1)
        entry = Entry(position, posting.payload, posting.at, posting.uid)
        self._journal.wrote(log.append(entry))
        self._logs.put(posting.tenant, log, IDLE_SECONDS)
        self._said.put(name, position, posting.remember)
        self._goes_by(Heard(posting.tenant, entry))
        return position

    async def said(self, tenant: TenantId, uid: str) -> bool | Down:
        """Whether that was said."""
        return await self._server.asked(lambda: self._said.get((tenant, uid)) is not None)

    async def say(self, word: Word) -> Down | None:
        """Put a word on the bus."""
        return await self._server.asked(lambda: self._goes_by(word))

    async def tip(self) -> str | Down:
        """The place after all that has gone by."""
        return await self._server.asked(lambda: str(self._number))

    async def follow(self, after: str) -> Passage | Down:
        """What went by after that place."""
        passage = await self._server.asked(lambda: self._since(int(after)))
        if isinstance(passage, Down) or passage.passing:
            return passage
        with within(FOLLOW_SECONDS):
            if passage.after == str(self._number):  # nothing has come while the answer was on its way
                await self._news.wait()
        return await self._server.asked(lambda: self._since(int(after)))

    def overrun(self) -> None:
        """What has gone by cannot be read on the bus any more, as when more has come since than it holds."""
        self._passing.clear()

    def _since(self, place: int) -> Passage:
        since = takewhile(lambda kept: kept[0] > place, reversed(self._passing))  # their numbers only grow
        return Passage(tuple([one for _, one in since][::-1]), str(max(place, self._number)))

    def hang_up(self) -> None:
        """Give up the line; the next call makes it anew."""
        self._server.hang_up()

    async def head(self, tenant: TenantId, now: float) -> Position | Down:
        """The last position of a tenant's log."""
        return await self._server.asked(lambda: self._log(tenant, now).head)

    async def page(self, tenant: TenantId, after: Position, now: float) -> Page | Gone | Down:
        """What was said after `after`."""
        return await self._server.asked(lambda: self._log(tenant, now).page(after))

    async def restore(self, tenant: TenantId, entries: Sequence[Entry]) -> bool | Down:
        """Put back what a server has lost."""
        return await self._server.asked(lambda: self._restore(tenant, entries))

    def _restore(self, tenant: TenantId, entries: Sequence[Entry]) -> bool:
        log = self._logs.get(tenant)
        if log is None or (log.has_only(entries) and log.lacks(entries) is not None):
            first, *rest = entries
            log, lacking = Log(first), rest
        else:
            found = log.lacks(entries)
            if found is None:
                return False
            lacking = list(found)
        for entry in lacking:
            self._journal.wrote(log.append(entry))
            self._said.put((tenant, entry.uid), entry.position, IDLE_SECONDS)
        self._logs.put(tenant, log, IDLE_SECONDS)
        return True

    # -- one stream per device ----------------------------------------------------------------------------------

    async def take(self, tenant: TenantId, device: DeviceId, *, now: float, ttl: float) -> int | Down:
        """Be the device's stream from now on."""
        return await self._server.asked(lambda: self._take(tenant, device, now, ttl))

    def _take(self, tenant: TenantId, device: DeviceId, now: float, ttl: float) -> int:
        token = max((self._tokens.get((tenant, device)) or 0) + 1, int(now * 1000))
        self._tokens.put((tenant, device), token, ttl)
        self._goes_by(Superseded(tenant, device, token))
        return token

    async def renew(self, held: Sequence[Held], *, ttl: float) -> tuple[bool, ...] | Down:
        """Hold each for another `ttl` seconds."""
        return await self._server.asked(lambda: tuple([self._renew(one, ttl) for one in held]))

    def _renew(self, held: Held, ttl: float) -> bool:
        if (self._tokens.get((held.tenant, held.device)) or 0) > held.token:
            return False
        self._tokens.put((held.tenant, held.device), held.token, ttl)
        return True

    async def leave(self, held: Sequence[Held]) -> Down | None:
        """Forget those that are still held by that token."""
        return await self._server.asked(lambda: self._leave(held))

    def _leave(self, held: Sequence[Held]) -> None:
        for one in held:
            if self._tokens.get((one.tenant, one.device)) == one.token:
                self._tokens.drop((one.tenant, one.device))

    # -- what is kept -------------------------------------------------------------------------------------------

    def _log(self, tenant: TenantId, now: float) -> Log:
        log = self._logs.get(tenant)
        if log is None:
            log = Log(Entry(Position(self._epoch(tenant), int(now * 1000)), b"", now))
            self._logs.put(tenant, log, IDLE_SECONDS)
        return log

    def _epoch(self, tenant: TenantId) -> str:
        """Of the server that there is now, and of this tenant."""
        return hashlib.sha256(f"{self._server.lives}|{tenant}".encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def _goes_by(self, passing: Passing) -> None:
        self._number += 1
        self._passing.append((self._number, passing))
        self._journal.wrote(partial(self._never_went_by, self._number), counts=False)
        self._news.set()
        self._news = trio.Event()
        for witness in self.witnesses:
            witness(passing)

    def _never_went_by(self, number: int) -> None:
        if self._passing and self._passing[-1][0] == number:
            self._passing.pop()
        self._number = number - 1
