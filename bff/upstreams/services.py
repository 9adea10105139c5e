"""The services behind the server, as one table: what is asked, how, what the answer must be, how long it may take.

A row is all there is of an operation; `client.py` does every one of them the same way. Paths are templates whose fields
are percent-encoded when they are filled in, so that no id can leave its segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import msgspec

from bff.upstreams.schemas import changes, identity, money, preferences, rooms, signals, stay

SERVICES: Final = (
    "iam",
    "tenant",
    "property",
    "reservation",
    "inventory",
    "pricing",
    "housekeeping",
    "maintenance",
    "billing",
    "lock-integration",
    "notification",
    "sync",
    "analytics",
    "ai-orchestrator",
)
LOCATED: Final = (*SERVICES, "pubsub")  # everybody who is reached at an address of his own


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one service.

    `path` has its fields in braces. `answer` is the struct a 2xx must be. `seconds` is the most one call may take: less
    where the deadline around it leaves less. `repeatable` says that twice does no more than once (RFC 9110, 9.2.2).
    `tenant_named` is False only for what belongs to no tenant.
    """

    service: str
    name: str
    method: bytes
    path: str
    answer: Any
    seconds: float = 2.0
    repeatable: bool = True
    tenant_named: bool = True
    decoder: msgspec.json.Decoder[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", msgspec.json.Decoder(self.answer, strict=True))

    def target(self, fields: Mapping[str, str], query: str = "") -> bytes:
        """Path and query as they leave. Raises `KeyError` for a field that is not given."""
        filled = self.path.format_map({name: quote(value, safe="") for name, value in fields.items()})
        return (f"{filled}?{query}" if query else filled).encode("ascii")


def _reads(service: str, name: str, path: str, answer: Any) -> Operation:
    return Operation(service, name, b"GET", path, answer)


def _changes(service: str, name: str, path: str, answer: Any, method: bytes = b"POST") -> Operation:
    """A change: twice is twice, but for its idempotency key, with which it may always be sent again."""
    return Operation(service, name, method, path, answer, 5.0, repeatable=False)


# iam: who someone is. Signing in changes something, and is not sent twice: a lost answer is the desk's to retry.
SIGN_IN: Final = Operation("iam", "signIn", b"POST", "/sessions", identity.SignedIn, 3.0, repeatable=False)
REFRESH: Final = Operation("iam", "refresh", b"POST", "/sessions/refresh", identity.SignedIn, 3.0, repeatable=False)
REVOKE: Final = Operation("iam", "revoke", b"DELETE", "/sessions/{sid}", identity.Revoked, 3.0)
ATTEST_STEP_UP: Final = Operation(
    "iam", "attestStepUp", b"POST", "/attestations", identity.Attested, 3.0, repeatable=False
)
JWKS: Final = Operation("iam", "jwks", b"GET", "/jwks", msgspec.Raw, 2.0, tenant_named=False)

OPERATOR: Final = _reads("tenant", "operator", "/operators/{operator}", identity.Operator)
STATUS: Final = _reads("tenant", "status", "/tenants/{tenant}", identity.TenantState)
PREFERENCES: Final = _reads("tenant", "preferences", "/operators/{operator}/preferences", preferences.Preferences)
PROPERTY: Final = _reads("property", "property", "/properties/{pid}", stay.Property)
ARRIVALS: Final = _reads("reservation", "arrivals", "/properties/{pid}/arrivals", stay.Stays)
DEPARTURES: Final = _reads("reservation", "departures", "/properties/{pid}/departures", stay.Stays)
IN_HOUSE: Final = _reads("reservation", "inHouse", "/properties/{pid}/inHouse", stay.Stays)
WORKBENCH: Final = _reads("reservation", "workbench", "/properties/{pid}/workbench", stay.Workbench)
OCCUPANCY: Final = _reads("inventory", "occupancy", "/properties/{pid}/occupancy", stay.Occupancy)
RATE_SNAPSHOT: Final = _reads("pricing", "rateSnapshot", "/properties/{pid}/rates", money.Rates)
HOUSEKEEPING_BOARD: Final = _reads("housekeeping", "board", "/properties/{pid}/board", rooms.HousekeepingBoard)
MAINTENANCE_BOARD: Final = _reads("maintenance", "board", "/properties/{pid}/board", rooms.MaintenanceBoard)
FOLIO_SUMMARY: Final = _reads("billing", "folioSummary", "/properties/{pid}/folios", money.FolioSummary)
FOLIO: Final = _reads("billing", "folio", "/folios/{id}", money.Folio)
INBOX: Final = _reads("notification", "inbox", "/properties/{pid}/alerts", signals.Inbox)
CURSOR: Final = _reads("sync", "cursor", "/devices/{did}/cursor", signals.Cursor)
KPIS: Final = _reads("analytics", "kpis", "/properties/{pid}/kpis", money.Kpis)
SUGGESTIONS: Final = _reads("ai-orchestrator", "suggestions", "/properties/{pid}/suggestions", signals.Suggestions)

CHECK_IN: Final = _changes("reservation", "checkIn", "/reservations/{id}/check-in", changes.StayChanged)
CHECK_OUT: Final = _changes("reservation", "checkOut", "/reservations/{id}/check-out", changes.StayChanged)
ASSIGN_ROOM: Final = _changes("reservation", "assignRoom", "/reservations/{id}/room", changes.StayChanged)
MOVE_TASK: Final = _changes("housekeeping", "transition", "/tasks/{id}/transition", changes.TaskMoved)
MOVE_ORDER: Final = _changes("maintenance", "transition", "/orders/{id}/transition", changes.OrderMoved)
CHARGE: Final = _changes("billing", "charge", "/folios/{id}/charges", changes.Posted)
REFUND: Final = _changes("billing", "refund", "/folios/{id}/refunds", changes.Posted)
ISSUE_KEY: Final = _changes("lock-integration", "issueKey", "/locks/{lockId}/keys", changes.KeyIssued)
REVOKE_KEY: Final = _changes("lock-integration", "revokeKey", "/locks/{lockId}/keys/{keyId}/revoke", changes.KeyRevoked)
LOCK_OUTCOME: Final = _reads("lock-integration", "outcome", "/operations/{key}", changes.LockOutcome)
ACKNOWLEDGE: Final = _changes("notification", "ack", "/alerts/{id}/ack", changes.Acknowledged)
SAVE_PREFERENCES: Final = _changes(
    "tenant", "preferences", "/operators/{operator}/preferences", changes.PreferencesSaved, b"PUT"
)
HANDSHAKE: Final = _changes("sync", "handshake", "/devices/{did}/handshake", signals.Cursor)

OPERATIONS: Final = (
    SIGN_IN,
    REFRESH,
    REVOKE,
    ATTEST_STEP_UP,
    JWKS,
    OPERATOR,
    STATUS,
    PREFERENCES,
    PROPERTY,
    ARRIVALS,
    DEPARTURES,
    IN_HOUSE,
    WORKBENCH,
    OCCUPANCY,
    RATE_SNAPSHOT,
    HOUSEKEEPING_BOARD,
    MAINTENANCE_BOARD,
    FOLIO_SUMMARY,
    FOLIO,
    INBOX,
    CURSOR,
    KPIS,
    SUGGESTIONS,
    CHECK_IN,
    CHECK_OUT,
    ASSIGN_ROOM,
    MOVE_TASK,
    MOVE_ORDER,
    CHARGE,
    REFUND,
    ISSUE_KEY,
    REVOKE_KEY,
    LOCK_OUTCOME,
    ACKNOWLEDGE,
    SAVE_PREFERENCES,
    HANDSHAKE,
)
