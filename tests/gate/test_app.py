"""The door, through the real app: what every answer has, when it comes, and what is read of who is refused."""

import math
import re

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.app import make_app
from bff.facts import RequestServed, Surprised
from bff.model import Answer, Streamed
from bff.problem import Code, Problem
from bff.routes import ROUTES, Asks, Found, find
from bff.wire.asgi import BODY_LIMIT, ClientLeft
from bff.wire.sse import MEDIA
from chaos.toxics import split
from nurseries import remaining

IN, DASHBOARD, EVENTS = "/v1/session", "/v1/dashboard", "/v1/events"
MINE = "propertyId=resort-praia"
GATED = [route for route in ROUTES if route.gate is not Asks.NOTHING]
CLIMBED = [route for route in ROUTES if route.gate is Asks.CLIMB]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def named(route):
    return f"{route.method} {route.path}" if hasattr(route, "path") else None


def place(route):
    """A path of the route."""
    return re.sub(r"{\w+}", "some-id", route.path)


def sample(route):
    """A body that the route takes."""
    return route.body.EXAMPLE if route.body is not None else None


def doing(world, room):
    """An app in which whoever answers is `room`."""
    return make_app(world.outside, world.gate, {route.room: room for route in ROUTES})


def demanded(route, desk):
    """What a mutation needs beside its token and its proof."""
    action = route.action
    if action is None:
        return {}
    resource = re.sub(r"{\w+}", "some-id", action.resource)
    factor = {"x-mfa-attestation": desk.attestation(act=action.attests, res=resource)} if action.attests else {}
    return {"idempotency-key": "a-key", **factor}


async def visit(world, route, app, *, desk=None, headers=(), body=None, pieces=None, query=MINE):
    """A request of somebody who may come in."""
    desk = desk or world.desk()
    token = desk.token() if route.gate is Asks.CLIMB else None
    head = {**desk.head(route.method, place(route), token), **demanded(route, desk), **dict(headers)}
    body = sample(route) if body is None else body
    return await world.ask(route.method, place(route), head, body, query=query, app=app, pieces=pieces)


def row(method, path):
    found = find(method, path)
    assert isinstance(found, Found)
    return found.route


async def hang(_):
    await trio.sleep_forever()


async def fine(_):
    return Answer(200, b"{}")


# -- where a request goes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/session/", "/v1/dashboard%2F", "/V1/session", "//v1/session", "/x", "*"]
)
async def test_an_unknown_path_is_404_and_needs_no_gate(autojump_clock, world, path):
    world.gate.admission.draining = True
    said = await world.ask("GET", path)
    assert (said.status, said.code) == (404, "NOT_FOUND")
    assert said.header("content-type") == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", IN, "POST, GET, DELETE"),
        ("GET", "/v1/session/refresh", "POST"),
        ("HEAD", DASHBOARD, "GET"),
        ("OPTIONS", DASHBOARD, "GET"),
        ("POST", "/", "GET, HEAD"),
        ("get", "/", "GET, HEAD"),
    ],
)
async def test_another_method_is_405_with_those_there_are_and_needs_no_gate(
    autojump_clock, world, method, path, allowed
):
    said = await world.ask(method, path)
    assert (said.status, said.code, said.header("allow")) == (405, "METHOD_NOT_ALLOWED", allowed)


@pytest.mark.parametrize("path", ["/", "/openapi.json"])
async def test_what_is_public_is_there_for_everybody_and_for_head_too(autojump_clock, world, path):
    world.gate.admission.draining = True
    world.tier.down()
    got = await world.ask("GET", path)
    assert got.status == 200
    head = await world.ask("HEAD", path)
    assert (head.status, head.headers[1]) == (200, got.headers[1])


def test_an_app_without_a_room_for_a_route_is_not_made():
    with pytest.raises(KeyError):
        make_app(None, None, {})


# -- what every answer has ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES, ids=named)
async def test_every_answer_has_an_id_of_its_own_whatever_it_is(autojump_clock, world, route):
    said = [
        await visit(world, route, doing(world, fine)),
        await visit(world, route, doing(world, hang)),
        await world.ask(route.method, place(route)),
        await world.ask("TRACE", place(route)),
    ]
    ids = [one.header("x-request-id") for one in said]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert len(set(ids)) == len(ids)
    for one in said:
        if one.status >= 400:
            assert one.json()["requestId"] == one.header("x-request-id")


async def test_an_answer_says_what_it_spent_where(autojump_clock, world):
    world.tier.latency(0.02)
    world.iam.inject(split("latency ms=30"))
    said = await visit(world, row("POST", IN), None)
    spent = dict(re.findall(r"([\w-]+);dur=([\d.]+)", said.header("server-timing")))
    assert said.status == 201
    assert float(spent["session-tier"]) == 20
    assert float(spent["iam"]) == 30


async def test_what_was_served_is_told_by_its_pattern_and_its_code(autojump_clock, world):
    await visit(world, row("GET", IN), None)
    await world.ask("GET", "/v1/secret-path-7")
    await world.ask("GET", IN)
    told = [(fact.route, fact.method, fact.status, fact.code) for fact in world.told(RequestServed)]
    assert told == [(IN, "GET", 200, ""), ("(none)", "GET", 404, "NOT_FOUND"), (IN, "GET", 401, "SESSION_REQUIRED")]


@pytest.mark.parametrize("route", GATED, ids=named)
async def test_rung_0_comes_first_on_every_route_behind_the_gate(autojump_clock, world, route):
    world.gate.admission.draining = True
    assert (await world.ask(route.method, place(route))).code == "DRAINING"


async def test_every_request_of_a_device_counts_refused_or_not(autojump_clock, world):
    for _ in range(100):
        await world.ask("GET", IN, {"x-device-id": "desk-9"})
    said = await world.ask("GET", DASHBOARD, {"x-device-id": "desk-9"})
    assert (said.status, said.code, said.header("retry-after")) == (429, "RATE_LIMITED", "1")
    assert (await world.ask("GET", DASHBOARD, {"x-device-id": "desk-8"})).code == "SESSION_REQUIRED"


@pytest.mark.parametrize("room", [fine, hang], ids=["answers", "hangs"])
async def test_a_place_is_held_till_there_is_an_answer_and_no_longer(autojump_clock, world, room):
    places, held = world.gate.admission.places, []

    async def looking(seen):
        held.append(places.in_use)
        return await room(seen)

    await visit(world, row("GET", DASHBOARD), doing(world, looking))
    assert (held, places.in_use) == ([1], 0)


async def test_a_house_that_is_full_still_answers_who_renews_a_session(autojump_clock, world):
    places = world.gate.admission.places
    for _ in range(places.limit - places.kept):
        places.enter()
    assert (await visit(world, row("GET", DASHBOARD), None)).code == "OVERLOADED"
    assert (await visit(world, row("POST", IN), None)).status == 201
    assert (await visit(world, row("GET", IN), None)).status == 200


# -- deadlines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES, ids=named)
async def test_a_room_that_hangs_is_left_in_time_to_say_so(autojump_clock, world, route):
    await visit(world, row("GET", IN), None)  # iam's keys are read
    began = trio.current_time()
    said = await visit(world, route, doing(world, hang))
    assert (said.status, said.code) == (504, "UPSTREAM_TIMEOUT")
    assert route.seconds - 0.02 <= said.at - began < route.seconds


@pytest.mark.parametrize("route", ROUTES, ids=named)
@pytest.mark.parametrize("asked", ["50", "051", "120"])
async def test_a_desk_may_shorten_the_deadline(autojump_clock, world, route, asked):
    await visit(world, row("GET", IN), None)
    began = trio.current_time()
    said = await visit(world, route, doing(world, hang), headers={"x-deadline-ms": asked})
    assert said.status == 504
    assert 0.8 * int(asked) / 1000 <= said.at - began < int(asked) / 1000


@pytest.mark.parametrize("asked", ["60000", "9" * 400])
async def test_and_never_lengthen_it(autojump_clock, world, asked):
    began = trio.current_time()
    said = await visit(world, row("GET", DASHBOARD), doing(world, hang), headers={"x-deadline-ms": asked})
    assert said.at - began < 0.8


@pytest.mark.parametrize(
    "asked", ["", "49", "0", "-50", "+50", "50.0", "5e2", "0x50", "1_000", "soon", "50 60", "\u0663\u0663\u0663"]
)
async def test_a_deadline_that_is_no_whole_number_from_50_up_is_400(autojump_clock, world, asked):
    said = await visit(world, row("GET", IN), doing(world, fine), headers={"x-deadline-ms": asked})
    assert (said.status, said.code) == (400, "VALIDATION_FAILED")
    assert said.json()["errors"][0]["path"] == "X-Deadline-Ms"


async def test_the_gate_comes_before_the_deadline_s_form(autojump_clock, world):
    said = await world.ask("GET", IN, {"x-deadline-ms": "soon"})
    assert said.code == "SESSION_REQUIRED"


async def test_what_is_left_when_the_room_is_entered_is_what_the_gate_left_of_it(autojump_clock, world):
    seen = []
    world.tier.latency(0.05)

    async def looking(what):
        seen.append((remaining(), what.deadline_ms))
        return Answer(200, b"{}")

    await visit(world, row("GET", IN), doing(world, looking))
    world.tier.stop()
    await visit(world, row("GET", DASHBOARD), doing(world, looking), headers={"x-deadline-ms": "400"})
    assert seen[0] == (pytest.approx(2.0 - 0.01 - 0.05), 2000)
    assert seen[1] == (pytest.approx(0.9 * 0.39), 400)


@pytest.mark.parametrize("route", GATED, ids=named)
@pytest.mark.parametrize("tier", ["down", "stop", "start"])
@pytest.mark.parametrize("toxic", ["down", "hang", "drip bytes-per-second=1", "latency ms=700", "status code=503"])
async def test_no_answer_is_ever_late_with_iam_and_the_tier_as_they_are(autojump_clock, world, route, toxic, tier):
    getattr(world.tier, tier)()
    world.iam.inject(split(toxic))
    world.tenant.inject(split(toxic))
    for milliseconds in (None, "50", "300"):
        headers = {} if milliseconds is None else {"x-deadline-ms": milliseconds}
        deadline = min(route.seconds, int(milliseconds or 60_000) / 1000)
        began = trio.current_time()
        said = await visit(world, route, None, headers=headers)
        assert said.at - began <= deadline
        assert said.status in {200, 201, 202, 204, 401, 502} | ({503} if route.tier else set()) | (
            {504} if route.action else set()
        )


@settings(max_examples=40, deadline=None)
@given(
    route=st.sampled_from(GATED),
    iam=st.sampled_from(["", "down", "hang", "latency ms=400 jitter=300", "lose-answer", "garbage", "redirect"]),
    tenant=st.sampled_from(["", "down", "hang", "latency ms=400"]),
    tier=st.sampled_from([0.0, 0.03, 0.2, 3.0, math.inf]),
    milliseconds=st.none() | st.integers(50, 4_000),
    warm=st.booleans(),
)
def test_whatever_is_slow_or_gone_the_answer_is_in_time(
    simulate, open_world, route, iam, tenant, tier, milliseconds, warm
):
    async def main():
        async with open_world() as world:
            if warm:
                await visit(world, row("GET", IN), None)
            for door, toxic in ((world.iam, iam), (world.tenant, tenant)):
                if toxic:
                    door.inject(split(toxic))
            world.tier.latency(tier) if tier < math.inf else world.tier.stop()
            headers = {} if milliseconds is None else {"x-deadline-ms": str(milliseconds)}
            began = trio.current_time()
            said = await visit(world, route, None, headers=headers)
            return said.at - began

    took = simulate(main)
    assert took <= min(route.seconds, (milliseconds or math.inf) / 1000)


# -- bodies ------------------------------------------------------------------------------------------------------------


def piece(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


def sign_in_of(size):
    """A body of exactly so many bytes, in order but for its length."""
    text = msgspec.json.encode({"tenant": "t", "operator": "o", "password": "p", "deviceId": "d"})
    return text + b" " * (size - len(text))


async def test_a_body_is_not_looked_at_before_the_gate_is_passed(autojump_clock, world):
    read = []

    async def receive():
        read.append(1)
        await trio.sleep_forever()

    async def out(_):
        await trio.lowlevel.checkpoint()

    head = world.head("POST", IN, {"content-type": "application/json", "content-length": "10"})
    scope = {"type": "http", "method": "POST", "raw_path": b"/v1/session", "query_string": b"", "scheme": "http"}
    await world.house.app({**scope, "headers": list(head.headers), "client": None, "http_version": "2"}, receive, out)
    assert read == []
    assert world.told(RequestServed)[0].code == "DPOP_INVALID"


@pytest.mark.parametrize(
    ("headers", "size", "expected"),
    [
        ({}, BODY_LIMIT, "SESSION_REQUIRED"),
        ({}, BODY_LIMIT + 1, "PAYLOAD_TOO_LARGE"),
        ({"content-length": "262145"}, 100, "PAYLOAD_TOO_LARGE"),
        ({"content-encoding": "gzip"}, 100, "UNSUPPORTED_MEDIA_TYPE"),
        ({"content-type": "text/plain"}, 100, "UNSUPPORTED_MEDIA_TYPE"),
        ({"content-type": ""}, 100, "UNSUPPORTED_MEDIA_TYPE"),
        ({"content-type": "Application/JSON; charset=utf-8"}, 100, "SESSION_REQUIRED"),
    ],
)
async def test_a_body_has_a_size_and_a_type(autojump_clock, world, headers, size, expected):
    said = await visit(world, row("POST", IN), None, headers=headers, body=sign_in_of(size))
    assert said.code == expected


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", "$"),
        (b"{", "$"),
        (b"\xff", "$"),
        (b"[]", "$"),
        (b"null", "$"),
        (b"[" * 100_000, "$"),
        (b'{"tenant": "t"}', "$"),
        (b'{"tenant": 7, "operator": "o", "password": "p", "deviceId": "d"}', "$.tenant"),
        (b'{"tenant": "\\ud800", "operator": "o", "password": "p", "deviceId": "d"}', "$"),
        (b'{"tenant": "t", "operator": "o", "password": "p", "deviceId": "d"} x', "$"),
    ],
)
async def test_a_body_that_does_not_parse_is_400_and_says_where(autojump_clock, world, body, path):
    said = await visit(world, row("POST", IN), None, body=body, pieces=[piece(body, more=False)])
    assert (said.status, said.code) == (400, "VALIDATION_FAILED")
    assert said.json()["errors"][0]["path"] == path


async def test_a_body_slower_than_its_deadline_is_408_in_time(autojump_clock, world):
    began = trio.current_time()
    said = await visit(world, row("POST", IN), None, pieces=[piece(b"{")])
    assert (said.status, said.code) == (408, "REQUEST_TIMEOUT")
    assert 2.8 < said.at - began < 3.0


async def test_a_body_that_is_there_is_read_under_the_shortest_deadline(autojump_clock, world):
    said = await visit(world, row("POST", IN), doing(world, fine), headers={"x-deadline-ms": "50"})
    assert said.status == 200


async def test_a_body_where_none_belongs_is_not_read(autojump_clock, world):
    said = await visit(world, row("GET", IN), None, body=b"x", headers={"content-encoding": "gzip"})
    assert said.status == 200


async def test_a_property_is_needed_where_the_row_says_so(autojump_clock, world):
    said = await visit(world, row("GET", DASHBOARD), None, query="")
    assert (said.status, said.code) == (400, "VALIDATION_FAILED")
    assert said.json()["errors"] == [{"path": "propertyId", "message": "a property is needed"}]


# -- rooms -------------------------------------------------------------------------------------------------------------


async def test_a_room_is_told_on_whose_behalf_it_asks_and_keeps_the_trace(autojump_clock, world):
    seen = []

    async def looking(what):
        seen.append(what)
        return Answer(200, b"{}")

    await visit(world, row("GET", DASHBOARD), doing(world, looking), headers={"traceparent": TRACE})
    (what,) = seen
    journey = what.journey
    assert (journey.tenant, journey.operator, journey.properties) == ("resort", "ines", ("resort-praia",))
    assert (journey.trace.trace_id, journey.trace.sampled) == (TRACE[3:35], True)
    assert journey.trace.span_id != TRACE[36:52]
    assert (what.who.property, what.deadline_ms, what.body) == ("resort-praia", 800, None)


def raising(error):
    async def room(_):
        await trio.lowlevel.checkpoint()
        raise error

    return room


async def grouped(_):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raising(KeyError("s3cret")), None)
        await trio.sleep_forever()


@pytest.mark.parametrize("room", [raising(ValueError("s3cret")), grouped], ids=["alone", "in a nursery"])
async def test_a_bug_is_one_request_s_500_with_an_id_and_a_fact_and_nothing_of_it_leaves(autojump_clock, world, room):
    said = await visit(world, row("GET", DASHBOARD), doing(world, room))
    assert (said.status, said.code, said.json()["retryable"]) == (500, "INTERNAL", False)
    assert b"s3cret" not in said.body
    (fact,) = world.told(Surprised)
    assert said.header("x-request-id") in fact.where
    assert "test_app.py" in fact.where
    assert fact.error in {"ValueError", "KeyError"}
    assert (await visit(world, row("GET", IN), None)).status == 200


async def test_a_problem_of_a_room_is_an_answer(autojump_clock, world):
    async def room(_):
        await trio.lowlevel.checkpoint()
        return Problem(Code.CACHE_UNAVAILABLE, "later", retry_after=1.5)

    said = await visit(world, row("GET", DASHBOARD), doing(world, room))
    assert (said.status, said.json()["retryAfterMs"], said.header("retry-after")) == (503, 1_500, "2")


def streaming(world, run):
    """An app whose rooms answer piece by piece."""

    async def room(_):
        await trio.lowlevel.checkpoint()
        return Streamed(run, MEDIA)

    return doing(world, room)


async def test_a_stream_outlives_its_request_which_was_served_when_its_head_went(autojump_clock, world):
    opening, seen = world.gate.admission.opening, []

    async def room(_):
        seen.append((opening.in_use, remaining() < math.inf))
        await trio.sleep(0.5)
        return Streamed(run, MEDIA)

    async def run(pieces):
        seen.append((opening.in_use, remaining() < math.inf))
        (served,) = world.told(RequestServed)
        assert (served.route, served.status, served.code, served.seconds) == (EVENTS, 200, "", pytest.approx(0.5))
        await trio.sleep(3_600)
        await pieces.write(b": still here\n\n")

    said = await visit(world, row("GET", EVENTS), doing(world, room))
    assert (said.status, said.body) == (200, b": still here\n\n")
    assert [said.header(name) for name in ("content-type", "x-accel-buffering")] == ["text/event-stream", "no"]
    assert "session-tier" in said.header("server-timing")
    assert seen == [(1, True), (0, False)]
    assert len(world.told(RequestServed)) == 1
    assert world.told(Surprised) == []


async def test_a_bug_in_a_stream_is_a_fact_with_its_id_and_no_second_answer(autojump_clock, world):
    async def run(pieces):
        await pieces.write(b"half")
        raise KeyError("s3cret")

    said = await visit(world, row("GET", EVENTS), streaming(world, run))
    assert (said.status, said.body) == (200, b"half")
    (fact,) = world.told(Surprised)
    assert (said.header("x-request-id") in fact.where, fact.error) == (True, "KeyError")
    assert len(world.told(RequestServed)) == 1


async def left(_):
    await trio.lowlevel.checkpoint()
    raise ClientLeft


async def left_by_two(pieces):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left, pieces)
        nursery.start_soon(left, pieces)


async def left_by_one_and_a_bug(pieces):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left, pieces)
        nursery.start_soon(raising(KeyError("s3cret")), pieces)


@pytest.mark.parametrize(
    ("run", "bugs"),
    [(left, []), (left_by_two, []), (left_by_one_and_a_bug, ["KeyError"])],
    ids=["left", "twice", "and a bug"],
)
async def test_a_desk_that_leaves_its_stream_is_no_bug_and_hides_none(autojump_clock, world, run, bugs):
    await visit(world, row("GET", EVENTS), streaming(world, run))
    assert [fact.error for fact in world.told(Surprised)] == bugs


async def test_a_peer_that_takes_nothing_is_not_waited_for(autojump_clock, world):
    async def never(_):
        await trio.sleep_forever()

    scope = {"type": "http", "method": "GET", "raw_path": b"/", "query_string": b"", "headers": [], "scheme": "http"}
    began = trio.current_time()
    await world.house.app({**scope, "client": None, "http_version": "1.1"}, never, never)
    assert trio.current_time() - began == pytest.approx(10)


async def test_what_is_not_http_is_not_served(autojump_clock, world):
    with pytest.raises(NotImplementedError):
        await world.house.app({"type": "lifespan"}, None, None)


async def test_the_dashboard_is_200_in_time_with_every_upstream_gone_f33(autojump_clock, world):
    await visit(world, row("GET", IN), None)
    world.iam.inject(split("down"))
    world.tier.stop()
    began = trio.current_time()
    said = await visit(world, row("GET", DASHBOARD), None)
    assert (said.status, said.json()["partial"], said.json()["deadlineMs"]) == (200, True, 800)
    assert said.at - began <= 0.8


@pytest.mark.parametrize("route", [route for route in GATED if route.body is not None], ids=named)
async def test_whoever_leaves_in_the_moment_in_which_his_body_is_there_leaves_no_bug_behind(
    autojump_clock, world, route
):
    with trio.CancelScope() as connection:

        def pieces():
            connection.cancel(reason="the desk leaves")
            yield {"type": "http.request", "body": msgspec.json.encode(sample(route)), "more_body": False}

        await visit(world, route, world.house.app, pieces=pieces())
    assert connection.cancelled_caught
    assert world.told(Surprised) == []
