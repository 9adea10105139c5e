"""A ledger to which one process's line can be held: what it sends meanwhile arrives later, whoever has left by then.

That is how a ledger looks to a process that stands still, or to one behind a network that does: to all others it works.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio

from bff.stores import PATIENCE
from chaos.hotel.stores.ledger import Session, SimLedger
from nurseries import required

if TYPE_CHECKING:
    from bff.model import Down

T = TypeVar("T")


class Line:
    """One process's line to the ledger. While it is `held`, what is sent arrives later, whoever has left meanwhile."""

    def __init__(self, store: SimLedger) -> None:
        self._store = store
        self._sent: list[Callable[[], object]] = []
        self._free: trio.Event | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def asked(self, effect: Callable[[], T], patience: float = PATIENCE) -> T | Down:
        """As `Faulty` has it."""
        required("ledger")
        if self._free is not None:
            effect = cache(effect)
            self._sent.append(effect)
        await self._way()
        answer = await self._store.asked(effect, patience)
        await self._way()
        return answer

    async def _way(self) -> None:
        if self._free is not None:
            await self._free.wait()

    def hold(self) -> None:
        """Nothing goes through, there or back."""
        self._free = trio.Event()

    def free(self) -> None:
        """What was sent arrives, in its order."""
        held, self._free = self._free, None
        sent, self._sent = self._sent, []
        for effect in sent:
            effect()
        if held is not None:
            held.set()


class HeldLedger(SimLedger):
    """A ledger whose `lines` can be held, one for each session, in the order in which they were made."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def session(self) -> Session:
        self.lines.append(Line(self))
        return Session(cast("SimLedger", self.lines[-1]))  # it has all of it
