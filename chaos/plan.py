"""A plan, in a few lines: what the fleet does, which faults from when to when, and what must hold.

    plan    Pricing hangs while the desks look
    owner   front-desk team
    lasts   60, then 10 of calm

    work    looks desks=6 every=2
    fault   pricing hang from 10 until 20
    fault   redis-session failover lost=1 from 15

    always      in-time honest
    eventually  whole within 5

Times are seconds from the beginning. A fault without `until` lasts until the calm, which every plan ends with: all is
healed then, and what `eventually` promises must come true within its bound. What `always` promises is looked at all
along. Faults are said in the words of `chaos.toxics`; what there is of works and checks, the cast knows that plays it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from chaos.toxics import BadToxic, Toxic, parse

CALM: Final = 10.0
LONGEST: Final = 7 * 86_400.0  # seconds: a plan is an exercise, not an operation
FIELDS: Final = ("plan", "owner", "lasts", "work", "fault", "always", "eventually")
NAME: Final = re.compile(r"[a-z][a-z0-9-]*")


class BadPlan(ValueError):
    """It cannot be read, or cannot be; the message is one line for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something that the fleet does all along, by its name in the cast, with settings as they were written."""

    word: str
    settings: tuple[tuple[str, str], ...] = ()

    def number(self, name: str, otherwise: float) -> float:
        """A setting as a number. Raises `BadPlan`."""
        text = dict(self.settings).get(name)
        return otherwise if text is None else _number(f"{self.word} {name}", text)

    def text(self, name: str, otherwise: str) -> str:
        """A setting as it was written."""
        return dict(self.settings).get(name, otherwise)

    def __str__(self) -> str:
        return " ".join([self.word, *(f"{name}={value}" for name, value in self.settings)])


@dataclass(frozen=True, slots=True)
class Fault:
    """`toxic` on `target` from `begins` until `ends` (seconds; infinity: until the calm)."""

    target: str
    toxic: Toxic
    begins: float = 0.0
    ends: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.begins < self.ends:
            raise BadPlan(
                f"{self.target} {self.toxic}: from {_shown(self.begins)} until {_shown(self.ends)} is no time"
            )

    def __str__(self) -> str:
        until = "" if self.ends == math.inf else f" until {_shown(self.ends)}"
        return f"{self.target} {self.toxic} from {_shown(self.begins)}{until}"


@dataclass(frozen=True, slots=True)
class Promise:
    """A check of the cast that comes true within so many seconds of calm."""

    check: str
    within: float

    def __str__(self) -> str:
        return f"{self.check} within {_shown(self.within)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of it. Raises `BadPlan` for what cannot be. `str(plan)` is what `parse_plan` reads."""

    title: str
    owner: str
    lasts: float
    calm: float = CALM
    work: tuple[Work, ...] = ()
    faults: tuple[Fault, ...] = ()
    always: tuple[str, ...] = ()
    eventually: tuple[Promise, ...] = ()

    def __post_init__(self) -> None:
        if not (0 < self.lasts <= LONGEST and 0 < self.calm <= LONGEST):
            raise BadPlan("lasts: over 0 and at most a week, and so the calm")
        late = [fault for fault in self.faults if fault.begins >= self.lasts]
        if late:
            raise BadPlan(f"fault {late[0]}: begins after the {_shown(self.lasts)} s that the plan lasts")
        slow = [promise for promise in self.eventually if promise.within > self.calm]
        if slow:
            raise BadPlan(f"eventually {slow[0]}: the calm is over by then ({_shown(self.calm)} s)")

    def without(self, fault: Fault) -> Plan:
        """The same plan, one fault less."""
        rest = list(self.faults)
        rest.remove(fault)
        return replace(self, faults=tuple(rest))

    def __str__(self) -> str:
        return "".join(f"{name:<12}{rest}".rstrip() + "\n" for name, rest in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "plan", self.title
        if self.owner:
            yield "owner", self.owner
        yield "lasts", f"{_shown(self.lasts)}, then {_shown(self.calm)} of calm"
        yield from (("work", str(work)) for work in self.work)
        yield from (("fault", str(fault)) for fault in self.faults)
        if self.always:
            yield "always", " ".join(self.always)
        yield from (("eventually", str(promise)) for promise in self.eventually)


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises `BadPlan` for one that cannot be read."""
    try:
        return parse_plan(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadPlan(f"{path} cannot be read: {error}") from None
    except BadPlan as bad:
        raise BadPlan(f"{path}: {bad}") from None


def parse_plan(text: str) -> Plan:
    """A plan out of its lines. Raises `BadPlan` with the number of the line that is wrong."""
    said: dict[str, list[str]] = {name: [] for name in FIELDS}
    read = _Reading(said)
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        try:
            read.line(*(line.split(None, 1) if " " in line else (line, "")))
        except (BadPlan, BadToxic) as error:
            raise BadPlan(f"line {number}: {error}") from None
    return read.plan()


class _Reading:
    """A plan that is being read."""

    def __init__(self, said: dict[str, list[str]]) -> None:
        self._said = said
        self._lasts: tuple[float, float] | None = None
        self._work: list[Work] = []
        self._faults: list[Fault] = []
        self._always: list[str] = []
        self._eventually: list[Promise] = []

    def line(self, field: str, rest: str) -> None:
        """One line. Raises `BadPlan` or `BadToxic`."""
        rest = " ".join(rest.split())
        match field:
            case "plan" | "owner" if not self._said[field]:
                self._said[field].append(rest)
            case "lasts" if self._lasts is None:
                self._lasts = _lasts(rest)
            case "plan" | "owner" | "lasts":
                raise BadPlan(f"{field} is said twice")
            case "work":
                self._work.append(_work(rest))
            case "fault":
                self._faults.append(_fault(rest))
            case "always":
                self._always.extend(_name(word) for word in rest.split())
            case "eventually":
                self._eventually.append(_promise(rest))
            case _:
                raise BadPlan(f"{field!r} is not one of {', '.join(FIELDS)}")

    def plan(self) -> Plan:
        """All of it. Raises `BadPlan`."""
        title = " ".join(self._said["plan"])
        if not title or self._lasts is None:
            raise BadPlan("it needs a line `plan TITLE` and a line `lasts SECONDS`")
        owner = " ".join(self._said["owner"])
        works, faults = tuple(self._work), tuple(self._faults)
        return Plan(title, owner, *self._lasts, works, faults, tuple(self._always), tuple(self._eventually))


def _lasts(rest: str) -> tuple[float, float]:
    said = re.fullmatch(r"(\S+?)(?:, then (\S+) of calm)?", rest)
    if said is None:
        raise BadPlan(f"lasts {rest!r}: it should be like `lasts 60` or `lasts 60, then 10 of calm`")
    return _number("lasts", said[1]), CALM if said[2] is None else _number("calm", said[2])


def _work(rest: str) -> Work:
    word, *pairs = rest.split() or [""]
    settings = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and value):
            raise BadPlan(f"work {word}: {pair!r} should be name=value")
        settings.append((_name(name), value))
    if len({name for name, _ in settings}) < len(settings):
        raise BadPlan(f"work {word}: something is set twice")
    return Work(_name(word), tuple(settings))


def _fault(rest: str) -> Fault:
    words = rest.split()
    times = {word: value for word, value in pairwise(words) if word in {"from", "until"}}
    told = [word for at, word in enumerate(words) if word not in times and not (at and words[at - 1] in times)]
    if len(told) < 2 or len(words) != len(told) + 2 * len(times):
        raise BadPlan(f"fault {rest!r}: it should be like `fault pricing latency ms=200 from 10 until 20`")
    begins = _number("from", times.get("from", "0"))
    ends = _number("until", times["until"]) if "until" in times else math.inf
    return Fault(told[0], parse(told[1], told[2:]), begins, ends)


def _promise(rest: str) -> Promise:
    said = re.fullmatch(r"(\S+) within (\S+)", rest)
    if said is None:
        raise BadPlan(f"eventually {rest!r}: it should be like `eventually whole within 5`")
    return Promise(_name(said[1]), _number("within", said[2]))


def _name(word: str) -> str:
    if NAME.fullmatch(word) is None:
        raise BadPlan(f"{word!r} is no name: small letters, digits and dashes")
    return word


def _number(what: str, text: str) -> float:
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text) is None:
        raise BadPlan(f"{what}: {text!r} should be seconds, or another number from 0 up")
    return float(text)


def _shown(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".")
