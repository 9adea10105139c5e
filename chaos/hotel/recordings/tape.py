"""What Prometheus would have kept: each series of a page that is looked at each 15 seconds, and how it is written.

0+2x240 _x3 480+7x5      promtool's notation: 0, then 240 times 2 more; 3 times nothing; 480, then 5 times 7 more
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

EVERY: Final = 15.0  # seconds between two looks
JOB: Final = "bff"
SAMPLE: Final = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)", re.MULTILINE)
LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
LONG_ENOUGH: Final = 2  # steps alike that are worth a word of their own
DIGITS: Final = 6

Labels: TypeAlias = tuple[tuple[str, str], ...]
Series: TypeAlias = tuple[str, Labels]
Values: TypeAlias = Sequence[float | None]


class Tape:
    """The looks at one instance, one after the other."""

    def __init__(self, instance: str) -> None:
        self._own = (("instance", instance), ("job", JOB))
        self._looks: list[Mapping[Series, float]] = []

    def __len__(self) -> int:
        return len(self._looks)

    def until_now(self) -> Tape:
        """The same, to which nothing is added any more."""
        tape = Tape("")
        tape._own, tape._looks = self._own, list(self._looks)
        return tape

    def look(self, page: str) -> None:
        """What the page shows now, and what Prometheus says itself: that it was there. '' where nobody answers."""
        shown = {(name, tuple(sorted((*labels, *self._own)))): value for name, labels, value in _read(page)}
        self._looks.append({("up", self._own): float(bool(page)), **shown})

    def series(self, length: int | None = None) -> dict[Series, Values]:
        """Every series that there was in the first `length` looks, with a gap where it was not there."""
        looks = self._looks[:length]
        every = dict.fromkeys(one for look in looks for one in look)
        return {one: [look.get(one) for look in looks] for one in every}


def _read(page: str) -> Iterator[tuple[str, Labels, float]]:
    for one in SAMPLE.finditer(page):
        if not one["name"].endswith("_created"):
            yield one["name"], tuple(LABEL.findall(one["labels"] or "")), float(one["value"])


def shown(series: Series) -> str:
    """As a selector is written."""
    name, labels = series
    said = ",".join(f'{label}="{value}"' for label, value in labels)
    return f"{name}{{{said}}}"


def compact(values: Values) -> str:
    """In promtool's notation. Steps that are alike are one word, whatever figure a float ends with."""
    return " ".join(_compacted([None if value is None else _rounded(value) for value in values]))


def _compacted(values: Values) -> Iterator[str]:
    at = 0
    while at < len(values):
        first = values[at]
        if first is None:
            end = _while_none(values, at)
            yield f"_x{end - at}"
            at = end
            continue
        step, times = _alike(values, at)
        if times >= LONG_ENOUGH:
            sign = "-" if step < 0 else "+"
            yield f"{_figure(first)}{sign}{_figure(abs(step))}x{times}"
            at += times + 1
        else:
            yield _figure(first)
            at += 1


def _while_none(values: Values, at: int) -> int:
    return next((place for place in range(at, len(values)) if values[place] is not None), len(values))


def _alike(values: Values, at: int) -> tuple[float, int]:
    """The step that follows, and how many times it does."""
    pairs = zip(values[at:], values[at + 1 :], strict=False)
    steps: Iterable[float | None] = (None if one is None or two is None else _rounded(two - one) for one, two in pairs)
    step, times = 0.0, 0
    for one in steps:
        if one is None or (times and one != step):
            break
        step, times = one, times + 1
    return step, times


def _rounded(value: float) -> float:
    return round(value, DIGITS)


def _figure(value: float) -> str:
    return f"{value:.{DIGITS}f}".rstrip("0").rstrip(".")
