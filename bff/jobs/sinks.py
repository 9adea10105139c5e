"""Where letters go: whoever can be told one after the other what happened, and says how far it got.

The relay knows nothing of them but this. Pub/Sub is one, for every topic that no other sink has. The desks are another,
for a topic of their own: what a mutation has to say is a letter to each, so that neither waits for the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import msgspec

from bff.events.event import Said
from bff.model import Down
from bff.stores.bus import Posting
from bff.upstreams.drift import UNREADABLE
from bff.upstreams.pubsub import Published, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.events.bus import EventBus
    from bff.stores.outbox import Letter
    from bff.upstreams.pubsub import Publisher

REMEMBER: Final = 3600.0  # seconds in which a letter that comes again is not said again
DESKS_WAIT: Final = 1.0  # seconds at most between two tries of what desks must hear: one more is one word to the bus

Word: TypeAlias = Literal["unavailable", "timeout", "refused"]


@dataclass(frozen=True, slots=True)
class Poison:
    """One at least of the letters that are left can never be told; `why` is for whoever looks at the dead letters."""

    why: str


@dataclass(frozen=True, slots=True)
class NotNow:
    """Nothing is wrong with the letters: later, and not before `after` seconds where the sink has said so.

    `soon` is the longest (seconds) that it may be left alone, where asking again costs little and somebody waits.
    `word` is for a metric. `refused` is a no that the next try will hear again until somebody changes a setting: no
    letter is to blame for a topic that is not there, or for a right that was not given.
    """

    word: Word
    why: str
    after: float = 0.0
    soon: float = math.inf


@dataclass(frozen=True, slots=True)
class Delivery:
    """The first `done` letters have been told; with fewer than there were, `trouble` is why not the rest."""

    done: int
    trouble: Poison | NotNow | None = None


class Sink(Protocol):
    """Tells letters of one topic and one ordering key, in their order, and each at least once."""

    async def deliver(self, letters: tuple[Letter, ...]) -> Delivery:
        """Needs a finite deadline above it and raises `nurseries.Unbounded` without one.

        Letters told before may come again, under the same message ids.
        """
        ...


class ToPubSub:
    """Pub/Sub takes a request as a whole, or refuses it as a whole."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def deliver(self, letters: tuple[Letter, ...]) -> Delivery:
        """As `Sink` has it."""
        match await self._publisher.publish(letters[0].topic, letters):
            case Published():
                return Delivery(len(letters))
            case Refused(why, poison):
                return Delivery(0, Poison(why) if poison else NotNow("refused", why))
            case Unavailable(why, retry_after):
                return Delivery(0, NotNow("unavailable", why, retry_after or 0.0))


_said = msgspec.json.Decoder(Said)


class ToDesks:
    """The bus takes one letter after the other; what it was told of before it does not say again."""

    def __init__(self, bus: EventBus, now: Callable[[], float]) -> None:
        self._bus = bus
        self._now = now

    async def deliver(self, letters: tuple[Letter, ...]) -> Delivery:
        """As `Sink` has it."""
        postings: list[Posting] = []
        trouble: Poison | None = None
        for letter in letters:
            try:
                said = _said.decode(letter.payload)
            except UNREADABLE as error:
                trouble = Poison(f"no event: {error}")
                break
            postings.append(Posting(said.tenant_id, letter.message_id, letter.payload, self._now(), REMEMBER))
        answer = await self._bus.post(postings) if postings else ()
        if isinstance(answer, Down):
            return Delivery(0, NotNow("unavailable", answer.why, soon=DESKS_WAIT))
        return Delivery(len(postings), trouble)
