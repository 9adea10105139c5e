"""Telemetry: a sample of what desks tell, put into the outbox; no desk ever waits long or fails for it (F-22, F-40).

    sample    each event by its own chance, at the rate that the switch says now
    write     all of a request in one commit, and 202 when it is done
    buffer    no answer in a small part of the time, or none to be hoped for: into memory, and 202 all the same
    flush     in the order in which they came, once the ledger answers again

What waits in memory is bounded, by number and by bytes. When it is full the eldest goes, and is counted; so is what is
left of it when the process ends. While anything waits, whatever comes goes behind it: that keeps the order, and spares
desks a ledger that is known not to answer.

A write of which nobody knows whether it was done is done again under the same message ids, which the outbox takes once.
An event that was written in that way and is then dropped here was counted as dropped, and is there.
"""

from __future__ import annotations

import datetime
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import msgspec
import trio

from bff.facts import TelemetryDropped, TelemetryTaken
from bff.model import Answer, Down
from bff.outside import fraction, rfc3339
from bff.stores.outbox import Letter
from nurseries import Backoff, required, tell, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bff.model import Claims
    from bff.outside import Outside
    from bff.stores.outbox import Outbox

TOPIC: Final = "bff-telemetry"
KIND: Final = "telemetry"
APPEND_PART: Final = 0.1  # of the deadline: the longest that the ledger is waited for, and never
APPEND_SECONDS: Final = 0.25  # more than this
FLUSH_SECONDS: Final = 2.0  # the longest that one batch is waited for behind the answers
BATCH: Final = 256  # letters that are flushed in one commit
AGAIN: Final = Backoff(first=0.1, most=5.0)

AttributeName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happened at a desk, at `at` by its own clock."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    at: Annotated[datetime.datetime, msgspec.Meta(tz=True)]
    attributes: Annotated[dict[AttributeName, str | int | float | bool | None], msgspec.Meta(max_length=64)]


class TelemetryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happened, in the order in which it did."""

    EXAMPLE: ClassVar[Any] = {
        "events": [{"name": "screen.opened", "at": "2015-08-15T07:30:00Z", "attributes": {"screen": "workbench"}}]
    }
    events: Annotated[tuple[Event, ...], msgspec.Meta(max_length=100)]


class TelemetryAnswer(msgspec.Struct, frozen=True):
    """How many events were taken, and how many of those the sample has kept."""

    accepted: int
    sampled: int


class Told(msgspec.Struct, frozen=True, rename="camel"):
    """An event as others hear it: who told it, when it came in, and what it says."""

    tenant_id: str
    operator_id: str
    device_id: str
    received_at: str
    name: str
    at: datetime.datetime
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait in memory: so many letters, of so many bytes. A batch being flushed comes on top."""

    letters: int = 20_000
    size: int = 16 * 1024 * 1024


class Buffer:
    """Letters in the order in which they came, of which the eldest go when there are too many."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._waiting: deque[Letter] = deque()
        self._size = 0
        self._flying: tuple[Letter, ...] = ()
        self._filled = trio.Event()

    def __len__(self) -> int:
        return len(self._flying) + len(self._waiting)

    async def filled(self) -> None:
        """Wait until there is something."""
        while not self:
            self._filled = trio.Event()
            await self._filled.wait()

    def put(self, letters: Sequence[Letter]) -> int:
        """Behind all others; how many had to go for it."""
        self._waiting.extend(letters)
        self._size += sum(map(_size, letters))
        gone = sum(1 for _ in self._too_many())
        self._filled.set()
        return gone

    def _too_many(self) -> Iterator[Letter]:
        while len(self._waiting) > self._bounds.letters or self._size > self._bounds.size:
            yield self._eldest()

    def _eldest(self) -> Letter:
        letter = self._waiting.popleft()
        self._size -= _size(letter)
        return letter

    def batch(self) -> tuple[Letter, ...]:
        """The eldest. They are the same, and none of them goes, until they are `flushed`."""
        if not self._flying:
            self._flying = tuple(self._eldest() for _ in range(min(BATCH, len(self._waiting))))
        return self._flying

    def flushed(self) -> None:
        """The batch is where it should be."""
        self._flying = ()


class Telemetry:
    """The room, and the service behind it. `sample()` is the part of all events that is kept, from 0 to 1."""

    def __init__(
        self, outbox: Outbox, outside: Outside, sample: Callable[[], float], bounds: Bounds = Bounds()
    ) -> None:
        self._outbox = outbox
        self._outside = outside
        self._sample = sample
        self._buffer = Buffer(bounds)

    @property
    def waiting(self) -> int:
        """Events in memory."""
        return len(self._buffer)

    async def take(self, claims: Claims, body: TelemetryBody) -> Answer:
        """202, whatever the ledger does. Needs a finite deadline above it and raises `nurseries.Unbounded` without."""
        left = required("telemetry")
        letters = self._letters(claims, body.events)
        _tell("left-out", len(body.events) - len(letters))
        if letters and not await self._written(letters, min(APPEND_SECONDS, APPEND_PART * left)):
            gone = self._buffer.put(letters)
            _tell("buffered", len(letters))
            if gone:
                tell(TelemetryDropped(gone, "full"))
        return Answer(202, msgspec.json.encode(TelemetryAnswer(len(body.events), len(letters))))

    async def _written(self, letters: tuple[Letter, ...], seconds: float) -> bool:
        if self._buffer or not await self._append(letters, seconds):
            return False
        _tell("written", len(letters))
        return True

    async def _append(self, letters: tuple[Letter, ...], seconds: float) -> bool:
        down: Down | None = Down("it did not answer in time")
        with within(seconds):
            down = await self._outbox.append(letters)
        return down is None

    def _letters(self, claims: Claims, events: Sequence[Event]) -> tuple[Letter, ...]:
        """Those that the sample keeps."""
        rate, now = self._sample(), rfc3339(self._outside.now())
        return tuple(self._letter(claims, event, now) for event in events if self._chance() < rate)

    def _chance(self) -> float:
        return fraction(self._outside.entropy)

    def _letter(self, claims: Claims, event: Event, now: str) -> Letter:
        who = (claims.tenant, claims.operator, claims.device)
        told = Told(*who, now, event.name, event.at, event.attributes)
        order = f"{claims.tenant}/{claims.device}"
        return Letter(TOPIC, order, KIND, msgspec.json.encode(told), self._outside.identifier())

    # -- behind the answers -------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Flush whatever is in memory, for ever; for an owner to supervise."""
        try:
            while True:
                await self._buffer.filled()
                await self._until_empty()
        except trio.Cancelled:
            if self._buffer:
                tell(TelemetryDropped(len(self._buffer), "ended"))
            raise

    async def _until_empty(self) -> None:
        pauses = AGAIN.pauses(self._chance)
        while self._buffer:
            if await self.flush():
                pauses = AGAIN.pauses(self._chance)
            else:
                await trio.sleep(next(pauses))

    async def flush(self) -> bool:
        """Write one batch; whether that was done. What is not done now is tried again as the same batch."""
        batch = self._buffer.batch()
        if not await self._append(batch, FLUSH_SECONDS):
            return False
        self._buffer.flushed()
        _tell("flushed", len(batch))
        return True


def _size(letter: Letter) -> int:
    return len(letter.payload) + len(letter.ordering_key) + len(letter.message_id)


def _tell(outcome: str, count: int) -> None:
    if count:
        tell(TelemetryTaken(outcome, count))
