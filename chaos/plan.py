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
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Final

from chaos.toxics import BadToxic, Toxic, parse

CALM: Final = 10.0
LONGEST: Final = 7 * 86_400.0  # seconds: a plan is an exercise, not an operation
FIELDS: Final = ("plan", "owner", "lasts", "work", "fault", "always", "eventually")
TIMES: Final = frozenset({"from", "until"})
NAME: Final = re.compile(r"[a-z][a-z0-9-]*")


class BadPlan(ValueError):
    """It cannot be read, or cannot be; the message is one line for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something that the fleet does all along, by its name in the cast, with settings as they were written."""

    word: str
    settings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _name(self.word)
        for name, value in self.settings:
            _word(f"{self.word} {_name(name)}", value)
        if len(dict(self.settings)) < len(self.settings):
            raise BadPlan(f"work {self.word}: something is set twice")

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
        _word("fault", self.target)
        for word in str(self.toxic).split():
            _word(f"fault {self.target}", word)
        if self.target in TIMES:
            raise BadPlan(f"fault: {self.target!r} is a word of the time, not a target")
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

    def __post_init__(self) -> None:
        _name(self.check)
        if not self.within >= 0:
            raise BadPlan(f"eventually {self.check}: within {_shown(self.within)} is no time")

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
        for field, text in (("plan", self.title), ("owner", self.owner)):
            if "#" in text or text != " ".join(text.split()):
                raise BadPlan(f"{field} {text!r}: it should be words with a space between them, and no #")
        if not self.title:
            raise BadPlan("a plan needs a title")
        _span(self.lasts, self.calm)
        for name in self.always:
            _name(name)
        for fault in self.faults:
            _begun(fault, self.lasts)
        for promise in self.eventually:
            _bounded(promise, self.calm)

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
    read = _Reading()
    for number, raw in enumerate(text.splitlines(), 1):
        if words := raw.partition("#")[0].split():
            with _on_line(number):
                read.line(number, words[0], " ".join(words[1:]))
    return read.plan()


@contextmanager
def _on_line(number: int) -> Iterator[None]:
    try:
        yield
    except (BadPlan, BadToxic) as error:
        raise BadPlan(f"line {number}: {error}") from None


class _Reading:
    """A plan that is being read; what depends on another line is remembered with its own number."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._lasts: tuple[float, float] | None = None
        self._work: list[Work] = []
        self._faults: list[tuple[int, Fault]] = []
        self._always: list[str] = []
        self._eventually: list[tuple[int, Promise]] = []

    def line(self, number: int, field: str, rest: str) -> None:
        """One line. Raises `BadPlan` or `BadToxic`."""
        match field:
            case "plan" | "owner" if field not in self._said:
                self._said[field] = _said(field, rest)
            case "lasts" if self._lasts is None:
                self._lasts = _lasts(rest)
            case "plan" | "owner" | "lasts":
                raise BadPlan(f"{field} is said twice")
            case "work":
                self._work.append(_work(rest))
            case "fault":
                self._faults.append((number, _fault(rest)))
            case "always":
                self._always.extend(_name(word) for word in _said(field, rest).split())
            case "eventually":
                self._eventually.append((number, _promise(rest)))
            case _:
                raise BadPlan(f"{field!r} is not one of {', '.join(FIELDS)}")

    def plan(self) -> Plan:
        """All of it. Raises `BadPlan`."""
        if "plan" not in self._said or self._lasts is None:
            raise BadPlan("it needs a line `plan TITLE` and a line `lasts SECONDS`")
        lasts, calm = self._lasts
        for number, fault in self._faults:
            with _on_line(number):
                _begun(fault, lasts)
        for number, promise in self._eventually:
            with _on_line(number):
                _bounded(promise, calm)
        faults = tuple(fault for _, fault in self._faults)
        promises = tuple(promise for _, promise in self._eventually)
        title, owner = self._said["plan"], self._said.get("owner", "")
        return Plan(title, owner, lasts, calm, tuple(self._work), faults, tuple(self._always), promises)


def _said(field: str, rest: str) -> str:
    if not rest:
        raise BadPlan(f"{field}: nothing follows")
    return rest


def _lasts(rest: str) -> tuple[float, float]:
    said = re.fullmatch(r"(\S+?)(?:, then (\S+) of calm)?", rest)
    if said is None:
        raise BadPlan(f"lasts {rest!r}: it should be like `lasts 60` or `lasts 60, then 10 of calm`")
    return _span(_number("lasts", said[1]), CALM if said[2] is None else _number("calm", said[2]))


def _span(lasts: float, calm: float) -> tuple[float, float]:
    if not (0 < lasts <= LONGEST and 0 < calm <= LONGEST):
        raise BadPlan("lasts: over 0 and at most a week, and so the calm")
    return lasts, calm


def _begun(fault: Fault, lasts: float) -> None:
    if fault.begins >= lasts:
        raise BadPlan(f"fault {fault}: begins after the {_shown(lasts)} s that the plan lasts")


def _bounded(promise: Promise, calm: float) -> None:
    if promise.within > calm:
        raise BadPlan(f"eventually {promise}: the calm is over by then ({_shown(calm)} s)")


def _work(rest: str) -> Work:
    word, *pairs = rest.split() or [""]
    settings = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and value):
            raise BadPlan(f"work {word}: {pair!r} should be name=value")
        settings.append((name, value))
    return Work(word, tuple(settings))


def _fault(rest: str) -> Fault:
    words = rest.split()
    times = {word: value for word, value in pairwise(words) if word in TIMES}
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
    return Promise(said[1], _number("within", said[2]))


def _name(word: str) -> str:
    if NAME.fullmatch(word) is None:
        raise BadPlan(f"{word!r} is no name: small letters, digits and dashes")
    return word


def _word(what: str, text: str) -> str:
    if "#" in text or text.split() != [text]:
        raise BadPlan(f"{what}: {text!r} should be one word, without #")
    return text


def _number(what: str, text: str) -> float:
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text) is None:
        raise BadPlan(f"{what}: {text!r} should be seconds, or another number from 0 up")
    return float(text)


def _shown(seconds: float) -> str:
    """To the last digit, so that a plan reads what it wrote; never as a power of ten."""
    if not math.isfinite(seconds):
        return str(seconds)
    return f"{Decimal(repr(float(seconds) + 0.0)):f}".removesuffix(".0")
