"""The server against its own document: what schemathesis makes of it is sent, and every answer is one it lists."""

import json
from contextlib import asynccontextmanager
from functools import cache

import httpx
import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks as conform

from bff.openapi import document
from bff.problem import PROBLEM_JSON
from bff.routes import ROUTES, Asks
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.world import open_world
from nurseries import within

OF_EACH = 3  # visits for each route in `make test`, with some requests each
CONFORM = [
    conform.status_code_conformance,
    conform.content_type_conformance,
    conform.response_headers_conformance,
    conform.response_schema_conformance,
]
OURS = {"dpop", "authorization", "x-device-id", "user-agent"}  # what a desk says itself, whatever is generated
# What a house in order answers with a 5xx: a day that reservation-service will not have (CONTRACT section 2).
OUT_OF_REACH = {"workbench": {(502, "UPSTREAM_UNAVAILABLE")}}
SIGN_OUT = next(route for route in ROUTES if route.room == "sign_out")
by_room = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.room)


@cache
def contract():
    return json.loads(document())


@cache
def schema():
    return schemathesis.openapi.from_dict(contract())


def operation(route):
    return schema()[route.path][route.method]


def examples(route):
    """What the document says to send: by where it goes, then by its name."""
    said = contract()["paths"][route.path][route.method.lower()]
    found = {"path": {}, "query": {}, "header": {}}
    for one in said["parameters"]:
        if "example" in one:
            found[one["in"]][one["name"]] = str(one["example"])
    body = said.get("requestBody")
    return {**found, "body": None if body is None else body["content"]["application/json"]["example"]}


class Visitor:
    """A desk that is signed in, and asks what it is told to."""

    def __init__(self, world, desk, person):
        self.desk = desk
        self._world = world
        self._person = person
        self._http = world.client(desk.device)
        self._asked = 0

    async def attested(self, route):
        """The second factor that the example of a route needs, as a header."""
        if route.action is None or not route.action.attests:
            return {}
        resource = route.action.resource.format_map(examples(route)["path"])
        factor = await self.desk.step_up(route.action.attests, resource, self._person.mfa_code)
        return {"x-mfa-attestation": factor}

    async def send(self, route, request):
        """The answer to it, with a proof for just that, whatever of a proof it had."""
        token = None if route.gate is Asks.KNOCK else self.desk.session.access_token
        self._asked += 1
        url = f"{self.desk.base}{request.url.raw_path.decode().partition('?')[0]}"
        request.headers["dpop"] = make_proof(
            self.desk.key, request.method, url, token=token, now=self._world.now(), jti=f"visit-{self._asked}"
        )
        request.headers["x-device-id"] = self.desk.device
        if token is not None:
            request.headers["authorization"] = f"DPoP {token}"
        with within(route.seconds + 5):
            return await (self._until_it_ends(request) if route.stream else self._http.send(request))

    async def _until_it_ends(self, request):
        """All of a stream, which its instance ends after a second."""
        answers = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drain)
            answers.append(await self._http.send(request))
        return answers[0]

    async def _drain(self):
        await trio.sleep(1)
        for server in self._world.servers.values():
            server.house.events.drain()


@asynccontextmanager
async def visitor():
    """The first operator's, in a hotel of its own."""
    async with open_world() as world:
        person = world.hotel.operators[0]
        yield Visitor(world, await world.desk(person, device=examples(SIGN_OUT)["header"]["X-Device-Id"]), person)


# -- what the document gives as examples ----------------------------------------------------------------------------


@by_room
async def test_the_example_of_every_route_works_on_a_hotel_that_was_just_opened(autojump_clock, route):
    said = examples(route)
    async with visitor() as there:
        body = {"refreshToken": there.desk.session.refresh_token} if route.room == "refresh" else said["body"]
        request = httpx.Request(
            route.method,
            f"{there.desk.base}{route.path.format_map(said['path'])}",
            params=said["query"],
            headers={**said["header"], **await there.attested(route)},
            json=body,
        )
        answer = await there.send(route, request)
        assert (answer.status_code, answer.headers.get("content-type", "").partition(";")[0]) == (
            route.status,
            "" if route.status == 204 else route.media,
        ), answer.text
        operation(route).validate_response(answer)


# -- what it allows, and what it does not ---------------------------------------------------------------------------


def whole(value):
    """A body as a program would write it that keeps whole numbers whole: to JSON Schema 12.0 is an integer too."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list) else value


@cache
def cases(route):
    """Requests that the document allows, and such that it does not; half of them of what there is."""
    right, wrong = (operation(route).as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
    return st.tuples(right | wrong, st.booleans())


def prepared(case, base):
    """It as a request, as schemathesis would send it; None for one that HTTP has no form for."""
    told = case.as_transport_kwargs(base_url=base)
    headers = {name: value for name, value in told["headers"].items() if name.lower() not in OURS}
    body = {"json": whole(told["json"])} if "json" in told else {"content": told.get("data")}
    try:
        return httpx.Request(told["method"], told["url"], params=told.get("params"), headers=headers, **body)
    except (UnicodeEncodeError, httpx.InvalidURL):
        return None


def wrong_body(case):
    """Whether its body is one that the document does not allow."""
    there = case.meta.components.get(ParameterLocation.BODY)
    return there is not None and there.mode is GenerationMode.NEGATIVE


async def asked(there, route, case, known):
    """The answer to it; what is `known` is asked of what the examples name."""
    if known:
        case.path_parameters.update(examples(route)["path"])
        case.query.update(examples(route)["query"])
    request = prepared(case, there.desk.base)
    if request is None:
        return None
    if known:
        request.headers.update(await there.attested(route))
    return await there.send(route, request)


def judged(route, case, answer):
    """It is one that the document lists, and what was allowed is not called wrong, nor the other way round."""
    case.validate_response(answer, checks=CONFORM)
    said = "" if answer.is_success or answer.headers["content-type"] != PROBLEM_JSON else answer.json()["code"]
    assert answer.status_code < 500 or (answer.status_code, said) in OUT_OF_REACH.get(route.room, ()), answer.text
    if case.meta.generation.mode is GenerationMode.POSITIVE:
        assert said != "VALIDATION_FAILED", answer.text
    if wrong_body(case):
        assert not answer.is_success


def visited(simulate, route, drawn):
    """Each of them is sent, one after the other, by a desk in a hotel of its own."""

    async def main():
        async with visitor() as there:
            for case, known in drawn:
                answer = await asked(there, route, case, known)
                if answer is not None:
                    judged(route, case, answer)
                if route is SIGN_OUT:
                    break

    simulate(main)


@by_room
@settings(max_examples=OF_EACH, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_made_of_the_document_is_answered_as_it_says(simulate, route, data):
    visited(simulate, route, data.draw(st.lists(cases(route), min_size=2, max_size=5)))


@pytest.mark.soak
@by_room
@settings(max_examples=30 * OF_EACH, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_made_of_it_is_answered_as_it_says_for_longer(simulate, route, data):
    visited(simulate, route, data.draw(st.lists(cases(route), min_size=2, max_size=5)))
