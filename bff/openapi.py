"""The contract as a document: OpenAPI 3.1, made from the routes' table and the structs that go over the wire.

Nothing is described twice. A route's row gives its path, gate, deadline and structs, and msgspec the schemas of those.
What a row cannot hold is an example that works on a fresh `bff up`; those are the table below.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec

from bff.problem import Body
from bff.routes import ID, ROUTES, Route

VERSION: Final = "3.1.0"

# What to send for a field, on a fresh `bff up`, where the schema alone does not say. An id is named after its segment.
EXAMPLES: Final[dict[str, Any]] = {
    "propertyId": "resort-praia",
    "date": "2015-08-15",
    "folios/{id}": "f-00870",
    "X-Device-Id": "desk-1",
    "X-Deadline-Ms": 800,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}


@cache
def document(rows: tuple[Route, ...] = ROUTES) -> bytes:
    """The document, as JSON."""
    structs = [struct for row in rows for struct in (row.body, row.answer) if struct is not None]
    _, components = msgspec.json.schema_components([*structs, Body], ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return msgspec.json.encode(
        {
            "openapi": VERSION,
            "info": {"title": "bff-backoffice", "version": "1", "description": "A hotel desk's one online door."},
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": {"DPoP": _SCHEME}},
        }
    )


_SCHEME: Final = {
    "type": "http",
    "scheme": "DPoP",
    "description": "An access token bound to the device's key (RFC 9449); each request has a proof in the DPoP header.",
}


def _operation(row: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.room,
        "summary": row.summary,
        "description": f"Answers within {row.seconds * 1000:.0f} ms.",
        "parameters": [*_path_fields(row), *_query(row), *_headers(row)],
        "responses": {str(row.status): _answer(row), "default": _PROBLEM},
    }
    if row.gate == "climb":
        operation["security"] = [{"DPoP": []}]
    if row.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": _content(row.body)}}
    return operation


def _content(struct: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _reference(struct)}
    example = getattr(struct, "EXAMPLE", None)
    if example is not None:
        content["example"] = example
    return content


def _reference(struct: Any) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}


def _answer(row: Route) -> dict[str, Any]:
    said: dict[str, Any] = {"description": row.summary, "headers": _ANSWER_HEADERS}
    if row.answer is not None:
        said["content"] = {"application/json": {"schema": _reference(row.answer)}}
    return said


def _path_fields(row: Route) -> list[dict[str, Any]]:
    schema = {"type": "string", "pattern": f"^{ID.pattern}$"}
    fields = re.findall(r"([\w-]+/{(\w+)})", row.path)
    return [_parameter(name, "path", True, schema, example) for example, name in fields]


def _query(row: Route) -> list[dict[str, Any]]:
    property_id = [_parameter("propertyId", "query", True, {"type": "string"})] if row.property else []
    asked = msgspec.structs.fields(row.query) if row.query is not None else ()
    return property_id + [
        _parameter(field.encode_name, "query", field.required, msgspec.json.schema(field.type)) for field in asked
    ]


def _headers(row: Route) -> list[dict[str, Any]]:
    always = [
        _parameter("X-Deadline-Ms", "header", False, {"type": "integer", "minimum": 50}),
        _parameter("traceparent", "header", False, {"type": "string"}),
    ]
    if not row.gate:
        return always
    proof = _parameter("DPoP", "header", True, {"type": "string", "maxLength": 8192})
    device = [_parameter("X-Device-Id", "header", True, {"type": "string"})] if row.gate == "climb" else []
    return [proof, *device, *always]


def _parameter(name: str, where: str, required: bool, schema: dict[str, Any], example: str = "") -> dict[str, Any]:
    parameter = {"name": name, "in": where, "required": required, "schema": schema}
    key = example or name
    return {**parameter, "example": EXAMPLES[key]} if key in EXAMPLES else parameter


_ANSWER_HEADERS: Final = {
    "X-Request-Id": {"schema": {"type": "string"}},
    "Server-Timing": {"schema": {"type": "string"}},
}
_PROBLEM: Final = {
    "description": "A problem (RFC 9457); `code` says which",
    "content": {"application/problem+json": {"schema": _reference(Body)}},
}
