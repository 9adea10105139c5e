"""What plans may promise, judged from the history alone: by what desks saw, against which faults were there.

    always       in-time     a dashboard comes by its deadline
                 honest      what is missing is missing for a fault, and the answer says so itself
                 answered    nobody who is signed in is refused his dashboard, unless the way to it is broken
    eventually   whole       each desk's last look since the calm is whole

What plans may promise of changes is in `changed.py`, and of desks that follow their events in `heard.py`.

A service's fault is felt for a while after it has ended: its breaker is open, its last answer is stale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from chaos.history import FAULTS
from chaos.hotel.checks.answers import TABLE
from chaos.play import Judge, Settled
from chaos.toxics import Failover, split

if TYPE_CHECKING:
    from chaos.history import History, Moment

FELT: Final = 15.0  # seconds that a fault is felt after its end: a breaker is open for ten of them
ON_THE_WAY: Final = ("bff", "desk-", "iam", "shift")  # targets without which nobody is answered
DESKS: Final = "desk-"


@dataclass(slots=True)
class Troubles:
    """From when to when each target was in trouble; learnt from the moments of the lane `faults`."""

    spans: dict[str, list[list[float]]] = field(default_factory=dict)
    _open: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # by target and toxic: there may be several

    def see(self, moment: Moment) -> None:
        """Learn, if it is a moment of a fault."""
        if moment.lane != FAULTS:
            return
        which = (str(moment.data.get("target")), str(moment.data.get("toxic")))
        if moment.word == "breaking":
            span = [moment.at, moment.at + _takes(which[1])]
            self._open[which] = span
            self.spans.setdefault(which[0], []).append(span)
        elif moment.word == "skipped":
            self.spans[which[0]].remove(self._open.pop(which))
        elif moment.word == "ends":
            _end(self._open.pop(which), moment.at)
        elif moment.word == "calm":
            for span in self._open.values():
                _end(span, moment.at)
            self._open.clear()

    def felt(self, target: str, begin: float, end: float, *, after: float = FELT) -> bool:
        """Whether some trouble of `target` was, or could still be felt, between two moments."""
        return any(first <= end and begin <= last + after for first, last in self.spans.get(target, ()))


def _takes(toxic: str) -> float:
    """Seconds after which a fault is over by itself."""
    said = split(toxic) if toxic.startswith(Failover.word) else None
    return said.takes if isinstance(said, Failover) else math.inf


def _end(span: list[float], at: float) -> None:
    span[1] = min(span[1], at)


def in_time() -> Judge:
    """By the deadline that the answer itself names, as the desk measures it."""

    def judge(moment: Moment) -> str | None:
        late = moment.data.get("late", 0.0)
        return f"{moment.lane}: a dashboard {late * 1000:.3f} ms after its deadline" if late > 0 else None

    return judge


def honest() -> Judge:
    """No widget is other than ok but for a fault of the service that feeds it, and no answer contradicts itself."""
    troubles = Troubles()

    def judge(moment: Moment) -> str | None:
        troubles.see(moment)
        if moment.word == "strange":
            return f"{moment.lane}: {moment.text}"
        for name, state in moment.data.get("wrong", {}).items():
            if not troubles.felt(TABLE[name].service, moment.at - moment.took, moment.at):
                return f"{moment.lane}: {name} is {state}, and {TABLE[name].service} is well"
        return None

    return judge


def answered() -> Judge:
    """No desk is refused, or finds nobody there, unless something on its own way is broken."""
    troubles = Troubles()

    def judge(moment: Moment) -> str | None:
        troubles.see(moment)
        if not moment.lane.startswith(DESKS) or moment.word not in {"refused", "unreachable"}:
            return None
        on_the_way = [target for target in troubles.spans if target.startswith(ON_THE_WAY)]
        if any(troubles.felt(target, moment.at - moment.took, moment.at) for target in on_the_way):
            return None
        return f"{moment.lane}: {moment.text}"

    return judge


def whole(history: History) -> str:
    """Which desks have not seen a whole dashboard last, since the calm began; '' where all have.

    A desk is there from its first moment on, which it writes before it asks for anything.
    """
    last: dict[str, str] = {}
    for moment in history.moments:
        if moment.lane.startswith(DESKS):
            calm = history.calm_at is not None and moment.at - moment.took >= history.calm_at
            last[moment.lane] = moment.word if calm else ""
    missing = [lane for lane, word in last.items() if word != "whole"]
    return f"not whole yet: {', '.join(missing)}" if missing else ""


ALWAYS: Final[Mapping[str, Callable[[], Judge]]] = {"in-time": in_time, "honest": honest, "answered": answered}
EVENTUALLY: Final[Mapping[str, Settled]] = {"whole": whole}
