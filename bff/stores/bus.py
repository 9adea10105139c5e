"""Port of the bus between instances, and of what is kept of it: a log of events per tenant, in the session tier.

    post ──► the tenant's log     numbered one by one, kept for a while: what was missed is read again from here
        └──► the bus              all tenants', one after the other, short: one reader per instance follows it

An entry is known by its `Position`: the offset counts the tenant's entries, and the epoch is of the tenant and of the
server that gave it out. A server has a new one whenever its history may be another than the last server's: when it
starts, and when it is promoted. So a position names one entry for ever, of one tenant: who finds an entry at his has
the very same history up to there, and reads on from it without loss and without doubles. Who finds none has seen what
is lost, or comes too late.

A log begins with an entry that says nothing, so that there is a position from the first moment on, and at an offset
that no log of that tenant has had before.

A call answers with a value or with `Down`, never with an exception for what the network can do, and never later than
the deadline around it. Every verb needs a finite one and raises `nurseries.Unbounded` without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bff.model import DeviceId, Down, SessionId, TenantId

KEPT_EVENTS: Final = 10_000  # of a tenant, and
KEPT_SECONDS: Final = 900.0  # whichever is less (CONTRACT section 5)
IDLE_SECONDS: Final = 86_400.0  # after which a log in which nothing happens is forgotten
FOLLOW_SECONDS: Final = 0.25  # for which `follow` waits for something to come, at the most
PAGE: Final = 256  # entries read at once


@dataclass(frozen=True, slots=True)
class Position:
    """An entry's place in its tenant's log."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Posting:
    """What is to be said in a tenant's log. `uid` is remembered for `remember` seconds: what comes twice is said once.

    `payload` is an event as JSON (`bff.events.event`), `at` when it was posted, in POSIX seconds.
    """

    tenant: TenantId
    uid: str
    payload: bytes
    at: float
    remember: float


@dataclass(frozen=True, slots=True)
class Entry:
    """What was said; `payload` is empty for the one that begins a log."""

    position: Position
    payload: bytes
    at: float
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """An entry, as it goes by on the bus."""

    tenant: TenantId
    entry: Entry


@dataclass(frozen=True, slots=True)
class Probed:
    """Somebody's probe: an instance that sees its own go by knows that the bus delivers (F-34)."""

    instance: str
    number: int


@dataclass(frozen=True, slots=True)
class Superseded:
    """A device has a newer stream somewhere: whoever holds one with a smaller token ends it (F-26)."""

    tenant: TenantId
    device: DeviceId
    token: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A session is over: whoever holds its stream ends that."""

    tenant: TenantId
    session: SessionId


Word: TypeAlias = Probed | Superseded | Ended  # what is said to instances, goes by once, and is in no log
Passing: TypeAlias = Heard | Word


@dataclass(frozen=True, slots=True)
class Passage:
    """What went by since a place on the bus, and the place after it."""

    passing: tuple[Passing, ...]
    after: str


@dataclass(frozen=True, slots=True)
class Page:
    """Entries of a log, the oldest first, at most `PAGE` of them; `head` is the log's last position at that moment."""

    entries: tuple[Entry, ...]
    head: Position


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no entry at that position (any more)."""

    head: Position


@dataclass(frozen=True, slots=True)
class Held:
    """A device's stream, and the fencing token that it was given."""

    tenant: TenantId
    device: DeviceId
    token: int


class Bus(Protocol):
    """The bus, the logs, and who holds a device's stream."""

    @property
    def connections(self) -> int:
        """How often the line by which `follow` reads was (re)made. Another line may lead to another server, where a
        place on the bus means nothing: who reads on must begin anew with `tip`, and compare what he has with the logs.
        """
        ...

    async def post(self, postings: Sequence[Posting]) -> tuple[Position, ...] | Down:
        """Say each of them in its tenant's log and on the bus, in order; positions of those already said are theirs.

        Each is done in one step, all of them not: after `Down` any number of the first may have been said.
        """
        ...

    async def said(self, tenant: TenantId, uid: str) -> bool | Down:
        """Whether that was said, as far as it is remembered."""
        ...

    async def say(self, word: Word) -> Down | None:
        """Put a word on the bus that is in no log."""
        ...

    async def tip(self) -> str | Down:
        """The place on the bus after which nothing has gone by yet."""
        ...

    async def follow(self, after: str) -> Passage | Down:
        """What went by after that place: nothing, after `FOLLOW_SECONDS` in which nothing did. One caller at once."""
        ...

    def hang_up(self) -> None:
        """Give up the line by which `follow` reads, however well it looks: the next one makes it anew (F-34).

        So `connections` grows by the time that `follow` answers again. Whoever is in `follow` is told `Down`.
        """
        ...

    async def head(self, tenant: TenantId, now: float) -> Position | Down:
        """The last position of a tenant's log, which is begun at `now` (POSIX seconds) where there is none."""
        ...

    async def page(self, tenant: TenantId, after: Position, now: float) -> Page | Gone | Down:
        """What was said after `after`, or that this is no position (any more). Begins a log like `head`."""
        ...

    async def restore(self, tenant: TenantId, entries: Sequence[Entry]) -> bool | Down:
        """Put back what a server has lost: entries as they were, the oldest first, at their positions.

        Done only where the log's last entry is one of them, or there is no log, or nothing in it but its beginning:
        then those that follow are added. False where the log has gone on otherwise. Nothing goes by on the bus.
        """
        ...

    # -- one stream per device (F-26) ---------------------------------------------------------------------------

    async def take(self, tenant: TenantId, device: DeviceId, *, now: float, ttl: float) -> int | Down:
        """Be the device's stream from now on, for `ttl` seconds: a token greater than any before.

        It is no less than `now` in milliseconds, so that it is greater than one that a server has lost. In the same
        step `Superseded` goes by on the bus.
        """
        ...

    async def renew(self, held: Sequence[Held], *, ttl: float) -> tuple[bool, ...] | Down:
        """Hold each for another `ttl` seconds: False where a greater token is known. What was lost is put back."""
        ...

    async def leave(self, held: Sequence[Held]) -> Down | None:
        """Forget those that are still held by that token."""
        ...
