"""What happened in a run of a plan, moment by moment: what was broken and healed, what the fleet saw, what was found.

A history is written by those who do something and read by checks, by the timeline and by the record. Each moment is
told to the watchers as it is written, so that what must always hold is looked at while the fault is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import trio

FAULTS: Final = "faults"  # the lane of what was broken and healed
CHECKS: Final = "checks"  # the lane of what was found
LONGEST: Final = 1_000_000  # moments


@dataclass(frozen=True, slots=True)
class Moment:
    """Something at `at` seconds from the beginning, in a `lane` (`desk-1`, `thief`, `faults`, `checks`).

    `word` says what, from a small set of the lane's own, `text` says it to a person in one line, `good` whether that is
    as one would wish (None: neither). `took` seconds it lasted until `at`. `data` is for checks.
    """

    at: float
    lane: str
    word: str
    text: str = ""
    good: bool | None = None
    took: float = 0.0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise of the plan that was broken at `at` seconds, and how."""

    at: float
    check: str
    text: str


class TooLong(RuntimeError):
    """A history without an end."""


class History:
    """Begins now, on the Trio clock."""

    def __init__(self) -> None:
        self._began = trio.current_time()
        self._watchers: list[Callable[[Moment], None]] = []
        self.moments: list[Moment] = []
        self.findings: list[Finding] = []
        self.calm_at: float | None = None

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return trio.current_time() - self._began

    def watch(self, watcher: Callable[[Moment], None]) -> None:
        """Have `watcher` called with each moment from now on, as it is written."""
        self._watchers.append(watcher)

    def note(
        self, lane: str, word: str, text: str = "", *, good: bool | None = None, took: float = 0.0, **data: Any
    ) -> Moment:
        """Write that this happened now. Raises `TooLong`."""
        if len(self.moments) >= LONGEST:
            raise TooLong(f"{LONGEST} moments")
        moment = Moment(self.elapsed(), lane, word, text, good, took, data)
        self.moments.append(moment)
        for watcher in self._watchers:
            watcher(moment)
        return moment

    async def until_calm(self) -> None:
        """Wait until everything is healed. Has no deadline but whoever asks sets one."""
        calm = trio.Event()
        self.watch(lambda moment: calm.set() if (moment.lane, moment.word) == (FAULTS, "calm") else None)
        if self.calm_at is None:
            await calm.wait()

    def found(self, check: str, text: str) -> None:
        """Write that a promise was broken now."""
        self.findings.append(Finding(self.elapsed(), check, text))
        self.note(CHECKS, check, text, good=False)
