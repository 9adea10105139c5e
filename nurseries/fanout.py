"""Named children under one deadline, each outcome a value.

Trio waits for children: a nursery with a child that shields itself, or swallows its cancellation, is left when that
child likes, not when the deadline says. So the children of a fan-out do not live in a nursery of the caller. They live
in one scope under an owner, and the caller waits for their *outcomes*: it leaves at `until` whatever they do. In the
moment it leaves, the children's scope is cancelled; what does not obey stays with the owner, counted by name, and over
`stragglers` of one name no further child of that name is begun (`Shed`), so that a service whose client never lets go
cannot fill the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from nurseries.outcome import Failed, Ok, Outcome, Shed, TimedOut
from nurseries.owners import Full

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from nurseries.owners import Owner

T = TypeVar("T")


async def fan_out(
    children: Mapping[str, Callable[[], Awaitable[T]]], *, until: float, owner: Owner, stragglers: int = 32
) -> dict[str, Outcome[T]]:
    """Begin every child at once; give all outcomes, in the children's order, at `until` (Trio time) at the latest.

    A child's `Exception` is `Failed`; one that has not finished is `TimedOut`; one that was not begun, because too many
    of its name have not obeyed before or the owner is full, is `Shed`. Cancelling the caller cancels the children and
    waits for none of them. Children inherit the caller's context variables and have `until` as their deadline.
    """
    began = trio.current_time()
    family: Family[T] = Family(until, owner)
    for name, work in children.items():
        if owner.stragglers(name) >= stragglers:
            family.outcomes[name] = Shed(f"{stragglers} calls of {name} did not let go")
        else:
            family.begun[name] = work
    await family.gather()
    late = TimedOut(trio.current_time() - began)
    return {name: family.outcomes.get(name, late) for name in children}


class Family(Generic[T]):
    """The children of one fan-out: begun together, in one scope under the owner."""

    __slots__ = ("_all_in", "_ended", "_left", "_owner", "_scope", "_until", "begun", "outcomes")

    def __init__(self, until: float, owner: Owner) -> None:
        self.begun: dict[str, Callable[[], Awaitable[T]]] = {}
        self.outcomes: dict[str, Outcome[T]] = {}
        self._until = until
        self._owner = owner
        self._scope = trio.CancelScope(deadline=until)
        self._all_in = trio.Event()
        self._ended: dict[str, Callable[[], None]] = {}
        self._left = False

    async def gather(self) -> None:
        """Begin them and wait till every outcome is in or the time is over. The owner being full is an outcome too."""
        if not self.begun:
            return
        try:
            self._owner.start(self._live, name="fan-out")
        except Full as full:
            self.outcomes.update((name, Shed(str(full))) for name in self.begun)
            return
        try:
            with trio.CancelScope(deadline=self._until):
                await self._all_in.wait()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._left = True
        if len(self.outcomes) < len(self.begun) or not self._all_in.is_set():
            self._scope.cancel(reason="the caller has left")
            for name in self.begun.keys() - self.outcomes.keys():
                self._ended[name] = self._owner.late(name)

    async def _live(self) -> None:
        with self._scope:
            async with trio.open_nursery(strict_exception_groups=True) as nursery:
                for name, work in self.begun.items():
                    nursery.start_soon(self._child, name, work, name=name)

    async def _child(self, name: str, work: Callable[[], Awaitable[T]]) -> None:
        try:
            outcome: Outcome[T] = Ok(await work())
        except Exception as error:  # the border of a child: what it raises is its outcome
            outcome = Failed(error)
        finally:
            if name in self._ended:
                self._ended.pop(name)()
        self._is_in(name, outcome)

    def _is_in(self, name: str, outcome: Outcome[T]) -> None:
        if self._left:
            return
        self.outcomes[name] = outcome
        if self.outcomes.keys() >= self.begun.keys():
            self._all_in.set()
