"""Single-flight: many wait, one works.

The work runs under an owner, with a deadline of its own, so that no waiter's impatience is another's: who is cancelled
leaves, and the work goes on. It also goes on when nobody waits any more, since its answer is what the next one will ask
for, and since half-done work pays the whole price for nothing; its own `seconds` bound that.

After those seconds its waiters leave, even if the work shields itself and does not end, and the next who asks begins
anew. What does not let go stays with the owner as a straggler; over `stragglers` of them none is begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from nurseries.deadline import until, within
from nurseries.outcome import ErrorsBecome, Failed, Ok, Outcome, Shed, TimedOut
from nurseries.owners import Full

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from nurseries.owners import Owner

K = TypeVar("K", bound="Hashable")
T = TypeVar("T")


class _Flying(Generic[T]):
    __slots__ = ("landed", "late", "outcome", "scope", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.scope = within(seconds)
        self.landed = trio.Event()
        self.outcome: Outcome[T] | None = None
        self.late: Callable[[], None] | None = None

    def failed(self, error: Exception) -> None:
        self.outcome = Failed(error)

    @property
    def over(self) -> bool:
        return trio.current_time() >= self.scope.deadline


class Flight(Generic[K, T]):
    """At most one work per key at a time, under `owner`; `name` is the tasks' name."""

    __slots__ = ("_flying", "_owner", "_stragglers", "name")

    def __init__(self, name: str, owner: Owner, *, stragglers: int = 8) -> None:
        self.name = name
        self._owner = owner
        self._stragglers = stragglers
        self._flying: dict[K, _Flying[T]] = {}

    async def join(self, key: K, work: Callable[[], Awaitable[T]], *, seconds: float) -> Outcome[T]:
        """The outcome of the work for `key`: of the one that flies, or of `work`, begun now for at most `seconds`.

        Waits as long as the caller's own scope lets it, and never past the work's own time. `Shed` when the owner has
        no room or is left meanwhile, or when too many works have not let go.
        """
        flying = self._flying.get(key)
        if flying is not None and flying.over:
            self._give_up(key, flying)
            flying = None
        if flying is None:
            try:
                flying = self._begin(key, work, seconds)
            except Full as full:
                return Shed(str(full))
        with until(flying.scope.deadline):
            await flying.landed.wait()
        return self._result(key, flying)

    def _begin(self, key: K, work: Callable[[], Awaitable[T]], seconds: float) -> _Flying[T]:
        if self._owner.stragglers(self.name) >= self._stragglers:
            raise Full(f"{self._stragglers} works of {self.name} did not let go")
        flying: _Flying[T] = _Flying(seconds)
        self._owner.start(self._fly, key, flying, work, name=self.name)
        self._flying[key] = flying
        return flying

    def _result(self, key: K, flying: _Flying[T]) -> Outcome[T]:
        if flying.outcome is not None:
            return flying.outcome
        if not flying.over:
            return Shed(f"{self._owner.name} was left")
        if self._flying.get(key) is flying:
            self._give_up(key, flying)
        return TimedOut(flying.seconds)

    def _give_up(self, key: K, flying: _Flying[T]) -> None:
        del self._flying[key]
        flying.late = self._owner.late(self.name)

    async def _fly(self, key: K, flying: _Flying[T], work: Callable[[], Awaitable[T]]) -> None:
        try:
            with ErrorsBecome(flying.failed), flying.scope:
                flying.outcome = Ok(await work())
        finally:
            if self._flying.get(key) is flying:
                del self._flying[key]
            if flying.late is not None:
                flying.late()
            flying.landed.set()
