"""What became of one child: a value, so that nobody untangles exception groups to compose an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """It finished with `value`."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Failed:
    """It raised `error`."""

    error: Exception


@dataclass(frozen=True, slots=True)
class TimedOut:
    """It had not finished `after` seconds, when its time was over."""

    after: float


@dataclass(frozen=True, slots=True)
class Shed:
    """It was not begun; `why` is one line."""

    why: str


Outcome: TypeAlias = Ok[T] | Failed | TimedOut | Shed
