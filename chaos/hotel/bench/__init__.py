"""What the house costs, measured: each module here has `measure()`, which gives figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: `value` in `unit`; `note` says how it was come by, or what it is held against."""

    name: str
    value: float
    unit: str
    note: str = ""
