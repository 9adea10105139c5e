"""One server's own line to the bus, with what can be wrong with it while every other server's is well.

deaf          it leads to a server that was taken over from: all looks well, and nothing comes any more (F-34)
hang          nothing goes through, there or back
lose-answer   what is asked for is done, and the answer never comes
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import trio

from bff.model import Down
from bff.stores import PATIENCE
from bff.stores.bus import FOLLOW_SECONDS, Passage
from nurseries import within

if TYPE_CHECKING:
    from chaos.hotel.stores.bus import SimBus

Trouble: TypeAlias = Literal["", "deaf", "hang", "lose-answer"]


class BusLine:
    """`bff.stores.bus.Bus` as one server has it; what it does not have itself it asks of `bus`."""

    def __init__(self, bus: SimBus) -> None:
        self._bus = bus
        self._made = 0  # anew, by this server alone
        self._trouble: Trouble = ""
        self._over = trio.Event()

    def turn(self, trouble: Trouble) -> None:
        """That is wrong with it from now on, and nothing else."""
        self._trouble = trouble
        self._over.set()
        self._over = trio.Event()

    @property
    def connections(self) -> int:
        """How often it was (re)made, whoever broke it."""
        return self._bus.connections + self._made

    def hang_up(self) -> None:
        """Give it up: the next one leads to the server that there is."""
        self._made += 1
        if self._trouble == "deaf":
            self.turn("")

    async def follow(self, after: str) -> Passage | Down:
        """What went by after that place, unless it is deaf."""
        if self._trouble == "deaf":
            await trio.sleep(FOLLOW_SECONDS)
            return Passage((), after)
        passage: Passage | Down = await self._asked(partial(self._bus.follow, after))
        return passage

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._bus, name)

        async def asked(*arguments: Any, **named: Any) -> Any:
            return await self._asked(partial(verb, *arguments, **named))

        return asked

    async def _asked(self, verb: Callable[[], Awaitable[Any]]) -> Any:
        if self._trouble == "hang" and not await self._goes_on():
            return self._cut()
        answer = await verb()
        if self._trouble == "lose-answer":
            await trio.sleep(PATIENCE)
            return self._cut()
        return answer

    async def _goes_on(self) -> bool:
        with within(PATIENCE):
            await self._over.wait()
            return True
        return False

    def _cut(self) -> Down:
        self._made += 1
        return Down("no answer over this line")
