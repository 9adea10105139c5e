"""How a job asks the ledger: each time with a deadline of its own, since nothing waits for a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from bff.model import Down
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

LEDGER_WITHIN: Final = 2.0  # seconds


async def in_time(verb: Callable[[], Awaitable[T | Down]]) -> T | Down:
    """What the ledger says to `verb`; `Down` where it is not in time."""
    with within(LEDGER_WITHIN):
        return await verb()
    return Down(f"no answer within {LEDGER_WITHIN:.0f} s")
