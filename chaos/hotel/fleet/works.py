"""What a fleet does while a plan is played: the works that every plan may name. Each writes into the history.

    looks desks=3 every=2     so many desks, each looks at its dashboard every so many seconds, from a moment of its own
    shifts every=20           a desk whose operator signs out and whose next signs in, every so many seconds

Desks that follow their events, and the platform that has something to say to them, are in `follows.py`.

Where they are they do not know: in the virtual world, or at a hotel that runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.checks.answers import WHOLE, states
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stage import signed_in

if TYPE_CHECKING:
    from chaos.history import History
    from chaos.hotel.fleet.desk import Desk, Seen
    from chaos.hotel.stage import HotelStage
    from chaos.plan import Work

SIGNED_OUT: Final = 401


async def looks(stage: HotelStage, history: History, work: Work) -> None:
    """Desks that look at their dashboards."""
    desks, every = round(work.number("desks", 3)), work.number("every", 2.0)
    first = stage.chance("looks")
    async with trio.open_nursery() as nursery:
        for number in range(desks):
            nursery.start_soon(_look_on, stage, history, number, every, first.uniform(0, every))


async def _look_on(stage: HotelStage, history: History, number: int, every: float, first: float) -> None:
    lane = f"desk-{number + 1}"
    turn = trio.current_time() + first
    history.note(lane, "arrives")
    await trio.sleep_until(turn)
    desk = await signed_in(stage, lane, number)
    history.note(lane, "signed-in", good=True)
    while True:
        try:
            seen = await desk.dashboard()
        except Refused as refused:
            _note_refusal(history, lane, refused)
            if refused.status == SIGNED_OUT:
                desk = await signed_in(stage, lane, number)
        else:
            _note_look(history, lane, seen, stage.late)
        turn += every
        await trio.sleep_until(max(turn, trio.current_time()))


def _note_look(history: History, lane: str, seen: Seen, grace: float) -> None:
    late = max(0.0, seen.took - seen.body["deadlineMs"] / 1000 - grace)
    told = {"late": late, "property": seen.body["propertyId"]}
    try:
        found = states(seen)
    except AssertionError as strange:
        history.note(lane, "strange", str(strange), good=False, took=seen.took, **told)
        return
    wrong = {name: state for name, state in found.items() if state != "ok"}
    partial = not WHOLE.issuperset(found.values())
    text = ", ".join(f"{name} {state}" for name, state in wrong.items())
    if partial is not seen.body["partial"]:
        history.note(lane, "strange", f"partial is {seen.body['partial']}: {text}", good=False, took=seen.took, **told)
    elif partial:
        history.note(lane, "partial", text, took=seen.took, wrong=wrong, **told)
    else:
        history.note(lane, "whole", text, good=True, took=seen.took, wrong=wrong, **told)


def _note_refusal(history: History, lane: str, refused: Refused) -> None:
    word = "refused" if refused.status else "unreachable"
    history.note(lane, word, str(refused), good=False, status=refused.status, code=refused.code)


async def shifts(stage: HotelStage, history: History, work: Work) -> None:
    """A desk that changes hands."""
    every = work.number("every", 20.0)
    lane, number = "shift", 0
    while True:
        desk = await signed_in(stage, lane, number)
        history.note(lane, "signed-in", stage.person(number).operator, good=True)
        await trio.sleep(every)
        await _sign_out(history, lane, desk)
        number += 1


async def _sign_out(history: History, lane: str, desk: Desk) -> None:
    try:
        await desk.sign_out()
    except Refused as refused:
        _note_refusal(history, lane, refused)
    else:
        history.note(lane, "signed-out", good=True)
