import json
import re

import msgspec
import pytest

from bff.openapi import document
from bff.routes import ROUTES, Asks


@pytest.fixture(scope="module")
def doc():
    return json.loads(document())


def operation(doc, route):
    return doc["paths"][route.path][route.method.lower()]


def test_it_is_openapi_3_1_and_has_every_route_and_no_other(doc):
    assert doc["openapi"].startswith("3.1.")
    there = {(method.upper(), path) for path, methods in doc["paths"].items() for method in methods}
    assert there == {(route.method, route.path) for route in ROUTES}


def test_every_reference_leads_somewhere(doc):
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', document().decode()))
    assert names
    assert names <= set(doc["components"]["schemas"])


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
    assert str(route.status) in said["responses"]
    assert "application/problem+json" in said["responses"]["default"]["content"]


def test_every_parameter_but_the_proof_has_an_example(doc):
    without = {
        one["name"]
        for methods in doc["paths"].values()
        for said in methods.values()
        for one in said["parameters"]
        if "example" not in one
    }
    assert without == {"DPoP"}


def test_what_a_query_may_ask_comes_from_the_route_s_struct_and_what_a_path_holds_from_its_fields(doc):
    def parameters(path, where):
        said = doc["paths"][path]["get"]["parameters"]
        return {one["name"]: (one["required"], one["schema"]) for one in said if one["in"] == where}

    asked = parameters("/v1/workbench", "query")
    assert asked["propertyId"] == (True, {"type": "string"})
    assert asked["date"] == (False, {"type": "string", "format": "date"})
    required, schema = parameters("/v1/folios/{id}", "path")["id"]
    assert required and schema["type"] == "string"
    for name, there in {"f-00870": True, "..": False, ".": False, "...": True, "a/b": False, "": False}.items():
        assert bool(re.search(schema["pattern"], name)) is there


def test_the_example_of_a_folio_is_one_of_the_first_property_s_guests_in_the_house(doc):
    from chaos.hotel.estate.hotel import build_hotel

    said = doc["paths"]["/v1/folios/{id}"]["get"]["parameters"]
    (example,) = [one["example"] for one in said if one["in"] == "path"]
    assert example in {stay.folio_id for stay in build_hotel().properties[0].present()}
