"""What a desk that follows its events is told: values for a person's screen, for load, and for who judges a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

State: TypeAlias = Literal["live", "polling", "offline", "ended"]
Over: TypeAlias = Literal["", "logged-out", "superseded", "session-over"]


@dataclass(frozen=True, slots=True)
class Came:
    """An ordinary event, told once. `at` is when it was heard, on Trio's clock."""

    id: str
    event: str
    data: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class Refetch:
    """Some events are lost to this desk: what it knows must be fetched anew. `at` is on Trio's clock."""

    why: str
    at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """How the desk hears from now on; `why` is a line for a person, '' where there is nothing to say.

    live      by its stream
    polling   it asks, every few seconds
    offline   not at all
    ended     never again, by this session
    """

    state: State
    why: str = ""


Told: TypeAlias = Came | Refetch | Condition
