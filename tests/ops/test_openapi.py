import json
import re

import jsonschema_rs
import msgspec
import pytest
import schemathesis

from bff.facts import RequestServed
from bff.openapi import document
from bff.problem import Code
from bff.routes import ROUTES, Asks
from chaos.hotel.checks.listed import all_listed


@pytest.fixture(scope="module")
def doc():
    return json.loads(document())


def operation(doc, route):
    return doc["paths"][route.path][route.method.lower()]


def test_it_is_openapi_3_1_and_has_every_route_and_no_other(doc):
    assert doc["openapi"].startswith("3.1.")
    there = {(method.upper(), path) for path, methods in doc["paths"].items() for method in methods}
    assert there == {(route.method, route.path) for route in ROUTES}


def test_it_is_valid_and_so_is_each_of_its_schemas(doc):
    schemathesis.openapi.from_dict(doc).validate()
    for schema in doc["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_every_reference_leads_somewhere(doc):
    for kind in ("schemas", "headers"):
        names = set(re.findall(rf'"#/components/{kind}/([^"]+)"', document().decode()))
        assert names == set(doc["components"][kind])


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body], ids=lambda route: route.room)
def test_the_example_of_a_body_is_such_a_body(doc, route):
    example = operation(doc, route)["requestBody"]["content"]["application/json"]["example"]
    assert isinstance(msgspec.convert(example, type=route.body), route.body)


def test_who_signs_in_by_the_example_is_the_estate_s_first_operator(doc):
    from chaos.hotel.estate.hotel import build_hotel

    (route,) = [route for route in ROUTES if route.room == "sign_in"]
    example = operation(doc, route)["requestBody"]["content"]["application/json"]["example"]
    first = build_hotel().operators[0]
    assert (example["tenant"], example["operator"], example["password"]) == (
        first.tenant_id,
        first.operator_id,
        first.password,
    )


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.room)
def test_a_route_says_what_it_asks_of_who_comes(doc, route):
    said = operation(doc, route)
    headers = {one["name"] for one in said["parameters"] if one["in"] == "header"}
    assert ("security" in said) == (route.gate is Asks.CLIMB)
    assert ("DPoP" in headers) == (route.gate is not Asks.NOTHING)
    assert ("X-Device-Id" in headers) == (route.gate is Asks.CLIMB)
    assert ("Last-Event-ID" in headers) == (route.room == "events")
    assert ("Idempotency-Key" in headers) == (route.action is not None)
    assert ("X-MFA-Attestation" in headers) == (route.action is not None and bool(route.action.attests))
    assert str(route.status) in said["responses"]
    assert "default" not in said["responses"], "every status is one that is listed"


def codes(doc, method, path):
    """Every code of a route by its status, as the document has them."""
    found = {}
    for status, said in doc["paths"][path][method]["responses"].items():
        if "application/problem+json" in said.get("content", ()):
            _, mine = said["content"]["application/problem+json"]["schema"]["allOf"]
            found[status] = set(mine["properties"]["code"]["enum"])
    return found


ALWAYS = {"400": {"VALIDATION_FAILED"}, "500": {"INTERNAL"}, "503": {"HALTED"}, "504": {"UPSTREAM_TIMEOUT"}}
BODY = {"408": {"REQUEST_TIMEOUT"}, "413": {"PAYLOAD_TOO_LARGE"}, "415": {"UNSUPPORTED_MEDIA_TYPE"}}
BEHIND = {"502": {"UPSTREAM_UNAVAILABLE", "SCHEMA_DRIFT"}}
CLIMB = {
    "400": {"VALIDATION_FAILED"},
    "401": {"SESSION_REQUIRED", "DPOP_INVALID", "SESSION_EXPIRED"},
    "403": {"DEVICE_MISMATCH", "PROPERTY_OUT_OF_SCOPE"},
    "429": {"RATE_LIMITED"},
    "503": {"DRAINING", "OVERLOADED", "TENANT.SUSPENDED", "HALTED"},
}
CHANGE = {
    **{
        status: words | {"UPSTREAM_REFUSED"}
        for status, words in (CLIMB | BODY).items()
        if status in ("403", "413", "415")
    },
    "400": {"VALIDATION_FAILED", "IDEMPOTENCY_KEY_REQUIRED", "UPSTREAM_REFUSED"},
    "404": {"NOT_FOUND"},
    "409": {"IDEMPOTENCY_IN_PROGRESS", "UPSTREAM_REFUSED"},
    "422": {"IDEMPOTENCY_KEY_REUSED", "UPSTREAM_REFUSED"},
    "4XX": {"UPSTREAM_REFUSED"},
    "503": CLIMB["503"] | {"CACHE_UNAVAILABLE", "STORE_UNAVAILABLE"},
}
FACTOR = {"401": CLIMB["401"] | {"MFA_REQUIRED", "MFA_INVALID_OR_USED"}}
FROZEN = {"503": CHANGE["503"] | {"LOCK_PROXY_FROZEN"}}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("get", "/", ALWAYS),
        ("get", "/v1/session", {**ALWAYS, **BEHIND, **CLIMB}),
        ("get", "/v1/dashboard", {**ALWAYS, **BEHIND, **CLIMB}),
        ("get", "/v1/events", {**ALWAYS, **BEHIND, **CLIMB, "503": CLIMB["503"] | {"CACHE_UNAVAILABLE"}}),
        ("get", "/v1/folios/{id}", {**ALWAYS, **BEHIND, **CLIMB, "404": {"NOT_FOUND"}}),
        (
            "post",
            "/v1/session",
            {
                **ALWAYS,
                **BODY,
                **BEHIND,
                "401": {"DPOP_INVALID", "SESSION_REQUIRED"},
                "429": {"RATE_LIMITED"},
                "503": CLIMB["503"],
            },
        ),
        ("post", "/v1/folios/{id}/charges", {**ALWAYS, **BODY, **BEHIND, **CLIMB, **CHANGE}),
        ("post", "/v1/folios/{id}/refunds", {**ALWAYS, **BODY, **BEHIND, **CLIMB, **CHANGE, **FACTOR}),
        ("post", "/v1/locks/{lockId}/keys", {**ALWAYS, **BODY, **BEHIND, **CLIMB, **CHANGE, **FROZEN}),
        (
            "post",
            "/v1/locks/{lockId}/keys/{keyId}/revoke",
            {**ALWAYS, **BODY, **BEHIND, **CLIMB, **CHANGE, **FROZEN, **FACTOR},
        ),
    ],
)
def test_a_route_lists_every_code_that_it_can_answer_with_under_its_status_and_no_other(doc, method, path, expected):
    assert codes(doc, method, path) == expected


def test_no_code_of_the_contract_is_left_out_and_none_stands_under_another_status(doc):
    statuses = {}
    for path, methods in doc["paths"].items():
        for method in methods:
            for status, words in codes(doc, method, path).items():
                for word in words:
                    statuses.setdefault(word, set()).add(status)
    assert "4XX" in statuses.pop("UPSTREAM_REFUSED")
    there = {code.word: {str(code.status)} for code in Code if code is not Code.UPSTREAM_REFUSED}
    elsewhere = {"METHOD_NOT_ALLOWED", *({"PREFERENCES_UNAVAILABLE"} - statuses.keys())}  # of no operation
    assert statuses == {word: status for word, status in there.items() if word not in elsewhere}


def patterns(said):
    """Every pattern of a schema, however deep."""
    if isinstance(said, list):
        return [found for one in said for found in patterns(one)]
    if not isinstance(said, dict):
        return []
    return [*([said["pattern"]] if "pattern" in said else []), *patterns(list(said.values()))]


def test_what_may_hold_no_control_character_has_none_at_its_end_either(doc):
    found = set(patterns(doc["components"]["schemas"]))
    assert len(found) >= 4
    for pattern in found:
        assert any(re.search(pattern, word) for word in ("a", "EUR"))
        assert not any(re.search(pattern, f"{word}\n") for word in ("a", "EUR", ""))


def test_every_parameter_but_the_proof_and_the_second_factor_has_an_example(doc):
    without = {
        one["name"]
        for methods in doc["paths"].values()
        for said in methods.values()
        for one in said["parameters"]
        if "example" not in one
    }
    assert without == {"DPoP", "X-MFA-Attestation"}


def test_what_a_query_may_ask_comes_from_the_route_s_struct_and_what_a_path_holds_from_its_fields(doc):
    def parameters(path, where):
        said = doc["paths"][path]["get"]["parameters"]
        return {one["name"]: (one["required"], one["schema"]) for one in said if one["in"] == where}

    asked = parameters("/v1/workbench", "query")
    assert asked["propertyId"] == (True, {"type": "string", "minLength": 1})
    assert asked["date"] == (False, {"type": "string", "format": "date"})
    required, schema = parameters("/v1/folios/{id}", "path")["id"]
    assert required and schema["type"] == "string"
    for name, there in {"f-00870": True, "..": False, ".": False, "...": True, "a/b": False, "": False}.items():
        assert bool(re.search(schema["pattern"], name)) is there


def served(path, status, code="", method="GET"):
    return RequestServed(path, method, status, code, 0.1)


CHARGES = "/v1/folios/{id}/charges"


@pytest.mark.parametrize(
    "answer",
    [
        served("/v1/dashboard", 200),
        served("/v1/dashboard", 503, "DRAINING"),
        served("/", 200, method="HEAD"),
        served("(none)", 404, "NOT_FOUND"),
        served("(none)", 405, "METHOD_NOT_ALLOWED", "POST"),
        served(CHARGES, 201, method="POST"),
        served(CHARGES, 422, "UPSTREAM_REFUSED", "POST"),
        served(CHARGES, 418, "UPSTREAM_REFUSED", "POST"),
        served(CHARGES, 422, method="POST"),
    ],
)
def test_an_answer_that_is_listed_is_none_that_a_world_complains_of(answer):
    all_listed([answer])


@pytest.mark.parametrize(
    "answer",
    [
        served("/v1/dashboard", 201),
        served("/v1/dashboard", 404, "NOT_FOUND"),
        served("/v1/dashboard", 503, "STORE_UNAVAILABLE"),
        served("/v1/dashboard", 422),
        served("/v1/dashboard", 502, "DRAINING"),
        served("(none)", 400, "VALIDATION_FAILED"),
        served("/v1/nothing", 200),
        served(CHARGES, 401, "UPSTREAM_REFUSED", "POST"),
        served(CHARGES, 503, "LOCK_PROXY_FROZEN", "POST"),
    ],
)
def test_one_that_is_not_fails_the_world_in_which_it_was_given(answer):
    with pytest.raises(AssertionError, match="does not list"):
        all_listed([served("/v1/dashboard", 200), answer])
