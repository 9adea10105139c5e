"""What became of one piece of work: a value, so that nobody untangles exception groups to compose an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """It was not begun, or ended with its owner; `why` is one line."""

    why: str


Outcome: TypeAlias = Ok[T] | Failed | TimedOut | Shed


class ErrorsBecome:
    """The border where errors stop travelling: what the block raises is given to `record`, and the block ends quietly.

    Cancellation, `KeyboardInterrupt` and their like travel on. A nursery that is cancelled while a child fails raises
    both in one group: then the errors in it are recorded, and the rest of it travels.
    """

    __slots__ = ("_record",)

    def __init__(self, record: Callable[[Exception], None]) -> None:
        self._record = record

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            self._record(error)
            return True
        if isinstance(error, BaseExceptionGroup):
            errors, rest = error.split(Exception)
            if errors is not None:
                self._record(errors)
            assert rest is not None, "a group of errors alone is an Exception itself"
            raise rest
        return False


def described(error: BaseException) -> str:
    """An error in one line: its type and the first line of what it says. Of a group, its first, and how many more."""
    if isinstance(error, BaseExceptionGroup):
        more = len(error.exceptions) - 1
        return described(error.exceptions[0]) + (f" (and {more} more)" if more else "")
    said = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
