"""What a run did, in order: every step of every task, every byte on the simulated network, and when; hashed.

Two runs of one seed are the same run when their digests are equal. Where they are not, the kept lines say from which
step on: `first_difference` names it. Tasks are called by the order in which they were born and by their name, without
the addresses that some names hold; time is the Trio clock's, from the beginning of the run.

What wakes a task is not here, only that it runs: Trio wakes by walking over sets, and sorts before it runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import trio

ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+|0x[0-9a-f]{6,}")
KEPT: Final = 200_000  # lines that are kept to be looked at; the hash goes on


class Trace(trio.abc.Instrument):
    """The trace of one run; give it to `simulate`. `keep` lines can be looked at afterwards, none unless asked for."""

    def __init__(self, *, keep: int = 0) -> None:
        self._hash = blake2b(digest_size=16)
        self._keep = keep
        self._names: dict[trio.lowlevel.Task, str] = {}
        self._born = 0
        self._began: float | None = None
        self.lines: list[str] = []
        self.steps = 0
        self.bytes = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self._born += 1
        self._names[task] = f"{self._born}:{ADDRESS.sub('', task.name)}"

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._names.pop(task, None)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        self._line(self._names.get(task, "?"))

    def note(self, kind: str, data: bytes) -> None:
        """Something that a task did."""
        self.bytes += len(data)
        self._line(f"{kind} {len(data)} {blake2b(data, digest_size=8).hexdigest()}" if data else kind)

    def _line(self, what: str) -> None:
        now = trio.current_time()
        if self._began is None:
            self._began = now
        line = f"{now - self._began:.9f} {what}"
        self._hash.update(line.encode())
        if len(self.lines) < self._keep:
            self.lines.append(line)

    def digest(self) -> str:
        """32 hex digits of all that happened so far."""
        return self._hash.hexdigest()


def first_difference(one: Sequence[str], other: Sequence[str]) -> tuple[int, str, str] | None:
    """Where two traces part: the line's number and what each had there ('' past its end); None where they do not."""
    for number in range(max(len(one), len(other))):
        mine, yours = (lines[number] if number < len(lines) else "" for lines in (one, other))
        if mine != yours:
            return number, mine, yours
    return None


_keeping: list[Trace] = []


class keeping:  # noqa: N801  a context manager, named as `contextlib.suppress` is
    """Let `note` reach this trace while inside."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __enter__(self) -> Trace:
        _keeping.append(self._trace)
        return self._trace

    def __exit__(self, *_: object) -> None:
        _keeping.remove(self._trace)


def note(kind: str, data: bytes = b"") -> None:
    """Tell the trace of this run that bytes were sent, or a connection was made, ended or broken. Cheap without one."""
    if _keeping:
        _keeping[-1].note(kind, data)
