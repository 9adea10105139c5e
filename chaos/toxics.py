"""The vocabulary of faults: one frozen type each, the same word wherever it is used.

A toxic says *what* goes wrong; who does it is elsewhere: to sockets where a socket can do it (`SOCKET`), in the service
where only it can know (`ANSWER`), to a process where the store is one (`STORE`). Each docstring says what the fault
looks like in production, because a fault nobody has met is a fault nobody prepares for.

    parse("latency", ["ms=200", "jitter=50", "rate=0.3"])  ->  Latency(rate=0.3, ms=200.0, jitter=50.0)
    str(...)                                               ->  "latency ms=200 jitter=50 rate=0.3"
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final


class BadToxic(ValueError):
    """No such toxic, or a value it cannot have; the message is one line for the person who typed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """What goes wrong, for a part `rate` of all connections or answers (1: every one)."""

    word: ClassVar[str] = ""
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise BadToxic(f"{self.word}: rate should be over 0 and at most 1")
        for name in (field.name for field in dataclasses.fields(self)):
            value = getattr(self, name)
            if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
                raise BadToxic(f"{self.word}: {_shown(name)} should be a number from 0 up")

    def __str__(self) -> str:
        fields = sorted(dataclasses.fields(self), key=lambda field: field.name == "rate")
        changed = [(field.name, getattr(self, field.name)) for field in fields if not _is_default(self, field)]
        return " ".join([self.word, *(f"{_shown(name)}={_written(value)}" for name, value in changed)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Toxic):
    """It answers, with an error: a deployment gone wrong, a dependency of its own down, a gateway's own page."""

    word: ClassVar[str] = "status"
    code: int = 503

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        if not 400 <= self.code <= 599:
            raise BadToxic("status: code should be from 400 to 599")


@dataclass(frozen=True, slots=True, kw_only=True)
class Down(Toxic):
    """Nobody listens: the process is gone, and connections are refused at once."""

    word: ClassVar[str] = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang(Toxic):
    """Connections are taken and nothing comes: a deadlock, an exhausted pool, a stopped process, a lost route."""

    word: ClassVar[str] = "hang"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(Toxic):
    """Every answer is late by `ms` milliseconds, give or take `jitter`: a full disk, a slow query, a far region."""

    word: ClassVar[str] = "latency"
    ms: float = 1000.0
    jitter: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip(Toxic):
    """The answer comes a few bytes at a time: a lossy link, a proxy out of memory. Beats every per-read timeout."""

    word: ClassVar[str] = "drip"
    bytes_per_second: float = 1.0

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        if not self.bytes_per_second:
            raise BadToxic("drip: bytes-per-second should be over 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Toxic):
    """The connection breaks after so many bytes of the answer: a crash in mid-answer, an idle timeout of a balancer."""

    word: ClassVar[str] = "reset"
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Giant(Toxic):
    """The answer is far larger than anybody expects: a missing page limit, a join without a condition."""

    word: ClassVar[str] = "giant"
    bytes: int = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect(Toxic):
    """It redirects to itself, for ever: a gateway that wants a slash, a login page in front of a service."""

    word: ClassVar[str] = "redirect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage(Toxic):
    """A 200 with HTML in it: a maintenance page, a captive portal, a web server's own welcome."""

    word: ClassVar[str] = "garbage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift(Toxic):
    """A field has another type, or is missing: a deployment of the service that nobody told us of.

    `field` is its dotted path, the last field of the answer where it is not given; `missing` removes it.
    """

    word: ClassVar[str] = "drift"
    field: str = ""
    missing: bool = False

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        if self.field.split() not in ([], [self.field]):
            raise BadToxic("drift: field should be a dotted path, without spaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongTenant(Toxic):
    """The answer is another tenant's: a cache key without its tenant, a connection whose context was not reset."""

    word: ClassVar[str] = "wrong-tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseAnswer(Toxic):
    """The work is done and its answer never comes: the worst hour for whoever has to know whether it was."""

    word: ClassVar[str] = "lose-answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Toxic):
    """The process is killed: out of memory, a node lost."""

    word: ClassVar[str] = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Toxic):
    """The process is stopped and its sockets stay open: a hypervisor's pause, a disk that does not answer."""

    word: ClassVar[str] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Toxic):
    """The end of `kill` and `stop`: the process runs again, with what it had written."""

    word: ClassVar[str] = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover(Toxic):
    """The standby takes over, without what was written in the last `lost` seconds, after `takes` seconds of nobody.

    The primary's disk or its zone is gone, or somebody upgrades it: what was acknowledged and not yet replicated never
    happened.
    """

    word: ClassVar[str] = "failover"
    lost: float = 1.0
    takes: float = 1.0


SOCKET: Final[tuple[type[Toxic], ...]] = (Down, Hang, Latency, Drip, Reset)
ANSWER: Final[tuple[type[Toxic], ...]] = (Status, Giant, Redirect, Garbage, Drift, WrongTenant, LoseAnswer)
STORE: Final[tuple[type[Toxic], ...]] = (Kill, Stop, Start, Failover)
WORDS: Final[Mapping[str, type[Toxic]]] = {kind.word: kind for kind in (*SOCKET, *ANSWER, *STORE)}


def parse(word: str, pairs: Iterable[str] = ()) -> Toxic:
    """A toxic as a person writes it. Raises `BadToxic`, in one line, for anything it does not know."""
    kind = WORDS.get(word)
    if kind is None:
        raise BadToxic(f"no toxic is called {word!r}: there are {', '.join(WORDS)}")
    known = {_shown(field.name): field for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in known:
            raise BadToxic(f"{word}: {pair!r} is not one of {', '.join(f'{one}=…' for one in known)}")
        field = known[name]
        if field.name in values:
            raise BadToxic(f"{word}: {name} is given twice")
        values[field.name] = _value(word, name, str(field.type), text)
    return kind(**values)


def split(line: str) -> Toxic:
    """A toxic out of one line, as `str` writes it. Raises `BadToxic`."""
    word, *pairs = line.split() or [""]
    return parse(word, pairs)


def _value(word: str, name: str, kind: str, text: str) -> Any:
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        return {"int": int, "float": float, "str": str}[kind](text)
    except (KeyError, ValueError):
        raise BadToxic(f"{word}: {name} should be {_KINDS[kind]}, not {text!r}") from None


_KINDS: Final = {"bool": "true or false", "int": "a whole number", "float": "a number"}


def _shown(name: str) -> str:
    return name.replace("_", "-")


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _is_default(toxic: Toxic, field: dataclasses.Field[Any]) -> bool:
    return bool(getattr(toxic, field.name) == field.default)
