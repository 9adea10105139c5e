"""A deadline is state of a scope, never a parameter of a call.

It is set once, where work enters; everything below asks how much is left. Three rules follow:

* an inner scope can only shorten: `within` and `until` never move the effective deadline outwards, because Trio takes
  the earliest of all enclosing scopes;
* who must answer keeps time for the answer: `reserve` ends early, so that what failed can still be said in time;
* a network await without a finite deadline above it is a bug, not an incident: `required` raises the first time.

All times are seconds on Trio's clock, which a test may replace by a virtual one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from nurseries.facts import tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nurseries.owners import Owner


class Unbounded(RuntimeError):
    """A network await was about to begin with no finite deadline above it."""


@dataclass(frozen=True, slots=True)
class DetachedCutOff:
    """Detached work was not done after the `seconds` that it had, and was cancelled; `why` is its name."""

    why: str
    seconds: float


def within(seconds: float) -> trio.CancelScope:
    """A scope that ends `seconds` from now, or with the deadline around it if that is earlier.

    Quiet: leaving it late is not an exception, `scope.cancelled_caught` tells. Raises `ValueError` for NaN.
    """
    if math.isnan(seconds):
        raise ValueError("a duration cannot be NaN")
    return trio.CancelScope(deadline=trio.current_time() + seconds)


def until(deadline: float) -> trio.CancelScope:
    """The same with an absolute time on Trio's clock, for work that inherits the deadline of somebody elsewhere."""
    if math.isnan(deadline):
        raise ValueError("a deadline cannot be NaN")
    return trio.CancelScope(deadline=deadline)


def reserve(seconds: float) -> trio.CancelScope:
    """A scope that ends `seconds` before the deadline around it, so that the answer can still be composed and sent.

    Raises `Unbounded` where there is no deadline to keep a part of.
    """
    return until(trio.current_time() + required("reserve") - seconds)


def remaining() -> float:
    """Seconds to the effective deadline: zero or less when it has passed or the scope is cancelled, inf without one."""
    return trio.current_effective_deadline() - trio.current_time()


def required(what: str) -> float:
    """`remaining()`, asked by whoever is about to wait for the network.

    Raises `Unbounded`, naming `what`, when nothing above limits the wait.
    """
    left = remaining()
    if left == math.inf:
        raise Unbounded(f"{what}: no deadline above this await")
    return left


def detached(why: str, owner: Owner, work: Callable[[], Awaitable[object]], *, seconds: float) -> None:
    """Leave the deadline of the caller: `work` goes on under `owner` for at most `seconds` from now.

    A named act, so that one search finds every place where work outlives its request; `why` is the task's name.
    Raises `owners.Full` when the owner has no room, `Unbounded` when `seconds` is inf: it leaves one deadline for
    another, never for none.
    """
    if seconds == math.inf:
        raise Unbounded(f"{why}: detached work needs a deadline of its own")
    scope = within(seconds)

    async def bounded() -> None:
        with scope:
            await work()
        if scope.cancelled_caught:
            tell(DetachedCutOff(why, seconds))

    owner.start(bounded, name=why)
