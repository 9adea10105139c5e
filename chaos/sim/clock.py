"""A run of Trio that can be had again: its clock jumps, and a seed decides every tie.

    simulate(main, seed=7)                       ->  what main returns, in virtual time
    simulate(main, seed=7, trace=Trace())        ->  the same, and the hash of all that happened
    simulate(main, choices=Replayed([0, 1]))     ->  by a given schedule

Three things decide what a Trio program does that no program says: in which order those tasks run that could all run
now, which of two equal deadlines comes first, and what time it is. Trio shuffles under a private flag, breaks ties of
deadlines by the address of a scope, and takes its clock from outside. All three are had from here, and given back
afterwards.

`Schedule` puts tasks in an order by recorded choices: a choice of 0 lets the eldest go first.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from heapq import heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio
from trio.testing import MockClock

from chaos.sim.trace import keeping

if TYPE_CHECKING:
    from chaos.choices import Choices
    from chaos.sim.trace import Trace

T = TypeVar("T")

_scheduler: Final[Any] = trio._core._run  # its flag and its generator have no public name


class Schedule(random.Random):
    """Stands where Trio's own generator does: tasks that could all run now are put in an order by `choices`."""

    def __init__(self, choices: Choices) -> None:
        super().__init__(0)
        self._by = choices

    def shuffle(self, x: Any) -> None:
        """In place. `x` comes sorted by age, the eldest first; Trio then takes its tasks from the end."""
        order = []
        while len(x) > 1:
            order.append(x.pop(self._by.choose(len(x))))
        x.extend(reversed(order))


@contextmanager
def decided(generator: random.Random) -> Iterator[None]:
    """Let `generator` decide which task runs first, in the runs begun while inside."""
    before = _scheduler._ALLOW_DETERMINISTIC_SCHEDULING, _scheduler._r
    _scheduler._ALLOW_DETERMINISTIC_SCHEDULING, _scheduler._r = True, generator
    try:
        yield
    finally:
        _scheduler._ALLOW_DETERMINISTIC_SCHEDULING, _scheduler._r = before


class _Deadlines(_scheduler.Deadlines):  # type: ignore[misc]
    """Trio's own, but for the tie: by lot, from the seed, and not by where in memory a scope lies."""

    def __init__(self, ties: random.Random) -> None:
        super().__init__()
        self._ties = ties
        self._number = count()

    def add(self, deadline: float, cancel_scope: trio.CancelScope) -> None:
        heappush(self._heap, (deadline, (self._ties.random(), next(self._number)), cancel_scope))
        self._active += 1


def simulate(
    main: Callable[..., Awaitable[T]],
    *args: object,
    seed: int = 0,
    choices: Choices | None = None,
    trace: Trace | None = None,
    clock: MockClock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> T:
    """Run `main(*args)` in virtual time, and give what it returns or raises.

    Which task runs first is decided by `choices`, by lot from `seed` where there are none. `clock` is one that jumps by
    itself where none is given.
    """
    generator = random.Random(seed) if choices is None else Schedule(choices)
    heard = [*instruments, trace] if trace is not None else list(instruments)

    async def begun() -> T:
        _scheduler.GLOBAL_RUN_CONTEXT.runner.deadlines = _Deadlines(random.Random(seed))  # nothing has one yet
        return await main(*args)

    with decided(generator), nullcontext() if trace is None else keeping(trace):
        return trio.run(begun, clock=clock or MockClock(autojump_threshold=0), instruments=heard)
