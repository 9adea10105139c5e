"""Every background task has an owner: who it belongs to, how many there may be, and what the last error was.

An owner is a nursery that outlives requests. What a request starts there and does not wait for is bounded, has a name,
and is visible (`Owner.live`, `owners`, the tree). An error in an owned task never reaches its neighbours: it is told as
a fact and kept. Leaving `open_owner` cancels what is left, and from then on the owner is `Full`.

An owner also knows its stragglers: tasks that were told to stop and have not. Whoever starts work that may not obey
(`fan_out`) asks how many of that name there are, and begins no more when they are too many.

A service is an owned task that must not end: `Owner.supervise` starts it again, after pauses that grow while it keeps
failing and begin anew once it has lived long enough to count as well.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import trio

from nurseries.facts import tell
from nurseries.outcome import ErrorsBecome, described

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

# A task that has been told to stop needs a turn of the scheduler to do so; only then is it a straggler. Seconds.
OBEYS_WITHIN = 0.05

_open: trio.lowlevel.RunVar[dict[trio.Nursery, Owner]] = trio.lowlevel.RunVar("nurseries.owners")


class Full(RuntimeError):
    """There is no room: the bound is reached, or it is being left. Its text is one line that says whose."""


@dataclass(frozen=True, slots=True)
class OwnedTaskFailed:
    """A background task of `owner` ended with an error; `error` is its type and message in one line."""

    owner: str
    task: str
    error: str


@dataclass(frozen=True, slots=True)
class StragglerLetGo:
    """A task that had been told to stop ended only `seconds` later: whatever it awaits does not honour its deadline."""

    owner: str
    task: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ServiceRestarting:
    """A supervised service ended and starts again in `pause` seconds; `error` is '' when it simply returned."""

    owner: str
    service: str
    error: str
    pause: float


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses in seconds: `first`, doubled up to `most`. For a service, `calm` seconds of life begin them anew."""

    first: float = 0.1
    most: float = 30.0
    calm: float = 60.0

    def after(self, failures: int, jitter: float) -> float:
        """The pause after failure number `failures` (from 1); `jitter` in [0, 1) takes away up to half of it."""
        doubled: float = self.first * 2.0 ** min(failures - 1, 30)
        return min(self.most, doubled) * (1.0 - jitter / 2)

    def pauses(self, jitter: Callable[[], float]) -> Iterator[float]:
        """All of them, without end; `jitter()` gives a number in [0, 1)."""
        failures = 0
        while True:
            failures += 1
            yield self.after(failures, jitter())


class Doing(StrEnum):
    """What a supervised service is doing."""

    RUNNING = "running"
    WAITING = "waiting"  # for its next start
    ENDED = "ended"  # with its owner


@dataclass(slots=True)
class Health:
    """How a supervised service is: `since` on Trio's clock; `error` is the last that it came back from, or ''."""

    name: str
    since: float
    state: Doing = Doing.RUNNING
    restarts: int = 0
    error: str = ""

    def turn(self, state: Doing) -> None:
        """It does something else from now on."""
        self.state, self.since = state, trio.current_time()


class Owner:
    """Holds background tasks: at most `bound` at once, and none more while `leaving`. Made by `open_owner`."""

    __slots__ = ("_late", "_live", "_nursery", "bound", "last_error", "leaving", "name", "services")

    def __init__(self, name: str, bound: int, nursery: trio.Nursery) -> None:
        self.name = name
        self.bound = bound
        self.last_error = ""
        self.leaving = False
        self.services: dict[str, Health] = {}
        self._nursery = nursery
        self._live: dict[object, str] = {}
        self._late: dict[str, dict[object, float]] = {}

    @property
    def live(self) -> tuple[str, ...]:
        """Names of the tasks alive, oldest first."""
        return tuple(self._live.values())

    def start(self, work: Callable[..., Awaitable[object]], *args: object, name: str) -> None:
        """Begin `work(*args)` as a task called `name`, with the caller's context variables; returns at once.

        Raises `Full` at the bound, and when the owner is being left.
        """
        if len(self._live) >= self.bound:
            raise Full(f"{self.name} holds {self.bound} tasks already")
        if self.leaving:
            raise Full(f"{self.name} is being left")
        token = object()
        self._live[token] = name
        self._nursery.start_soon(self._owned, token, name, work, args, name=name)

    async def _owned(
        self, token: object, name: str, work: Callable[..., Awaitable[object]], args: tuple[object, ...]
    ) -> None:
        def failed(error: Exception) -> None:
            self.last_error = described(error)
            tell(OwnedTaskFailed(self.name, name, self.last_error))

        try:
            with ErrorsBecome(failed):
                await work(*args)
        finally:
            del self._live[token]

    def late(self, name: str) -> Callable[[], None]:
        """Mark work called `name` as told to stop just now; the function returned says that it has ended after all."""
        token = object()
        told = trio.current_time()
        self._late.setdefault(name, {})[token] = told

        def ended() -> None:
            alike = self._late[name]
            del alike[token]
            if not alike:
                del self._late[name]
            if trio.current_time() - told > OBEYS_WITHIN:
                tell(StragglerLetGo(self.name, name, trio.current_time() - told))

        return ended

    def stragglers(self, name: str) -> int:
        """How many called `name` are still alive though they were told to stop."""
        alike = self._late.get(name)
        if not alike:
            return 0
        told_before = trio.current_time() - OBEYS_WITHIN
        return sum(1 for told in alike.values() if told <= told_before)

    @property
    def overstaying(self) -> Mapping[str, int]:
        """Every name that has stragglers, and how many."""
        return {name: count for name in self._late if (count := self.stragglers(name))}

    def supervise(
        self,
        name: str,
        service: Callable[[], Awaitable[None]],
        *,
        jitter: Callable[[], float],
        backoff: Backoff = Backoff(),
    ) -> Health:
        """Keep `service` running until the owner is left: whenever it ends, it starts again after a pause.

        `jitter()` gives a number in [0, 1), so that many instances do not come back at the same moment. Raises `Full`.
        """
        health = Health(name, trio.current_time())
        self.start(self._keep, health, service, jitter, backoff, name=name)
        self.services[name] = health
        return health

    async def _keep(
        self, health: Health, service: Callable[[], Awaitable[None]], jitter: Callable[[], float], backoff: Backoff
    ) -> None:
        failures = 0
        try:
            while True:
                began = trio.current_time()
                raised = await _raised_by(service)
                health.error = raised or health.error
                failures = 1 if trio.current_time() - began >= backoff.calm else failures + 1
                pause = backoff.after(failures, jitter())
                health.turn(Doing.WAITING)
                tell(ServiceRestarting(self.name, health.name, raised, pause))
                await trio.sleep(pause)
                health.restarts += 1
                health.turn(Doing.RUNNING)
        finally:
            health.turn(Doing.ENDED)

    def cancel(self) -> None:
        """Tell every task to stop, and take no more."""
        self.leaving = True
        self._nursery.cancel_scope.cancel(reason=f"{self.name} is being left")


async def _raised_by(service: Callable[[], Awaitable[None]]) -> str:
    """What it raised, in one line, or ''. What it raises when it is told to stop travels: it does not come back."""
    raised = ""
    try:
        await service()
    except Exception as error:
        if trio.current_effective_deadline() == -math.inf:
            raise
        raised = described(error)
    await trio.lowlevel.checkpoint_if_cancelled()
    return raised


def owners() -> Mapping[trio.Nursery, Owner]:
    """Every owner that is open in this Trio run, by its nursery. Raises `RuntimeError` outside of a run."""
    return _open.get({})


@asynccontextmanager
async def open_owner(name: str, *, bound: int) -> AsyncIterator[Owner]:
    """An owner for as long as the block lasts; on leaving, its tasks are cancelled and waited for.

    An `Exception` of the block comes out as it is, never in a group.
    """
    raised: Exception | None = None
    async with trio.open_nursery(strict_exception_groups=True) as nursery:
        owner = Owner(name, bound, nursery)
        _open.set({**owners(), nursery: owner})
        try:
            yield owner
        except Exception as error:  # held back only until the tasks have ended: in the nursery it would become a group
            raised = error
        finally:
            _open.set({held: other for held, other in owners().items() if held is not nursery})
            owner.cancel()
    if raised is not None:
        raise raised
