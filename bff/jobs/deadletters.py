"""What could not be said, for whoever inspects it: why, and back into the outbox once the reason is gone (F-38).

A letter that is raised keeps its message id, so that whoever heard it after all knows it again. It goes out after what
was said in the meantime: its place in the order was lost when it was buried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bff.facts import LettersRaised
from bff.jobs.asking import in_time
from bff.model import Down
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.stores.outbox import DeadLetter, Outbox

KEPT_SECONDS: Final = 7 * 86_400.0  # F-38; the `tidy` job forgets them then
PAGE: Final = 500  # letters: no more are listed, or raised, at once


class DeadLetters:
    """The dead letters of the ledger. `nudge` tells the relay that there is something to say."""

    def __init__(self, outbox: Outbox, nudge: Callable[[], None]) -> None:
        self._outbox = outbox
        self._nudge = nudge

    async def page(self, after: int, limit: int) -> tuple[DeadLetter, ...] | Down:
        """Those numbered above `after`, in order, at most `limit`."""
        return await in_time(lambda: self._outbox.dead_letters(after=after, limit=limit))

    async def one(self, number: int) -> DeadLetter | Down | None:
        """The one of that number, or None."""
        found = await self.page(number - 1, 1)
        if isinstance(found, Down):
            return found
        return next((letter for letter in found if letter.number == number), None)

    async def replay(self, numbers: tuple[int, ...]) -> int | Down:
        """To be said after all; how many there were. `Down` leaves open whether they are."""
        raised = await in_time(lambda: self._outbox.raise_letters(numbers))
        if not isinstance(raised, Down):
            tell(LettersRaised(raised))
            self._nudge()
        return raised
