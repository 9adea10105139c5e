"""Who answers, by the routes' names for it: what a room needs of the visit, and no more, is handed on here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bff.gate.ladder import Knocked, Pass
from bff.model import Answer
from bff.openapi import document
from bff.reads.boards import HOUSEKEEPING, INBOX, MAINTENANCE
from bff.reads.widgets import Whose
from bff.routes import ROUTES
from bff.welcome import PAGE
from bff.writes.mutation import Asked

if TYPE_CHECKING:
    from bff.app import Result, Room, Visit
    from bff.events.poll import Polls
    from bff.events.streams import Streams
    from bff.gate.session import Sessions
    from bff.gate.step_up import StepUp
    from bff.problem import Problem
    from bff.reads.boards import Board, Boards
    from bff.reads.dashboard import Dashboard
    from bff.reads.preferences import PreferencesRoom
    from bff.writes.handshake import Handshakes
    from bff.writes.mutation import Mutations
    from bff.writes.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Inside:
    """Everything that is behind the gate."""

    sessions: Sessions
    step_up: StepUp
    dashboard: Dashboard
    boards: Boards
    preferences: PreferencesRoom
    mutations: Mutations
    handshakes: Handshakes
    telemetry: Telemetry
    streams: Streams
    polls: Polls


def rooms(inside: Inside) -> dict[str, Room]:
    """One for each `room` of the routes' table."""
    changes = dict.fromkeys((route.room for route in ROUTES if route.action is not None), _change(inside.mutations))
    return {**_plain(), **_identity(inside), **_reads(inside), **_tells(inside), **_events(inside), **changes}


def _plain() -> dict[str, Room]:
    """What asks nothing of who comes."""
    contract = Answer(200, document())

    async def openapi(_: Visit) -> Answer | Problem:
        return contract

    async def welcome(_: Visit) -> Answer | Problem:
        return PAGE

    return {"openapi": openapi, "welcome": welcome}


def _identity(inside: Inside) -> dict[str, Room]:
    """What is about the session."""
    sessions = inside.sessions

    async def sign_in(visit: Visit) -> Answer | Problem:
        return await sessions.sign_in(_knocked(visit), visit.body, visit.journey)

    async def refresh(visit: Visit) -> Answer | Problem:
        return await sessions.refresh(_knocked(visit), visit.body, visit.journey)

    async def sign_out(visit: Visit) -> Answer | Problem:
        return await sessions.sign_out(_passed(visit), visit.journey)

    async def attest(visit: Visit) -> Answer | Problem:
        return await inside.step_up.attest(_passed(visit), visit.body, visit.journey)

    async def in_hand(visit: Visit) -> Answer | Problem:
        return sessions.in_hand(_passed(visit))

    return {
        "sign_in": sign_in,
        "refresh": refresh,
        "sign_out": sign_out,
        "step_up": attest,
        "in_hand": in_hand,
    }


def _reads(inside: Inside) -> dict[str, Room]:
    """What a desk looks at."""
    dashboard, boards = inside.dashboard, inside.boards

    async def look(visit: Visit) -> Answer | Problem:
        return await dashboard.answer(_whose(visit), visit.journey, deadline_ms=visit.deadline_ms)

    def page(board: Board) -> Room:
        async def show(visit: Visit) -> Answer | Problem:
            return await boards.board(board, _whose(visit), visit.journey)

        return show

    async def workbench(visit: Visit) -> Answer | Problem:
        return await boards.workbench(_whose(visit), visit.query.date or None, visit.journey)

    async def folio(visit: Visit) -> Answer | Problem:
        return await boards.folio(_passed(visit).claims, visit.found.fields["id"], visit.journey)

    async def preferences(visit: Visit) -> Answer | Problem:
        return await inside.preferences.answer(_passed(visit).claims, visit.journey)

    return {
        "dashboard": look,
        "workbench": workbench,
        "housekeeping_board": page(HOUSEKEEPING),
        "maintenance_board": page(MAINTENANCE),
        "folio": folio,
        "alerts": page(INBOX),
        "preferences": preferences,
    }


def _tells(inside: Inside) -> dict[str, Room]:
    """What a desk says that is no mutation."""

    async def handshake(visit: Visit) -> Answer | Problem:
        return await inside.handshakes.answer(_passed(visit), visit.body, visit.journey)

    async def telemetry(visit: Visit) -> Answer | Problem:
        return await inside.telemetry.take(_passed(visit).claims, visit.body)

    return {"handshake": handshake, "telemetry": telemetry}


def _events(inside: Inside) -> dict[str, Room]:
    """What a desk is told."""

    async def events(visit: Visit) -> Result:
        last = visit.request.first(b"last-event-id")
        return await inside.streams.open(_passed(visit).claims, None if last is None else last.decode("latin-1"))

    async def poll(visit: Visit) -> Result:
        return await inside.polls.answer(_passed(visit).claims, visit.query)

    return {"events": events, "poll": poll}


def _change(mutations: Mutations) -> Room:
    """Every mutation: which it is, its route's row says."""

    async def change(visit: Visit) -> Answer | Problem:
        who, route = _passed(visit), visit.found.route
        assert route.action is not None and who.key is not None and visit.place is not None, "rung 9, and the row"
        asked = Asked(
            action=route.action,
            claims=who.claims,
            key=who.key,
            attestation=who.attestation,
            method=route.method,
            pattern=route.path,
            fields=visit.found.fields,
            body=visit.body,
            place=visit.place,
            request_id=visit.request_id,
        )
        return await mutations.answer(asked, visit.journey)

    return change


def _whose(visit: Visit) -> Whose:
    who = _passed(visit)
    assert who.property is not None, "the route's row asks for it"
    return Whose(who.claims, who.property, who.blob.cursor if who.blob is not None else None)


def _knocked(visit: Visit) -> Knocked:
    assert isinstance(visit.who, Knocked), "the route's row says so"
    return visit.who


def _passed(visit: Visit) -> Pass:
    assert isinstance(visit.who, Pass), "the route's row says so"
    return visit.who
