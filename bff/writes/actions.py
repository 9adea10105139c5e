"""The mutations, as the table of CONTRACT section 3: what each asks of whom, what it changes, who hears of it.

A row is all there is of a mutation; `mutation.py` does every one of them the same way. Templates have the fields of the
path and of the body in braces, as they go over the wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from bff.upstreams import services
from bff.upstreams.schemas import changes, preferences
from bff.upstreams.services import Operation
from bff.writes import bodies

Event: TypeAlias = Literal["board-changed", "dashboard-stale"]


@dataclass(frozen=True, slots=True)
class Action:
    """One row.

    `name` is the action's in the ledger, the trail and the metrics. `body` is the struct that comes, `answer` makes the
    one that goes out of the service's, with `status`. `aggregates` is what it changes, the one its path names first;
    `event` is what the other desks of its property hear. `attests` is the action of the second factor that it needs, ''
    for none; `resource` is what the second factor, and the audit trail, name. `audited` says that it acts on a lock,
    `mirrored` that a copy of what it changes is kept here.
    """

    name: str
    operation: Operation
    body: type[msgspec.Struct]
    answer: Callable[[Any], msgspec.Struct]
    aggregates: tuple[str, ...]
    event: Event
    status: int = 200
    attests: str = ""
    resource: str = ""
    audited: bool = False
    mirrored: bool = False


def _stay(now: changes.StayChanged) -> msgspec.Struct:
    return bodies.StayAnswer(now.id, now.status, now.room_id)


def _moved(now: changes.TaskMoved | changes.OrderMoved) -> msgspec.Struct:
    return bodies.MovedAnswer(now.id, now.status)


def _posted(now: changes.Posted) -> msgspec.Struct:
    return bodies.PostedAnswer(now.id, now.folio_id, now.amount_minor, now.currency)


def _issued(now: changes.KeyIssued) -> msgspec.Struct:
    return bodies.IssuedAnswer(now.key_id, now.lock_id, now.valid_until)


def _revoked(now: changes.KeyRevoked) -> msgspec.Struct:
    return bodies.RevokedAnswer(now.key_id, now.revoked_at)


def _acknowledged(now: changes.Acknowledged) -> msgspec.Struct:
    return bodies.AcknowledgedAnswer(now.id, now.acknowledged)


def _saved(now: changes.PreferencesSaved) -> msgspec.Struct:
    return preferences.PreferencesAnswer(now.version, now.values)


CHECK_IN: Final = Action(
    "reservation.check-in",
    services.CHECK_IN,
    bodies.NothingBody,
    _stay,
    ("reservation:{id}",),
    "dashboard-stale",
)
CHECK_OUT: Final = Action(
    "reservation.check-out",
    services.CHECK_OUT,
    bodies.NothingBody,
    _stay,
    ("reservation:{id}",),
    "dashboard-stale",
)
ASSIGN_ROOM: Final = Action(
    "reservation.room",
    services.ASSIGN_ROOM,
    bodies.RoomBody,
    _stay,
    ("reservation:{id}", "room:{roomId}"),
    "dashboard-stale",
)
MOVE_TASK: Final = Action(
    "task.transition",
    services.MOVE_TASK,
    bodies.TaskBody,
    _moved,
    ("task:{id}",),
    "board-changed",
)
MOVE_ORDER: Final = Action(
    "order.transition",
    services.MOVE_ORDER,
    bodies.OrderBody,
    _moved,
    ("order:{id}",),
    "board-changed",
)
CHARGE: Final = Action(
    "folio.charge",
    services.CHARGE,
    bodies.ChargeBody,
    _posted,
    ("folio:{id}",),
    "dashboard-stale",
    status=201,
)
REFUND: Final = Action(
    "folio.refund",
    services.REFUND,
    bodies.RefundBody,
    _posted,
    ("folio:{id}",),
    "dashboard-stale",
    status=201,
    attests="folio.refund",
    resource="{id}",
)
ISSUE_KEY: Final = Action(
    "lock.issue",
    services.ISSUE_KEY,
    bodies.IssueBody,
    _issued,
    ("lock:{lockId}",),
    "board-changed",
    status=201,
    resource="{lockId}",
    audited=True,
)
REVOKE_KEY: Final = Action(
    "lock.revoke",
    services.REVOKE_KEY,
    bodies.RevokeBody,
    _revoked,
    ("lock:{lockId}",),
    "board-changed",
    attests="lock.revoke",
    resource="{lockId}/{keyId}",
    audited=True,
)
ACKNOWLEDGE: Final = Action(
    "alert.ack",
    services.ACKNOWLEDGE,
    bodies.NothingBody,
    _acknowledged,
    ("alert:{id}",),
    "dashboard-stale",
)
SAVE_PREFERENCES: Final = Action(
    "preferences.save",
    services.SAVE_PREFERENCES,
    preferences.PreferencesBody,
    _saved,
    ("preferences:{operator}",),
    "dashboard-stale",
    mirrored=True,
)

ACTIONS: Final = {
    action.name: action
    for action in (
        CHECK_IN,
        CHECK_OUT,
        ASSIGN_ROOM,
        MOVE_TASK,
        MOVE_ORDER,
        CHARGE,
        REFUND,
        ISSUE_KEY,
        REVOKE_KEY,
        ACKNOWLEDGE,
        SAVE_PREFERENCES,
    )
}


class Request(msgspec.Struct, frozen=True):
    """What it takes to send a mutation once more, as the ledger keeps it with its key.

    `fields` are the path's, `body` is the JSON that goes to the service. On whose behalf: `properties` is his scope.
    """

    action: str
    fields: dict[str, str]
    body: msgspec.Raw
    properties: tuple[str, ...]
    device: str
    session: str

    def encoded(self) -> bytes:
        """The same request is the same bytes."""
        return msgspec.json.encode(self, order="deterministic")

    @staticmethod
    def decoded(kept: bytes) -> Request:
        """Raises `msgspec.MsgspecError` for what no server of ours has written."""
        return msgspec.json.decode(kept, type=Request)


def canonical(body: msgspec.Struct) -> bytes:
    """A body in its one form: what differs in spaces alone, or in the order of members, does not differ."""
    return msgspec.json.encode(body, order="deterministic")


def fingerprint(method: str, pattern: str, fields: Mapping[str, str], body: bytes) -> bytes:
    """Which request a key was used for: a hash of method, path and body (draft-ietf-httpapi-idempotency-key, 2.4)."""
    return hashlib.sha256(msgspec.json.encode([method, pattern, sorted(fields.items()), body.decode()])).digest()


def changed_by(action: Action, fields: Mapping[str, str], body: msgspec.Struct) -> tuple[str, ...]:
    """The aggregates of a mutation, the one that its path names first."""
    named = {**msgspec.to_builtins(body), **fields}
    return tuple(template.format_map(named) for template in action.aggregates)


def named_by(action: Action, fields: Mapping[str, str]) -> tuple[str, ...]:
    """The same before there is a body: what only that names is, so far, all of its kind."""
    return tuple(_so_far(template, fields) for template in action.aggregates)


def _so_far(template: str, fields: Mapping[str, str]) -> str:
    try:
        return template.format_map(fields)
    except KeyError:
        return template
