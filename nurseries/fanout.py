"""Named children under one deadline, each outcome a value.

Trio waits for children: a nursery with a child that shields itself, or swallows its cancellation, is left when that
child likes, not when the deadline says. So the children of a fan-out do not live in a nursery of the caller. They live
in one nursery under an owner, and the caller waits for their *outcomes*: it leaves at `until` whatever they do.

    caller     fan_out ......... waits for outcomes ......... leaves at `until`, and cancels the family
    owner      └─ fan-out        the family: one nursery, its deadline `until` too
                  ├─ arrivals    Ok
                  ├─ rates       Failed
                  └─ kpis        TimedOut: told to stop; till it does, a straggler of that name

What does not obey stays with the owner, counted by name. Over `stragglers` of one name no further child of that name is
begun (`Shed`), so that a service whose client never lets go cannot fill the process. A late child's outcome reaches no
answer; that it let go at last is a fact (`StragglerLetGo`).

Why not a scope per child: fourteen scopes cost more than the fourteen children (FINDINGS, section 5), and they would
all say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

import trio

from nurseries.outcome import Failed, Ok, Outcome, Shed, TimedOut
from nurseries.owners import Full

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from nurseries.owners import Owner

T = TypeVar("T")


async def fan_out(
    children: Mapping[str, Callable[[], Awaitable[T]]],
    *,
    until: float,
    owner: Owner,
    stragglers: int = 32,
    name: str = "fan-out",
) -> dict[str, Outcome[T]]:
    """Begin every child at once; give all outcomes, in the children's order, at `until` (Trio time) at the latest.

    A child's `Exception` is `Failed`; one that has not finished is `TimedOut`; one that was not begun, because too many
    of its name have not let go or the owner has no room, is `Shed`, and so is one that ended with its owner. Cancelling
    the caller cancels the children and waits for none of them: only that, and what is no `Exception`, travels (the
    latter by way of the owner, whose nursery it ends). Children inherit the caller's context variables, and have
    `until`, or the caller's own deadline where that is earlier, as theirs. `name` is the family's in the task tree.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    began = trio.current_time()
    deadline = min(until, trio.current_effective_deadline())
    family: Family[T] = Family(owner, deadline)
    for child, work in children.items():
        if owner.stragglers(child) >= stragglers:
            family.outcomes[child] = Shed(f"{stragglers} calls of {child} did not let go")
        else:
            family.begun[child] = work
    if deadline > began and family.begun:
        await family.gather(name, until)
    now = trio.current_time()
    missing = TimedOut(now - began) if now >= deadline else Shed(f"{owner.name} was left")
    return {child: family.outcomes.get(child, missing) for child in children}


class Family(Generic[T]):
    """The children of one fan-out: begun together, in one nursery under the owner."""

    __slots__ = ("_alive", "_caller", "_deadline", "_ended", "_left", "_nursery", "_owner", "begun", "outcomes")

    def __init__(self, owner: Owner, deadline: float) -> None:
        self.begun: dict[str, Callable[[], Awaitable[T]]] = {}
        self.outcomes: dict[str, Outcome[T]] = {}
        self._owner = owner
        self._deadline = deadline
        self._alive: set[str] = set()
        self._caller: trio.lowlevel.Task | None = None
        self._left = False
        self._nursery: trio.Nursery | None = None
        self._ended: dict[str, Callable[[], None]] = {}

    async def gather(self, name: str, until: float) -> None:
        """Begin them and wait till every outcome is in or the time is over. A full owner is an outcome too."""
        try:
            self._owner.start(self._live, name=name)
        except Full as full:
            self.outcomes.update(dict.fromkeys(self.begun, Shed(str(full))))
            return
        try:
            with trio.CancelScope(deadline=until):
                await self._in_or_over(until)
        finally:
            self._leave()

    async def _in_or_over(self, until: float) -> None:
        """Wait till every outcome is in or the time is over.

        A process that was held up can find `until` and the caller's own deadline both gone in the same moment. The
        outcomes are there all the same, and an answer that is a little late is better than none: what comes at `until`
        or after it is the end of the wait and no cancellation.
        """
        self._caller = trio.lowlevel.current_task()

        def abort(_: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
            if trio.current_time() < until:
                self._caller = None
                return trio.lowlevel.Abort.SUCCEEDED
            self._wake()
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self) -> None:
        if self._caller is not None:
            trio.lowlevel.reschedule(self._caller)
            self._caller = None

    def _leave(self) -> None:
        self._left = True
        if self._nursery is not None and self._alive:
            self._nursery.cancel_scope.cancel(reason="the caller has left")
            for child in self.begun:  # and not in the order of a set, which no seed repeats
                if child in self._alive:
                    self._ended[child] = self._owner.late(child)

    async def _live(self) -> None:
        if self._left:
            return
        async with trio.open_nursery(strict_exception_groups=True) as nursery:
            nursery.cancel_scope.deadline = self._deadline
            self._nursery = nursery
            self._alive.update(self.begun)
            for child, work in self.begun.items():
                nursery.start_soon(self._child, child, work, name=child)

    async def _child(self, child: str, work: Callable[[], Awaitable[T]]) -> None:
        outcome: Outcome[T] | None = None
        try:
            if not self._left:  # nothing is begun for a caller who has gone
                outcome = Ok(await work())
        except Exception as error:  # a child's border; a group with a cancellation in it is none, its family has ended
            outcome = Failed(error)
        finally:
            self._alive.discard(child)
            if self._left:
                self._ended.pop(child)()
            else:
                self._has_ended(child, outcome)

    def _has_ended(self, child: str, outcome: Outcome[T] | None) -> None:
        if outcome is not None:
            self.outcomes[child] = outcome
        if not self._alive:
            self._wake()
