"""What can be wrong with a simulated store: the words of CONTRACT section 7, on the Trio clock.

    down()            nobody listens: refused at once; who was waiting learns that the connection broke
    stop()            it hangs, its connections open: `Down` after `PATIENCE`, or the caller's deadline if that is
                      earlier. From then on callers are told at once, as the real adapters do
    start()           it does its work again, with all that it held
    latency(seconds)  each call takes so long, half of it on the way there: who leaves on the way back has been served

`failover()`, which loses what was not yet replicated, comes with the first caller that must survive it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from bff.facts import StoreChanged
from bff.model import Down
from bff.stores import PATIENCE
from nurseries import required, tell, within

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

REFUSED: Final = Down("nobody listens")
BROKE: Final = Down("the connection broke")
NO_ANSWER: Final = Down(f"no answer within {PATIENCE * 1000:.0f} ms")


class State(Enum):
    """How a store is, whoever knows of it."""

    UP = "up"
    DOWN = "down"
    STOPPED = "stopped"


class Faulty:
    """A store called `store` in facts, and its faults."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.state = State.UP
        self._latency = 0.0
        self._given_up = False
        self._told: bool | None = None
        self._broken = trio.Event()
        self._changed = trio.Event()

    def down(self) -> None:
        """Refuse connections, and break those that there are."""
        self._become(State.DOWN)
        self._broken.set()
        self._broken = trio.Event()

    def stop(self) -> None:
        """Hang."""
        self._become(State.STOPPED)

    def start(self) -> None:
        """Work again."""
        self._become(State.UP)

    def latency(self, seconds: float) -> None:
        """Take `seconds` for each call."""
        self._latency = seconds

    def _become(self, state: State) -> None:
        self.state = state
        self._given_up = False
        self._changed.set()
        self._changed = trio.Event()

    async def _asked(self, effect: Callable[[], T]) -> T | Down:
        """One round trip in which `effect` is had. Raises `nurseries.Unbounded` without a deadline around it."""
        required(self.store)
        await trio.lowlevel.checkpoint()
        if self.state is State.DOWN or self._given_up:
            return self._turn(REFUSED if self.state is State.DOWN else NO_ANSWER)
        with within(PATIENCE):
            answer = await self._travel(effect)
            return self._turn(answer) if isinstance(answer, Down) else self._served(answer)
        self._given_up = self.state is State.STOPPED
        return self._turn(NO_ANSWER)

    async def _travel(self, effect: Callable[[], T]) -> T | Down:
        broken = self._broken
        await self._half_way(broken)
        while self.state is State.STOPPED:
            await self._changed.wait()
        if broken.is_set():
            return BROKE
        answer = effect()
        await self._half_way(broken)
        return BROKE if broken.is_set() else answer

    async def _half_way(self, broken: trio.Event) -> None:
        """Half of the latency goes by, or the connection breaks."""
        with within(self._latency / 2):
            await broken.wait()

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
