"""Tests for `promtool test rules`, as text: a recording, and at which moments an alert has to fire or must not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from chaos.hotel.recordings.promtool import duration
from chaos.hotel.recordings.rules import RECORDED, groups
from chaos.hotel.recordings.tape import EVERY, Series, Values, compact, shown

if TYPE_CHECKING:
    from chaos.hotel.recordings.promql import Selector
    from chaos.hotel.recordings.rules import Rule

GROUPED: Final = ("alertname", "f", "severity", "runbook", "sign")
NOTE: Final = """\
# Written by `python -m chaos.hotel.recordings`: what a server of the virtual world showed, each 15 seconds, of the
# series that a rule reads. Not to be edited: change the scene (chaos/hotel/recordings/scenes) or the rule, and film it.
"""


def of_a_rule(recorded: Mapping[Series, Values], wanted: Iterable[Selector]) -> dict[Series, Values]:
    """What of the recording is read, by name and labels."""
    selectors = tuple(wanted)
    kept = {one: values for one, values in recorded.items() if any(s.fits(one[0], dict(one[1])) for s in selectors)}
    return dict(sorted(kept.items()))


def firing(rule: Rule) -> tuple[str, str]:
    """An expression that is 1 while the alert of `rule` fires, and the labels that it has then."""
    labels = {"alertname": rule.alert, **rule.labels}
    shown_labels = {name: labels[name] for name in GROUPED if name in labels}
    chosen = f'alertname="{rule.alert}", alertstate="firing"' + (f', sign="{rule.sign}"' if rule.sign else "")
    by = ", ".join(shown_labels)
    said = ", ".join(f'{name}="{value}"' for name, value in shown_labels.items())
    return f"group by ({by}) (ALERTS{{{chosen}}})", f"{{{said}}}"


def head(rules: Sequence[Rule], files: Sequence[str], step: float = EVERY) -> str:
    """What every file of tests begins with: `files` are the rules that it is about, beside what is recorded.

    They are evaluated every `step` seconds.
    """
    there = [rule for rule in rules if rule.file in {RECORDED, *files}]
    order = "\n".join(f"  - {name}" for name in groups(there))
    names = "\n".join(f"  - ../../rules/{name}" for name in dict.fromkeys((RECORDED, *files)))
    return f"rule_files:\n{names}\nevaluation_interval: {step:.0f}s\ngroup_eval_order:\n{order}\ntests:\n"


def case(
    name: str,
    series: Mapping[Series, Values],
    *,
    silent: Iterable[tuple[str, float]] = (),
    fires: Iterable[tuple[Rule, float]] = (),
    waits: Iterable[tuple[Rule, float]] = (),
) -> str:
    """One test. At their moments, `silent` alerts must not fire, rules of `fires` have to, those of `waits` not yet."""
    lines = [f"  - name: {_quoted(name)}", f"    interval: {EVERY:.0f}s", "    input_series:"]
    for one, values in series.items():
        lines += [f"      - series: {_quoted(shown(one))}", f"        values: {_quoted(compact(values))}"]
    asked = [*(_asked(rule, at, True) for rule, at in fires), *(_asked(rule, at, False) for rule, at in waits)]
    quiet = [line for alert, at in silent for line in _must_not(alert, at)]
    if quiet:
        lines += ["    alert_rule_test:", *quiet]
    if asked:
        lines += ["    promql_expr_test:", *asked]
    return "\n".join([*lines, ""])


def _must_not(alert: str, at: float) -> tuple[str, str, str]:
    return f"      - eval_time: {duration(at)}", f"        alertname: {alert}", "        exp_alerts: []"


def _asked(rule: Rule, at: float, fires: bool) -> str:
    expression, labels = firing(rule)
    samples = f"[{{labels: {_quoted(labels)}, value: 1}}]" if fires else "[]"
    return f"      - expr: {_quoted(expression)}\n        eval_time: {duration(at)}\n        exp_samples: {samples}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
