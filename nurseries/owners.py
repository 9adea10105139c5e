"""Every background task has an owner: who it belongs to, how many there may be, and what the last error was.

An owner is a nursery that outlives requests. What a request starts there and does not wait for is bounded, has a name,
and is visible (`Owner.live`, `tree`). An error in an owned task never reaches its neighbours: it is told as a fact and
kept. Leaving `open_owner` cancels what is left.

A service is an owned task that must not end: `Owner.supervise` starts it again, after pauses that grow while it keeps
failing and begin anew once it has lived long enough to count as well.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from nurseries.facts import tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

# A child that has been told to stop needs a turn of the scheduler to do so; only then is it a straggler. Seconds.
OBEYS_WITHIN = 0.05


class Full(RuntimeError):
    """The owner holds as many tasks as it may."""


@dataclass(frozen=True, slots=True)
class OwnedTaskFailed:
    """A background task of `owner` ended with an error; `error` is its type and message in one line."""

    owner: str
    task: str
    error: str


@dataclass(frozen=True, slots=True)
class ServiceRestarting:
    """A supervised service ended and starts again in `pause` seconds; `error` is '' when it simply returned."""

    owner: str
    service: str
    error: str
    pause: float


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between restarts, in seconds: `first`, doubled up to `most`; `calm` seconds of life begin them anew."""

    first: float = 0.1
    most: float = 30.0
    calm: float = 60.0

    def after(self, failures: int, jitter: float) -> float:
        """The pause before restart number `failures` (from 1); `jitter` in [0, 1) takes away up to half of it."""
        doubled: float = self.first * 2.0 ** min(failures - 1, 30)
        return min(self.most, doubled) * (1.0 - jitter / 2)


@dataclass(slots=True)
class Health:
    """How a supervised service is: `since` on Trio's clock; `error` is the last one, or ''."""

    name: str
    state: str
    since: float
    restarts: int = 0
    error: str = ""


class Owner:
    """Holds background tasks: at most `bound` at once. Made by `open_owner`."""

    __slots__ = ("_late", "_live", "_nursery", "bound", "last_error", "name", "services")

    def __init__(self, name: str, bound: int, nursery: trio.Nursery) -> None:
        self.name = name
        self.bound = bound
        self.last_error = ""
        self.services: dict[str, Health] = {}
        self._nursery = nursery
        self._live: dict[object, str] = {}
        self._late: dict[str, dict[object, float]] = {}

    @property
    def live(self) -> tuple[str, ...]:
        """Names of the tasks alive, oldest first."""
        return tuple(self._live.values())

    def start(self, work: Callable[..., Awaitable[object]], *args: object, name: str) -> object:
        """Begin `work(*args)` as a task called `name`; returns at once with a token for `late`.

        Raises `Full` at the bound.
        """
        if len(self._live) >= self.bound:
            raise Full(f"{self.name} holds {self.bound} tasks already")
        token = object()
        self._live[token] = name
        self._nursery.start_soon(self._owned, token, name, work, args, name=name)
        return token

    async def _owned(
        self, token: object, name: str, work: Callable[..., Awaitable[object]], args: tuple[object, ...]
    ) -> None:
        try:
            await work(*args)
        except (
            Exception
        ) as error:  # the border of an owned task: what it raises becomes a fact, not its neighbours' end
            self.last_error = described(error)
            tell(OwnedTaskFailed(self.name, name, self.last_error))
        finally:
            del self._live[token]

    def late(self, name: str) -> Callable[[], None]:
        """Mark a child called `name` as overdue from now on; the function returned says that it has ended after all."""
        token = object()
        children = self._late.setdefault(name, {})
        children[token] = trio.current_time()

        def ended() -> None:
            del children[token]
            if not children and self._late.get(name) is children:
                del self._late[name]

        return ended

    def stragglers(self, name: str) -> int:
        """How many children called `name` are still alive though they were told to stop."""
        children = self._late.get(name)
        if not children:
            return 0
        told_before = trio.current_time() - OBEYS_WITHIN
        return sum(1 for told in children.values() if told <= told_before)

    def supervise(
        self,
        name: str,
        service: Callable[[], Awaitable[None]],
        *,
        jitter: Callable[[], float],
        backoff: Backoff = Backoff(),
    ) -> Health:
        """Keep `service` running until the owner is left: whenever it ends, it starts again after a pause.

        `jitter()` gives a number in [0, 1), so that many instances do not come back at the same moment.
        """
        health = Health(name, "running", trio.current_time())
        self.services[name] = health

        async def keep() -> None:
            failures = 0
            while True:
                began = trio.current_time()
                health.state, health.since, health.error = "running", began, await _ended_with(service)
                failures = 1 if trio.current_time() - began >= backoff.calm else failures + 1
                pause = backoff.after(failures, jitter())
                health.state, health.since = "waiting", trio.current_time()
                health.restarts += 1
                tell(ServiceRestarting(self.name, name, health.error, pause))
                await trio.sleep(pause)

        self.start(keep, name=name)
        return health

    def cancel(self) -> None:
        """Tell every task to stop."""
        self._nursery.cancel_scope.cancel()


async def _ended_with(service: Callable[[], Awaitable[None]]) -> str:
    try:
        await service()
    except Exception as error:  # a service's border: its end is a restart, whatever the reason
        return described(error)
    return ""


def described(error: BaseException) -> str:
    """An error in one line: its type and the first line of what it says."""
    said = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@asynccontextmanager
async def open_owner(name: str, *, bound: int) -> AsyncIterator[Owner]:
    """An owner for as long as the block lasts; on leaving, its tasks are cancelled and waited for."""
    async with trio.open_nursery(strict_exception_groups=True) as nursery:
        yield Owner(name, bound, nursery)
        nursery.cancel_scope.cancel()
