"""From the outbox to whoever must hear: in order, at least once, by one process at a time (F-21, F-22).

    outbox ──look──► in hand, a lane per topic and ordering key ──carry──► sink ──► said ──settle──► gone
      ▲                            │ the sink cannot                │ one of them is poison
      └──── put back, the topic rests                               └─ halved until it is alone ──bury──► dead

Lanes go beside each other, and what waits in one lane goes together; no lane is carried twice at a time, which is all
that order takes. Looking, carrying and settling go on at once: what has been said is settled in one commit while the
next is being said.

A letter is out of the outbox only when it has been said, so whatever breaks in between costs a repetition under the
same message id, and never a letter. Who has lost the lead finds out within a second, at the next look; what is said
until then, the new leader says again. In every lane both say what came first before what came later, so whoever goes by
message ids hears all of it in order.

A topic that fails rests, and the others go on: its letters are put back, and not even looked at. How long it rests goes
by the failures of the topic, however many of its lanes failed at once.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from bff.facts import LetterBuried, LettersPublished, RelayFailed
from bff.jobs.asking import in_time
from bff.jobs.sinks import Delivery, NotNow, Poison
from bff.model import Down
from bff.upstreams.pubsub import on_the_wire
from nurseries import Backoff, tell, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bff.jobs.sinks import Sink
    from bff.stores.outbox import Outbox, Waiting

Lane: TypeAlias = tuple[str, str]  # topic, ordering key

JOB: Final = "relay"
BATCH: Final = 500  # letters: no more new ones are looked for at once, nor carried together
IN_HAND: Final = 2 * BATCH  # letters: with so many, a look is only whether this process still leads
LARGEST: Final = (
    1 << 20
)  # bytes on the wire that go together, unless a single letter has more: a tenth of what is taken
PLACES: Final = 16  # batches under way at once
LOOK_EVERY: Final = 1.0  # seconds, where nobody says that there is something
GATHER: Final = 0.02  # seconds: what is written together is carried together
SINK_WITHIN: Final = 5.0  # seconds
BACKOFF: Final = Backoff(first=0.2, most=30.0)
LONGEST_REST: Final = 300.0  # seconds: a sink that asks for a day must have erred


@dataclass(frozen=True, slots=True)
class Rest:
    """A topic that failed so many times in a row is left alone until then (Trio time); `why` is its last reason."""

    failures: int
    until: float
    why: str


class Rests:
    """The topics that failed. `jitter()` gives a number in [0, 1)."""

    def __init__(self, backoff: Backoff, jitter: Callable[[], float]) -> None:
        self._backoff = backoff
        self._jitter = jitter
        self._rests: dict[str, Rest] = {}

    def failed(self, topic: str, trouble: NotNow) -> None:
        """It could not be said, and rests; several lanes that fail at once are one failure."""
        tell(RelayFailed(trouble.word))
        if topic in self.now:
            return
        failures = self._rests[topic].failures + 1 if topic in self._rests else 1
        pause = min(self._backoff.after(failures, self._jitter()), trouble.soon)
        pause = max(pause, min(trouble.after, LONGEST_REST))
        self._rests[topic] = Rest(failures, trio.current_time() + pause, trouble.why)

    def worked(self, topic: str) -> None:
        """It could be said. Of what was begun before another lane failed, that says nothing about the next."""
        if topic not in self.now:
            self._rests.pop(topic, None)

    @property
    def now(self) -> tuple[str, ...]:
        """Those that rest."""
        return tuple(topic for topic, rest in self._rests.items() if rest.until > trio.current_time())

    @property
    def seconds(self) -> float:
        """Until the first of them has rested; inf where none rests."""
        return min((self._rests[topic].until for topic in self.now), default=math.inf) - trio.current_time()

    def __str__(self) -> str:
        return ", ".join(f"{topic}: {rest.why}" for topic, rest in sorted(self._rests.items()))


class Bell:
    """Rung for whoever looks; `fresh` when it was rung because somebody wrote. Heard later, if nobody waits for it."""

    def __init__(self) -> None:
        self.fresh = False
        self._rung = trio.Event()

    def nudge(self) -> None:
        """Something was written."""
        self.fresh = True
        self.ring()

    def ring(self) -> None:
        """It is time to look, or to see that there is no more need to."""
        self._rung.set()

    def silence(self) -> None:
        """Whatever it was rung for is seen to now."""
        self.fresh = False
        if self._rung.is_set():
            self._rung = trio.Event()

    async def heard(self, seconds: float) -> None:
        """Wait for it, and no longer."""
        with within(seconds):
            await self._rung.wait()


class Relay:
    """Carries letters while this process leads.

    `sink` has every topic that none of `others` has. `jitter()` gives a number in [0, 1).
    """

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink,
        others: Mapping[str, Sink] | None = None,
        *,
        jitter: Callable[[], float],
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._outbox = outbox
        self._sink = sink
        self._others = others or {}
        self._rests = Rests(backoff, jitter)
        self._bell = Bell()
        self._leads = False

    def nudge(self) -> None:
        """Something was written here. Where this process leads it looks at once; elsewhere the leader will, soon."""
        self._bell.nudge()

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            await self.turn()
            if self._leads:
                await self._bell.heard(min(LOOK_EVERY, self._rests.seconds))
            else:
                await trio.sleep(LOOK_EVERY)

    async def turn(self) -> None:
        """Carry all that can be carried now; nothing where another leads, or the ledger is down."""
        self._leads = await _Carrying(self._outbox, self._sink_of, self._rests, self._bell).all()

    @property
    def failing(self) -> str:
        """Which topics cannot be said, and why, in one line; '' where none fails, or another process leads."""
        return str(self._rests) if self._leads else ""

    def _sink_of(self, topic: str) -> Sink:
        return self._others.get(topic, self._sink)


class _Carrying:
    """What is in hand under one fence, from the first look to one that finds nothing more, or that the lead is lost.

    A letter is in hand from when it is taken until it is settled or put back. `_lanes` has what waits in each lane that
    a task carries. `_settled` is what was settled since the last look began: that look may still see it.
    """

    _nursery: trio.Nursery

    def __init__(self, outbox: Outbox, sink_of: Callable[[str], Sink], rests: Rests, bell: Bell) -> None:
        self._outbox = outbox
        self._sink_of = sink_of
        self._rests = rests
        self._bell = bell
        self._fence = 0
        self._hand: set[int] = set()
        self._lanes: dict[Lane, deque[Waiting]] = {}
        self._said: list[int] = []
        self._something_said = trio.Event()
        self._settled: set[int] = set()
        self._more = False
        self._places = trio.CapacityLimiter(PLACES)

    async def all(self) -> bool:
        """Carry; whether this process led to the end."""
        led = False
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._settle)
            led = await self._look_on()
            self._nursery.cancel_scope.cancel(reason="there is no more, or no right to say it")
        return led

    def _stop(self) -> None:
        self._nursery.cancel_scope.cancel(reason="the lead is lost, or may be")

    # -- looking ------------------------------------------------------------------------------------------------

    async def _look_on(self) -> bool:
        """Until there is nothing left to do (True), or the lead is lost, or may be."""
        while await self._look():
            if self._hand:
                await self._bell.heard(LOOK_EVERY)
            if not (self._hand or self._more or self._bell.fresh):
                self._bell.silence()
                return True
        return False

    async def _look(self) -> bool:
        """Whether this process leads, and what there is; False where it does not, or nobody can tell."""
        if self._bell.fresh and not self._more:
            await trio.sleep(GATHER)
        self._bell.silence()
        fence = await in_time(partial(self._outbox.lead, JOB))
        if not isinstance(fence, int) or self._fence not in {0, fence}:
            return False
        self._fence = fence
        if len(self._hand) >= IN_HAND:
            self._more = True
            return True
        self._settled.clear()
        limit = BATCH + len(self._hand)
        letters = await in_time(partial(self._outbox.next_letters, limit=limit, without=self._rests.now))
        if isinstance(letters, Down):
            return False
        self._more = len(letters) == limit
        self._take(letters)
        return True

    def _take(self, letters: Iterable[Waiting]) -> None:
        known, resting = self._hand | self._settled, self._rests.now
        for waiting in letters:
            if waiting.number in known or waiting.letter.topic in resting:
                continue
            self._hand.add(waiting.number)
            lane = (waiting.letter.topic, waiting.letter.ordering_key)
            if lane not in self._lanes:
                self._lanes[lane] = deque()
                self._nursery.start_soon(self._carry, lane)
            self._lanes[lane].append(waiting)

    def _no_longer(self, numbers: Iterable[int]) -> None:
        self._hand.difference_update(numbers)
        if not self._hand or (self._more and len(self._hand) <= BATCH // 2):
            self._bell.ring()

    # -- carrying -----------------------------------------------------------------------------------------------

    async def _carry(self, lane: Lane) -> None:
        queue = self._lanes[lane]
        while queue:
            async with self._places:  # for one batch, so that a long lane does not keep the others waiting
                await self._carry_batch(lane[0], _together(queue))
        del self._lanes[lane]

    async def _carry_batch(self, topic: str, letters: tuple[Waiting, ...]) -> None:
        """In order, halved where one of them is poison. What cannot be said is put back."""
        parts = [letters] if letters else []  # the first is the last
        while parts:
            part = parts.pop()
            delivery = await self._deliver(topic, part)
            self._were_said(topic, part[: delivery.done])
            rest = part[delivery.done :]
            match delivery.trouble:
                case Poison(why) if len(rest) == 1:
                    await self._bury(rest[0], why)
                case Poison() if rest:
                    middle = len(rest) // 2
                    parts += [rest[middle:], rest[:middle]]
                case None:
                    assert not rest, "a sink says why it took no more"
                case NotNow() as trouble:
                    self._put_back(topic, trouble, (rest, *parts))
                    return

    async def _deliver(self, topic: str, letters: tuple[Waiting, ...]) -> Delivery:
        with within(SINK_WITHIN):
            return await self._sink_of(topic).deliver(tuple(waiting.letter for waiting in letters))
        return Delivery(0, NotNow("timeout", f"no answer within {SINK_WITHIN:.0f} s"))

    def _were_said(self, topic: str, letters: tuple[Waiting, ...]) -> None:
        if not letters:
            return
        tell(LettersPublished(topic, len(letters)))
        self._rests.worked(topic)
        self._said += [waiting.number for waiting in letters]
        self._something_said.set()

    def _put_back(self, topic: str, trouble: NotNow, parts: Iterable[Iterable[Waiting]]) -> None:
        """They stay in the outbox, with all of the topic that waits behind them, and the topic rests."""
        self._rests.failed(topic, trouble)
        for (of, _), queue in self._lanes.items():
            if of == topic:
                self._no_longer(waiting.number for waiting in queue)
                queue.clear()
        self._no_longer(waiting.number for part in parts for waiting in part)

    # -- settling -----------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        while True:
            await self._something_said.wait()
            self._something_said = trio.Event()
            numbers, self._said = tuple(self._said), []
            if await in_time(partial(self._outbox.published, self._fence, numbers)) is not True:
                self._stop()
                return
            self._are_settled(numbers)

    async def _bury(self, poison: Waiting, why: str) -> None:
        if await in_time(partial(self._outbox.bury, self._fence, poison.number, why)) is not True:
            self._stop()
            await trio.lowlevel.checkpoint()  # the end of this task
        tell(LetterBuried(poison.letter.topic))
        self._are_settled((poison.number,))

    def _are_settled(self, numbers: tuple[int, ...]) -> None:
        self._settled.update(numbers)
        self._no_longer(numbers)


def _together(queue: deque[Waiting]) -> tuple[Waiting, ...]:
    """What goes in one batch, taken from the front."""
    batch: list[Waiting] = []
    size = 0
    while queue and len(batch) < BATCH:
        size += on_the_wire(queue[0].letter)
        if batch and size > LARGEST:
            break
        batch.append(queue.popleft())
    return tuple(batch)
