"""How much waits to be said, and for how long: a gauge on every instance, and a line of `/readyz` (F-21, F-22, F-38).

Nobody at a desk notices a backlog, so it takes no instance out: at worst the line says `degraded`, which it does when
the eldest letter has waited for a minute, when the relay cannot say what it should, or when nobody can count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from bff.facts import OutboxMeasured
from bff.jobs.asking import in_time
from bff.model import Down
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.stores.outbox import Backlog, Outbox

EVERY: Final = 5.0  # seconds
TOO_OLD: Final = 60.0  # seconds that a letter may wait before it is worth a word


class OutboxWatch:
    """Counts what waits. `failing` says what the relay of this process cannot say, or ''."""

    def __init__(self, outbox: Outbox, failing: Callable[[], str]) -> None:
        self._outbox = outbox
        self._failing = failing
        self._known: Backlog | Down | None = None

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            await self.turn()
            await trio.sleep(EVERY)

    async def turn(self) -> None:
        """Count once."""
        self._known = await in_time(self._outbox.backlog)
        if not isinstance(self._known, Down):
            tell(OutboxMeasured(self._known.depth, self._known.oldest, self._known.dead))

    async def ping(self) -> Down | None:
        """For readiness, as a store answers: None where letters go out as they should."""
        await trio.lowlevel.checkpoint()
        known, failing = self._known, self._failing()
        if isinstance(known, Down):
            return Down(f"nobody can count it: {known.why}")
        waits = "" if known is None else f"{known.depth} wait, the eldest for {known.oldest:.0f} s"
        if failing:
            return Down(f"{waits}; {failing}" if waits else failing)
        return Down(waits) if known is not None and known.oldest > TOO_OLD else None
