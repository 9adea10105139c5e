"""Counting afterwards what the session tier could not refuse: proofs that passed on two instances (F-19, F-28).

With the tier down each instance judges replays by its own window, so a stolen proof of a read can pass once on each.
And a failover of the tier loses the end of what it had acknowledged: a proof recorded there is fresh once more,
elsewhere. Neither can be prevented without turning reads away. So each instance remembers what it accepted, and shows
it to the tier again, *under the nonce of its acceptance*:

    owed   accepted while the tier was silent, or acknowledged over a line that is no more: the tier may not know it
    tail   acknowledged within the last `TAIL` seconds over the line that stands: owed as soon as there is another line

    fresh       the tier did not know the proof, or knows it from this acceptance: nobody else had it. It is tail again
    not fresh   it was accepted elsewhere too, under another nonce: it passed once too often, is counted and forgotten
    filtered    the tier is short of memory, and its filter knows no nonces (F-41): nobody can say. It is forgotten
    Down        owed still

Of N acceptances the first that is shown is known from then on, and the other N-1 are counted, each once and by whoever
accepted it. One acceptance is never counted, however often it is shown: asking again is no second acceptance.

A proof is shown for the rest of its time, and for no less than `MEET`: instances do not come back to the tier in the
same moment, and two who recount one proof must meet there. That such a proof may be over by then keeps nobody out: its
`iat` does.

What is not certain is told too, so that nobody believes in a zero that was not counted: acceptances that were too many
to be remembered; those that were shown so late that the tier may have forgotten what it recorded *before* it went away,
which is earlier where it was short of memory; those that its filter knows; and what a server that ends still owes.
What a killed process had accepted is lost with it.

No request waits here. It leaves a note, and a service of the house does the rest, `BATCH` at a time.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from bff.facts import Recounted, RecountSkipped, ReplayPassed
from bff.gate.proof import WINDOW
from bff.model import Down
from bff.stores.tier import Standing
from nurseries import tell, within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bff.stores.tier import Presented, SessionTier

BOUND: Final = 50_000  # proofs owed, and as many of the tail: some 20 MB each
TAIL: Final = 5.0  # seconds: how far a standby may be behind its primary
MEET: Final = 60.0  # seconds that a proof which was shown again is there for other instances to meet
LOOK: Final = 1.0  # seconds between two looks at the tier
BATCH: Final = 50  # proofs shown side by side, which is one packed batch on the wire
PAUSE: Final = 0.025  # seconds between two batches: at most 2,000 proofs/s, a tenth of a core
PATIENCE: Final = 0.5  # seconds for a batch


class Accepted(NamedTuple):
    """One acceptance: of `proof`, at `since`; the tier last acknowledged it at `known`. Times are Trio's."""

    proof: Presented
    since: float
    known: float


class Answered(NamedTuple):
    """What the tier said of a proof that was shown, `at` which time, and over which line it was asked."""

    at: float
    standing: Standing
    line: int


class Recount:
    """What this instance accepted and `tier` may not know; at most `bound` proofs of either kind."""

    def __init__(self, tier: SessionTier, *, bound: int = BOUND) -> None:
        self._tier = tier
        self._bound = bound
        self._line = tier.connections
        self._owed: deque[Accepted] = deque()
        self._tail: deque[Accepted] = deque()  # about in the order of `known`, all of them over `_line`
        self._skipped: Counter[str] = Counter()
        self._answers = True  # the tier did, when it was last asked here

    @property
    def owed(self) -> int:
        """How many proofs are still to be shown."""
        return len(self._owed)

    def accepted(self, proof: Presented, standing: Standing | Down, line: int) -> None:
        """Remember that `proof` was accepted just now. Returns at once.

        `standing` is what the tier said of it, `line` its `connections` as they were before it was asked: over another
        line than the one that stands now, an acknowledgement is worth nothing.
        """
        now = trio.current_time()
        self._remember(Accepted(proof, now, now), isinstance(standing, Standing), line)

    def _remember(self, one: Accepted, known: bool, line: int) -> None:
        self._turn()
        if known and line == self._line:
            if len(self._tail) < self._bound:
                self._tail.append(one)
                return
        elif len(self._owed) < self._bound:
            self._owed.append(one)
            return
        self._skipped["too many"] += 1

    def _turn(self) -> None:
        """Where the line is a new one, all that was acknowledged over the old one at its end is owed."""
        if self._line == self._tier.connections:
            return
        self._line = self._tier.connections
        room = max(0, self._bound - len(self._owed))
        self._skipped["too many"] += max(0, len(self._tail) - room)
        self._owed.extend(islice(self._tail, room))
        self._tail.clear()

    async def serve(self) -> None:
        """Look after the tier for ever, and show it what is owed; a service for an owner."""
        try:
            while True:
                await self._look()
                more = bool(self._owed) and await self._show()
                if not self._owed:
                    self._tell_skipped()
                await trio.sleep(PAUSE if more else LOOK)
        except trio.Cancelled:
            self._skipped["the server ended"] += len(self._owed)
            self._tell_skipped()
            raise

    async def _look(self) -> None:
        """Is it still the same line? While a tail hangs on that, the tier is asked, since no request may come to tell.

        An answer over it says that its primary lived till now: what it acknowledged long before has reached the
        standby, and is tail no more. While the tier is silent nothing is dropped: when its primary died is not known.
        """
        if self._tail:
            asked, line = trio.current_time(), self._tier.connections
            answer: Down | None = Down("it did not answer in time")
            with within(PATIENCE):
                answer = await self._tier.ping()
            if answer is None and line == self._line == self._tier.connections:
                while self._tail and self._tail[0].known < asked - TAIL:
                    self._tail.popleft()
        self._turn()

    async def _show(self) -> bool:
        """Show the tier the next of what is owed, one alone where it did not answer the last time; whether it did."""
        batch = tuple(islice(self._owed, BATCH if self._answers else 1))
        answers: dict[int, Answered] = {}

        async def show(number: int) -> None:
            line = self._tier.connections
            standing = await self._tier.present(_again(batch[number]))
            if isinstance(standing, Standing):
                answers[number] = Answered(trio.current_time(), standing, line)

        try:
            with within(PATIENCE):
                async with trio.open_nursery() as nursery:
                    for number in range(len(batch)):
                        nursery.start_soon(show, number)
        finally:
            self._settle(batch, answers)
        return self._answers

    def _settle(self, batch: tuple[Accepted, ...], answers: Mapping[int, Answered]) -> None:
        """What becomes of those that were shown, by their numbers. One that is counted is forgotten."""
        for _ in batch:  # the first are still the same: nobody else takes any, and what comes goes to the end
            self._owed.popleft()
        self._owed.extendleft(one for number, one in reversed([*enumerate(batch)]) if number not in answers)
        self._answers = bool(answers)
        for number, (at, standing, line) in answers.items():
            if standing.fresh:
                one, again = batch[number], batch[number]._replace(known=at)
                last = _surely_known(one.proof, standing)
                if one.known - one.since <= last < at - one.since:  # it is late now, and was not when last known
                    self._skipped["too late"] += 1
                self._remember(again, True, line)
            elif standing.filtered:
                self._skipped["filtered"] += 1
        refused = [answer.standing for answer in answers.values() if not answer.standing.fresh]
        self._tell_shown(len(answers), sum(not standing.filtered for standing in refused))

    def _tell_shown(self, shown: int, passed: int) -> None:
        if shown:
            tell(Recounted(shown))
        if passed:
            tell(ReplayPassed(passed))

    def _tell_skipped(self) -> None:
        for why, count in self._skipped.items():
            if count:
                tell(RecountSkipped(why, count))
        self._skipped.clear()


def _surely_known(proof: Presented, standing: Standing) -> float:
    """For how many seconds after it was accepted the tier knows whether another had it before."""
    return proof.trimmed if standing.mode == "trimmed" else proof.ttl - WINDOW


def _again(one: Accepted) -> Presented:
    """The proof as it was shown, for what is left of its time; how its session stands is asked by nobody now."""
    left = one.proof.ttl - (trio.current_time() - one.since)
    return replace(one.proof, tenant=None, session=None, ttl=max(left, MEET), holds=None)
