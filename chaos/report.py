"""How a run looks in a terminal: what was broken, what the desks saw, and what the checks said, over one axis of time.

    faults         ┣━ pricing hang ━━━━━━┫
    desk-1    ●  ●  ◐  ◐  ◐  ●  ●  ●  ┊  ●
    thief     ●     ●     ●     ●     ┊
    checks                   ✗        ┊  ●
              ├─────────┼─────────┼───╪═ calm
              0s        10s       20s       30s

A mark's shape and colour say how good a moment was; of several in one column the worst shows. Nothing needs colour to
be understood. Pure: a record in, something rich can print out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from chaos.lanes import (
    Bar,
    Lane,
    Level,
    about,
    bars,
    calm_at,
    checks,
    clock,
    column,
    figure,
    lanes,
    legend,
    marks,
    printable,
    printable_lines,
    replay,
    span,
    ticks,
    verdict,
)

if TYPE_CHECKING:
    from chaos.record import Record

MARKS: Final = {Level.GOOD: ("●", "green"), Level.NEITHER: ("◐", "yellow"), Level.BAD: ("✗", "bold red")}
NAMES: Final = (6, 18)  # columns for a lane's name, at least and at most
NARROWEST: Final = 20  # columns of a timeline, however narrow the terminal
APART: Final = 11  # columns from tick to tick, about
ROWS: Final = 10  # of faults
LISTED: Final = 20  # findings
CALLED: Final = 20  # columns for a plan's name in a listing
DAY: Final = 10  # columns of a date


def report(record: Record, *, width: int) -> RenderableType:
    """The whole run, for a terminal of `width` columns; a virtual one ends with the line that replays it."""
    parts = [
        _head(record, width - 2),
        Text.assemble(*_plan(record)) if record.plan.strip() else None,
        _timeline(record, width - 2),
        _section("Found", _findings(record)),
        _section("Figures", _figures(record, width - 4)),
        _section("Left out", _items(record.skipped, "⊘", "yellow")),
        _section("To do", _items(record.backlog, "□", "")),
    ]
    again = _section("The same again", Text("\n".join(replay(record)), style="bold")) if replay(record) else None
    last = [] if again is None else [Padding(again, (0, 1, 0, 1))]
    return Group(*(Padding(part, (0, 1, 1, 1)) for part in parts if part is not None), *last)


def _head(record: Record, width: int) -> RenderableType:
    mark, style = MARKS[Level.GOOD if record.held else Level.BAD]
    said = Text(f"{mark} {verdict(record.findings)}", style=style)
    row = Table.grid(expand=True, padding=(0, 0, 0, 2))
    row.add_column(ratio=1)
    row.add_column(no_wrap=True, justify="right")
    row.add_row(Text(printable(record.title), style="bold"), said)
    return Group(row, *_flowing([Text(fact, style="dim") for fact in about(record)], Text(" · ", style="dim"), width))


def _flowing(pieces: Sequence[Text], between: Text, width: int) -> list[Text]:
    """The pieces in lines of at most `width` columns, none of them broken where it need not be."""
    lines: list[Text] = []
    for piece in pieces:
        if lines and lines[-1].cell_len + between.cell_len + piece.cell_len <= width:
            lines[-1] = lines[-1] + between + piece
        else:
            lines.append(piece)
    return lines


def _plan(record: Record) -> list[tuple[str, str]]:
    said = []
    for line in printable_lines(record.plan):
        word, blank, rest = line.partition(" ")
        said += [("│ ", "dim"), (word, "cyan"), (f"{blank}{rest}\n", "")]
    return [*said[:-1], (said[-1][0].rstrip("\n"), "")]


def _section(title: str, body: RenderableType | None) -> RenderableType | None:
    return None if body is None else Group(Text(title, style="bold"), Padding(body, (0, 0, 0, 1)))


def _findings(record: Record) -> RenderableType | None:
    if not record.findings:
        return None
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    for one in record.findings[:LISTED]:
        mark, style = MARKS[Level.BAD]
        at = Text(f"{mark} {one.at:.3f} s", style=style)
        table.add_row(at, Text(printable(one.check), style="bold"), Text(printable(one.text)))
    more = len(record.findings) - LISTED
    return Group(table, Text(f"and {more} more: the record has them all", style="dim")) if more > 0 else table


def _figures(record: Record, width: int) -> RenderableType | None:
    """Down, then across, as many columns as there is room for."""
    pairs = [(printable(name), figure(value)) for name, value in sorted(record.figures.items())]
    if not pairs:
        return None
    longest = max(cell_len(name) for name, _ in pairs) + max(cell_len(value) for _, value in pairs) + 6
    across = max(1, min(4, width // longest))
    down = -(-len(pairs) // across)
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(across):
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
    for row in range(down):
        there = pairs[row::down]
        cells = [cell for name, value in there for cell in (Text(name, style="dim"), Text(value, style="bold"), "")]
        table.add_row(*cells)
    return table


def _items(items: Sequence[str], mark: str, style: str) -> RenderableType | None:
    table = Table.grid(padding=(0, 1, 0, 0))
    for item in items:
        table.add_row(Text(mark, style=style), Text(printable(item)))
    return table if items else None


class _Row:
    """Cells of one line; what is put later covers what was there. Wide characters take the two cells that they need."""

    def __init__(self, columns: int, calm: int | None) -> None:
        self._cells = [(" ", "")] * columns
        if calm is not None:
            self.put(calm, "┊", "dim")

    def put(self, at: int, text: str, style: str) -> None:
        """Write from column `at` on; what has no room is left out."""
        for char in text:
            wide = cell_len(char)
            if at + wide > len(self._cells):
                return
            if wide:
                self._cells[at : at + wide] = [(char, style), ("", style)][:wide]
                at += wide
            elif at:
                self._cells[at - 1] = (self._cells[at - 1][0] + char, style)

    def text(self) -> Text:
        alike = groupby(self._cells, key=lambda cell: cell[1])
        return Text.assemble(*(("".join(char for char, _ in cells), style) for style, cells in alike))


class _Sheet:
    """The timeline of one record, for so many columns."""

    def __init__(self, record: Record, width: int) -> None:
        self._shown = (*lanes(record), checks(record))
        longest = max(cell_len(printable(lane.name)) for lane in self._shown)
        self._names = min(NAMES[1], max(NAMES[0], longest))
        self._columns = max(NARROWEST, width - self._names - 2)
        self._whole = span(record)
        self._bars = bars(record)
        calm = calm_at(record)
        self._calm = None if calm is None else self._column(calm)

    def lines(self) -> list[Text]:
        """Faults, lanes, checks, axis, legend."""
        faults = self._faults()
        names = ["faults", *[""] * (len(faults) - 1)] if faults else []
        rows = [self._line(name, row) for name, row in zip(names, faults, strict=True)]
        rows += [self._line(lane.name, self._lane(lane)) for lane in self._shown]
        return [*rows, *(self._line("", row) for row in self._axis()), *self._legend()]

    def _column(self, at: float) -> int:
        return column(at, self._whole, self._columns)

    def _row(self) -> _Row:
        return _Row(self._columns, self._calm)

    def _line(self, name: str, row: _Row) -> Text:
        fitted = set_cell_size(_short(printable(name), self._names), self._names)
        line = Text.assemble((f"{fitted}  ", "bold"), row.text(), no_wrap=True, overflow="crop")
        line.rstrip()
        return line

    def _lane(self, lane: Lane) -> _Row:
        row = self._row()
        for mark in marks(lane, self._whole, self._columns):
            row.put(mark.column, *MARKS[mark.level])
        return row

    def _faults(self) -> list[_Row]:
        """Each bar in the first row in which it and its words have room."""
        rows: list[_Row] = []
        filled: list[int] = []
        left_out = 0
        for bar in sorted(self._bars, key=lambda bar: bar.begins):
            at, drawn = self._bar(bar)
            place = next((number for number, end in enumerate(filled) if end < at), len(rows))
            if place == ROWS:
                left_out += 1
                continue
            if place == len(rows):
                rows.append(self._row())
                filled.append(-1)
            rows[place].put(at, drawn, "yellow" if bar.skipped else "magenta")
            filled[place] = at + cell_len(drawn)
        if left_out:
            rows.append(self._row())
            rows[-1].put(0, f"and {left_out} more faults", "dim")
        return rows

    def _bar(self, bar: Bar) -> tuple[int, str]:
        """Where it begins and what is drawn: its words inside, or else on the side that has room for them."""
        begins, ends = self._column(bar.begins), self._column(bar.ends)
        said = printable(bar.said)
        inside = ends - begins - 5
        close = "▶" if bar.still else "┫"
        if cell_len(said) <= inside:
            return begins, f"┣━ {said} {'━' * (inside - cell_len(said) + 1)}{close}"
        drawn = "⊘" if bar.skipped else f"┣{'━' * (ends - begins - 1)}{close}" if ends > begins else "┃"
        right, left = self._columns - ends - 2, begins - 1
        if cell_len(said) <= right or right >= left:
            return begins, f"{drawn} {_short(said, right)}"
        said = _short(said, left)
        return begins - cell_len(said) - 1, f"{said} {drawn}"

    def _axis(self) -> tuple[_Row, _Row]:
        line, labels = _Row(self._columns, None), _Row(self._columns, None)
        line.put(0, "─" * self._columns, "dim")
        if self._calm is not None:
            room = self._columns - self._calm
            line.put(self._calm, "╪" + "═" * (room - 1), "dim")
        free = 0
        for tick in ticks(self._whole, max(2, self._columns // APART)):
            at, label = self._column(tick), clock(tick, self._whole)
            line.put(at, "├" if at == 0 else "╪" if at == self._calm else "┼", "dim")
            begins = min(at, self._columns - len(label))
            if free <= begins:
                labels.put(begins, label, "dim")
                free = begins + len(label) + 1
        if self._calm is not None and self._columns - self._calm >= 7:
            line.put(self._calm + 1, " calm ", "bold green")
        return line, labels

    def _legend(self) -> list[Text]:
        pieces = [Text.assemble(MARKS[one], (f" {words}", "dim")) for one, words in legend(self._shown)]
        indent = " " * (self._names + 2)
        return [Text(indent) + line for line in _flowing(pieces, Text("   "), self._columns)]


def _timeline(record: Record, width: int) -> RenderableType:
    return Group(*_Sheet(record, width).lines())


def _short(text: str, room: int) -> str:
    return text if cell_len(text) <= room else set_cell_size(text, max(0, room - 1)).rstrip() + "…" * (room > 0)


def listing(records: Sequence[Record]) -> RenderableType:
    """The exercises so far, in the order given, and what is still to be done.

    An item of a backlog is open until a later run of the same plan, at the same place, says it no more.
    """
    if not records:
        return Text("No game-day has been played yet. `bff gameday list` shows what there is to play.")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name in ("date", "name", "where", "seed", "outcome", "owner", "to do"):
        wraps = name in {"date", "owner"}
        table.add_column(name, no_wrap=not wraps, overflow="fold", min_width=DAY if wraps else None)
    for record in records:
        table.add_row(*_listed(record))
    return Group(table, _open(records))


def _listed(record: Record) -> list[Text]:
    mark, style = MARKS[Level.GOOD if record.held else Level.BAD]
    seed = "–" if record.seed is None else str(record.seed)
    todo = str(len(record.backlog)) if record.backlog else "–"
    words = (record.date[:16].replace("T", " "), _short(record.name, CALLED), record.where, seed)
    outcome = Text(f"{mark} {verdict(record.findings).removeprefix('broken, ')}", style=style)
    return [*(Text(printable(word)) for word in words), outcome, Text(printable(record.owner)), Text(todo)]


def _open(records: Sequence[Record]) -> RenderableType:
    newest = {(record.name, record.where): record for record in records}
    rows = {(record.name, item): record for record in newest.values() for item in record.backlog}
    if not rows:
        return Text("Nothing is left to do.", style="green")
    table = Table.grid(padding=(0, 2, 0, 0))
    for (name, item), record in rows.items():
        table.add_row("□", Text(printable(item)), Text(printable(f"{name}, {record.owner}".rstrip(", ")), style="dim"))
    return Group(Text("To do", style="bold"), Padding(table, (0, 0, 0, 1)))
