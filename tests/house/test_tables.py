"""What the contract has as a table is a table in code, in the same order and words. This is the contract's copy."""

import re

from bff.problem import Code
from bff.reads.widgets import WIDGETS
from bff.routes import ROUTES
from bff.upstreams.services import OPERATIONS, SERVICES
from chaos.toxics import WORDS

CODES = """
    400 VALIDATION_FAILED IDEMPOTENCY_KEY_REQUIRED
    401 SESSION_REQUIRED DPOP_INVALID SESSION_EXPIRED MFA_REQUIRED MFA_INVALID_OR_USED
    403 DEVICE_MISMATCH PROPERTY_OUT_OF_SCOPE
    404 NOT_FOUND
    405 METHOD_NOT_ALLOWED
    408 REQUEST_TIMEOUT
    409 IDEMPOTENCY_IN_PROGRESS UPSTREAM_REFUSED
    413 PAYLOAD_TOO_LARGE
    415 UNSUPPORTED_MEDIA_TYPE
    422 IDEMPOTENCY_KEY_REUSED
    429 RATE_LIMITED
    500 INTERNAL
    502 UPSTREAM_UNAVAILABLE SCHEMA_DRIFT
    503 DRAINING OVERLOADED TENANT.SUSPENDED CACHE_UNAVAILABLE HALTED LOCK_PROXY_FROZEN STORE_UNAVAILABLE
    503 PREFERENCES_UNAVAILABLE
    504 UPSTREAM_TIMEOUT
"""
RETRYABLE_STATUSES = {409, 429, 502, 503, 504}
FINAL = {"UPSTREAM_REFUSED"}  # a service's own refusal of a change, under its own status: an answer, whatever it is

SERVICE_NAMES = (
    "iam tenant property reservation inventory pricing housekeeping maintenance billing lock-integration notification "
    "sync analytics ai-orchestrator"
)

WIDGET_ROWS = """
    operator      tenant           60     300
    property      property         300    86400
    occupancy     inventory        0      0
    rateSnapshot  pricing          0      0
    arrivals      reservation      0      0
    departures    reservation      0      0
    inHouse       reservation      0      0
    housekeeping  housekeeping     0      60
    maintenance   maintenance      0      60
    folioSummary  billing          0      0
    kpis          analytics        0      0
    alerts        notification     0      300
    sync          sync             0      86400
    ai            ai-orchestrator  0      0
"""

OPERATION_ROWS = """
    iam              signIn        POST    /sessions
    iam              refresh       POST    /sessions/refresh
    iam              revoke        DELETE  /sessions/{}
    iam              attestStepUp  POST    /attestations
    iam              jwks          GET     /jwks
    tenant           operator      GET     /operators/{}
    tenant           status        GET     /tenants/{}
    tenant           preferences   GET     /operators/{}/preferences
    property         property      GET     /properties/{}
    reservation      arrivals      GET     /properties/{}/arrivals
    reservation      departures    GET     /properties/{}/departures
    reservation      inHouse       GET     /properties/{}/inHouse
    reservation      workbench     GET     /properties/{}/workbench
    inventory        occupancy     GET     /properties/{}/occupancy
    pricing          rateSnapshot  GET     /properties/{}/rates
    housekeeping     board         GET     /properties/{}/board
    maintenance      board         GET     /properties/{}/board
    billing          folioSummary  GET     /properties/{}/folios
    billing          folio         GET     /folios/{}
    notification     inbox         GET     /properties/{}/alerts
    sync             cursor        GET     /devices/{}/cursor
    analytics        kpis          GET     /properties/{}/kpis
    ai-orchestrator  suggestions   GET     /properties/{}/suggestions
    reservation      checkIn       POST    /reservations/{}/check-in
    reservation      checkOut      POST    /reservations/{}/check-out
    reservation      assignRoom    POST    /reservations/{}/room
    housekeeping     transition    POST    /tasks/{}/transition
    maintenance      transition    POST    /orders/{}/transition
    billing          charge        POST    /folios/{}/charges
    billing          refund        POST    /folios/{}/refunds
    lock-integration issueKey      POST    /locks/{}/keys
    lock-integration revokeKey     POST    /locks/{}/keys/{}/revoke
    lock-integration outcome       GET     /operations/{}
    notification     ack           POST    /alerts/{}/ack
    tenant           preferences   PUT     /operators/{}/preferences
    sync             handshake     POST    /devices/{}/handshake
"""

ROUTE_ROWS = """
    POST    /v1/session             3.0
    GET     /v1/session             2.0
    POST    /v1/session/refresh     3.0
    DELETE  /v1/session             5.0
    POST    /v1/session/step-up     3.0
    GET     /v1/dashboard           0.8
    GET     /v1/workbench           2.0
    POST    /v1/reservations/{id}/check-in 5.0
    POST    /v1/reservations/{id}/check-out 5.0
    POST    /v1/reservations/{id}/room 5.0
    GET     /v1/housekeeping/board  2.0
    POST    /v1/housekeeping/tasks/{id}/transition 5.0
    GET     /v1/maintenance/board   2.0
    POST    /v1/maintenance/orders/{id}/transition 5.0
    GET     /v1/folios/{id}         2.0
    POST    /v1/folios/{id}/charges 5.0
    POST    /v1/folios/{id}/refunds 5.0
    POST    /v1/locks/{lockId}/keys 5.0
    POST    /v1/locks/{lockId}/keys/{keyId}/revoke 5.0
    GET     /v1/alerts              2.0
    POST    /v1/alerts/{id}/ack     5.0
    GET     /v1/preferences         2.0
    PUT     /v1/preferences         5.0
    POST    /v1/sync/handshake      5.0
    POST    /v1/telemetry           5.0
    GET     /v1/events              5.0
    GET     /v1/events/poll         26.0
    GET     /openapi.json           5.0
    GET     /                       5.0
"""

TOXICS = (
    "down hang latency drip reset status giant redirect garbage drift wrong-tenant lose-answer kill stop start failover"
)


def rows(table):
    return [tuple(line.split()) for line in table.strip().splitlines()]


def test_the_codes_are_the_contract_s_with_their_statuses():
    assert {code.word: code.status for code in Code} == {
        word: int(status) for status, *words in rows(CODES) for word in words
    }


def test_what_may_succeed_later_is_what_the_contract_says_may():
    wrong = [
        code.word for code in Code if code.retryable != (code.status in RETRYABLE_STATUSES and code.word not in FINAL)
    ]
    assert wrong == []


def test_the_services_are_the_contract_s_in_its_order():
    assert list(SERVICES) == SERVICE_NAMES.split()


def test_the_widgets_are_the_contract_s_with_their_upstreams_and_times():
    ours = [(w.name, w.operation.service, f"{w.fresh:.0f}", f"{w.keep:.0f}") for w in WIDGETS]
    assert ours == rows(WIDGET_ROWS)


def test_only_the_ai_widget_may_be_absent_f11():
    assert [w.name for w in WIDGETS if w.optional] == ["ai"]


def test_the_operations_are_the_contract_s_with_their_methods_and_paths():
    ours = [(o.service, o.name, o.method.decode(), re.sub(r"{\w+}", "{}", o.path)) for o in OPERATIONS]
    assert ours == rows(OPERATION_ROWS)


def test_the_routes_are_the_contract_s_with_their_deadlines():
    assert [(route.method, route.path, str(route.seconds)) for route in ROUTES] == rows(ROUTE_ROWS)


def test_the_toxics_are_the_contract_s():
    assert list(WORDS) == TOXICS.split()
