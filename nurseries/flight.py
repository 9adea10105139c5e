"""Single-flight: many wait, one works.

The work runs under an owner, with a deadline of its own, so that no waiter's impatience is another's: who is cancelled
leaves, and the work goes on. It also goes on when nobody waits any more, since its answer is wanted by the next who
asks; its own `seconds` bound that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from nurseries.deadline import within
from nurseries.outcome import Failed, Ok, Outcome, Shed, TimedOut
from nurseries.owners import Full

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from nurseries.owners import Owner

K = TypeVar("K", bound="Hashable")
T = TypeVar("T")


class _Flying(Generic[T]):
    __slots__ = ("landed", "outcome")

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.outcome: Outcome[T] = Shed("the owner was left")


class Flight(Generic[K, T]):
    """At most one work per key at a time, under `owner`."""

    __slots__ = ("_flying", "_owner", "name")

    def __init__(self, name: str, owner: Owner) -> None:
        self.name = name
        self._owner = owner
        self._flying: dict[K, _Flying[T]] = {}

    async def join(self, key: K, work: Callable[[], Awaitable[T]], *, seconds: float) -> Outcome[T]:
        """The outcome of the work for `key`: of the one that flies, or of `work`, begun now for at most `seconds`.

        Waits as long as the caller's own scope lets it. `Shed` when the owner has no room, or is left meanwhile.
        """
        flying = self._flying.get(key)
        if flying is None:
            flying = _Flying()
            try:
                self._owner.start(self._fly, key, flying, work, seconds, name=self.name)
            except Full as full:
                return Shed(str(full))
            self._flying[key] = flying
        await flying.landed.wait()
        return flying.outcome

    async def _fly(self, key: K, flying: _Flying[T], work: Callable[[], Awaitable[T]], seconds: float) -> None:
        began = trio.current_time()
        try:
            with within(seconds) as scope:
                flying.outcome = Ok(await work())
            if scope.cancelled_caught:
                flying.outcome = TimedOut(trio.current_time() - began)
        except Exception as error:  # the border of a work: what it raises is its waiters' outcome
            flying.outcome = Failed(error)
        finally:
            del self._flying[key]
            flying.landed.set()
