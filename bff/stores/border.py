"""Trio <-> asyncio in one place: the two drivers that only know asyncio live beyond this border.

    Trio side                      the border                    asyncio side
    run(what, work)      ------->  one asyncio task     ------>  work(), to its end
                         <-------  its value, or what it raised
    keeping(what, work)  ------->  a task while the block lasts  a worker with a connection of its own

What crosses it, and what never does:

    a deadline    is asked for at each crossing (F-33), and frees the caller at once: the task beyond is told to stop,
                  cleans up by itself, and is waited for by the border, not by the caller. Whether its work was done is
                  then unknown
    asyncio's     CancelledError never comes out. It ended a whole Trio program when it did: it looks like a
    cancellation  cancellation, and is none. Where the caller did not ask for it, it becomes `Interrupted`
    SystemExit    and Ctrl-C inside a task would stop the loop under everybody, who would wait for ever: they are
                  carried to the Trio side and raised there
    what nobody   awaits, a callback that raises, is told as a fact (`Surprised`): the loop's default ends the program
                  for it

The loop runs in a task of its own and behind a shield, so that it is there until everybody who uses it has left. Work
is a coroutine *function*: nothing is begun that cannot be awaited.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar

import trio
import trio_asyncio

from bff.facts import Surprised
from nurseries import Full, described, open_owner, required, tell, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

T = TypeVar("T")
Work: TypeAlias = "Callable[[], Coroutine[Any, Any, T]]"

CROSSINGS: Final = 1024  # at once, those whose callers have left included
BEGINS_AGAIN_AFTER: Final = 0.5  # seconds; a worker that fell over a bug
ENDS_WITHIN: Final = 2.0  # seconds; what was told to stop


class Interrupted(Exception):
    """Work on the asyncio side was cut off, and not by its caller: from inside, or because the border is closing."""


class Border:
    """An asyncio loop within this Trio run. Made by `open_border`."""

    def __init__(self) -> None:
        self._loop: Any = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = trio.Event()
        self._one_ended = trio.Event()
        self._exit: BaseException | None = None

    async def run(self, what: str, work: Work[T], *, cut: Callable[[], None] = lambda: None) -> T:
        """Run `work` beyond the border, to its end; cancelling frees the caller at once and cancels the work.

        `cut` is called beyond the border just before the work is cancelled: for what work's own clean-up would wait for
        and never get, such as a rollback by a server that hangs.

        Gives what it gives and raises what it raises; `Interrupted` when it was cut off otherwise,
        `nurseries.Unbounded` without a deadline around this, `nurseries.Full` with too many crossings under way.
        """
        required(what)
        if len(self._tasks) >= CROSSINGS:
            raise Full(f"{what}: {CROSSINGS} crossings are under way")
        waiting: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        task: asyncio.Task[T] = self._begin(self._guarded, work)

        def ended(_: asyncio.Task[Any]) -> None:
            if waiting is not None:
                trio.lowlevel.reschedule(waiting)

        def left(_: object) -> trio.lowlevel.Abort:
            nonlocal waiting
            waiting = None
            self._loop.call_soon(leave)
            return trio.lowlevel.Abort.SUCCEEDED

        def leave() -> None:
            if not task.done():
                cut()
                task.cancel()

        task.add_done_callback(ended)
        await trio.lowlevel.wait_task_rescheduled(left)
        if task.cancelled():
            raise Interrupted(f"{what}: the border is closing")
        return task.result()

    @asynccontextmanager
    async def keeping(self, what: str, work: Work[None]) -> AsyncIterator[None]:
        """Keep `work` running beyond the border while the block lasts; leaving cancels it and waits for its end.

        It must not end by itself. An error that leaves it is a bug: told (`Surprised`), and it begins again.
        """
        ended = trio.Event()

        async def kept() -> None:
            while True:
                try:
                    await self._guarded(work)
                except Exception as error:  # the border of a worker: others wait for it, and it must go on
                    tell(Surprised(what, described(error)))
                await asyncio.sleep(BEGINS_AGAIN_AFTER)

        task = self._begin(kept)
        task.add_done_callback(lambda _: ended.set())
        try:
            yield
        finally:
            task.cancel()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + ENDS_WITHIN):
                await ended.wait()

    def soon(self, work: Callable[[], object]) -> None:
        """Have it done on the asyncio side, in its next turn."""
        self._loop.call_soon(work)

    def future(self) -> asyncio.Future[None]:
        """Something for the asyncio side to await and for either side to set."""
        made: asyncio.Future[None] = self._loop.create_future()
        return made

    def _begin(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> asyncio.Task[T]:
        if self._closing.is_set():
            raise Interrupted("the border is closing")
        task: asyncio.Task[T] = self._loop.create_task(work(*args))
        self._tasks.add(task)  # asyncio itself holds tasks by weak references alone
        task.add_done_callback(self._ended)
        return task

    async def _guarded(self, work: Work[T]) -> T:
        try:
            return await work()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Interrupted("cancelled from inside") from None  # noqa: ASYNC104 - nobody asked for it
        except (SystemExit, KeyboardInterrupt) as error:
            self._carry(error)

    def _carry(self, exit_: BaseException) -> NoReturn:
        self._exit = self._exit or exit_
        self._closing.set()
        raise Interrupted("the program was told to end") from exit_

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._one_ended.set()
        self._one_ended = trio.Event()
        if not task.cancelled():
            task.exception()  # looked at, or asyncio complains that nobody did: whose caller left has no reader

    async def live(self, opened: trio.Event) -> None:
        """The loop, until the border closes; raises what was carried over. For `open_border` alone."""
        with trio.CancelScope(shield=True):
            async with trio_asyncio.open_loop() as self._loop:
                self._loop.set_exception_handler(_heard)
                opened.set()
                await self._closing.wait()
                await self._stop()
        if self._exit is not None:
            raise self._exit

    async def _stop(self) -> None:
        """Cancel what has not been, once: the loop's own end cancels again what then still cleans up."""
        for task in self._tasks:
            if not task.cancelling():
                task.cancel()
        with within(ENDS_WITHIN):
            while self._tasks:
                await self._one_ended.wait()

    def close(self) -> None:
        """Begin nothing more, cancel what is left. For `open_border` alone."""
        self._closing.set()


def _heard(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio has to say to nobody in particular.

    That a connection failed which nobody waits for any more is foreseen: asyncpg lets go of attempts whose caller has
    left, and asyncio says so whenever it collects them.
    """
    error = context.get("exception")
    if isinstance(error, OSError) and isinstance(context.get("future"), asyncio.Future):
        return
    tell(Surprised("asyncio", described(error) if error is not None else str(context.get("message"))))


@asynccontextmanager
async def open_border() -> AsyncIterator[Border]:
    """A border for as long as the block lasts; leaving cancels what is beyond it and waits for its end."""
    border = Border()
    opened = trio.Event()
    async with open_owner("border", bound=1) as owner:
        owner.start(border.live, opened, name="asyncio")
        with trio.CancelScope(shield=True):  # opening takes no time, and a loop that is half open cannot be left
            await opened.wait()
        try:
            yield border
        finally:
            border.close()
