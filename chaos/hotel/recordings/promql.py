"""What an expression of PromQL reads: its selectors, word by word, and nothing that is not understood.

`promtool` says whether an expression is one. Which metric and which label it means, it does not ask: `selectors` does,
so that a rule about a metric that nobody exports is found before the night in which it should have fired.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

WORDS: Final = re.compile(
    r"""\s+
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<number>\d+(?:\.\d+)?(?![\w.])|\d+(?:\.\d+)?(?:ms|[smhdwy])(?:\d+[smhdwy])*)
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){}\[\],])""",
    re.VERBOSE,
)
KEYWORDS: Final = frozenset({"and", "or", "unless", "offset", "bool"})
GROUPINGS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
AGGREGATIONS: Final = frozenset({"sum", "min", "max", "avg", "count", "group", "quantile"})
OVER_TIME: Final = frozenset(
    {"increase", "rate", "delta", "changes", "min_over_time", "max_over_time", "avg_over_time"}
)
FUNCTIONS: Final = frozenset(
    {*AGGREGATIONS, *OVER_TIME, "absent", "absent_over_time", "clamp_min", "histogram_quantile", "time", "vector"}
)
COMPARED: Final = frozenset({"=", "!=", "=~", "!~"})


class BadExpression(Exception):
    """An expression that is not understood; the message says from where on."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """What a label has to be."""

    label: str
    sign: str
    value: str

    def fits(self, labels: Mapping[str, str]) -> bool:
        there = labels.get(self.label, "")
        if self.sign in {"=", "!="}:
            return (there == self.value) is (self.sign == "=")
        return (re.fullmatch(self.value, there) is not None) is (self.sign == "=~")

    def words(self) -> tuple[str, ...]:
        """The values that it names, where it can be told."""
        plain = re.fullmatch(r"[\w\s|.:-]*", self.value)
        return tuple(self.value.split("|")) if plain and self.sign in {"=~", "!~"} else (self.value,)


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric, or what a rule records, with what its labels have to be."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    def fits(self, name: str, labels: Mapping[str, str]) -> bool:
        return name == self.name and all(matcher.fits(labels) for matcher in self.matchers)


@dataclass(frozen=True, slots=True)
class Read:
    """What an expression names: `selectors`, and `grouped`, the labels that it groups or joins by."""

    selectors: tuple[Selector, ...]
    grouped: frozenset[str]


def read(expression: str) -> Read:
    """Raises `BadExpression`."""
    words = list(_words(expression))
    found: list[Selector] = []
    grouped: set[str] = set()
    at = 0
    while at < len(words):
        kind, word = words[at]
        after = words[at + 1][1] if at + 1 < len(words) else ""
        if kind != "name" or word in KEYWORDS:
            at += 1
        elif word in GROUPINGS:
            at = _labels(words, at + 1, grouped)
        elif after == "(" or word in FUNCTIONS:
            if word not in FUNCTIONS:
                raise BadExpression(f"no function that is known here is called {word}")
            at += 1
        else:
            matchers, at = _matchers(words, at + 1)
            found.append(Selector(word, matchers))
    return Read(tuple(found), frozenset(grouped))


def _words(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expression):
        word = WORDS.match(expression, at)
        if word is None:
            raise BadExpression(f"not understood: {expression[at : at + 30]!r}")
        at = word.end()
        if word.lastgroup is not None:
            yield word.lastgroup, word[word.lastgroup]


def _labels(words: list[tuple[str, str]], at: int, grouped: set[str]) -> int:
    """The labels between two parentheses, and where they end."""
    if at >= len(words) or words[at][1] != "(":
        return at
    at += 1
    while words[at][1] != ")":
        kind, word = words[at]
        if kind == "name":
            grouped.add(word)
        elif word != ",":
            raise BadExpression(f"no label: {word}")
        at += 1
    return at + 1


def _matchers(words: list[tuple[str, str]], at: int) -> tuple[tuple[Matcher, ...], int]:
    """What is between two braces, if they are there, and where it ends."""
    if at >= len(words) or words[at][1] != "{":
        return (), at
    at += 1
    found = []
    while words[at][1] != "}":
        (_, label), (_, sign), (kind, value) = words[at : at + 3]
        if sign not in COMPARED or kind != "text":
            raise BadExpression(f"no matcher: {label}{sign}{value}")
        found.append(Matcher(label, sign, value[1:-1]))
        at += 3
        if words[at][1] == ",":
            at += 1
    return tuple(found), at + 1
