"""What a dashboard must show while a service fails, from the contract and from how long the ways are: a small model.

It knows the fault, when it began, and the ways to the services; of the server it knows one figure, measured from
outside: the moment at which it composes an answer that something is missing from (`reserve`). It says what the server
hears of each call and when, and with that:

    heard before the reserve     shown as it was heard
    heard after it               the time was over
    heard in that very moment    either, and never a third thing

Times are seconds after the desk asked. Of a fault it says: what was answered before it began is whole; what was under
way is broken or late, as the toxic says; and where both happen in the same moment, either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chaos import toxics
from chaos.hotel.checks.answers import OPTIONAL, TABLE, judge, states

if TYPE_CHECKING:
    from chaos.hotel.fleet.desk import Seen
    from chaos.toxics import Toxic

OK: Final = "ok"
UNAVAILABLE: Final = "UPSTREAM_UNAVAILABLE"
TIMEOUT: Final = "UPSTREAM_TIMEOUT"
DRIFT: Final = "SCHEMA_DRIFT"
OPEN: Final = "BREAKER_OPEN"
TIE: Final = 5e-7  # seconds: what is nearer than this happens in the same moment
PIECES: Final = 40  # ways that an answer of 1 MiB takes at most, through a window of 64 KiB


@dataclass(frozen=True, slots=True)
class Heard:
    """What the server hears of a call: `ok`, or the reason of a skeleton; from `earliest` to `latest`."""

    word: str
    earliest: float
    latest: float


def heard_at(word: str, at: float) -> Heard:
    """Heard in one moment."""
    return Heard(word, at, at)


@dataclass(frozen=True, slots=True)
class Situation:
    """How a fault meets a call. `way` is seconds from server to service, and back.

    `onset` is when it begins. `held`: the service has worked on the request until that moment, in which the fault
    falls on its answer. `connected`: the server has a connection that it kept.
    """

    way: float
    onset: float = 0.0
    held: bool = False
    connected: bool = True

    @property
    def arrives(self) -> float:
        """When the request is with the service: a dial is a way there and back."""
        return self.way if self.connected else 3 * self.way

    @property
    def answers(self) -> float:
        """When the service begins to answer."""
        return max(self.arrives, self.onset) if self.held else self.arrives


def untouched(at: Situation) -> Heard:
    """What is heard of a service that works."""
    return heard_at(OK, at.arrives + at.way)


def heard(toxic: Toxic, at: Situation) -> tuple[Heard, ...]:
    """What is heard of a service on which `toxic` falls: one thing, or one of two that tie."""
    if at.held:
        return (_cut(at) if isinstance(toxic, toxics.Down) else _bent(toxic, at),)
    if isinstance(toxic, toxics.Down) and not at.connected:
        dialled = 2 * at.way
        refused = heard_at(UNAVAILABLE, dialled)
        return _by_onset(at.onset, dialled, refused, *_by_onset(at.onset, at.answers, _cut(at), untouched(at)))
    if isinstance(toxic, toxics.Down):
        refused = heard_at(UNAVAILABLE, 2 * at.way)  # the connection is known to be dead before it is used
        return _by_onset(at.onset, -at.way, refused, *_by_onset(at.onset, at.answers, _cut(at), untouched(at)))
    return _by_onset(at.onset, at.answers, _bent(toxic, at), untouched(at))


def _by_onset(onset: float, moment: float, before: Heard, *after: Heard) -> tuple[Heard, ...]:
    """`before` for a fault that was there at `moment`, `after` for one that came later."""
    if onset < moment - TIE:
        return (before,)
    return after if onset > moment + TIE else (before, *after)


def _cut(at: Situation) -> Heard:
    """The connection is cut under a call. On a kept one it may be called again (RFC 9110, 9.2.2): and is refused."""
    news = at.onset + at.way
    return heard_at(UNAVAILABLE, news + 2 * at.way if at.connected else news)


def _bent(toxic: Toxic, at: Situation) -> Heard:
    """The answer is not what it should be."""
    comes = at.answers + at.way
    match toxic:
        case toxics.Hang() | toxics.Drip():
            return heard_at(TIMEOUT, math.inf)
        case toxics.Latency(ms=ms):
            return heard_at(OK, comes + ms / 1000)
        case toxics.Giant():
            return Heard(UNAVAILABLE, comes, comes + PIECES * at.way)
        case toxics.LoseAnswer() | toxics.Reset(after=0) if at.connected:
            return heard_at(UNAVAILABLE, comes + 4 * at.way)  # not a byte came: called again, on a new connection
        case toxics.Status() | toxics.Redirect() | toxics.LoseAnswer() | toxics.Reset():
            return heard_at(UNAVAILABLE, comes)
        case toxics.Garbage() | toxics.Drift() | toxics.WrongTenant():
            return heard_at(DRIFT, comes)
    raise ValueError(f"the model knows no {toxic.word}")


def counts(toxic: Toxic, word: str) -> bool:
    """Whether it says to a breaker that the service is not there: a refusal (4xx) and a strange shape are answers."""
    refusal = isinstance(toxic, toxics.Status) and toxic.code < 500
    return word in {UNAVAILABLE, TIMEOUT} and not refusal


@dataclass(frozen=True, slots=True)
class Expected:
    """The states that each widget may have, and from when to when the whole answer may come."""

    states: Mapping[str, frozenset[str]]
    earliest: float
    latest: float

    def check(self, seen: Seen) -> None:
        """Raises `AssertionError` for what is otherwise, in one line."""
        found = states(seen)
        wrong = [
            f"{name} is {state}, and should be {' or '.join(sorted(self.states[name]))}"
            for name, state in found.items()
            if state not in self.states[name]
        ]
        assert not wrong, "; ".join(wrong)
        judge(seen, found)
        early, late = self.earliest - TIE, self.latest + TIE
        assert early <= seen.took <= late, f"took {_ms(seen.took)}, not {_ms(self.earliest)} to {_ms(self.latest)}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3f} ms"


def expected(calls: Mapping[str, tuple[Heard, ...]], *, reserve: float, age: float | None = None) -> Expected:
    """What a dashboard shows whose calls are heard so, by service.

    `age` is that of the answers that are kept, in seconds; None where nothing is. It should be well off the table's
    bounds.
    """
    shown: dict[str, frozenset[str]] = {}
    spans: list[tuple[float, float]] = []
    for name, row in TABLE.items():
        said = (heard_at(OK, 0.0),) if age is not None and age < row.fresh else calls[row.service]
        kept = age is not None and age < row.keep
        shown[name] = frozenset(_state(name, word, kept=kept) for word in _in_time(said, reserve))
        spans.append((min(one.earliest for one in said), max(one.latest for one in said)))
    earliest, latest = (max(min(span[side], reserve) for span in spans) for side in (0, 1))
    return Expected(shown, earliest, latest)


def _in_time(said: Iterable[Heard], reserve: float) -> set[str]:
    words: set[str] = set()
    for one in said:
        if one.earliest <= reserve + TIE:
            words.add(one.word)
        if one.latest >= reserve - TIE:
            words.add(TIMEOUT)
    return words


def _state(name: str, word: str, *, kept: bool) -> str:
    if word == OK:
        return OK
    if kept:
        return "stale"
    return "absent" if name == OPTIONAL else word
