"""A position as a desk knows it: the `id` of an event, `Last-Event-ID`, `after` and `next` (CONTRACT section 5).

    <epoch>-<offset>      3f9c02d1ab47-1764064800123

What a desk sends here comes from anybody: it is read strictly, and what is no position is `None`, never an error. A
position of another tenant's log is none of this one's, since an epoch belongs to one tenant (`bff.stores.bus`).
"""

from __future__ import annotations

import re
from typing import Final

from bff.stores.bus import Position

LONGEST: Final = 64  # characters; ours have fewer
_POSITION: Final = re.compile(r"([0-9a-z]{1,40})-([1-9][0-9]{0,15}|0)")


def written(position: Position) -> str:
    """As it goes to a desk."""
    return f"{position.epoch}-{position.offset}"


def parsed(text: str) -> Position | None:
    """The position that `written` would write so, or None."""
    match = _POSITION.fullmatch(text) if len(text) <= LONGEST else None
    return Position(match[1], int(match[2])) if match else None
