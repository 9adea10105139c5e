"""What a person at the desk sees: fourteen widgets in a terminal, and of each whether it is true, old or missing.

    ● ok         its content
    ◐ stale      its content, dimmed, and how old it is
    ○ skeleton   grey bars where the content would be, and why

Two of the fourteen, the property and the operator, are the picture's first line; the others have a panel each where
the terminal is large enough, else a line each. Below them is how the desk hears of changes, and what happened last.
Pure: an answer of the dashboard in, something rich can print out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chaos.hotel.fleet.desk import Seen
from chaos.hotel.fleet.news import CONDITIONS, News, names_in, words
from chaos.hotel.fleet.views import WIDGETS, Line, View, Widget, why

Data = Mapping[str, Any]

SHORTEST: Final = 5  # lines of a panel, its border included
TALLEST: Final = 8
AROUND: Final = 2  # lines above and below the panels
SKELETON: Final = ("▒▒▒▒▒▒▒▒▒▒▒▒▒▒  ▒▒▒▒▒▒▒", "▒▒▒▒▒▒▒▒▒  ▒▒▒▒▒▒▒▒▒▒▒▒", "▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒")
MARKS: Final = {"ok": ("●", "green"), "stale": ("◐", "cyan"), "skeleton": ("○", "yellow"), "absent": ("·", "dim")}
HEIGHTS: Final = "▁▂▃▄▅▆▇█"
MOST_NEWS: Final = 5  # lines of what happened, and how it is heard
REMEMBERED: Final = 24  # answers in the line of how long they took


def screen(
    seen: Seen | None,
    *,
    width: int,
    height: int,
    trouble: str = "",
    history: Sequence[float] = (),
    news: News | None = None,
) -> RenderableType:
    """The whole picture, for a terminal of `width` columns and `height` lines.

    `trouble` is why there is no newer one: what was `seen` last stays in view under it, or nothing if there is none.
    `history` are the seconds that answers took, the newest last; `news` what the desk was told, None where nobody
    listens.
    """
    if seen is None:
        return Panel(Text(trouble, style="bold red"), box=box.ROUNDED, width=min(width, 100), border_style="red")
    across = 3 if width >= 96 else 2 if width >= 66 else 1
    rows = -(-len(WIDGETS) // across)
    tall = min(TALLEST, (height - AROUND - (news is not None)) // rows)
    faded = bool(trouble)
    body, taken = (
        (_panels(seen, across, tall, faded), rows * tall) if tall >= SHORTEST else (_lines(seen, faded), len(WIDGETS))
    )
    top = _banner(trouble) if trouble else _head(seen, width)
    below = [] if news is None else _told(news, seen, min(MOST_NEWS, height - AROUND - taken))
    return Group(top, body, _foot(seen, history, width), *below)


def _banner(trouble: str) -> RenderableType:
    return Text(f" {trouble}", style="bold red", no_wrap=True, overflow="ellipsis")


def _head(seen: Seen, width: int) -> RenderableType:
    widgets = seen.body["widgets"]
    place, person = _data(widgets, "property"), _data(widgets, "operator")
    left = Text.assemble(
        (f" {place.get('name', seen.body['propertyId'])}", "bold"),
        (f"  {place.get('businessDate', '')}", ""),
        (f"  {person.get('displayName', '')}", ""),
        *_marks(widgets, "property", "operator"),
        no_wrap=True,
        overflow="ellipsis",
    )
    whole = ("partial", "bold yellow") if seen.body["partial"] else ("whole", "bold green")
    took = f"{seen.took * 1000:.0f} ms" if width < 66 else f"{seen.took * 1000:.0f} of {seen.body['deadlineMs']} ms"
    return _sides(left, Text.assemble(whole, (f"  {took} ", "dim")))


def _marks(widgets: Data, *names: str) -> list[tuple[str, str]]:
    """What is not as it should be with the two widgets that have no panel."""
    bad = [(name, widgets.get(name, {})) for name in names if widgets.get(name, {}).get("status") != "ok"]
    return [(f"  {name} {widget.get('reason') or widget.get('status', 'missing')}", "yellow") for name, widget in bad]


def _foot(seen: Seen, history: Sequence[float], width: int) -> RenderableType:
    widgets = seen.body["widgets"]
    count = {status: sum(one["status"] == status for one in widgets.values()) for status in ("ok", "stale", "skeleton")}
    left = Text(" ")
    for status, number in count.items():
        if number:
            mark, style = MARKS[status]
            left.append(f"{mark} {number} {status}  ", style=style)
    left.append(f"at {_clock(seen.body['generatedAt'])}", style="dim")
    shown = history[-REMEMBERED if width >= 66 else -8 :]
    return _sides(left, Text(f"{_heights(shown, seen.body['deadlineMs'] / 1000)} ", style="dim"))


def _told(news: News, seen: Seen, room: int) -> list[RenderableType]:
    """How the desk hears, and below it what happened; of one line alone the newest has the most."""
    mark, style, meaning = CONDITIONS[news.condition.state]
    names = names_in(seen.body["widgets"])
    happened = [Text.assemble((f"{one.clock}  ", "dim"), words(one.what, names)) for one in news.happened]
    why = f"{meaning}: {news.condition.why}" if news.condition.why else meaning
    first = happened[0] if room == 1 and happened else Text(why, style="dim")
    lines = [first, *(happened if room > 1 else ())][: max(0, room)]
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(width=10)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for number, line in enumerate(lines):
        table.add_row(Text(f" {mark} {news.condition.state}" if number == 0 else "", style=style), line)
    return [table] if lines else []


def _heights(history: Sequence[float], most: float) -> str:
    """How long answers took, as bars; a full one is the whole deadline."""
    return "".join(HEIGHTS[min(len(HEIGHTS) - 1, int(took / most * len(HEIGHTS)))] for took in history)


def _sides(left: RenderableType, right: RenderableType) -> Table:
    row = Table.grid(expand=True)
    row.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    row.add_column(no_wrap=True, justify="right")
    row.add_row(left, right)
    return row


def _panels(seen: Seen, across: int, height: int, faded: bool) -> Table:
    grid = Table.grid(expand=True, padding=0)
    for _ in range(across):
        grid.add_column(ratio=1)
    panels = [_panel(_Shown.of(name, seen), height, faded) for name in WIDGETS]
    for first in range(0, len(panels), across):
        grid.add_row(*panels[first : first + across])
    return grid


@dataclass(frozen=True, slots=True)
class _Shown:
    """One widget, its state, and what there is to see of it."""

    widget: Widget
    state: str
    view: View
    note: str = ""

    @classmethod
    def of(cls, name: str, seen: Seen) -> _Shown:
        widget, got = WIDGETS[name], seen.body["widgets"].get(name)
        if got is None:
            return cls(widget, "absent", View("none now"))
        if got["status"] == "skeleton":
            return cls(widget, "skeleton", View(why(widget, got["reason"])), got["reason"])
        note = f"{_age(got['asOf'], seen.body['generatedAt'])} old" if got["status"] == "stale" else ""
        return cls(widget, got["status"], widget.view(got.get("data") or {}), note)


def _panel(shown: _Shown, height: int, faded: bool) -> Panel:
    mark, style = MARKS[shown.state]
    style = "dim" if faded else style
    glance = "" if shown.state in {"skeleton", "absent"} else f" {shown.view.glance}".rstrip()
    title = Text.assemble((f"{mark} ", style), (shown.widget.title, "bold"), glance, no_wrap=True, overflow="ellipsis")
    return Panel(
        _inside(shown, height - 2, faded),
        title=title,
        title_align="left",
        subtitle=Text(shown.note, style=style) if shown.note else None,
        subtitle_align="right",
        box=box.ROUNDED,
        border_style=style,
        height=height,
        padding=(0, 1),
    )


def _inside(shown: _Shown, room: int, faded: bool) -> RenderableType:
    if shown.state == "skeleton":
        bars = Text("\n".join(SKELETON[: room - 1]), style="grey37", no_wrap=True, overflow="crop")
        return Group(bars, Text(shown.view.glance, style="yellow", no_wrap=True, overflow="ellipsis"))
    if shown.state == "absent":
        return Text(shown.view.glance, style="dim")
    rows: list[RenderableType] = []
    if shown.view.percent is not None:
        bar = Table.grid(expand=True)
        bar.add_row(ProgressBar(total=100, completed=shown.view.percent, complete_style="green"))
        rows.append(bar)
    dimmed = faded or shown.state == "stale"
    rows.append(_table(shown.view.lines, room - len(rows), dimmed))
    return Group(*rows)


def _table(lines: Sequence[Line], room: int, dimmed: bool) -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, justify="right")
    for line in lines[:room]:
        style = "dim" if dimmed else line.style
        table.add_row(Text(line.left, style=style), Text(line.right, style=style))
    return table


def _lines(seen: Seen, faded: bool) -> Table:
    """A line per widget, for a terminal with no room for more."""
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(width=2)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for name in WIDGETS:
        shown = _Shown.of(name, seen)
        mark, style = MARKS[shown.state]
        calm = "dim" if faded or shown.state in {"stale", "absent"} else ""
        table.add_row(Text(f" {mark}", style="dim" if faded else style), shown.widget.title, _all(shown, calm or style))
    return table


def _all(shown: _Shown, style: str) -> Text:
    text = Text(shown.view.glance, style=style if shown.state != "ok" else "", no_wrap=True, overflow="ellipsis")
    if shown.note:
        text.append(f"  {shown.note}", style=style)
    for line in shown.view.lines:
        text.append(f"{'  ' if text else ''}{line.left} {line.right.strip()}", style="dim")
    return text


def _data(widgets: Data, name: str) -> Data:
    data = widgets.get(name, {}).get("data")
    return data if isinstance(data, Mapping) else {}


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S")


def _age(moment: str, now: str) -> str:
    seconds = max(0, round((datetime.fromisoformat(now) - datetime.fromisoformat(moment)).total_seconds()))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
