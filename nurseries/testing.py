"""For tests of programs that must put everything in order however they are left: count where they can be, and leave.

    with count_checkpoints() as counted:          once, to learn how many moments there are
        await work()
    for n in range(1, counted.checkpoints + 1):   then once for each
        async with no_task_left():
            with cancel_at(n):
                await work()
        ...look at what it left...

A checkpoint here is where a task has given up its turn: each time one does, one more is counted. That is every moment
at which Trio can deliver a cancellation, or anybody else can do anything at all, so who was cut at each of them was cut
everywhere. It finds the `finally` that awaits, the lock that is taken before the `try`, the answer that was half read.

Each of these looks at a task and all that is below it in the tree: the one that asks, or another one's, such as a
server's while its client leaves. What a task begins in a nursery of somebody else (an owner's) is below that one.

That the checkpoints of one run are those of the next takes the same schedule: a program whose tasks run at once should
be run under a seeded one.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing

from nurseries.tree import task_tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class Counted(trio.abc.Instrument):
    """How many `checkpoints` there were so far. Made by `count_checkpoints`, `at_checkpoint`."""

    def __init__(self, root: trio.lowlevel.Task, n: int, act: Callable[[], object]) -> None:
        self.checkpoints = 0
        self._root = root
        self._n = n
        self._act = act

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if _is_below(task, self._root):
            self.checkpoints += 1
            if self.checkpoints == self._n:
                self._act()


@contextmanager
def at_checkpoint(n: int, act: Callable[[], object], *, root: trio.lowlevel.Task | None = None) -> Iterator[Counted]:
    """Call `act()` at the `n`th checkpoint, from 1, of `root` and what is below it; by default of the current task.

    The task is waiting by then, and nothing has run since. `act` does not await, and must not raise. Where there are
    not so many it is not called: `checkpoints` tells. Raises `ValueError` for an `n` below 1.
    """
    if n < 1:
        raise ValueError("checkpoints are counted from 1")
    with _counting(root, n, act) as counted:
        yield counted


@contextmanager
def count_checkpoints(*, root: trio.lowlevel.Task | None = None) -> Iterator[Counted]:
    """Count the checkpoints of `root` and what is below it while the block lasts; by default of the current task."""
    with _counting(root, 0, lambda: None) as counted:
        yield counted


@contextmanager
def _counting(root: trio.lowlevel.Task | None, n: int, act: Callable[[], object]) -> Iterator[Counted]:
    counted = Counted(root if root is not None else trio.lowlevel.current_task(), n, act)
    trio.lowlevel.add_instrument(counted)
    try:
        yield counted
    finally:
        trio.lowlevel.remove_instrument(counted)


@contextmanager
def cancel_at(n: int, *, root: trio.lowlevel.Task | None = None) -> Iterator[trio.CancelScope]:
    """A scope around the block that is cancelled at the `n`th checkpoint, as `at_checkpoint` counts.

    With a `root` elsewhere the block is left while *that* task waits at its checkpoint. Quiet, as any scope;
    `scope.cancel_called` tells whether there were so many. Raises `ValueError` for an `n` below 1.
    """
    with trio.CancelScope() as scope, at_checkpoint(n, scope.cancel, root=root):
        yield scope


@asynccontextmanager
async def no_task_left(*, root: trio.lowlevel.Task | None = None) -> AsyncIterator[None]:
    """Raises `AssertionError` for tasks of the run, or below `root`, that began in the block and do not end with it.

    On leaving, everybody has his turn until all that is left waits for something. Who waits then is left: the message
    has the tree below each. An error of the block comes out as it is, and nothing is asked.
    """
    before = set(_alive(root))
    yield
    await trio.testing.wait_all_tasks_blocked()
    new = [task for task in _alive(root) if task not in before]
    tops = [task for task in new if _parent(task) not in new]
    assert not tops, "left behind:\n" + "".join(task_tree(task) for task in tops)


def _alive(root: trio.lowlevel.Task | None) -> Iterator[trio.lowlevel.Task]:
    """The tasks below `root`, or of the whole run; those of a nursery in the order in which they began."""
    top = root if root is not None else trio.lowlevel.current_root_task()
    assert top is not None, "a run has a root while anybody can ask"
    waiting = [top]
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting.extend(sorted(nursery.child_tasks, key=lambda child: child._counter))


def _parent(task: trio.lowlevel.Task) -> trio.lowlevel.Task | None:
    return None if task.parent_nursery is None else task.parent_nursery.parent_task


def _is_below(task: trio.lowlevel.Task | None, root: trio.lowlevel.Task) -> bool:
    while task is not None and task is not root:
        task = _parent(task)
    return task is not None
