"""From scenes to files of tests: each is filmed, promtool is asked when its rule fires, and what it read is written.

How long it took is counted from the fault to the first look at which the rule fires. The fault comes a second after a
look, so it is nearly as long as it can be; a real Prometheus judges up to one more interval after it has looked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos.hotel.catalogue import ROWS, SECTIONS
from chaos.hotel.recordings import written
from chaos.hotel.recordings.promtool import promtool, unmet
from chaos.hotel.recordings.rules import PROMETHEUS, Rule, reads
from chaos.hotel.recordings.scene import HOUR, Scene
from chaos.hotel.recordings.tape import EVERY, Series, Tape, Values
from chaos.sim.fork import Forked

TESTS: Final = PROMETHEUS / "tests"
STEMS: Final = {
    section.number: name
    for section, name in zip(SECTIONS, ("upstreams", "stores", "edge", "application", "cost"), strict=True)
}
CALM_TESTS: Final = TESTS / "quiet" / "morning.yaml"
AFTER: Final = 60.0  # seconds of a recording that are kept after the alert has fired


class Unheard(Exception):
    """A rule does not do what a scene is for; the message says which."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What of a scene's recording its rule reads, and when it fired, in seconds; None of one that must not."""

    scene: Scene
    rule: Rule
    series: Mapping[Series, Values]
    fired: float | None

    @property
    def severity(self) -> str:
        return self.rule.labels["severity"]

    @property
    def took(self) -> float | None:
        """Seconds from the fault to the alert."""
        return None if self.fired is None else self.fired - self.scene.fault_at

    @property
    def last(self) -> float:
        """Seconds to its last look."""
        return (max(map(len, self.series.values())) - 1) * EVERY


def section_of(row: str) -> str:
    """The file of rules that a row's are in, without its ending."""
    return next(STEMS[section.number] for section in SECTIONS if any(one.id == row for one in section.rows))


def test_of(row: str) -> Path:
    """The file with the tests of a row's rules."""
    (found,) = (one for one in ROWS if one.id == row)
    return TESTS / section_of(row) / f"{found.runbook.rpartition('/')[2]}.yaml"


def judged(scene: Scene, rules: Sequence[Rule], recorded: Mapping[Series, Values]) -> Cut:
    """What the rule of `scene` makes of a recording, as a test. Raises `Unheard`, `NoPromtool`."""
    rule = _rule_of(scene, rules)
    series = written.of_a_rule(recorded, reads(rule, rules))
    if not series:
        raise Unheard(f"nothing that {rule.said} reads was ever there: {scene.what}")
    steps = [at * EVERY for at in range(max(map(len, series.values())))]
    fired = firing_at(rule, rules, series, [at for at in steps if at >= scene.fault_at - EVERY])
    if fired and fired[0] < scene.fault_at:
        raise Unheard(f"{rule.said} fires before anything is wrong: {scene.what}")
    if scene.blip:
        if fired:
            raise Unheard(f"{rule.said} fires at {fired[0]:.0f} s, and should not: {scene.what}")
        return Cut(scene, rule, series, None)
    if not fired:
        raise Unheard(f"{rule.said} does not fire: {scene.what}")
    return Cut(scene, rule, series, fired[0])


def _rule_of(scene: Scene, rules: Iterable[Rule]) -> Rule:
    found = [rule for rule in rules if rule.row == scene.row and rule.sign == scene.sign]
    if len(found) != 1:
        raise Unheard(f"{len(found)} rules have f={scene.row} and sign={scene.sign!r}")
    return found[0]


def firing_at(
    rule: Rule, rules: Sequence[Rule], series: Mapping[Series, Values], moments: Sequence[float]
) -> list[float]:
    """Of those moments the ones at which its alert fires, in seconds. Raises `NoPromtool`."""
    with tempfile.TemporaryDirectory(dir=TESTS) as folder:  # beside the others: it finds the rules where they do
        path = Path(folder) / "asked.yaml"
        case = written.case("asked", series, fires=[(rule, at) for at in moments])
        path.write_text(written.head(rules, (rule.file,)) + case, encoding="utf-8")
        _, said = promtool("test", "rules", path)
    missed = unmet(said)
    if not missed <= set(moments) or (not missed and "SUCCESS" not in said):
        raise Unheard(f"promtool does not understand what it is asked of {rule.said}: {said[:500]}")
    return [at for at in moments if at not in missed]


def write_quiet(rules: Sequence[Rule], tape: Tape | Forked) -> None:
    """The file with a recording in which nothing is wrong: nobody is called, whatever the rule. Raises `Forked`."""
    if isinstance(tape, Forked):
        raise tape
    series = written.of_a_rule(tape.series(), {selector for rule in rules for selector in reads(rule, rules)})
    last = (max(map(len, series.values())) - 1) * EVERY
    alerts = sorted({rule.alert for rule in rules if rule.alert})
    files = sorted({rule.file for rule in rules if rule.alert})
    moments = [part * last // (4 * EVERY) * 4 * EVERY for part in (0.25, 0.5, 1.0)]
    case = written.case("nobody is called", series, silent=[(alert, at) for at in moments for alert in alerts])
    CALM_TESTS.parent.mkdir(parents=True, exist_ok=True)
    CALM_TESTS.write_text(written.NOTE + written.head(rules, files, 4 * EVERY) + case, encoding="utf-8")


def write(row: str, cuts: Sequence[Cut], rules: Sequence[Rule]) -> Path:
    """The file of a row's tests."""
    path, step = test_of(row), _step(cuts)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = written.NOTE + written.head(rules, (f"{section_of(row)}.yaml",), step)
    path.write_text(head + "".join(case_of(one, step) for one in cuts), encoding="utf-8")
    return path


def _step(cuts: Sequence[Cut]) -> float:
    """Seconds between two evaluations: what compares with an hour ago needs few of them, and each costs time."""
    if max(one.last for one in cuts) <= HOUR / 2:
        return EVERY
    at_once = all(one.rule.wait == "0s" and one.scene.day.calm >= HOUR for one in cuts)
    return 20 * EVERY if at_once else 4 * EVERY


def case_of(one: Cut, step: float) -> str:
    """A recording that begins so late that what is asked about it falls on an evaluation."""
    called = f"{one.scene.row}{f' ({one.scene.sign})' if one.scene.sign else ''}"
    asked = -(-(one.scene.fault_at + (one.scene.heals or EVERY)) // EVERY) * EVERY if one.fired is None else one.fired
    late = -asked % step
    waits = step if one.rule.wait != "0s" and step > EVERY else 0.0
    at = asked + late + waits
    length = round((asked + waits + max(AFTER, step)) / EVERY) + 1
    gap: list[float | None] = [None] * round(late / EVERY)
    series = {name: [*gap, *values[: length if one.fired else None]] for name, values in one.series.items()}
    if one.fired is not None:
        name = f"{called} fires {one.took:.0f} s after: {one.scene.what}"
        return written.case(name, series, fires=[(one.rule, at)], waits=[(one.rule, at - waits - step)])
    moments = [at + turn * step for turn in range(10) if at + turn * step <= max(at, one.last + late)]
    name = f"{called} does not fire: {one.scene.what}"
    if one.rule.sign:  # another rule of the same alert may well fire
        return written.case(name, series, waits=[(one.rule, moment) for moment in moments])
    return written.case(name, series, silent=[(one.rule.alert, moment) for moment in moments])
