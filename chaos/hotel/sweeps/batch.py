"""Cases of a sweep in one world, one after the other; what breaks is looked at again, in a world of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from chaos.choices import Replayed
from chaos.sim.clock import simulate
from chaos.sweep import Named, Ran
from nurseries import described, listening, within

if TYPE_CHECKING:
    from chaos.choices import Choices
    from chaos.marks import Marks

C = TypeVar("C", bound=Named)

One = Callable[[C], Awaitable[None]]
World = Callable[[], AbstractAsyncContextManager[One[C]]]

ENDS_WITHIN: Final = 900.0  # virtual seconds for a case


def plainly() -> Choices:
    """Nobody chooses."""
    return Replayed(())


def in_worlds(
    batch: Sequence[C], world: World[C], marks: Marks, *, choices: Callable[[], Choices | None] = plainly, seed: int = 0
) -> Iterator[Ran]:
    """What came of each of `batch`. `world()` is entered in a run of its own, and gives what runs one case.

    The eldest task always goes first, so that a case does not depend on what came before it in its world; unless
    `choices`, anew for each run, decide otherwise; where they are None it is decided by lot from `seed`.
    """
    rest = list(batch)
    while rest:
        done: list[Ran] = []
        error = _together(rest, world, marks, done, choices(), seed)
        rest = rest[len(done) :]
        yield from done
        if error and rest:
            case, rest = rest[0], rest[1:]
            yield _broken(case, error, world, marks, choices, seed, alone=len(batch) == 1)
        elif error:
            yield Ran(batch[-1].name, 0.0, f"at the end of its world: {error}")


def _broken(
    case: C,
    error: str,
    world: World[C],
    marks: Marks,
    choices: Callable[[], Choices | None],
    seed: int,
    *,
    alone: bool,
) -> Ran:
    if alone:
        return Ran(case.name, 0.0, error)
    began = time.perf_counter()
    again = _together([case], world, marks, [], choices(), seed)
    return Ran(case.name, time.perf_counter() - began, again or f"{error} (only after other cases)")


def _together(
    cases: Sequence[C], world: World[C], marks: Marks, done: list[Ran], choices: Choices | None, seed: int
) -> str:
    """Run them in one world; `done` are those that went well. What was wrong with the next one, or at the end."""

    async def main() -> None:
        async with _heard(world, marks) as one:
            for case in cases:
                began = time.perf_counter()
                with within(ENDS_WITHIN) as scope:
                    await one(case)
                assert not scope.cancelled_caught, f"it did not end within {ENDS_WITHIN:.0f} virtual seconds"
                done.append(Ran(case.name, time.perf_counter() - began))

    try:
        simulate(main, choices=choices, seed=seed)
    except Exception as error:
        return described(error)
    return ""


@asynccontextmanager
async def _heard(world: World[C], marks: Marks) -> AsyncIterator[One[C]]:
    with listening(marks.heard):
        async with world() as one:
            yield one
