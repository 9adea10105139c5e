"""A circuit breaker: when a service fails, stop asking for a while, then ask once.

    closed     every call is admitted. Two signals open it: so many failures one after the other, or too large a part of
               the calls within a window. The first sees an outage at once; the second one that answers now and then.
    open       no call is admitted for `open_for` seconds.
    half-open  one call at a time is admitted, the probe. Its success closes the breaker, its failure opens it again,
               and a probe that says nothing (its caller went away) leaves the place to the next one: at once where its
               permit is left, and after `open_for` seconds where it was lost, so that no mistake of a caller can keep
               a breaker from ever closing.

What counts as a failure is the caller's judgement, given through the permit. A call that was cut off by its caller's
own impatience says nothing about the service: `ignored`. Verdicts of calls admitted before the state changed are not
counted in the new state. All times are Trio's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

import trio

from nurseries.facts import tell


class State(Enum):
    """What a breaker does with a call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """`consecutive` failures, or `ratio` of at least `volume` calls within `window` seconds, open it for `open_for`."""

    consecutive: int = 5
    ratio: float = 0.5
    volume: int = 20
    window: float = 10.0
    open_for: float = 5.0


@dataclass(frozen=True, slots=True)
class BreakerOpened:
    """No calls for a while; `why` is `consecutive`, `ratio` or `probe`."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class BreakerHalfOpened:
    """One call probes."""

    name: str


@dataclass(frozen=True, slots=True)
class BreakerClosed:
    """The probe came back: calls are admitted again."""

    name: str


class Permit:
    """One admitted call. Exactly one verdict counts, the first; as a context manager, none means `ignored`."""

    __slots__ = ("_breaker", "era")

    def __init__(self, breaker: Breaker, era: int) -> None:
        self._breaker: Breaker | None = breaker
        self.era = era

    def ok(self) -> None:
        """The service answered as it should."""
        self._verdict(failed=False)

    def failed(self) -> None:
        """The service failed."""
        self._verdict(failed=True)

    def ignored(self) -> None:
        """The call says nothing about the service."""
        self._verdict(failed=None)

    def _verdict(self, *, failed: bool | None) -> None:
        if self._breaker is not None:
            breaker, self._breaker = self._breaker, None
            breaker.judge(self, failed)

    def __enter__(self) -> Permit:
        return self

    def __exit__(self, *exc: object) -> None:
        self.ignored()


class Breaker:
    """One breaker, called `name` in its facts. Not for use by several Trio runs."""

    __slots__ = (
        "_calls",
        "_era",
        "_failures",
        "_in_window",
        "_opened_at",
        "_probe",
        "_probe_until",
        "_row",
        "_state",
        "name",
        "rule",
    )

    def __init__(self, name: str, rule: BreakerRule = BreakerRule()) -> None:
        self.name = name
        self.rule = rule
        self._state = State.CLOSED
        self._era = 0
        self._row = 0
        self._calls: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._opened_at = 0.0
        self._probe: Permit | None = None
        self._probe_until = 0.0

    @property
    def state(self) -> State:
        """What it would do with a call now."""
        if self._state is State.OPEN and trio.current_time() >= self._opened_at + self.rule.open_for:
            return State.HALF_OPEN
        return self._state

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be admitted again; 0 when one may be now."""
        if self._state is not State.OPEN:
            return 0.0
        return max(0.0, self._opened_at + self.rule.open_for - trio.current_time())

    def admit(self) -> Permit | None:
        """A permit for one call, or None: do not ask now."""
        if self._state is State.CLOSED:
            return Permit(self, self._era)
        if self._state is State.OPEN:
            if self.state is State.OPEN:
                return None
            self._turn(State.HALF_OPEN)
            tell(BreakerHalfOpened(self.name))
        return self._admit_probe()

    def _admit_probe(self) -> Permit | None:
        now = trio.current_time()
        if self._probe is not None and now < self._probe_until:
            return None
        self._probe = Permit(self, self._era)
        self._probe_until = now + self.rule.open_for
        return self._probe

    def judge(self, permit: Permit, failed: bool | None) -> None:
        """The verdict on an admitted call; None says nothing. Called by `Permit` alone."""
        if permit is self._probe:
            self._probe = None
            if failed is not None:
                self._open("probe") if failed else self._close()
        elif failed is not None and self._state is State.CLOSED and permit.era == self._era:
            self._count(failed)

    def _count(self, failed: bool) -> None:
        now = trio.current_time()
        self._calls.append((now, failed))
        self._failures += failed
        while self._calls[0][0] <= now - self.rule.window:
            self._failures -= self._calls.popleft()[1]
        self._row = self._row + 1 if failed else 0
        if self._row >= self.rule.consecutive:
            self._open("consecutive")
        elif failed and len(self._calls) >= self.rule.volume and self._failures >= self.rule.ratio * len(self._calls):
            self._open("ratio")

    def _open(self, why: str) -> None:
        self._turn(State.OPEN)
        self._opened_at = trio.current_time()
        tell(BreakerOpened(self.name, why))

    def _close(self) -> None:
        self._turn(State.CLOSED)
        tell(BreakerClosed(self.name))

    def _turn(self, state: State) -> None:
        self._state = state
        self._era += 1
        self._row = 0
        self._failures = 0
        self._calls.clear()
        self._probe = None
