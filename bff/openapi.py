"""The contract as a document: OpenAPI 3.1, made from the routes' table and the structs that go over the wire.

Nothing is described twice. A route's row gives its path, gate, deadline and structs, `refusals` its codes, and msgspec
the schemas. What a row cannot hold is an example that works on a fresh `bff up`; those are the tables below.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec

from bff.problem import PROBLEM_JSON, Body
from bff.refusals import REFUSED, by_status
from bff.routes import ID, ROUTES, Asks, Route

VERSION: Final = "3.1.0"
ABOUT: Final = (
    "A hotel desk's one online door. Every answer comes within its route's deadline, or a shorter one asked for; every "
    "refusal is a problem (RFC 9457) whose `code` is one of those listed, but for what breaks HTTP itself. "
    "Unknown paths are 404 `NOT_FOUND`, unknown methods 405 `METHOD_NOT_ALLOWED` with `Allow`."
)

# What to send for a parameter, on a fresh `bff up`, where the schema alone does not say; and for an id, by its path.
EXAMPLES: Final[dict[str, Any]] = {
    "propertyId": "resort-praia",
    "date": "2015-08-15",
    "lockId": "lock-praia-103",
    "keyId": "k-00870",
    "after": "",
    "waitMs": 0,
    "X-Device-Id": "desk-1",
    "X-Deadline-Ms": 800,
    "Last-Event-ID": "3f9c02d1ab47-1439622000000",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "Idempotency-Key": "01890a5d-ac96-774b-bcce-b302099a8057",
}
IDS: Final = {
    "/v1/reservations/{id}/check-in": "r-01118",  # arrives today, and has a room
    "/v1/reservations/{id}/check-out": "r-00870",  # leaves
    "/v1/reservations/{id}/room": "r-01120",  # arrives, and may have another room
    "/v1/housekeeping/tasks/{id}/transition": "t-praia-103",
    "/v1/maintenance/orders/{id}/transition": "o-praia-101",
    "/v1/folios/{id}": "f-00870",
    "/v1/folios/{id}/charges": "f-00870",
    "/v1/folios/{id}/refunds": "f-00870",
    "/v1/alerts/{id}/ack": "a-praia-1",
}


@cache
def document(rows: tuple[Route, ...] = ROUTES) -> bytes:
    """The document, as JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return msgspec.json.encode(
        {
            "openapi": VERSION,
            "info": {"title": "bff-backoffice", "version": "1", "description": ABOUT},
            "paths": paths,
            "components": {"schemas": _schemas(rows), "headers": _HEADERS, "securitySchemes": {"DPoP": _SCHEME}},
        }
    )


_SCHEME: Final = {
    "type": "http",
    "scheme": "DPoP",
    "description": "An access token bound to the device's key (RFC 9449); each request has a proof in the DPoP header.",
}
_TEXT: Final = {"type": "string"}
_HEADERS: Final[dict[str, Any]] = {
    "X-Request-Id": {"description": "To be told when asking about it", "required": True, "schema": _TEXT},
    "Server-Timing": {"description": "What each service and store took, in ms", "schema": _TEXT},
    "Retry-After": {
        "description": "Seconds after which trying again makes sense",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "The scheme that is asked for (RFC 9449, 7.1)",
        "required": True,
        "schema": _TEXT,
    },
    "Idempotent-Replayed": {
        "description": "The answer of an earlier request with this key",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_ALWAYS: Final = ("X-Request-Id", "Server-Timing")


def _schemas(rows: tuple[Route, ...]) -> dict[str, Any]:
    structs = [struct for row in rows for struct in (row.body, row.answer) if struct is not None]
    _, components = msgspec.json.schema_components([*structs, Body], ref_template="#/components/schemas/{name}")
    problem = components.pop(Body.__name__)
    return {**components, "Problem": {**problem, "title": "Problem"}}


def _operation(row: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.room,
        "summary": row.summary,
        "description": f"{'Begins' if row.stream else 'Answers'} within {row.seconds * 1000:.0f} ms.",
        "parameters": [*_path_fields(row), *_query(row), *_headers(row)],
        "responses": {str(row.status): _answer(row), **_problems(row)},
    }
    if row.gate is Asks.CLIMB:
        operation["security"] = [{"DPoP": []}]
    if row.body is not None:
        content = {"schema": _reference(row.body.__name__), "example": row.body.EXAMPLE}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _reference(name: str, kind: str = "schemas") -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


# -- what is answered -----------------------------------------------------------------------------------------------


def _answer(row: Route) -> dict[str, Any]:
    replayed = ("Idempotent-Replayed",) if row.action is not None else ()
    said: dict[str, Any] = {"description": row.summary, "headers": _named(*_ALWAYS, *replayed)}
    if row.answer is not None:
        said["content"] = {row.media: {"schema": _reference(row.answer.__name__)}}
    elif row.status != 204:
        said["content"] = {row.media: {"schema": {}}}
    return said


def _problems(row: Route) -> dict[str, Any]:
    """One response per status; its schema has the codes that this route can answer with under it, and no other."""
    return {status: _problem(row, status, codes) for status, codes in by_status(row).items()}


def _problem(row: Route, status: str, codes: tuple[Any, ...]) -> dict[str, Any]:
    names = list(_ALWAYS)
    if status == "401":
        names.append("WWW-Authenticate")
    if any(code.retryable for code in codes):
        names.append("Retry-After")
    if row.action is not None and (status in {"404", "4XX"} or int(status) in REFUSED):
        names.append("Idempotent-Replayed")  # a service's refusal is recorded as its answer
    schema = {"allOf": [_reference("Problem"), {"properties": {"code": {"enum": [code.word for code in codes]}}}]}
    return {
        "description": "; ".join(f"`{code.word}`: {code.title}" for code in codes),
        "headers": _named(*names),
        "content": {PROBLEM_JSON: {"schema": schema}},
    }


def _named(*headers: str) -> dict[str, Any]:
    return {name: _reference(name, "headers") for name in headers}


# -- what is sent ---------------------------------------------------------------------------------------------------


def _path_fields(row: Route) -> list[dict[str, Any]]:
    schema = {**_TEXT, "pattern": f"^{ID.pattern}$"}
    fields = re.findall(r"{(\w+)}", row.path)
    return [_parameter(name, "path", True, schema, IDS.get(row.path)) for name in fields]


def _query(row: Route) -> list[dict[str, Any]]:
    property_id = [_parameter("propertyId", "query", True, {**_TEXT, "minLength": 1})] if row.property else []
    asked = msgspec.structs.fields(row.query) if row.query is not None else ()
    return property_id + [
        _parameter(field.encode_name, "query", field.required, msgspec.json.schema(field.type)) for field in asked
    ]


def _headers(row: Route) -> list[dict[str, Any]]:
    headers = [
        _parameter("X-Deadline-Ms", "header", False, {"type": "integer", "minimum": 50}),
        _parameter("traceparent", "header", False, _TEXT),
    ]
    if row.gate is not Asks.NOTHING:
        headers.append(_parameter("DPoP", "header", True, {**_TEXT, "maxLength": 8192}))
    if row.gate is Asks.CLIMB:
        headers.append(_parameter("X-Device-Id", "header", True, _TEXT))
    if row.stream:
        headers.append(_parameter("Last-Event-ID", "header", False, _TEXT))
    if row.action is not None:
        headers.append(_parameter("Idempotency-Key", "header", True, {**_TEXT, "pattern": "^[!-~]{1,128}$"}))
        if row.action.attests:
            headers.append(_parameter("X-MFA-Attestation", "header", True, {**_TEXT, "maxLength": 8192}))
    return headers


def _parameter(name: str, where: str, required: bool, schema: dict[str, Any], example: Any = None) -> dict[str, Any]:
    parameter = {"name": name, "in": where, "required": required, "schema": schema}
    example = EXAMPLES.get(name) if example is None else example
    return parameter if example is None else {**parameter, "example": example}
