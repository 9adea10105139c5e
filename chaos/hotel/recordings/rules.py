"""The rules of `deploy/prometheus/rules` as values, and which series each of them reads in the end.

A rule that reads what another one records reads what that one reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from chaos.hotel.recordings.promql import Matcher, Selector, read

PROMETHEUS: Final = Path(__file__).parents[3] / "deploy" / "prometheus"
RULES: Final = PROMETHEUS / "rules"
RECORDED: Final = "recorded.yaml"


class _Line(msgspec.Struct, rename={"wait": "for"}, forbid_unknown_fields=True):
    expr: str
    alert: str = ""
    record: str = ""
    wait: str = "0s"
    keep_firing_for: str = "0s"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    rules: list[_Line]
    interval: str = "15s"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    groups: list[_Group]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `alert` is '' where it records, `sign` tells the rules of one alert apart, `wait` is its `for`."""

    file: str
    group: str
    alert: str
    record: str
    expression: str
    wait: str
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def sign(self) -> str:
        return self.labels.get("sign", "")

    @property
    def row(self) -> str:
        return self.labels.get("f", "")

    @property
    def said(self) -> str:
        """How a person calls it."""
        return f"{self.alert}{f' ({self.sign})' if self.sign else ''}"


def load(folder: Path = RULES) -> tuple[Rule, ...]:
    """Every rule, file by file, what is recorded first. Raises `msgspec.ValidationError` for what is no rule."""
    files = sorted(folder.glob("*.yaml"), key=lambda path: (path.name != RECORDED, path.name))
    return tuple(rule for path in files for rule in _loaded(path))


def _loaded(path: Path) -> Iterator[Rule]:
    for group in msgspec.yaml.decode(path.read_bytes(), type=_File).groups:
        for one in group.rules:
            yield Rule(path.name, group.name, one.alert, one.record, one.expr, one.wait, one.labels, one.annotations)


def groups(rules: Iterable[Rule]) -> list[str]:
    """The groups in the order in which they are to be evaluated: what is recorded first."""
    return list(dict.fromkeys(rule.group for rule in rules))


def reads(rule: Rule, rules: Iterable[Rule]) -> frozenset[Selector]:
    """The selectors of what servers export that `rule` comes down to. Raises `BadExpression`.

    What a label of a recorded series has to be, it has to be in what that is recorded from, where the label is kept.
    """
    recorded = {one.record: one for one in rules if one.record}
    found: set[Selector] = set()
    left: list[tuple[Rule, tuple[Matcher, ...]]] = [(rule, ())]
    seen: set[Selector] = set()
    while left:
        one, narrowed = left.pop()
        there = read(one.expression)
        kept = tuple(matcher for matcher in narrowed if not there.grouped or matcher.label in there.grouped)
        for selector in there.selectors:
            narrower = Selector(selector.name, tuple(dict.fromkeys((*selector.matchers, *kept))))
            if selector.name not in recorded:
                found.add(narrower)
            elif narrower not in seen:
                seen.add(narrower)
                left.append((recorded[selector.name], narrower.matchers))
    return frozenset(found)
