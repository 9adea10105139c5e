"""What this service may cost, as its owner says it. Nothing halts over a budget, but somebody should know (F-39)."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 10**15


@dataclass(frozen=True, slots=True)
class Budgets:
    """`instances` are processes that serve at once, `egress` bytes a day to Pub/Sub (F-40); 0 where there is none."""

    instances: int = 0
    egress: int = 0


NONE = Budgets()


def amount(text: str) -> int:
    """A budget out of a variable; raises `ValueError` with what it should be."""
    if not text.isdecimal() or int(text) > MOST:
        raise ValueError("it should be a whole number, 0 where there is no budget")
    return int(text)
