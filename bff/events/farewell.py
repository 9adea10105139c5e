"""Who comes back when: the spread of a fleet that has to connect again.

An instance that leaves sends all of its desks to the others at once. Opening a stream costs a signature and two trips
to the session tier; so many of them in one second as there are desks would take the time of everybody's reads. So each
is told a moment of its own, in a span as long as the others need for so many.

The moments are dealt, not drawn: of `n` desks each gets a slot of its own, and its place within it by lot. Drawn ones
would crowd by chance. Who is turned away at the door is not known beforehand, and draws: from the same span, so that a
fleet that finds no room, or no bus, does not stand there again as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bff.outside import fraction

if TYPE_CHECKING:
    from collections.abc import Callable

CAPACITY: Final = 400.0  # streams that the others open in a second and still answer reads in time
LEAST_SECONDS: Final = 1.0  # of a span: a desk alone does not come back in the very moment either
MOST_SECONDS: Final = 60.0
TRY_AGAIN: Final = 1.0  # seconds before anybody who was turned away comes again, where nobody can know better


def span(streams: int, capacity: float = CAPACITY) -> float:
    """Seconds over which so many come back."""
    return min(MOST_SECONDS, max(LEAST_SECONDS, streams / capacity))


def moments(streams: int, entropy: Callable[[int], bytes], capacity: float = CAPACITY) -> list[int]:
    """When each of so many should come back, in milliseconds from now: one in each slot of the span, in order."""
    slot = span(streams, capacity) / max(1, streams)
    return [int(1000 * slot * (at + fraction(entropy))) for at in range(streams)]


def again(streams: int, entropy: Callable[[int], bytes], capacity: float = CAPACITY) -> float:
    """Seconds after which one who was turned away where there are so many comes again: `TRY_AGAIN`, and by lot."""
    return TRY_AGAIN + span(streams, capacity) * fraction(entropy)
