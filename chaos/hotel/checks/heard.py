"""What plans may promise of desks that follow their events (`chaos.hotel.fleet.follows`).

eventually   live      each desk that follows has a stream that tells it everything
             heard     each has heard what was for it, once and in order, or was told to fetch everything anew
             in-step   each is where sync-service says that it is, and its dashboard says so
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from chaos.hotel.checks.streams import Heard, Posted, judge_streams
from chaos.hotel.fleet.follows import FOLLOWS, PLATFORM
from chaos.hotel.fleet.told import Came, Refetch

if TYPE_CHECKING:
    from chaos.history import History, Moment
    from chaos.hotel.fleet.told import Told
    from chaos.play import Settled

STATES: Final = frozenset({"arrives", "signed-in", "live", "polling", "offline", "ended", "over"})
ALERT: Final = "alert"
SHOWN: Final = 3  # desks that a line names


def live(history: History) -> str:
    """Which desks have no stream now; '' where all have, or have ended as they should."""
    last = {moment.lane: moment.word for moment in followers(history.moments) if moment.word in STATES}
    return _line("not live", [lane for lane, word in last.items() if word != "live"])


def heard(history: History) -> str:
    """The first desk that has not heard what it should, and what; '' where all have."""
    if not any(moment.word == "silent" for moment in history.moments if moment.lane == PLATFORM):
        return "the platform has not said its last word"
    return live(history) or wrong_hearing(history.moments)


def in_step(history: History) -> str:
    """Who has not shaken hands since it was live again, or whose dashboard has not said since then that it is there."""
    steps: dict[str, str] = {}
    for moment in followers(history.moments):
        match moment.word:
            case "arrives" | "live" | "put-off":
                steps[moment.lane] = "has not shaken hands"
            case "shook":
                steps[moment.lane] = "has not looked"
            case "shown" if steps[moment.lane] != "has not shaken hands":
                steps[moment.lane] = "" if _agrees(moment) else moment.text or "is elsewhere"
    return _line("not in step", [f"{lane} {why}" for lane, why in steps.items() if why])


def _agrees(shown: Moment) -> bool:
    data = shown.data
    return data.get("status") == "ok" and data["stale"] is False and data["cursor"] == data["mine"]


def followers(moments: Sequence[Moment]) -> Iterator[Moment]:
    """What happened to desks that follow."""
    return (moment for moment in moments if moment.lane.startswith(FOLLOWS))


# -- hearing ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Session:
    """What one session of a desk was told, from when it was live first."""

    name: str
    who: Mapping[str, object]
    since: float = math.inf
    over: bool = False
    told: list[Told] = field(default_factory=list)


def wrong_hearing(moments: Sequence[Moment]) -> str:
    """The first breach, in one line; '' where there is none. An alert is known by its number, whatever its id."""
    said = [moment for moment in moments if moment.lane == PLATFORM and moment.word == "posted"]
    for session in _sessions(moments):
        posted = [
            Posted(str(one.data["n"]), {session.name} if _is_for(one, session) else frozenset(), one.data["began"])
            for one in said
        ]
        order = {one.name: at for at, one in enumerate(posted)}
        places = [order.get(str(one.data["n"]), len(posted)) for one in session.told if isinstance(one, Came)]
        first = next((at for at, one in enumerate(posted) if one.at >= session.since), len(posted))
        last = max(places, default=-1) + 1 if session.over else len(posted)
        told = Heard(session.told, min([first, *places[:1]]), last)
        try:
            judge_streams(posted, {session.name: told}, named=lambda came: str(came.data["n"]))
        except AssertionError as breach:
            return str(breach)
    return ""


def _sessions(moments: Sequence[Moment]) -> Iterator[_Session]:
    now: dict[str, _Session] = {}
    for moment in followers(moments):
        if moment.word == "signed-in":
            now[moment.lane] = _Session(moment.lane, moment.data)
        session = now.get(moment.lane)
        if session is None:
            continue
        match moment.word:
            case "live":
                session.since = min(session.since, moment.at)
            case "heard" if moment.data["event"] == ALERT:
                session.told.append(Came(moment.data["id"], ALERT, moment.data, moment.at))
            case "refetch":
                session.told.append(Refetch(moment.text, moment.at))
            case "over":
                session.over = True
                yield now.pop(moment.lane)
    yield from now.values()


def _is_for(posted: Moment, session: _Session) -> bool:
    data = posted.data
    return data["tenant"] == session.who["tenant"] and data["operator"] in {None, session.who["operator"]}


def _line(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(names[:SHOWN])}{more}" if names else ""


EVENTUALLY: Final[Mapping[str, Settled]] = {"live": live, "heard": heard, "in-step": in_step}
