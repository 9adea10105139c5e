"""The live nursery tree as text: every task of the run, whose it is, how long it may, and where it waits.

    <init>  no deadline  at _run.py:Runner.init:2082
      nursery
        serve  no deadline  at serve.py:_listen:139
          owner requests: 1 of 100 tasks, overstaying: kpis 1
            fan-out  told to stop, 4.200 s past its deadline  at fanout.py:Family._live:120
              nursery
                kpis  no deadline, shielded though told to stop  at client.py:ask:71

For `/tasks` and for reports of failures: so it does not itself fail, whatever state a task is in, and it is drawn in
one step, without a checkpoint, while nothing moves. Siblings are in the order in which they began, so that two pictures
differ only in what the program did. A nursery opened inside of another one by the same task stands below it, at the
same depth.
"""

from __future__ import annotations

import math
import os.path
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio

from nurseries.owners import owners

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nurseries.owners import Health, Owner

DEEPEST: Final = 40  # levels of indentation; what is deeper says how deep, so that the text grows with the tasks alone
_TRIO: Final = os.path.join(os.path.dirname(trio.__file__), "")


def task_tree(root: trio.lowlevel.Task | None = None) -> str:
    """Every task below `root`, or of the whole run, one a line, its times in seconds from now.

    Raises `RuntimeError` outside of a run.
    """
    top = root if root is not None else trio.lowlevel.current_root_task()
    if top is None:  # the run is about to begin, or has just ended
        return "no task\n"
    return "".join(_indented(depth, line) for depth, line in _Picture().lines(top))


def _indented(depth: int, line: str) -> str:
    if depth > DEEPEST:
        return f"{'  ' * DEEPEST}({depth}) {line}\n"
    return f"{'  ' * depth}{line}\n"


class _Picture:
    """One look at the tree."""

    def __init__(self) -> None:
        self._now = trio.current_time()
        self._owners = owners()
        self._limits = _Limits()

    def lines(self, top: trio.lowlevel.Task) -> Iterator[tuple[int, str]]:
        """Depth and text, from the top down. No recursion: nurseries may be nested deeper than Python's stack."""
        waiting: list[tuple[int, trio.lowlevel.Task | trio.Nursery]] = [(0, top)]
        while waiting:
            depth, node = waiting.pop()
            if isinstance(node, trio.Nursery):
                yield from self._nursery(depth, node)
            else:
                yield depth, self._task(node)
            waiting.extend((depth + 1, below) for below in reversed(_below(node)))

    def _task(self, task: trio.lowlevel.Task) -> str:
        return f"{_flat(task.name)}  {self._limits.of(task).said(self._now)}  at {_where(task)}"

    def _nursery(self, depth: int, nursery: trio.Nursery) -> Iterator[tuple[int, str]]:
        owner = self._owners.get(nursery)
        if owner is None:
            yield depth, "nursery"
            return
        yield depth, _owner(owner)
        for health in owner.services.values():
            yield depth + 1, self._service(health)

    def _service(self, health: Health) -> str:
        error = f", last error {_flat(health.error)}" if health.error else ""
        since = f"{health.state} for {self._now - health.since:.3f} s"
        return f"service {_flat(health.name)}: {since}, restarts: {health.restarts}{error}"


def _owner(owner: Owner) -> str:
    leaving = ", being left" if owner.leaving else ""
    late = ", overstaying:" if owner.overstaying else ""
    late += ",".join(f" {_flat(name)} {count}" for name, count in owner.overstaying.items())
    error = f", last error {_flat(owner.last_error)}" if owner.last_error else ""
    return f"owner {_flat(owner.name)}: {len(owner.live)} of {owner.bound} tasks{leaving}{late}{error}"


def _flat(text: str) -> str:
    """In one line, whatever somebody called a task."""
    return " ".join(text.split())


def _where(task: trio.lowlevel.Task) -> str:
    """The innermost frame outside of Trio, where the program waits; of what is Trio's alone, the outermost."""
    found = None
    with suppress(Exception):  # an awaitable can be anything, and answer anything to who looks at it
        for frame, line in task.iter_await_frames():
            if found is None or not frame.f_code.co_filename.startswith(_TRIO):
                found = frame.f_code, line
    if found is None:
        return "?"
    code, line = found
    return f"{os.path.basename(code.co_filename)}:{code.co_qualname}:{line}"


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The earliest deadline that a task sees; `told`: it must stop; `shielded`: only what is around a shield must."""

    deadline: float = math.inf
    told: bool = False
    shielded: bool = False

    def said(self, now: float) -> str:
        left = self.deadline - now
        if self.told:
            bound = (
                "" if left in {0, math.inf} else f", {abs(left):.3f} s {'past' if left < 0 else 'before'} its deadline"
            )
            return f"told to stop{bound}"
        limit = "no deadline" if left == math.inf else f"{left:.3f} s left"
        return limit + (", shielded though told to stop" if self.shielded else "")


# From here on stands what is Trio's own. There is no public word for it: what limits a task can be asked only by that
# task (`trio.current_effective_deadline`), and `child_tasks` is a set.


class _Limits:
    """The bounds of every task, each scope looked at once: Trio's own way walks up anew, and recursively, each time."""

    def __init__(self) -> None:
        self._known: dict[Any, _Bounds] = {None: _Bounds()}

    def of(self, task: trio.lowlevel.Task) -> _Bounds:
        status: Any = task._cancel_status
        inwards = []
        while status not in self._known:
            inwards.append(status)
            status = status.parent
        bounds = self._known[status]
        for inner in reversed(inwards):
            bounds = self._known[inner] = self._inside(bounds, inner._scope, inner.effectively_cancelled)
        return bounds

    @staticmethod
    def _inside(around: _Bounds, scope: trio.CancelScope, told: bool) -> _Bounds:
        if scope.shield:
            return _Bounds(scope.deadline, told, around.told or around.shielded)
        return _Bounds(min(scope.deadline, around.deadline), told, around.shielded)


def _below(node: trio.lowlevel.Task | trio.Nursery) -> Sequence[trio.lowlevel.Task | trio.Nursery]:
    if isinstance(node, trio.Nursery):
        return sorted(node.child_tasks, key=lambda task: task._counter)
    return node.child_nurseries
