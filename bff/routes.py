"""The routes, as the table of CONTRACT section 3, in its order and words.

A row says how long an answer may take, what the gate asks of whoever comes, and which room answers. Matching is by
segments, raw: a path is never decoded before it is compared, so that `%2F` cannot become a slash on the way.

What a field of a path holds becomes a segment of an upstream's path, and so it is an id here or there is no such path:
visible ASCII, no slash, and not `.` or `..`, which no encoding keeps from being taken for a way (RFC 3986, 5.2.4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote

from bff.events.poll import LONGEST_MS, PollAnswer, PollQuery
from bff.gate.bodies import AttestationBody, InHandBody, RefreshBody, SessionBody, SignInBody, StepUpBody
from bff.problem import Code
from bff.reads.boards import (
    AlertsBody,
    FolioBody,
    HousekeepingBody,
    MaintenanceBody,
    WorkbenchBody,
    WorkbenchQuery,
)
from bff.reads.dashboard import DashboardBody
from bff.upstreams.schemas.preferences import PreferencesAnswer
from bff.writes import actions, bodies
from bff.writes.actions import Action
from bff.writes.handshake import HandshakeAnswer, HandshakeBody
from bff.writes.telemetry import TelemetryAnswer, TelemetryBody

DASHBOARD_SECONDS: Final = 0.8
READ_SECONDS: Final = 2.0
IDENTITY_SECONDS: Final = 3.0
OTHER_SECONDS: Final = 5.0
POLL_SECONDS: Final = LONGEST_MS / 1000 + 1.0  # of one that waits as long as it may; a shorter one ends by itself

ID: Final = re.compile(r"(?!\.{1,2}$)[!-.0-~]{1,128}")


class Asks(StrEnum):
    """What the gate asks of whoever comes by a route."""

    NOTHING = ""
    KNOCK = "knock"  # rungs 0 and 2, without a token
    CLIMB = "climb"  # rungs 0 to 9


@dataclass(frozen=True, slots=True)
class Route:
    """One row. `room` names who answers, `seconds` is its deadline, `gate` what it takes to get there.

    `tier` says that the request needs the session tier (rung 7), `urgent` that it is let in while the house is full,
    `stream` that it is one: rung 0 has numbers of its own for it, and `seconds` is for its head alone.
    `body` is the struct that must come, `answer` the one that goes, `status` its status. `property` says that
    `propertyId` in the query is required, `query` is the struct of what else may be asked there. `action` is the row of
    a mutation. `says` are the codes of the room itself, beside those of its action; `media` is what its answer is.
    """

    method: str
    path: str
    room: str
    seconds: float
    summary: str
    gate: Asks = Asks.CLIMB
    tier: bool = False
    urgent: bool = False
    stream: bool = False
    body: Any = None
    answer: Any = None
    status: int = 200
    property: bool = False
    query: Any = None
    action: Action | None = None
    says: tuple[Code, ...] = ()
    media: str = "application/json"


# What is said of a service that is needed: of some, whatever they did; of others, what became of the one call.
BAD_GATEWAY: Final = (Code.UPSTREAM_UNAVAILABLE, Code.SCHEMA_DRIFT)
BEHIND: Final = (*BAD_GATEWAY, Code.NOT_FOUND, Code.UPSTREAM_TIMEOUT, Code.OVERLOADED)


def _mutation(path: str, room: str, summary: str, action: Action, answer: Any, method: str = "POST") -> Route:
    """A row of an M route (rungs 7 to 9): what it asks and changes is its action's row."""
    return Route(
        method,
        path,
        room,
        OTHER_SECONDS,
        summary,
        tier=True,
        body=action.body,
        answer=answer,
        status=action.status,
        action=action,
    )


ROUTES: Final = (
    Route(
        "POST",
        "/v1/session",
        "sign_in",
        IDENTITY_SECONDS,
        "Sign in on this device",
        gate=Asks.KNOCK,
        urgent=True,
        body=SignInBody,
        answer=SessionBody,
        status=201,
        says=(Code.RATE_LIMITED, Code.SESSION_REQUIRED, Code.TENANT_SUSPENDED, *BAD_GATEWAY),
    ),
    Route("GET", "/v1/session", "in_hand", READ_SECONDS, "The session in hand", urgent=True, answer=InHandBody),
    Route(
        "POST",
        "/v1/session/refresh",
        "refresh",
        IDENTITY_SECONDS,
        "A new pair of tokens",
        gate=Asks.KNOCK,
        urgent=True,
        body=RefreshBody,
        answer=SessionBody,
        says=(Code.SESSION_EXPIRED, *BAD_GATEWAY),
    ),
    Route(
        "DELETE",
        "/v1/session",
        "sign_out",
        OTHER_SECONDS,
        "Sign this device out",
        urgent=True,
        status=204,
        says=BAD_GATEWAY,
    ),
    Route(
        "POST",
        "/v1/session/step-up",
        "step_up",
        IDENTITY_SECONDS,
        "A second factor for one action",
        tier=True,
        body=StepUpBody,
        answer=AttestationBody,
        status=201,
        says=(Code.RATE_LIMITED, Code.MFA_INVALID_OR_USED, Code.NOT_FOUND, Code.SESSION_EXPIRED, *BAD_GATEWAY),
    ),
    Route(
        "GET",
        "/v1/dashboard",
        "dashboard",
        DASHBOARD_SECONDS,
        "The desk's day in fourteen widgets",
        answer=DashboardBody,
        property=True,
    ),
    Route(
        "GET",
        "/v1/workbench",
        "workbench",
        READ_SECONDS,
        "Who comes, who leaves, who is there, and every room, on one day",
        answer=WorkbenchBody,
        property=True,
        query=WorkbenchQuery,
        says=BEHIND,
    ),
    _mutation("/v1/reservations/{id}/check-in", "check_in", "A guest is here", actions.CHECK_IN, bodies.StayAnswer),
    _mutation("/v1/reservations/{id}/check-out", "check_out", "A guest has left", actions.CHECK_OUT, bodies.StayAnswer),
    _mutation(
        "/v1/reservations/{id}/room", "assign_room", "Another room for a stay", actions.ASSIGN_ROOM, bodies.StayAnswer
    ),
    Route(
        "GET",
        "/v1/housekeeping/board",
        "housekeeping_board",
        READ_SECONDS,
        "The rooms to clean",
        answer=HousekeepingBody,
        property=True,
        says=BEHIND,
    ),
    _mutation(
        "/v1/housekeeping/tasks/{id}/transition",
        "move_task",
        "A room's cleaning, one column on",
        actions.MOVE_TASK,
        bodies.MovedAnswer,
    ),
    Route(
        "GET",
        "/v1/maintenance/board",
        "maintenance_board",
        READ_SECONDS,
        "The things to repair",
        answer=MaintenanceBody,
        property=True,
        says=BEHIND,
    ),
    _mutation(
        "/v1/maintenance/orders/{id}/transition",
        "move_order",
        "A repair, one column on",
        actions.MOVE_ORDER,
        bodies.MovedAnswer,
    ),
    Route("GET", "/v1/folios/{id}", "folio", READ_SECONDS, "A guest's account", answer=FolioBody, says=BEHIND),
    _mutation(
        "/v1/folios/{id}/charges",
        "charge",
        "Charge something to a guest's account",
        actions.CHARGE,
        bodies.PostedAnswer,
    ),
    _mutation("/v1/folios/{id}/refunds", "refund", "Give something back", actions.REFUND, bodies.PostedAnswer),
    _mutation("/v1/locks/{lockId}/keys", "issue_key", "A key to a room", actions.ISSUE_KEY, bodies.IssuedAnswer),
    _mutation(
        "/v1/locks/{lockId}/keys/{keyId}/revoke",
        "revoke_key",
        "A key that opens nothing any more",
        actions.REVOKE_KEY,
        bodies.RevokedAnswer,
    ),
    Route(
        "GET",
        "/v1/alerts",
        "alerts",
        READ_SECONDS,
        "What wants attention",
        answer=AlertsBody,
        property=True,
        says=BEHIND,
    ),
    _mutation(
        "/v1/alerts/{id}/ack", "acknowledge", "An alert was seen", actions.ACKNOWLEDGE, bodies.AcknowledgedAnswer
    ),
    Route(
        "GET",
        "/v1/preferences",
        "preferences",
        READ_SECONDS,
        "What the operator prefers to see",
        answer=PreferencesAnswer,
        says=BEHIND,
    ),
    _mutation(
        "/v1/preferences",
        "save_preferences",
        "What the operator prefers to see from now on",
        actions.SAVE_PREFERENCES,
        PreferencesAnswer,
        "PUT",
    ),
    Route(
        "POST",
        "/v1/sync/handshake",
        "handshake",
        OTHER_SECONDS,
        "How far this device has synchronised",
        body=HandshakeBody,
        answer=HandshakeAnswer,
        says=BAD_GATEWAY,
    ),
    Route(
        "POST",
        "/v1/telemetry",
        "telemetry",
        OTHER_SECONDS,
        "What happened at the desk",
        body=TelemetryBody,
        answer=TelemetryAnswer,
        status=202,
    ),
    Route(
        "GET",
        "/v1/events",
        "events",
        OTHER_SECONDS,
        "What happens, as it happens",
        tier=True,
        stream=True,
        media="text/event-stream",
        says=(Code.CACHE_UNAVAILABLE, Code.OVERLOADED),
    ),
    Route(
        "GET",
        "/v1/events/poll",
        "poll",
        POLL_SECONDS,
        "What has happened since, at once or when it does",
        tier=True,
        query=PollQuery,
        answer=PollAnswer,
        says=(Code.CACHE_UNAVAILABLE, Code.OVERLOADED),
    ),
    Route("GET", "/openapi.json", "openapi", OTHER_SECONDS, "This contract", gate=Asks.NOTHING),
    Route("GET", "/", "welcome", OTHER_SECONDS, "What this is", gate=Asks.NOTHING, media="text/html"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The row for a request, and what its path's fields hold, decoded."""

    route: Route
    fields: Mapping[str, str]


def find(method: str, path: str) -> Found | tuple[str, ...]:
    """The row for a request; else the methods that this path has (none: there is no such path).

    HEAD is GET without its body where that asks nothing of who comes (RFC 9110, 9.3.2). A read behind the gate has
    none: it would cost all of the read and tell nobody anything.
    """
    allowed: list[str] = []
    for route in ROUTES:
        fields = _match(route.path, path)
        if fields is None:
            continue
        methods = (route.method, "HEAD") if route.method == "GET" and route.gate is Asks.NOTHING else (route.method,)
        if method in methods:
            return Found(route, fields)
        allowed.extend(methods)
    return tuple(allowed)


def _match(pattern: str, path: str) -> dict[str, str] | None:
    if "{" not in pattern:
        return {} if pattern == path else None
    mine, theirs = pattern.split("/"), path.split("/")
    if len(mine) != len(theirs):
        return None
    fields: dict[str, str] = {}
    for want, have in zip(mine, theirs, strict=True):
        if not want.startswith("{"):
            if want != have:
                return None
        elif ID.fullmatch(name := unquote(have)):
            fields[want[1:-1]] = name
        else:
            return None
    return fields
