"""Trying again, inside the total deadline and out of a budget that successes fill.

Retries help against a hiccup and harm against an outage: when everything fails, three attempts are three times the load
on what is already down. So retries are paid for. Every result that need not be tried again deposits a part of a retry,
every retry withdraws a whole one, and when nothing is left the last result stands. In an outage deposits cease, and
what a client adds to its load is then no more than the floor. The model is the retry budget of Finagle and of tower.

Why a floor: a client that asks once a minute has no successes to live on, and its few retries can overload nobody.

Why a window: what was saved in a calm hour must not be spent in one bad second.

Time is never added. No attempt begins with less than `least` seconds to the deadline, and a pause that would leave less
is not begun: the answer that there is comes at once, and is not kept waiting for an attempt that could not be made.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import trio

from nurseries.deadline import remaining, required
from nurseries.facts import tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nurseries.owners import Backoff

T = TypeVar("T")

SLOTS = 10  # the window moves on by a tenth of it at a time: a budget keeps eleven pairs of numbers, and no calls


@dataclass(frozen=True, slots=True)
class RetryDenied:
    """The budget called `name` was empty: a retry that was worth it was not made."""

    name: str


class _Slot:
    """What happened in one tenth of a window."""

    __slots__ = ("deposits", "retries", "tick")

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.deposits = 0
        self.retries = 0


class RetryBudget:
    """How many retries may be made: in any `window` seconds, `floor` for each of them and `ratio` for each deposit.

    Deposits count for up to a tenth of a window longer. `name` is the one in `RetryDenied`. One budget is for all calls
    that load the same service, in one Trio run.
    """

    __slots__ = ("_slots", "floor", "name", "ratio", "window")

    def __init__(self, name: str = "", *, ratio: float = 0.1, floor: float = 1.0, window: float = 10.0) -> None:
        self.name = name
        self.ratio = ratio
        self.floor = floor
        self.window = window
        self._slots: deque[_Slot] = deque()

    def deposit(self) -> None:
        """A call came back with a result that need not be tried again."""
        self._now().deposits += 1

    def withdraw(self) -> bool:
        """Take one retry out, or tell `RetryDenied` and give False."""
        now = self._now()
        filled = self.floor * self.window + self.ratio * sum(slot.deposits for slot in self._slots)
        if sum(slot.retries for slot in self._slots) + 1 > filled:
            tell(RetryDenied(self.name))
            return False
        now.retries += 1
        return True

    def _now(self) -> _Slot:
        tick = int(trio.current_time() * SLOTS // self.window)
        while self._slots and self._slots[0].tick < tick - SLOTS:
            self._slots.popleft()
        if not self._slots or self._slots[-1].tick != tick:
            self._slots.append(_Slot(tick))
        return self._slots[-1]


async def retry(
    work: Callable[[], Awaitable[T]],
    *,
    again: Callable[[T], bool],
    budget: RetryBudget,
    backoff: Backoff,
    jitter: Callable[[], float],
    attempts: int = 3,
    least: float = 0.05,
) -> T:
    """The first result of `work` for which `again` is false; else the last, after `attempts`, or when it must end.

    It must end when the budget is empty, or when after the next pause less than `least` seconds would be left. The
    first attempt is always made. What `work` raises travels at once: a failure worth a second try is a value here.
    `jitter()` gives a number in [0, 1). Raises `Unbounded` where no deadline limits the total.
    """
    required("retry")
    pauses = islice(backoff.pauses(jitter), attempts - 1)
    result = await work()
    while again(result):
        pause = next(pauses, None)
        if pause is None or remaining() - pause < least or not budget.withdraw():
            return result
        await trio.sleep(pause)
        if remaining() < least:  # a loaded machine wakes late
            return result
        result = await work()
    budget.deposit()
    return result
