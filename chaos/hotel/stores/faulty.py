"""What can be wrong with a simulated store: the words of CONTRACT section 7, on the Trio clock.

    down()            nobody listens: refused at once; who was waiting learns that the connection broke
    stop()            it hangs, its connections open: `Down` after the adapter's patience, or the caller's deadline if
                      that is earlier. Where all share one line, as with Redis, it is then cut: whoever is in it is told
                      at the same moment, and later callers at once. What came while it hung lies in its sockets, and
                      is done when it goes on, whoever has left meanwhile
    start()           it does its work again, with all that it held
    failover(...)     the standby takes over at the same address, with all but what had not reached it yet (F-19).
                      Connections break, as with `down`; what lay in the old one's sockets is gone with it
    latency(seconds)  each call takes so long, half of it on the way there: who leaves on the way back has been served

The same as toxics: `inject(toxic)` and `clear()`. A store writes into `Expiring`s that share its journal.
"""

from __future__ import annotations

import math
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from bff.facts import StoreChanged, StoreTakenOver
from bff.model import Down
from bff.stores import PATIENCE
from chaos import toxics
from chaos.hotel.stores.journal import MOST, Journal
from nurseries import required, tell, until, within

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

REFUSED: Final = Down("nobody listens")
BROKE: Final = Down("the connection broke")
KINDS: Final[tuple[type[toxics.Toxic], ...]] = (*toxics.STORE, toxics.Down, toxics.Hang, toxics.Latency)
WORDS: Final = ", ".join(kind.word for kind in KINDS)
UNREAD: Final = 256  # calls; more are not sent to a server that answers none of them


class State(Enum):
    """How a store is, whoever knows of it."""

    UP = "up"
    DOWN = "down"
    STOPPED = "stopped"


class Faulty:
    """A store called `store` in facts, and its faults.

    `connections` is how often the line to it was made, as `SessionTier` says it: 0 until it has served for the first
    time, and one more when it serves again after a break. `lives` is how often there was another server: one that has
    started, or that has taken over.
    """

    def __init__(self, store: str, *, one_line: bool = True) -> None:
        self.store = store
        self._one_line = one_line
        self.connections = 0
        self.lives = 1
        self._journal = Journal()
        self._state = State.UP
        self._ends = math.inf  # when the standby will have taken over
        self._worked_until = 0.0
        self._latency = 0.0
        self._gives_up = math.inf  # when the line that hangs is cut
        self._unread: list[Callable[[], object]] = []
        self._connected = False
        self._met = 0  # which of its lives whoever asks has met last
        self._told: bool | None = None
        self._broken = trio.Event()
        self._changed = trio.Event()

    @property
    def journal(self) -> Journal:
        """Of the server's writes, for what else is kept on it."""
        return self._journal

    @property
    def state(self) -> State:
        """How it is now: down for as long as a standby is taking over."""
        return State.UP if trio.current_time() >= self._ends else self._state

    def down(self) -> None:
        """Refuse connections, and break those that there are."""
        self._become(State.DOWN)
        self._break()

    def stop(self) -> None:
        """Hang."""
        if self.state is not State.STOPPED:
            self._become(State.STOPPED)

    def start(self) -> None:
        """Work again."""
        if self._given_up():
            self._connected = False
        self._become(State.UP)
        unread, self._unread = self._unread, []
        for effect in unread:
            effect()  # in the order in which they came

    def failover(self, *, lost: float = 0.0, takes: float = 0.0) -> int:
        """The standby takes over: at once, or after `takes` seconds of refusing. Gives how many writes it has not got.

        Those are what was written in the last `lost` seconds in which the old one worked, to the microsecond: what is
        exactly so old has been replicated. Who was under way is told that the connection broke; what of him was
        already done is part of the tail, if there is one. Raises `ValueError` for a `lost` over `journal.MOST`, or a
        `takes` that is no number of seconds.
        """
        if not 0 <= takes < math.inf:
            raise ValueError("a takeover takes a finite number of seconds, from 0 up")
        lost_writes = self._journal.lose(lost, trio.current_time() if self.state is State.UP else self._worked_until)
        self.down()
        self._ends = trio.current_time() + takes
        return lost_writes

    def hang_up(self) -> None:
        """A client gives up its line, for whatever reason: the next call makes it anew."""
        self._connected = False

    def latency(self, seconds: float) -> None:
        """Take `seconds` for each call."""
        self._latency = seconds

    # -- the same as toxics -------------------------------------------------------------------------------------

    def inject(self, toxic: toxics.Toxic) -> None:
        """A fault in the words of `bff chaos inject`. Raises `BadToxic`, in one line, for what a store cannot have."""
        if toxic.rate < 1:
            raise toxics.BadToxic(f"{toxic.word}: a store has no rate")
        match toxic:
            case toxics.Kill() | toxics.Down():
                self.down()
            case toxics.Stop() | toxics.Hang() if self.state is State.DOWN:
                raise toxics.BadToxic(f"{self.store} does not run: start it first")
            case toxics.Stop() | toxics.Hang():
                self.stop()
            case toxics.Start():
                self.start()
            case toxics.Failover():
                self._take_over(toxic)
            case toxics.Latency() if toxic.jitter:
                raise toxics.BadToxic("latency: a store in virtual time has no jitter")
            case toxics.Latency():
                self.latency(toxic.ms / 1000)
            case _:
                raise toxics.BadToxic(f"{toxic.word} is for services; for a store there are {WORDS}")

    def clear(self) -> None:
        """Heal it of everything; what a failover lost stays lost."""
        self.latency(0.0)
        if self.state is not State.UP:
            self.start()

    def _take_over(self, toxic: toxics.Failover) -> None:
        if toxic.lost > MOST:
            raise toxics.BadToxic(f"failover: lost should be at most {MOST:.0f}, as far as a standby may be behind")
        self.failover(lost=toxic.lost, takes=toxic.takes)

    # -- a call -------------------------------------------------------------------------------------------------

    def _become(self, state: State) -> None:
        if self.state is State.UP:
            self._worked_until = trio.current_time()
        self._state = state
        self._ends = self._gives_up = math.inf
        self._changed.set()
        self._changed = trio.Event()

    def _break(self) -> None:
        """What was under way, or lay unread, is lost with the connections."""
        self.lives += 1
        self._connected = False
        self._unread.clear()
        self._broken.set()
        self._broken = trio.Event()

    def _given_up(self) -> bool:
        return trio.current_time() >= self._gives_up

    async def asked(self, effect: Callable[[], T], patience: float = PATIENCE) -> T | Down:
        """One round trip in which `effect` is had. Raises `nurseries.Unbounded` without a deadline around it."""
        required(self.store)
        await trio.lowlevel.checkpoint()
        if self.state is State.DOWN or self._given_up():
            return self._turn(REFUSED if self.state is State.DOWN else _no_answer(patience))
        with within(patience):
            answer = await self._travel(effect, patience)
            return self._turn(answer) if isinstance(answer, Down) else self._served(answer)
        self._connected = False
        return self._turn(_no_answer(patience))

    async def _travel(self, effect: Callable[[], T], patience: float) -> T | Down:
        broken = self._broken
        await self._half_way(broken)
        if self.state is State.STOPPED:
            effect = self._lie_unread(effect)
            if not await self._goes_on(patience):
                return _no_answer(patience)
        if broken.is_set():
            return BROKE
        answer = self._done(effect)
        await self._half_way(broken)
        return BROKE if broken.is_set() else answer

    async def _half_way(self, broken: trio.Event) -> None:
        """Half of the latency goes by, or the connection breaks."""
        if not self._latency:  # the same to whoever waits, without a scope
            await trio.lowlevel.checkpoint()
            return
        with within(self._latency / 2):
            await broken.wait()

    def _lie_unread(self, effect: Callable[[], T]) -> Callable[[], T]:
        """The effect, had once: by the store when it goes on, or else by its caller."""
        once = cache(effect)  # a line that is not made yet carries nothing
        if self._connected and len(self._unread) < UNREAD:
            self._unread.append(once)
        return once

    async def _goes_on(self, patience: float) -> bool:
        """Wait until it does, however; False when the line is cut before, `patience` after the first who hung."""
        while self.state is State.STOPPED:
            if self._one_line:
                self._gives_up = min(self._gives_up, trio.current_time() + patience)
            with until(self._gives_up):
                await self._changed.wait()
            if self._given_up():
                return False
        return True

    def _done(self, effect: Callable[[], T]) -> T:
        if not self._connected:
            self._connected = True
            self.connections += 1
            self._meet()
        return effect()

    def _meet(self) -> None:
        """Whoever makes the line anew sees whether it is the server that was there before."""
        if self._met not in {0, self.lives}:
            tell(StoreTakenOver(self.store))
        self._met = self.lives

    def _served(self, answer: T) -> T:
        if self._told is not True:
            self._told = True
            tell(StoreChanged(self.store, True, ""))
        return answer

    def _turn(self, down: Down) -> Down:
        if self._told is not False:
            self._told = False
            tell(StoreChanged(self.store, False, down.why))
        return down


def _no_answer(patience: float) -> Down:
    return Down(f"no answer within {patience * 1000:.0f} ms")
