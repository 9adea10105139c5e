"""What a row of the table of metrics is: a metric, and the facts that it hears of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, TypeAlias

from prometheus_client import Counter, Gauge, Histogram

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.8, 1.0, 2.0, 5.0)

Kind: TypeAlias = type[Counter | Gauge | Histogram]
ADDS: Final[dict[Kind, str]] = {Counter: "inc", Gauge: "set", Histogram: "observe"}  # what a figure does to each kind


@dataclass(frozen=True, slots=True)
class From:
    """A fact that a metric hears of: the `figure` in it, and which of its fields are the labels, in their order.

    Where no fields are named they are called as the labels are.
    """

    fact: type
    figure: Callable[[Any], float] = lambda _: 1
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A metric: its name (a counter's gets `_total` behind it), what it says, its labels, and whom it hears."""

    kind: Kind
    name: str
    about: str
    labels: tuple[str, ...]
    heard: tuple[From, ...]
    buckets: tuple[float, ...] = SECONDS  # a histogram's
    begins: float = 0.0  # what a gauge says before it has heard anything


def counts(name: str, about: str, *heard: From | type, labels: tuple[str, ...] = ()) -> Row:
    """A counter."""
    return Row(Counter, name, about, labels, tuple(one if isinstance(one, From) else From(one) for one in heard))


def shows(name: str, about: str, *heard: From, labels: tuple[str, ...] = (), begins: float = 0.0) -> Row:
    """A gauge; `begins` is what it says before it has heard anything."""
    return Row(Gauge, name, about, labels, heard, begins=begins)


def times(
    name: str, about: str, fact: type, *, labels: tuple[str, ...] = (), field: str = "seconds", buckets: Any = SECONDS
) -> Row:
    """A histogram of one of a fact's fields, in seconds."""
    return Row(Histogram, name, about, labels, (From(fact, attrgetter(field)),), buckets)
