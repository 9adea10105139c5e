"""When a fault falls on a dashboard: the moments worth trying, and what there is at that time.

before, beginning, 1ms-in      the call is not made yet, or on its way to the service
arrival                        it reaches the service; a microsecond before and after it too
answering                      the answer is on its way back: too late to bend it
half, reserve, deadline        the service worked on it until then; what it does is heard in this very moment
first, dialling, dialled       there is no connection yet, or one that is being made
kept…                          the last answers are kept, for so long
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

MICROSECOND: Final = 1e-6


class Anchor(Enum):
    """What a moment is counted from."""

    ASKED = "the desk asks"
    ARRIVAL = "the request reaches the service"
    HALF = "half of the deadline"
    RESERVE = "the answer is composed, whatever is missing"
    DEADLINE = "the deadline"


@dataclass(frozen=True, slots=True)
class Onset:
    """A fault begins `offset` seconds after the anchor.

    `held`: until then the service works on the request, and the fault falls so that its answer is heard in the moment
    itself. `connected`: connections were kept. `age`: of what is kept, in seconds; None: nothing is.
    """

    name: str
    anchor: Anchor = Anchor.ASKED
    offset: float = 0.0
    held: bool = False
    connected: bool = True
    age: float | None = None

    def seconds(self, way: float, moments: Mapping[Anchor, float]) -> float:
        """After the desk asked, for a service that is `way` seconds away; `moments` of the anchors that are fixed."""
        if self.anchor is Anchor.ARRIVAL:
            return way + self.offset
        return moments[self.anchor] + self.offset - (way if self.held else 0.0)


def _edge(name: str, anchor: Anchor, *, held: bool) -> tuple[Onset, ...]:
    """A microsecond before, exactly, and a microsecond after."""
    return (
        Onset(f"{name}-1us", anchor, -MICROSECOND, held),
        Onset(name, anchor, 0.0, held),
        Onset(f"{name}+1us", anchor, MICROSECOND, held),
    )


ONSETS: Final[Mapping[str, Onset]] = {
    onset.name: onset
    for onset in (
        Onset("before", offset=-0.05),
        Onset("beginning"),
        Onset("1ms-in", offset=0.001),
        *_edge("arrival", Anchor.ARRIVAL, held=False),
        Onset("half", Anchor.HALF, held=True),
        *_edge("reserve", Anchor.RESERVE, held=True),
        *_edge("deadline", Anchor.DEADLINE, held=True),
        Onset("dialling", offset=0.004, connected=False),
        Onset("dialled", Anchor.ARRIVAL, offset=0.007, connected=False),
        Onset("kept", offset=-0.05, age=3.0),
        Onset("kept-90s", offset=-0.05, connected=False, age=90.0),
        Onset("kept-310s", offset=-0.05, connected=False, age=310.0),
    )
}
FOR_PAIRS: Final = (
    "before",
    "1ms-in",
    *(f"{edge}{side}" for edge in ("reserve", "deadline") for side in ("-1us", "", "+1us")),
)
