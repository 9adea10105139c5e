"""Everything that serves is killed, again and again, while 64 desks change whatever can be changed (F-20, F-27, F-32).

    spree    desks at full speed, each key tried again until it is answered; some answers are asked for twice
    killer   ends one of the processes that serve, as `kill -9` does, every second
    postgres is killed in the middle, and begun again

Play it at a hotel with two workers, `bff up --workers 2`; with one, everything stands still each second. `short-spree`
is the same in a small size. Afterwards
nothing was done twice and nothing is missing: as many effects as keys that were answered with success, one answer for
each key, every lock action in the trail, no key of which nobody knows what came of it, nothing left in the outbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.checks.changed import seconds_to_settle, succeeded, tries
from chaos.hotel.fleet.changes import ANSWERS, is_try
from chaos.hotel.fleet.inspecting import LANE
from chaos.hotel.fleet.spree import spree
from chaos.hotel.gamedays import GameDay
from chaos.hotel.stage import HotelStage
from chaos.plan import parse_plan
from chaos.play import Cast, Judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.history import History, Moment
    from chaos.plan import Work

PLAN: Final = parse_plan("""
    plan        Workers are killed every second while 64 desks change everything
    owner       platform
    lasts       30, then 60 of calm

    work        spree desks=64
    work        killer every=1
    work        inspector every=2
    fault       postgres kill from 14 until 15

    always      prompt one-answer sane complete chained
    eventually  answered-all within 45
    eventually  settled within 60
    eventually  once within 60
    eventually  audited within 60
    eventually  told within 60
""")

SANE: Final = frozenset({"UPSTREAM_REFUSED"})  # the only refusal that a desk which does nothing wrong may be given


async def killer(stage: HotelStage, history: History, work: Work) -> None:
    """Until the calm."""
    every, chance = work.number("every", 1.0), stage.chance("killer")
    turn = trio.current_time()
    while True:
        turn += every
        await trio.sleep_until(turn)
        if history.calm_at is not None:
            return
        if killed := await stage.kill_a_server(chance):
            history.note("killer", "killed", killed)


def sane() -> Judge:
    """No desk is told that it did wrong: not when its server died, and not by the one that went on."""

    def judge(moment: Moment) -> str | None:
        if not is_try(moment) or moment.word != "refused" or moment.data["code"] in SANE:
            return None
        return f"{moment.lane}: {moment.text} with status {moment.data['status']}"

    return judge


def figures(moments: Sequence[Moment]) -> Mapping[str, float | int | str]:
    """How much was tried and done, and what it took to be so."""
    tried = tries(moments)
    done = {name: len(keys) for name, keys in sorted(succeeded(moments).items())}
    counts = [moment.data for moment in moments if moment.lane == LANE and moment.word == "counted"]
    effects = sum(counts[-1]["effects"].values()) if counts else "nobody looked"
    again = _carried_on(tried)
    return {
        "keys": len({(moment.lane, moment.data["key"]) for moment in tried}),
        "tries": len(tried),
        "processes killed": sum(moment.word == "killed" for moment in moments),
        "tries that nobody answered": sum(moment.word == "unreachable" for moment in tried),
        "answered 409, at it": sum(moment.word == "waits" for moment in tried),
        "answered 504, nobody knows": sum(moment.word == "unknown" for moment in tried),
        "answered 502 or 503": sum(moment.word in {"failed", "later"} for moment in tried),
        "answered from the record": sum(moment.word == "replayed" for moment in tried),
        "keys gone on with by another": again,
        "keys answered with success": sum(done.values()),
        "effects": effects,
        "trail rows about locks": sum(moment.word == "wrote" for moment in moments),
        "abandoned lock actions": sum(moment.data.get("outcome") == "uncertain" for moment in moments),
        "least completeness": min((count["complete"] for count in counts), default="nobody looked"),
        "seconds to settle": seconds_to_settle(moments),
        **{f"done {name}": count for name, count in done.items()},
    }


def _carried_on(tried: Sequence[Moment]) -> int:
    """Keys that were tried before without an answer, and were not answered from the record then: carried out anew."""
    missed: set[tuple[str, str]] = set()
    found = 0
    for moment in tried:
        key = (moment.lane, str(moment.data["key"]))
        if moment.word not in ANSWERS:
            missed.add(key)
        elif key in missed:
            missed.discard(key)
            found += moment.word == "done"
    return found


GAME_DAY: Final = GameDay(
    name="killing-spree",
    plan=PLAN,
    cast=Cast({"spree": spree, "killer": killer}, {"sane": sane}),
    figures=figures,
    about="Workers are killed every second, PostgreSQL once, while desks change everything",
)
