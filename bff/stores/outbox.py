"""Port of the outbox and of the dead letters: what others must hear, kept until it has been said.

    letter ──append, or with a mutation's record──► waiting ──published──► gone
                                                       └────bury────────► dead, with the reason ──raise──► waiting

Letters are handed out in the order in which the transactions that wrote them began, and within one in the order in
which they were written: two mutations of one aggregate that came one after the other are told so. Commits may overtake
each other, and so a letter is handed out only when no transaction that began before its own can still be under way:
none is ever passed over.

Who hands on is one process at a time, the leader. Its fence grows with each leader, and what an older one says about
letters changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bff.model import Down


@dataclass(frozen=True, slots=True)
class Letter:
    """What is to be said: to `topic`, in order with all others of `ordering_key`, under `message_id` for ever.

    `kind` is the event's name, `payload` JSON. `message_id` is unique: the same one written twice is there once.
    """

    topic: str
    ordering_key: str
    kind: str
    payload: bytes
    message_id: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter in the outbox. `age` is in seconds since it was written."""

    number: int
    letter: Letter
    age: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter that could not be said, and why. `died` in POSIX seconds."""

    number: int
    letter: Letter
    reason: str
    died: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits, for how long the eldest has (seconds, 0 where nothing waits), and how many are dead."""

    depth: int
    oldest: float
    dead: int


class Outbox(Protocol):
    """Every verb needs a finite deadline above it and raises `nurseries.Unbounded` without one."""

    async def append(self, letters: tuple[Letter, ...]) -> Down | None:
        """Write letters, in one commit. Those of a mutation are written with its record (`Keys`)."""
        ...

    async def lead(self, job: str) -> int | Down | None:
        """The fence under which this process leads `job`, taken now or held still; None while another leads.

        It is held for as long as this process and its line to the ledger live, and lost with either. A process that
        takes it anew has a higher fence.
        """
        ...

    async def next_letters(self, *, limit: int, without: tuple[str, ...] = ()) -> tuple[Waiting, ...] | Down:
        """The first `limit` letters that may be handed out, in their order; none of the topics in `without`."""
        ...

    async def published(self, fence: int, numbers: tuple[int, ...]) -> bool | Down:
        """They have been said, and go; False when the fence is not the newest of the job `relay`."""
        ...

    async def bury(self, fence: int, number: int, reason: str) -> bool | Down:
        """It cannot be said: to the dead letters with it; False as in `published`."""
        ...

    async def backlog(self) -> Backlog | Down:
        """How much there is."""
        ...

    async def dead_letters(self, *, after: int, limit: int) -> tuple[DeadLetter, ...] | Down:
        """Dead letters numbered above `after`, in order."""
        ...

    async def raise_letters(self, numbers: tuple[int, ...]) -> int | Down:
        """Back into the outbox, as if written now, under their old message ids; how many there were."""
        ...

    async def trim_dead(self, *, older_than: float, limit: int) -> int | Down:
        """Forget dead letters that died more than `older_than` seconds ago, at most `limit`; how many there were."""
        ...
