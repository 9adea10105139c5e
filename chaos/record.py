"""The record of a run: what was played, by whom and when, what it showed, and what is to be done about it.

One JSON file each, in a folder of records, named by date and plan, so that a listing of the folder is the history of
the exercises. A virtual run is named by its seed and the digest of its trace: who plays it again gets the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from chaos.history import Finding, Moment

NEAR: Final = 2_000  # moments that a record keeps; figures are taken from all of them


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

    @property
    def held(self) -> bool:
        """Every promise was kept."""
        return not self.findings


def save_record(record: Record, folder: Path) -> Path:
    """Write it as `DATE-NAME-WHERE.json` into `folder`. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = re.sub(r"[^0-9T]", "", record.date[:19])
    path = folder / f"{stamp}-{record.name}-{record.where}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    return path


def load_records(folder: Path) -> list[Record]:
    """All there are, the eldest first. A file that is no record is passed over."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Record))
        except (msgspec.MsgspecError, OSError):
            continue
    return found
