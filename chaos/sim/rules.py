"""What goes wrong on a network: each fault says what a dial meets, and what happens to the bytes of an open line.

    kind of fault     a dial                        a line that is open, or opened while it lasts
    Asked             the verdict of a function     nothing
    Silence           a black hole                  what is sent one way is held until it ends
    Throttle          nothing                       both directions leave at its pace
    down              refused                       reset (open ones), at once
    hang              a black hole                  both directions are held (open ones)
    latency           nothing                       what comes towards the dialler is later, from the next piece on
    drip              nothing                       what comes towards the dialler leaves at its pace
    reset             nothing                       breaks after so many more bytes towards the dialler

The last five are the toxics of `chaos.toxics.SOCKET`, in the same words. What a fault with a `rate` falls on is drawn
once for each dial and for each line, from a generator of its own. The rest of the vocabulary is for services and
stores: a link cannot know what an answer says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from chaos import toxics
from chaos.sim.entropy import chance
from chaos.sim.hosts import Line
from chaos.sim.pipe import Latency, Way
from chaos.sim.stream import WINDOW, SimStream


@dataclass(frozen=True, slots=True)
class Refuse:
    """The dial is refused at once (nobody listens, or the host says so)."""


@dataclass(frozen=True, slots=True)
class BlackHole:
    """The dial is never answered: a dropped packet, a host that is gone."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The dial goes through.

    `latency` gives seconds one way, `window` is bytes per direction, and so is `bytes_per_second`, of each line.
    """

    latency: Latency
    window: int = WINDOW
    bytes_per_second: float = float("inf")


Verdict = Refuse | BlackHole | Reach
Rule = Callable[[str, int], Verdict | None]
Names = str | Iterable[str]


def names(given: Names) -> frozenset[str]:
    """One name or several, as a set; it is only asked who is in it."""
    return frozenset([given] if isinstance(given, str) else given)


class Dialled(NamedTuple):
    """A dial: who, and where to."""

    one: str
    host: str
    port: int


class Leg(NamedTuple):
    """One direction of an open line: what `sender`, an end of it, sends goes `way`."""

    line: Line
    sender: SimStream
    way: Way

    @property
    def towards_dialler(self) -> bool:
        return self.sender is self.line.far


class Fault:
    """Nothing goes wrong. What does goes by these four questions, asked of every fault in force."""

    def dial(self, dialled: Dialled) -> Verdict | None:
        """What a dial meets; None: this fault has nothing to say."""

    def begins(self, line: Line) -> None:
        """The fault begins while `line` is open."""

    def opened(self, line: Line) -> None:
        """`line` is opened while the fault lasts."""

    def bend(self, leg: Leg) -> Way:
        """What becomes of the way of this leg."""
        return leg.way


class Asked(Fault):
    """A rule for dials: it looks at where one goes."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def dial(self, dialled: Dialled) -> Verdict | None:
        return self._rule(dialled.host, dialled.port)


class Silence(Fault):
    """Nothing passes from some to others. Who dials either way gets no answer: one half of the greeting is lost."""

    def __init__(self, from_: Names, to: Names) -> None:
        self._from = names(from_)
        self._to = names(to)
        if both := sorted(self._from & self._to):
            raise ValueError(f"nobody can be cut off from themselves: {', '.join(both)}")

    def _cuts(self, one: str, other: str) -> bool:
        return one in self._from and other in self._to

    def dial(self, dialled: Dialled) -> Verdict | None:
        one, host, _ = dialled
        return BlackHole() if self._cuts(one, host) or self._cuts(host, one) else None

    def bend(self, leg: Leg) -> Way:
        return replace(leg.way, silent=True) if self._cuts(leg.sender.host, leg.sender.peer) else leg.way


class Throttle(Fault):
    """Every line from or to a host, open or opened, has a pace in either direction: a bad cable, a small machine."""

    def __init__(self, host: str, bytes_per_second: float) -> None:
        if not bytes_per_second > 0:
            raise ValueError("a link carries more than 0 bytes per second; what carries none is a partition")
        self._host = host
        self._pace = bytes_per_second

    def bend(self, leg: Leg) -> Way:
        return _paced(leg.way, self._pace) if self._host in (leg.sender.host, leg.sender.peer) else leg.way


class Injected(Fault):
    """A toxic on a host: it falls on the lines that were dialled to it, or on a part of them."""

    def __init__(self, host: str, rate: float, lot: Random) -> None:
        self._host = host
        self._rate = rate
        self._lot = lot

    def _falls(self) -> bool:
        return self._rate >= 1 or self._lot.random() < self._rate

    def begins(self, line: Line) -> None:
        if line.far.host == self._host and self._falls():
            line.struck[self] = line.far.sent

    def opened(self, line: Line) -> None:
        self.begins(line)

    def _bites(self, leg: Leg) -> bool:
        return self in leg.line.struck and leg.towards_dialler


class Gone(Injected):
    """`down`: dials are refused, and who is connected is cut as a fault begins, at the host's end first."""

    def dial(self, dialled: Dialled) -> Verdict | None:
        return Refuse() if dialled.host == self._host and self._falls() else None

    def begins(self, line: Line) -> None:
        if line.far.host == self._host and self._falls():
            line.far.snap()

    def opened(self, line: Line) -> None:
        """Its dial was spared."""


class Stuck(Injected):
    """`hang`: dials are not answered, and nothing passes on a line that was open."""

    def dial(self, dialled: Dialled) -> Verdict | None:
        return BlackHole() if dialled.host == self._host and self._falls() else None

    def opened(self, line: Line) -> None:
        """Its dial was spared."""

    def bend(self, leg: Leg) -> Way:
        return replace(leg.way, silent=True) if self in leg.line.struck else leg.way


class Late(Injected):
    """`latency`: each piece towards the dialler comes later, by what is drawn for it."""

    def __init__(self, host: str, toxic: toxics.Latency, lot: Random, jitter: Random) -> None:
        super().__init__(host, toxic.rate, lot)
        self._toxic = toxic
        self._jitter = jitter

    def _late(self) -> float:
        return max(0.0, self._toxic.ms + self._toxic.jitter * self._jitter.uniform(-1, 1)) / 1000

    def bend(self, leg: Leg) -> Way:
        if not self._bites(leg):
            return leg.way
        before = leg.way.latency
        return replace(leg.way, latency=lambda: before() + self._late())


class Dripping(Injected):
    """`drip`: towards the dialler a line carries so many bytes a second."""

    def __init__(self, host: str, toxic: toxics.Drip, lot: Random) -> None:
        super().__init__(host, toxic.rate, lot)
        self._pace = toxic.bytes_per_second

    def bend(self, leg: Leg) -> Way:
        return _paced(leg.way, self._pace) if self._bites(leg) else leg.way


class Breaking(Injected):
    """`reset`: a line breaks after so many bytes towards the dialler, counted from when the fault fell on it."""

    def __init__(self, host: str, toxic: toxics.Reset, lot: Random) -> None:
        super().__init__(host, toxic.rate, lot)
        self._after = toxic.after

    def bend(self, leg: Leg) -> Way:
        if not self._bites(leg):
            return leg.way
        return replace(leg.way, breaks_after=min(leg.way.breaks_after, leg.line.struck[self] + self._after))


def injected(host: str, toxic: toxics.Toxic, seed: int, number: int) -> Injected:
    """The fault that `toxic` is on the links of `host`; `number` tells two of the same words apart.

    Raises `BadToxic` for a toxic that no link can have.
    """
    lot = chance(seed, "toxic", host, str(toxic), number)
    match toxic:
        case toxics.Down():
            return Gone(host, toxic.rate, lot)
        case toxics.Hang():
            return Stuck(host, toxic.rate, lot)
        case toxics.Latency():
            return Late(host, toxic, lot, chance(seed, "jitter", host, str(toxic), number))
        case toxics.Drip():
            return Dripping(host, toxic, lot)
        case toxics.Reset():
            return Breaking(host, toxic, lot)
    words = ", ".join(kind.word for kind in toxics.SOCKET)
    raise toxics.BadToxic(f"{toxic.word}: a link can only do {words}")


def _paced(way: Way, bytes_per_second: float) -> Way:
    return replace(way, bytes_per_second=min(way.bytes_per_second, bytes_per_second))
