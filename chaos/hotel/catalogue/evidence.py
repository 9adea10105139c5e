"""What is really there of what the rows name, looked up in the files: nobody can claim it, and nobody has to.

    test       the function is in its file and is not skipped; `worlds.py` says whether it is virtual or live
    metric     `bff/meters.py` makes it, and the server has the operation or the store of its labels
    alert      a rule of `deploy/prometheus/rules` has its name; tested, when a file of `deploy/prometheus/tests` has it
    runbook    a file of `deploy/runbooks`
    game-day   a file of `chaos/hotel/gamedays`

`look` is the evidence of one row; `false_claims` are the lines that fail CI.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from bff.meters import Meters
from bff.upstreams.services import OPERATIONS, SERVICES
from chaos.hotel.catalogue.row import ALERT, GAMEDAY, KINDS, METRIC, RUNBOOK, Inject, Metric, Row
from chaos.hotel.catalogue.worlds import FalseClaim, Kind, Tests
from chaos.live.stores import NAMES as STORES
from chaos.toxics import STORE, BadToxic, split

ROOT: Final = Path(__file__).parents[3]
TARGETS: Final = frozenset({*SERVICES, "pubsub"})
RULE: Final = re.compile(r"""^\s*(?:-\s+)?alert:\s*["']?(\w+)""", re.MULTILINE)
TESTED: Final = re.compile(r"""^\s*(?:-\s+)?alertname:\s*["']?(\w+)""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is there for one row. `missing` are kinds of things that are not there yet, `wrong` false claims."""

    exported: bool
    armed: bool
    alert_tested: bool
    written: bool
    gamedays: tuple[str, ...]
    virtual: tuple[str, ...]
    live: tuple[str, ...]
    missing: tuple[str, ...]
    wrong: tuple[str, ...]


class Sources:
    """The repository at `root`, read once."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._tests = Tests(root)

    @property
    def here(self) -> bool:
        """Whether the tests are: an installed package has none beside it."""
        return (self._root / "tests").is_dir()

    def exported(self, metric: Metric) -> bool:
        """Whether the server has this metric, and what its labels name."""
        labels = dict(metric.labels)
        operations = {
            (one.service, one.name)
            for one in OPERATIONS
            if labels.get("service", one.service) == one.service and labels.get("operation", one.name) == one.name
        }
        return metric.name in self._metrics and bool(operations) and labels.get("store", STORES[0]) in STORES

    def armed(self, alert: str) -> bool:
        """Whether a rule of Prometheus has this name."""
        return alert in self._alerts

    def alert_tested(self, alert: str) -> bool:
        """Whether a test of Prometheus's rules asks for it."""
        return alert in self._alert_tests

    def written(self, runbook: str) -> bool:
        """Whether there is something to read."""
        return self._has(f"deploy/runbooks/{runbook}.md")

    def gameday(self, name: str) -> bool:
        """Whether the exercise can be run."""
        return self._has(f"chaos/hotel/gamedays/{name.replace('-', '_')}.py")

    def kind(self, node: str) -> Kind:
        """In which world a test runs. Raises `FalseClaim` where it proves nothing."""
        return self._tests.kind(node)

    @cached_property
    def _metrics(self) -> frozenset[str]:
        families = Meters().registry.collect()
        return frozenset(f"{one.name}_total" if one.type == "counter" else one.name for one in families)

    @cached_property
    def _alerts(self) -> frozenset[str]:
        return self._found("deploy/prometheus/rules", RULE)

    @cached_property
    def _alert_tests(self) -> frozenset[str]:
        return self._found("deploy/prometheus/tests", TESTED)

    def _found(self, folder: str, pattern: re.Pattern[str]) -> frozenset[str]:
        files = sorted((self._root / folder).glob("**/*.y*ml"))
        return frozenset(name for path in files for name in pattern.findall(path.read_text(encoding="utf-8")))

    def _has(self, name: str) -> bool:
        path = self._root / name
        return path.is_file() and path.stat().st_size > 0


def look(row: Row, sources: Sources) -> Evidence:
    """What is there for `row`."""
    kinds: dict[str, Kind] = {}
    wrong = [*_structure(row), *_fixtures_wrong(row)]
    for node in row.tests:
        try:
            kinds[node] = sources.kind(node)
        except FalseClaim as why:
            wrong.append(str(why))
    gamedays = tuple(name for name in row.gamedays if sources.gameday(name))
    there = {
        METRIC: sources.exported(row.metric),
        ALERT: sources.armed(row.alert),
        RUNBOOK: sources.written(row.runbook),
        GAMEDAY: gamedays == row.gamedays,
    }
    missing = tuple(kind for kind in KINDS if not there[kind])
    wrong += [f"{_named(row, kind)} is not there" for kind in missing if kind not in row.later]
    return Evidence(
        exported=there[METRIC],
        armed=there[ALERT],
        alert_tested=there[ALERT] and sources.alert_tested(row.alert),
        written=there[RUNBOOK],
        gamedays=gamedays,
        virtual=tuple(node for node, kind in kinds.items() if kind is Kind.VIRTUAL),
        live=tuple(node for node, kind in kinds.items() if kind is Kind.LIVE),
        missing=missing,
        wrong=tuple(wrong),
    )


def _named(row: Row, kind: str) -> str:
    names = {METRIC: str(row.metric), ALERT: row.alert, RUNBOOK: row.runbook, GAMEDAY: ", ".join(row.gamedays)}
    return f"{kind} {names[kind]}"


def _structure(row: Row) -> Iterator[str]:
    yield from (
        f"{word!r} cannot come later: it is none of {', '.join(KINDS)}" for word in row.later if word not in KINDS
    )
    yield from (f"{node} is named twice" for node, times in Counter(row.tests).items() if times > 1)
    if not row.fixtures:
        yield "nothing says how it is made to happen"
    if row.gap and not row.tests:
        yield "there is no gap where there are no tests"


def _fixtures_wrong(row: Row) -> Iterator[str]:
    for fixture in row.fixtures:
        if isinstance(fixture, Inject) and (why := _refused(fixture)):
            yield why


def _refused(fixture: Inject) -> str:
    try:
        toxic = split(fixture.toxic)
    except BadToxic as why:
        return str(why)
    if fixture.target not in TARGETS and fixture.target not in STORES:
        return f"no service and no store is called {fixture.target!r}"
    if isinstance(toxic, STORE) != (fixture.target in STORES):
        return f"{toxic.word} cannot be done to {fixture.target}"
    return ""


def false_claims(rows: Iterable[Row], sources: Sources) -> tuple[str, ...]:
    """One line for every false claim, beginning with the row's id. None when all is so."""
    return tuple(f"{row.id}: {why}" for row in rows for why in look(row, sources).wrong)
