"""The arithmetic of a timeline: which lanes a run has, what shows in each column of time, and how words are written.

Pure, and shared by the terminal (`chaos.report`) and the page (`chaos.timeline`). What a mark looks like depends on
whether a moment was `good`, never on its word: any cast can be drawn. Times are seconds from the beginning of the run.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Final

from chaos.history import CHECKS, FAULTS, Finding, Moment
from chaos.toxics import BadToxic, Failover, Start, split

if TYPE_CHECKING:
    from chaos.record import Record

MANY: Final = 12  # lanes; more of them are folded
WORDS: Final = 4  # of a level in the legend
STEPS: Final = (60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200)  # seconds between ticks, over half a minute
NUMBERED: Final = re.compile(r"(.+)-([0-9]{1,9})")


class Level(Enum):
    """How good a moment was, the worst first."""

    BAD = "bad"
    NEITHER = "neither"
    GOOD = "good"


_LEVELS: Final = {False: Level.BAD, None: Level.NEITHER, True: Level.GOOD}
_BADNESS: Final = {level: number for number, level in enumerate(Level)}


@dataclass(frozen=True, slots=True)
class Lane:
    """What one desk (or thief, or server, or several of them folded into one) saw, in order."""

    name: str
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """What shows in one column: the `worst` of its `count` moments, the earliest of those."""

    column: int
    worst: Moment
    count: int

    @property
    def level(self) -> Level:
        return level(self.worst)


@dataclass(frozen=True, slots=True)
class Bar:
    """A fault and its words. `still`: nobody was seen to heal it. A `skipped` one never was, and takes no time."""

    said: str
    begins: float
    ends: float
    still: bool = False
    skipped: bool = False


def level(moment: Moment) -> Level:
    """Whether it was as one would wish."""
    return _LEVELS[moment.good]


def span(record: Record) -> float:
    """Seconds that a timeline shows: what the run lasted, over 0, and nothing that was written lies outside it."""
    ats = (moment.at for moment in record.moments)
    longest = max((record.seconds, *ats, *(finding.at for finding in record.findings)))
    return longest if longest > 0 else 1.0


def calm_at(record: Record) -> float | None:
    """When all was healed; None in a run that did not come to it."""
    return next((one.at for one in record.moments if one.lane == FAULTS and one.word == "calm"), None)


def lanes(record: Record, most: int = MANY) -> tuple[Lane, ...]:
    """One for each who did something, `desk-2` before `desk-10`; numbered ones are folded when over `most`."""
    by_name: dict[str, list[Moment]] = defaultdict(list)
    for moment in record.moments:
        if moment.lane not in {FAULTS, CHECKS}:
            by_name[moment.lane].append(moment)
    apart = [Lane(name, tuple(by_name[name])) for name in sorted(by_name, key=_natural)]
    return tuple(apart if len(apart) <= most else _folded(apart, most))


def checks(record: Record) -> Lane:
    """What was found, whatever became of its moments, and what came true."""
    found = [Moment(one.at, CHECKS, one.check, one.text, good=False) for one in record.findings]
    true = [one for one in record.moments if one.lane == CHECKS and one.good is not False]
    return Lane(CHECKS, tuple(sorted([*found, *true], key=lambda moment: moment.at)))


def marks(lane: Lane, whole: float, columns: int) -> tuple[Mark, ...]:
    """The columns in which something happened, of `columns` that `whole` seconds are divided into."""
    there: dict[int, list[Moment]] = defaultdict(list)
    for moment in lane.moments:
        there[column(moment.at, whole, columns)].append(moment)
    return tuple(Mark(at, min(some, key=_worse), len(some)) for at, some in sorted(there.items()))


def column(at: float, whole: float, columns: int) -> int:
    """Which column shows `at`; the end itself is in the last one."""
    return min(columns - 1, max(0, int(at / whole * columns)))


def bars(record: Record) -> tuple[Bar, ...]:
    """The faults in the order in which they began. One that nobody ended lasts until the calm."""
    healed = calm_at(record)
    made: list[Bar] = []
    begun: dict[str, list[int]] = defaultdict(list)
    for moment in record.moments:
        if moment.lane != FAULTS:
            continue
        if moment.word == "begins":
            begun[moment.text].append(len(made))
            made.append(_begun(moment, span(record) if healed is None else healed, still=healed is None))
        elif moment.word == "ends" and begun[moment.text]:
            at = begun[moment.text].pop(0)
            made[at] = Bar(moment.text, made[at].begins, moment.at)
        elif moment.word == "skipped":
            made.append(Bar(moment.text, moment.at, moment.at, skipped=True))
    return tuple(made)


def _begun(moment: Moment, healed: float, *, still: bool) -> Bar:
    """A fault as long as nobody ended it. Some are acts: they are over by themselves."""
    try:
        toxic = split(str(moment.data.get("toxic", "")))
    except BadToxic:
        toxic = None
    match toxic:
        case Failover(takes=takes):
            return Bar(moment.text, moment.at, min(moment.at + takes, healed))
        case Start():
            return Bar(moment.text, moment.at, moment.at)
        case _:
            return Bar(moment.text, moment.at, max(moment.at, healed), still=still)


def _folded(apart: Sequence[Lane], most: int) -> list[Lane]:
    """The most numerous families first, until there are few enough; then whoever comes last."""
    families: dict[str, list[Lane]] = defaultdict(list)
    for lane in apart:
        families[_natural(lane.name)[0]].append(lane)
    for stem in sorted(families, key=lambda stem: (-len(families[stem]), stem)):
        family = families[stem]
        if sum(map(len, families.values())) <= most or len(family) == 1:
            break
        first, last = (_natural(lane.name)[1] for lane in (family[0], family[-1]))
        gaps = "" if last - first == len(family) - 1 else f" ({len(family)})"
        families[stem] = [_together(f"{stem}s {first}-{last}{gaps}", family)]
    few = [lane for family in families.values() for lane in family]
    if len(few) > most:
        few = [*few[: most - 1], _together(f"{len(few) - most + 1} others", few[most - 1 :])]
    return few


def _together(name: str, several: Sequence[Lane]) -> Lane:
    every = [moment for lane in several for moment in lane.moments]
    return Lane(name, tuple(sorted(every, key=lambda moment: moment.at)))


def _natural(name: str) -> tuple[str, int, str]:
    numbered = NUMBERED.fullmatch(name)
    return (name, -1, name) if numbered is None else (numbered[1], int(numbered[2]), name)


def _worse(moment: Moment) -> tuple[int, float]:
    return _BADNESS[level(moment)], moment.at


def legend(shown: Sequence[Lane]) -> list[tuple[Level, str]]:
    """The levels that occur, and the words that mean them; with whose word it is where it means several."""
    meant: dict[str, dict[Level, set[str]]] = defaultdict(lambda: defaultdict(set))
    for moment in (moment for lane in shown for moment in lane.moments):
        meant[_meant(moment)][level(moment)].add(_natural(moment.lane)[0])
    said: dict[Level, list[str]] = defaultdict(list)
    for word, levels in sorted(meant.items()):
        for one, whose in levels.items():
            said[one].append(word if len(levels) == 1 else f"{word} ({', '.join(sorted(whose))})")
    return [(one, _few(sorted(said[one]))) for one in reversed(Level) if said[one]]


def _meant(moment: Moment) -> str:
    """A check's own name says nothing in a legend."""
    return moment.word if moment.lane != CHECKS else "came true" if moment.good else "a finding"


def _few(words: Sequence[str]) -> str:
    return ", ".join(printable(word) for word in words[:WORDS]) + (", …" if len(words) > WORDS else "")


def ticks(whole: float, most: int) -> tuple[float, ...]:
    """Round seconds from 0 up, at most `most` steps over `whole`."""
    step = next(step for step in _steps() if whole / step <= most)
    return tuple(min(whole, number * step) for number in range(int(whole / step + 1e-9) + 1))


def _steps() -> Iterator[float]:
    for digits in range(-6, 1):
        yield from (round(one * 10.0**digits, 6) for one in (1, 2, 5))
    yield from (10, 20, 30, *STEPS)
    yield from (86_400.0 * 2**power for power in count())


def clock(at: float, whole: float) -> str:
    """A tick's label: seconds, or minutes and hours on a timeline of ten minutes and more."""
    if whole < 600:
        return f"{at:g}s"
    minutes, seconds = divmod(round(at), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if whole >= 3600 else f"{minutes}:{seconds:02}"


def figure(value: float | int | str) -> str:
    """A figure as a person reads it: three decimals at most, thousands apart."""
    if isinstance(value, str):
        return printable(value)
    if not math.isfinite(value) or 0 < abs(value) < 0.001:
        return f"{value:.3g}"
    text = f"{value:,.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def printable(text: str) -> str:
    """One line of what can be seen: no escape sequence reaches a terminal, no control character a page."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))


def printable_lines(text: str) -> list[str]:
    """The same for text of several lines, which keeps its columns."""
    lines = text.expandtabs().splitlines()
    return ["".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line) for line in lines]


def verdict(findings: Sequence[Finding]) -> str:
    """Whether the promises were kept, in two words."""
    return "held" if not findings else f"broken, {len(findings)} finding{'s' * (len(findings) != 1)}"


def about(record: Record) -> list[str]:
    """Who, when, where and for how long, a word or two each."""
    where = "live" if record.where == "live" else f"virtual, seed {record.seed}"
    date = re.sub(r"\.[0-9]+", "", record.date.replace("T", " "))
    facts = (record.owner, date, where, f"{figure(record.seconds)} s", record.digest and f"trace {record.digest[:12]}")
    return [printable(fact) for fact in facts if fact]


def replay(record: Record) -> list[str]:
    """The command that plays a virtual run again, to the same byte, as the last of them; none for a live run.

    Where it was broken, that which finds the smallest plan that still is comes first.
    """
    if record.where == "live" or record.seed is None:
        return []
    named = shlex.quote(printable(record.given or record.name))
    shrink = [] if record.held else [f"bff gameday shrink {named} --seed {record.seed}"]
    return [*shrink, f"bff gameday run {named} --virtual --seed {record.seed}"]
