"""Looks on while a run goes, and can say afterwards which tasks were alive at the moment at which it went wrong.

    watch = Watch()
    watch.simulate(main, seed=7)     ->  `simulate`; whatever it raises, `watch.alive` is the task tree of that moment

By the time an exception leaves a run, every nursery on its way has been left, and the tasks that would explain it are
gone. So the tree is drawn when an exception first reaches a nursery, or the end of the function that was watched: one
step before anything is cancelled because of it.

A virtual run in which every task waits, no deadline is left and no thread or socket is waited for would go on for ever.
It is cut, and raises `Stuck`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from chaos.sim.clock import simulate
from nurseries import task_tree

if TYPE_CHECKING:
    from trio.testing import MockClock

    from chaos.choices import Choices
    from chaos.sim.trace import Trace

T = TypeVar("T")

KEPT: Final = 20  # pictures of one run; what failed first and was handled long ago is not what ends it
LOOKS: Final = 3  # in a row: what was handed over from elsewhere shows itself by the second

_scheduler: Final[Any] = trio._core._run
_thread: Final = trio.to_thread.run_sync.__code__


class Stuck(RuntimeError):
    """Every task of a virtual run waits for what none of them will do, and there is no deadline to come."""


class Watch(trio.abc.Instrument):
    """Of one run after the other. `alive` is the task tree at the moment at which the last one failed, or ''."""

    def __init__(self) -> None:
        self._seen: deque[tuple[BaseException, str]] = deque(maxlen=KEPT)
        self._begin()

    def _begin(self) -> None:
        self._whole = trio.CancelScope()
        self._looks = 0
        self._stuck = ""
        self.alive = ""

    def simulate(
        self,
        main: Callable[..., Awaitable[T]],
        *args: object,
        seed: int = 0,
        choices: Choices | None = None,
        trace: Trace | None = None,
        clock: MockClock | None = None,
        instruments: Sequence[trio.abc.Instrument] = (),
    ) -> T:
        """`chaos.sim.clock.simulate`, looked upon. Raises `Stuck` too."""
        self._begin()
        heard = [*instruments, self]
        how: dict[str, Any] = {"seed": seed, "choices": choices, "trace": trace, "clock": clock, "instruments": heard}
        try:
            result: T = simulate(self._watched, main, args, **how)
        except BaseException as error:
            self.alive = self._stuck or self._picture(error)
            raise
        finally:
            self._seen.clear()  # frames hang on exceptions, and what they hold
        return result

    async def _watched(self, main: Callable[..., Awaitable[T]], args: Sequence[object]) -> T:
        try:
            with self._whole:
                result = await self.looking(main, *args)
                if not self._stuck:
                    return result
        except Exception:
            if not self._stuck:
                raise
        # Whatever came of cutting it is not what was wrong.
        raise Stuck("every task waits, and no deadline is left: nothing would ever happen again") from None

    async def looking(self, function: Callable[..., Awaitable[T]], *args: object, **kwargs: object) -> T:
        """`await function(…)`; what it raises is a moment of failure."""
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            self._saw(error)
            raise

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._looks = 0
        for nursery in (task.parent_nursery, *task.child_nurseries):
            if nursery is not None and nursery._pending_excs:
                self._saw(nursery._pending_excs[-1])

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  Trio's signature
        runner = _scheduler.GLOBAL_RUN_CONTEXT.runner
        if runner.runq or runner.waiting_for_idle or runner.deadlines.next_deadline() < float("inf"):
            self._looks = 0
            return
        self._looks += 1
        if self._looks >= LOOKS and not self._stuck and not _something_outside(runner):
            self._stuck = task_tree()
            trio.lowlevel.current_trio_token().run_sync_soon(self._cut)

    def _cut(self) -> None:
        self._whole.cancel(reason="nothing would ever happen again")

    def _saw(self, error: BaseException) -> None:
        if isinstance(error, trio.Cancelled) or any(error is seen for seen, _ in self._seen):
            return
        self._seen.append((error, task_tree()))

    def _picture(self, error: BaseException) -> str:
        """The earliest of those that became part of `error`."""
        parts = {id(part) for part in parts_of(error)}
        return next((tree for seen, tree in self._seen if id(seen) in parts), "")


def parts_of(error: BaseException) -> Iterator[BaseException]:
    """`error`, what it groups, and what it came from."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _something_outside(runner: Any) -> bool:
    """A thread may still come back, or a socket become ready. Trio itself reads one, which wakes it."""
    waiting = trio.lowlevel.current_statistics().io_statistics
    sockets = getattr(waiting, "tasks_waiting_read", 0) + getattr(waiting, "tasks_waiting_write", 0)
    return sockets > 1 or any(frame.f_code is _thread for task in runner.tasks for frame, _ in task.iter_await_frames())
