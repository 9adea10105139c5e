"""The record of a run: what was played, by whom and when, what it showed, and what is to be done about it.

One JSON file each, in a folder of records, named by date and plan, so that a listing of the folder is the history of
the exercises. A virtual run is named by its seed and the digest of its trace: who plays it again gets the same bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final, Literal

import msgspec

from chaos.history import CHECKS, FAULTS, Finding, Moment

TOLD: Final = frozenset({FAULTS, CHECKS})  # lanes that are kept whole
KEPT: Final = 500  # moments in a record, or a few more; figures are taken from all there were


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run. `date` is RFC 3339, `seconds` what the run lasted on its own clock; `backlog` what is to be done."""

    name: str
    title: str
    owner: str
    date: str
    where: Literal["virtual", "live"]
    seed: int | None
    digest: str
    plan: str
    seconds: float
    figures: Mapping[str, float | int | str]
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]
    backlog: tuple[str, ...]
    moments: tuple[Moment, ...]
    given: str = ""  # what was typed to play it, where that was not its name

    @property
    def held(self) -> bool:
        """Every promise was kept."""
        return not self.findings


def thinned(moments: Sequence[Moment], most: int = KEPT) -> tuple[Moment, ...]:
    """What a record keeps: every moment of a fault or a check; of each other lane its share, what went badly first.

    What a moment had for checks alone is left out, and with it what would make a record a burden to keep.
    """
    lanes: dict[str, list[int]] = {}
    for at, moment in enumerate(moments):
        lanes.setdefault(moment.lane, []).append(at)
    kept = {at for lane in TOLD for at in lanes.pop(lane, ())}
    share = max(1, (most - len(kept)) // len(lanes)) if lanes else 0
    for there in lanes.values():
        kept.update(_evenly(moments, there, share))
    return tuple(moments[at] if moments[at].lane in TOLD else replace(moments[at], data={}) for at in sorted(kept))


def _evenly(moments: Sequence[Moment], there: Sequence[int], share: int) -> Iterator[int]:
    """About `share` of a lane's moments, from its beginning to its end."""
    left = share
    for good in (False, None, True):
        alike = [at for at in there if moments[at].good is good]
        some = alike[:: -(-len(alike) // max(1, left))] if alike else []
        left -= len(some)
        yield from some


def save_record(record: Record, folder: Path) -> Path:
    """Write it as `DATE-NAME-WHERE.json` into `folder`, beside what is there. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = re.sub(r"[^0-9T]", "", record.date[:19])
    name = f"{stamp}-{record.name}-{record.where}"
    written = msgspec.json.format(msgspec.json.encode(replace(record, figures=_sayable(record.figures)))) + b"\n"
    for number in count(1):
        path = folder / (f"{name}.json" if number == 1 else f"{name}-{number}.json")
        try:
            with path.open("xb") as file:
                file.write(written)
        except FileExistsError:
            continue
        break
    return path


def _sayable(figures: Mapping[str, float | int | str]) -> dict[str, float | int | str]:
    """JSON has no infinity, and a record with a null among its figures is none: such a figure is said in a word."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }


def load_records(folder: Path) -> list[Record]:
    """All there are, the eldest first. A file that is no record is passed over."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Record))
        except (msgspec.MsgspecError, OSError):
            continue
    return found
