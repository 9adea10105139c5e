"""A run as one page: a self-contained HTML file with the timeline as an SVG, to be read in any browser, or attached.

Nothing is fetched and nothing runs: the page's own policy forbids both. Light and dark follow the reader. Places in the
drawing are parts of its width and sizes are pixels, so that it fits a narrow window without its letters becoming small;
names of lanes stand in the margin, left of time. What the run said is shown and never interpreted: all text is escaped,
and the page is well-formed as XML, so that a tool can read it too. Equal records give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from chaos.lanes import (
    Bar,
    Lane,
    Level,
    Mark,
    about,
    bars,
    calm_at,
    checks,
    clock,
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

TOP: Final = 26  # pixels, and so what follows
BAR: Final = 28
LANE: Final = 28
FOOT: Final = 34
BOLD: Final = 7.4  # a letter of a name, about
PLAIN: Final = 6.6  # a letter of other text
NARROW: Final = 400  # a timeline in a narrow window
COLUMNS: Final = 200  # in each of which a lane shows one mark
DENSE: Final = 70  # marks of a lane: more are drawn as a ribbon
HEIGHTS: Final = {Level.BAD: 20, Level.NEITHER: 13, Level.GOOD: 6}  # of a ribbon: the taller, the worse
NAME: Final = 18  # characters
TICKS: Final = 8
BARS: Final = 40  # faults drawn
LISTED: Final = 200  # findings
LINES: Final = 12  # findings that are drawn through all lanes

STYLE: Final = """
:root {
  color-scheme: light dark; --page: #f7f5f1; --card: #fffefb; --ink: #20242a; --soft: #666c75; --line: #e3dfd7;
  --good: #18845a; --neither: #a87500; --bad: #cb2f3f; --fault: #7b45c4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121419; --card: #1a1d23; --ink: #e5e7ea; --soft: #959ca6; --line: #2c313a;
    --good: #41c78c; --neither: #e5b03a; --bad: #ff6a75; --fault: #b792ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2rem 1.25rem 3rem; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", "Liberation Sans", sans-serif;
}
main { max-width: 1120px; margin: 0 auto; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: baseline; justify-content: space-between; }
h1 { font-size: 1.7rem; line-height: 1.25; letter-spacing: -.01em; margin: 0; }
h2 { font-size: .78rem; text-transform: uppercase; letter-spacing: .09em; color: var(--soft); margin: 0 0 .7rem; }
p { margin: 0; color: var(--soft); }
.about { margin: .35rem 0 1.5rem; }
.verdict { font-weight: 650; padding: .2rem .85rem; border-radius: 99px; border: 1.5px solid; white-space: nowrap; }
.good { color: var(--good); }
.neither { color: var(--neither); }
.bad { color: var(--bad); }
section {
  min-width: 0; margin: 0 0 1rem; padding: 1.1rem 1.25rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 1rem; }
svg { display: block; overflow: visible; }
svg text { font-size: 12.5px; fill: var(--ink); }
svg text.soft { fill: var(--soft); }
svg text.calm { fill: var(--good); }
svg text.name { font-weight: 600; text-anchor: end; }
svg text.middle { text-anchor: middle; }
svg text.end { text-anchor: end; }
.grid { stroke: var(--line); }
.axis { stroke: var(--soft); }
.shade { fill: var(--good); opacity: .09; }
.fault { fill: var(--fault); }
.wash { fill: var(--fault); opacity: .2; }
.skipped { fill: none; stroke: var(--soft); stroke-dasharray: 3 3; }
.found { stroke: var(--bad); stroke-dasharray: 2 4; opacity: .75; }
.took { stroke: currentColor; stroke-width: 4; stroke-linecap: round; opacity: .3; }
.ribbon { fill: currentColor; shape-rendering: crispEdges; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .6rem 0 0; color: var(--soft); font-size: .85rem; }
.legend svg { display: inline-block; vertical-align: -3px; margin-right: .3rem; }
table { border-collapse: collapse; width: 100%; }
td { padding: .3rem .9rem .3rem 0; vertical-align: top; border-top: 1px solid var(--line); }
tr:first-child td { border-top: 0; }
td.at { color: var(--bad); font-variant-numeric: tabular-nums; white-space: nowrap; }
td.check { font-weight: 600; overflow-wrap: break-word; }
td.value { font-weight: 600; font-variant-numeric: tabular-nums; text-align: right; padding-right: 0; }
pre, code { font: 13px/1.6 ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; margin: 0; }
pre { white-space: pre-wrap; }
pre b { color: var(--fault); font-weight: 600; }
code { user-select: all; font-size: 14px; }
ul { margin: 0; padding: 0 0 0 1.1rem; }
li { margin: .2rem 0; }
"""

SHAPES: Final = """<defs>
<circle id="good" r="4.6" fill="currentColor"/>
<g id="neither"><circle r="4" fill="none" stroke="currentColor" stroke-width="1.8"/>\
<path d="M0 -4.6A4.6 4.6 0 0 0 0 4.6Z" fill="currentColor"/></g>
<path id="bad" d="M-4 -4L4 4M-4 4L4 -4" stroke="currentColor" stroke-width="2.8" stroke-linecap="round"/>
</defs>"""


def page(record: Record) -> str:
    """The whole file."""
    title = _text(record.title)
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml">\n<head>\n<meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>""",
            f"<title>{title}: {verdict(record.findings)}</title>",
            f"<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            f'<header><h1>{title}</h1><div class="verdict {"good" if record.held else "bad"}">'
            f"{verdict(record.findings)}</div></header>",
            f'<p class="about">{_text(" · ".join(about(record)))}</p>',
            *_sections(record),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _sections(record: Record) -> Iterator[str]:
    yield _section("What happened", *drawing(record))
    if record.findings:
        yield _section("Found", _findings(record))
    yield f'<div class="pair">{_section("The plan", _plan(record))}{_section("Figures", _figures(record))}</div>'
    lists = [("To do", record.backlog), ("Left out", record.skipped)]
    there = "".join(_section(title, _list(items)) for title, items in lists if items)
    if there:
        yield f'<div class="pair">{there}</div>'
    if replay(record):
        yield _section("The same again", "".join(f"<p><code>{_text(line)}</code></p>" for line in replay(record)))


def _section(title: str, *body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{''.join(body)}\n</section>"


def _findings(record: Record) -> str:
    rows = [
        f'<tr><td class="at">{one.at:.3f} s</td><td class="check">{_text(one.check)}</td>'
        f"<td>{_text(one.text)}</td></tr>"
        for one in record.findings[:LISTED]
    ]
    more = len(record.findings) - LISTED
    return f"<table>{''.join(rows)}</table>" + (f"<p>and {more} more: the record has them all</p>" if more > 0 else "")


def _figures(record: Record) -> str:
    rows = [
        f'<tr><td>{_text(name)}</td><td class="value">{_text(figure(value))}</td></tr>'
        for name, value in sorted(record.figures.items())
    ]
    return f"<table>{''.join(rows)}</table>" if rows else "<p>none</p>"


def _plan(record: Record) -> str:
    lines = []
    for line in printable_lines(record.plan):
        word, blank, rest = line.partition(" ")
        lines.append(f"<b>{escape(word)}</b>{blank}{escape(rest)}")
    return f"<pre>{chr(10).join(lines)}</pre>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"


def drawing(record: Record) -> tuple[str, str]:
    """The timeline, one `<svg>` that is XML by itself, and the legend under it."""
    sheet = _Sheet(record)
    return sheet.svg(), sheet.legend()


class _Sheet:
    """The drawing of one record. Across, percent of its width; down, pixels."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._whole = span(record)
        self._bars = bars(record)[:BARS]
        self._shown = (*lanes(record), checks(record))
        self._calm = calm_at(record)
        self._lanes_at = TOP + BAR * len(self._bars) + (8 if self._bars else 0)
        self._bottom = self._lanes_at + LANE * len(self._shown)
        self._marks = [marks(lane, self._whole, COLUMNS) for lane in self._shown]
        self._margin = 22 + round(BOLD * max(len(_name(lane)) for lane in self._shown))

    def svg(self) -> str:
        said = _text(f"Timeline of {self._record.title}")
        place = f"margin-left:{self._margin}px;width:calc(100% - {self._margin + 8}px)"
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{said}"',
                f'height="{self._bottom + FOOT}" style="{place}">',
                SHAPES,
                *self._ground(),
                *self._found(),
                *(line for number, bar in enumerate(self._bars) for line in self._bar(bar, TOP + BAR * number)),
                *(line for number, lane in enumerate(self._shown) for line in self._lane(number, lane)),
                "</svg>",
            ]
        )

    def legend(self) -> str:
        said = "".join(
            f'<span><svg xmlns="http://www.w3.org/2000/svg" width="14" height="14" class="{one.value}">'
            f'<use href="#{one.value}" x="7" y="7"/></svg>{_text(words)}</span>'
            for one, words in legend(self._shown)
        )
        ribbon = "<span>in a ribbon, the taller the worse</span>" * any(len(some) > DENSE for some in self._marks)
        return f'<div class="legend" style="margin-left:{self._margin}px">{said}{ribbon}</div>'

    def _x(self, at: float) -> str:
        part = min(1.0, max(0.0, at / self._whole))
        return f"{part * 100:.3f}%"

    def _wide(self, begins: float, ends: float) -> str:
        part = min(1.0, max(0.0, (ends - begins) / self._whole))
        return f"{part * 100:.3f}%"

    def _ground(self) -> Iterator[str]:
        """Behind everything: the calm, the ticks, the axis."""
        if self._calm is not None:
            calm, room = self._x(self._calm), self._wide(self._calm, self._whole)
            yield f'<rect class="shade" x="{calm}" y="0" width="{room}" height="{self._bottom}"/>'
            side = 'class="calm" dx="6"' if self._calm < 0.9 * self._whole else 'class="calm end" dx="-6"'
            yield f'<text {side} x="{calm}" y="16">calm</text>'
        for tick in ticks(self._whole, TICKS):
            at = self._x(tick)
            anchor = "end" if tick > 0.97 * self._whole else "middle"
            yield f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP - 4}" y2="{self._bottom + 5}"/>'
            label = clock(tick, self._whole)
            yield f'<text class="soft {anchor}" x="{at}" y="{self._bottom + 22}">{label}</text>'
        yield f'<line class="axis" x1="0%" x2="100%" y1="{self._bottom}" y2="{self._bottom}"/>'

    def _bar(self, bar: Bar, top: int) -> Iterator[str]:
        """A fault, its words beginning with it, or ending with it where they have more room."""
        begins, wide = self._x(bar.begins), self._wide(bar.begins, bar.ends)
        until = "left out" if bar.skipped else f"{bar.begins:.3f} s to {bar.ends:.3f} s{', never healed' * bar.still}"
        title = f"<title>{_text(f'{bar.said}: {until}')}</title>"
        yield f'<g>{title}<rect class="wash" x="{begins}" y="{top}" width="{wide}" height="22"/>'
        kind = "skipped" if bar.skipped else "fault"
        yield f'<rect class="{kind}" x="{begins}" y="{top}" width="3" height="22"/>'
        after, before = self._whole - bar.begins, bar.ends
        if after >= before or len(bar.said) * PLAIN <= NARROW * after / self._whole:
            place = f'x="{begins}" dx="9"'
        else:
            place = f'x="{self._x(bar.ends)}" dx="-9" class="end"'
        yield f'<text {place} y="{top + 15.5}">{_text(bar.said)}</text></g>'

    def _found(self) -> Iterator[str]:
        """Each finding is a line through all that went on at that moment."""
        for mark in self._marks[-1][:LINES]:
            if mark.level is Level.BAD:
                at = self._x(mark.worst.at)
                yield f'<line class="found" x1="{at}" x2="{at}" y1="{TOP}" y2="{self._bottom}"/>'

    def _lane(self, number: int, lane: Lane) -> Iterator[str]:
        y = self._lanes_at + LANE * number + LANE // 2
        name = f"{escape(_name(lane))}<title>{_text(lane.name)}</title>"
        yield f'<g><text class="name" x="0%" dx="-14" y="{y + 4}">{name}</text>'
        yield f'<line class="grid" x1="0%" x2="100%" y1="{y}" y2="{y}"/>'
        there = self._marks[number]
        draw = self._cell if len(there) > DENSE else self._mark
        yield from (draw(mark, y) for mark in there)
        yield "</g>"

    def _mark(self, mark: Mark, y: int) -> str:
        """A shape where it was, and a tail as long as it took."""
        one, kind = mark.worst, mark.level.value
        begins, ends = self._x(one.at - one.took), self._x(one.at)
        took = f'<line class="took" x1="{begins}" x2="{ends}" y1="{y}" y2="{y}"/>' if begins != ends else ""
        title = f"<title>{_text(_told(mark))}</title>"
        return f'<g class="{kind}">{took}<use href="#{kind}" x="{ends}" y="{y}">{title}</use></g>'

    def _cell(self, mark: Mark, y: int) -> str:
        """One column of a ribbon."""
        high = HEIGHTS[mark.level]
        place = f'x="{mark.column * 100 / COLUMNS:.3f}%" y="{y - high / 2}" width="{100 / COLUMNS}%" height="{high}"'
        return (
            f'<g class="{mark.level.value}"><rect class="ribbon" {place}><title>{_text(_told(mark))}</title></rect></g>'
        )


def _name(lane: Lane) -> str:
    name = printable(lane.name)
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def _told(mark: Mark) -> str:
    one = mark.worst
    text = f": {one.text}" if one.text else ""
    took = f", took {one.took:.3f} s" if one.took else ""
    more = f" (the worst of {mark.count} moments here)" if mark.count > 1 else ""
    return f"{one.at:.3f} s, {one.lane}, {one.word}{text}{took}{more}"


def _text(text: str) -> str:
    return escape(printable(text))
