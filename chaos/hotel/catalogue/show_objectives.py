"""The objectives as a person reads them, and as a program does. Pure: figures in, something to print out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chaos.hotel.catalogue.objectives import FOREIGN, MINUTE, TARGETS, Measured, Target

MARKS: Final = {True: ("●", "green"), False: ("●", "bold red"), None: ("·", "dim")}
VALUES: Final = {True: "", False: "red", None: "dim"}
WORDS: Final = {True: "met", False: "missed", None: "not measured"}
WHAT: Final = 13
VALUE: Final = 9
LONG: Final = 10 * MINUTE  # from which on minutes say more than seconds


def table(found: Sequence[Measured]) -> RenderableType:
    """Every target in the specification's order with what was measured of it, for a terminal of 80 columns or more."""
    parts: list[RenderableType] = []
    for target in TARGETS:
        figures = [one for one in found if one.target is target]
        if figures:
            parts += [_heading(target, figures), _figures(figures), Text()]
    parts += [Text(" Of section 3, not measured", style="bold"), _lines(FOREIGN.items()), Text()]
    return Group(*parts, _total(found))


def _heading(target: Target, figures: Sequence[Measured]) -> RenderableType:
    verdict = _verdict([one.met for one in figures])
    line = Text(" ").append(*MARKS[verdict]).append(f" {target.objective}", style="bold")
    line.append(f"   {target.says}", style="dim")
    worst = [one for one in figures if one.met is False] or [one for one in figures if one.met]
    if len(figures) > 1 and worst:
        value = max if target.least is None else min
        line.append(f"   at {'most' if target.least is None else 'least'} ", style="dim")
        values = [one.value for one in figures if one.value is not None]
        line.append(shown(target, value(values) if values else None), style="bold")
    return line


def _verdict(met: Iterable[bool | None]) -> bool | None:
    judged = [one for one in met if one is not None]
    return all(judged) if judged else None


def _figures(figures: Sequence[Measured]) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=2)
    grid.add_column(width=WHAT)
    grid.add_column(width=VALUE, justify="right")
    grid.add_column(width=7)
    grid.add_column(ratio=1)
    for one in figures:
        mark = Text(" ").append(*MARKS[one.met]) if one.met is False else Text()
        value = Text("–" if one.met is None else shown(one.target, one.value), style=VALUES[one.met])
        where = "" if one.where == "not measured" else one.where
        grid.add_row(mark, Text(one.what), value, Text(where, style="dim"), Text(one.how, style="dim"))
    return grid


def _lines(pairs: Iterable[tuple[str, str]]) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=2)
    grid.add_column(width=WHAT + VALUE + 1)
    grid.add_column(ratio=1)
    for name, why in pairs:
        grid.add_row("", name, Text(why, style="dim"))
    return grid


def shown(target: Target, value: float | None) -> str:
    """A figure as a person writes it."""
    if value is None:
        return "never" if target.unit == "s" else "broken"
    if target.unit == "ratio":
        return f"{value:.2%}".replace("%", " %")
    return (
        f"{value / MINUTE:.1f} min" if value >= LONG else f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"
    )


def _total(found: Sequence[Measured]) -> RenderableType:
    judged = {one.target.name: True for one in found if one.met is not None}
    missed = {one.target.name for one in found if one.met is False}
    words = f" {len(judged) - len(missed)} of {len(judged)} objectives that were measured are met"
    return Text(words, style="bold red" if missed else "bold")


def listed(found: Sequence[Measured]) -> dict[str, Any]:
    """The same as JSON has it: `objectives`, one object a figure, in seconds or as a ratio; and `surfaces`."""
    figures = [
        {
            "name": one.target.name,
            "objective": one.target.objective,
            "target": one.target.says,
            "what": one.what,
            "value": one.value,
            "unit": one.target.unit,
            "verdict": WORDS[one.met],
            "where": one.where,
            "how": one.how,
        }
        for one in found
    ]
    surfaces = [{"surface": name, "verdict": WORDS[None], "why": why} for name, why in FOREIGN.items()]
    return {"objectives": figures, "surfaces": surfaces}
