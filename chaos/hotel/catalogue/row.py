"""One row of the catalogue of failures: what is declared of it, by hand.

Whether a thing is there is never declared: `evidence.py` looks it up. What a row names is either claimed or to come:

    claimed   tests and fixtures always, and whatever is not in `later`: missing, it is a false claim, and CI fails
    to come   a kind of thing in `later`: missing, it is shown as not there yet; it counts from the moment it is there

So the table improves by itself as work lands, and a word taken out of `later` is a word that is kept from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

METRIC, ALERT, RUNBOOK, GAMEDAY = "metric", "alert", "runbook", "gameday"
KINDS: Final = (METRIC, ALERT, RUNBOOK, GAMEDAY)
LATER: Final = (RUNBOOK, GAMEDAY)  # of every row that says nothing else
LATER_AND_METRIC: Final = (METRIC, *LATER)


class Severity(Enum):
    """Who hears an alert, and how soon (FAILURE_MODES section 4)."""

    P1 = "somebody is called within 5 min"
    P2 = "on-call looks within the hour"
    P3 = "a ticket"


@dataclass(frozen=True, slots=True)
class Metric:
    """What shows the failure: a name as Prometheus has it, and the labels that single this failure out."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        shown = ",".join(f'{name}="{value}"' for name, value in self.labels)
        return f"{self.name}{{{shown}}}" if shown else self.name


@dataclass(frozen=True, slots=True)
class Inject:
    """A failure that a toxic of `chaos.toxics` makes: `target` is a service or a store, `toxic` its words."""

    target: str
    toxic: str


@dataclass(frozen=True, slots=True)
class Staged:
    """A failure that no toxic makes: `how` says what is done instead."""

    how: str


Fixture: TypeAlias = Inject | Staged


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of FAILURE_MODES section 1 in its words, and what stands for it here.

    `tests` are pytest node ids without parameters. `gap` is what of the row no test covers though some cover it: the
    row is then covered in part. `gamedays` are the exercises in which it happens.
    """

    id: str
    failure: str
    detection: str
    impact: str
    mitigation: str
    runbook: str
    metric: Metric
    severity: Severity
    fixtures: tuple[Fixture, ...]
    tests: tuple[str, ...] = ()
    gap: str = ""
    gamedays: tuple[str, ...] = ()
    later: tuple[str, ...] = LATER

    @property
    def alert(self) -> str:
        """The alert's name: its runbook's, as Prometheus writes names. `…/iam-refresh-down` is `BffIamRefreshDown`."""
        words = self.runbook.rpartition("/")[2].split("-")
        return "Bff" + "".join(word.capitalize() for word in words)


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the specification, in its order."""

    number: str
    title: str
    rows: tuple[Row, ...]


def calls(service: str, operation: str = "") -> Metric:
    """The calls of one service by outcome, or those of one of its operations."""
    return Metric("bff_upstream_calls_total", _only(service=service, operation=operation))


def store_up(store: str) -> Metric:
    """Whether a store answers."""
    return Metric("bff_store_up", _only(store=store))


def _only(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in labels.items() if value)
