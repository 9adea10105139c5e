"""A run and the same run again: what cannot be repeated is seen, the first time and not in the ninth week.

    twice(main, seed=7)      ->  what main returns, if the second run did step by step what the first did

`main` makes what it needs itself: it is called twice. Where the runs part, `Parted` says from which step on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from trio.testing import MockClock

from chaos.choices import Replayed
from chaos.sim.trace import KEPT, Trace, first_difference
from chaos.sim.watch import Watch

if TYPE_CHECKING:
    import trio

    from chaos.choices import Choices

T = TypeVar("T")

BEFORE: Final = 3  # steps that are shown of what both did


class Parted(AssertionError):
    """Two runs of one seed differ. The message says from which step on."""


def parting(one: Trace, other: Trace) -> str:
    """How two traces differ, in a few lines; '' where they do not."""
    if one.digest() == other.digest():
        return ""
    difference = first_difference(one.lines, other.lines)
    if difference is None:
        return f"the two runs differ, after the {len(one.lines)} steps that were kept of each"
    at, mine, yours = difference
    common = [f"  both    {line}" for line in one.lines[max(0, at - BEFORE) : at]]
    parts = [f"  first   {mine or 'nothing more'}", f"  second  {yours or 'nothing more'}"]
    return "\n".join([f"the two runs differ from step {at} on (seconds, then what was done):", *common, *parts])


def twice(
    main: Callable[..., Awaitable[T]],
    *args: object,
    seed: int = 0,
    choices: Choices | None = None,
    trace: Trace | None = None,
    clock: MockClock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
    watch: Watch | None = None,
) -> T:
    """`simulate`, two times. `trace`, `instruments` and the result are the first run's.

    The second has the choices that the first took, and a clock like the first's: a run asks for the one it has. Raises
    `Parted` where the two differ.
    """
    first = Trace(keep=KEPT) if trace is None else trace
    second, again = Trace(keep=first._keep), _like(clock)
    watch = watch or Watch()
    result = watch.simulate(main, *args, seed=seed, choices=choices, trace=first, clock=clock, instruments=instruments)
    same = None if choices is None else Replayed(choices.taken)
    try:
        watch.simulate(main, *args, seed=seed, choices=same, trace=second, clock=again)
    except Exception as error:
        differ = parting(first, second) or "the second run failed where the first did not"
        raise Parted(f"by seed {seed}, {differ}") from error
    if differ := parting(first, second):
        raise Parted(f"by seed {seed}, {differ}")
    return result


def _like(clock: MockClock | None) -> MockClock | None:
    if clock is None:
        return None
    return MockClock(rate=clock.rate, autojump_threshold=clock.autojump_threshold)
