"""The switches for people: at the ops listener, on the command line, and what each of them does to two servers."""

import json
from dataclasses import dataclass

import msgspec
import pytest
import trio

from bff.config import Secret
from bff.ops.listener import Ops
from bff.ops.switches import BODY_LIMIT, Panel
from bff.outside import Outside
from bff.stores.switches import SWITCHES, Switches
from bff.stores.trail import HOUSE
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.world import MORNING, open_world
from nurseries import within

JSON = (b"content-type", b"application/json")
WHY = {"why": "the auditor asked", "by": "ann"}
CHARGE = {"amountMinor": 1250, "currency": "EUR", "description": "Minibar"}
REFUND = {"amountMinor": 500, "currency": "EUR", "reason": "The minibar was empty"}
KEY = {"reservationId": "r-00870", "validUntil": "2015-08-16T12:00:00Z"}


@dataclass
class Said:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return msgspec.json.decode(self.body)


async def ask(app, path, body=None, *, method=None, headers=(JSON,), body_never_comes=False):
    """What an ops listener answers; a `body` is POSTed."""
    sent = []

    async def out(message):
        sent.append(message)

    async def receive():
        await trio.lowlevel.checkpoint()
        if body_never_comes:
            await trio.sleep_forever()
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return {"type": "http.request", "body": raw, "more_body": False}

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method or ("GET" if body is None else "POST"),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
        "scheme": "http",
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, out)
    return Said(sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"])


def listener(store=None, token=None):
    """An ops listener with the switches of a ledger of its own."""
    outside = Outside(now=lambda: MORNING, entropy=lambda n: b"\1" * n, connect=None)
    switches = Switches((store or SimLedger()).session(), outside.now)
    mounted = {"/switches": Panel(switches).answer}
    return Ops(outside, None, metrics=None, tasks=None, token=token, mounted=mounted).serve


# -- at the ops listener --------------------------------------------------------------------------------------------


async def test_they_are_listed_in_the_table_s_order_with_who_turned_them_and_why(autojump_clock):
    ops = listener()
    assert (await ask(ops, "/switches/locks", {"value": "off", **WHY})).status == 200
    said = await ask(ops, "/switches")
    assert (said.status, said.headers[b"content-type"]) == (200, b"application/json")
    assert [one["name"] for one in said.json] == [known.name for known in SWITCHES]
    assert said.json[0] == {"name": "traffic", "value": "on", "since": None, "by": "", "why": ""}
    assert said.json[2] == {"name": "locks", "value": "off", "since": "2015-08-15T07:00:00.000Z", **WHY}


async def test_who_turns_one_is_told_how_it_is_now_and_is_ops_where_nobody_is_named(autojump_clock):
    said = await ask(listener(), "/switches/telemetry-sample", {"value": 0.25, "why": "the bill"})
    assert said.status == 200
    assert said.json == {
        "name": "telemetry-sample",
        "value": "0.25",
        "since": "2015-08-15T07:00:00.000Z",
        "by": "ops",
        "why": "the bill",
    }


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("traffic", {"value": "maybe", **WHY}, 400, "one of on, off"),
        ("locks", {"value": "frozen", **WHY}, 400, "one of on, off"),
        ("telemetry-sample", {"value": 1.5, **WHY}, 400, "from 0 to 1"),
        ("traffic", {"value": True, **WHY}, 400, "$.value"),
        ("traffic", {"value": "off"}, 400, "why"),
        ("traffic", {"value": "off", "why": " "}, 400, "why"),
        ("traffic", {"value": "off", "why": "two\nlines"}, 400, "one line"),
        ("traffic", {"value": "off", "until": "noon", **WHY}, 400, "until"),
        ("traffic", b"off", 400, "not JSON"),
        ("brakes", {"value": "off", **WHY}, 404, "there are traffic, mutations"),
        ("traffic/", {"value": "off", **WHY}, 404, "no switch"),
        ("traffic", b" " * (BODY_LIMIT + 1), 413, "bytes"),
    ],
)
async def test_a_turn_that_cannot_be_is_refused_in_one_line_and_turns_nothing(
    autojump_clock, path, body, status, words
):
    ops = listener()
    said = await ask(ops, f"/switches/{path}", body)
    assert (said.status, said.headers[b"content-type"]) == (status, b"application/problem+json")
    assert words in said.json["detail"]
    assert all(one["since"] is None for one in (await ask(ops, "/switches")).json)


async def test_what_a_page_in_a_browser_could_send_unasked_turns_nothing(autojump_clock):
    ops = listener()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        said = await ask(ops, "/switches/traffic", {"value": "off", **WHY}, headers=[(b"content-type", kind.encode())])
        assert said.status == 415
    assert (await ask(ops, "/switches")).json[0]["value"] == "on"


async def test_a_turn_whose_body_does_not_come_is_refused_in_time(autojump_clock):
    began = trio.current_time()
    said = await ask(listener(), "/switches/traffic", None, method="POST", body_never_comes=True)
    assert (said.status, said.json["code"]) == (408, "REQUEST_TIMEOUT")
    assert trio.current_time() - began < 5


@pytest.mark.parametrize(("path", "method", "allowed"), [("", "POST", b"GET"), ("/traffic", "GET", b"POST")])
async def test_each_path_has_one_method(autojump_clock, path, method, allowed):
    said = await ask(listener(), f"/switches{path}", method=method)
    assert (said.status, said.headers[b"allow"]) == (405, allowed)


async def test_beyond_loopback_nobody_sees_or_turns_one_without_the_token(autojump_clock):
    store = SimLedger()
    ops = listener(store, Secret("the-token"))
    assert (await ask(ops, "/switches")).status == 401
    assert (await ask(ops, "/switches/traffic", {"value": "off", **WHY})).status == 401
    bearer = (b"authorization", b"Bearer the-token")
    assert (await ask(ops, "/switches", headers=[bearer])).json[0]["value"] == "on"


@pytest.mark.parametrize("toxic", ["down", "hang"])
async def test_with_the_ledger_gone_they_are_shown_as_they_hold_here_and_a_turn_says_that_nobody_knows_f19(
    autojump_clock, toxic
):
    async with open_world() as world:
        ops = world.servers["bff"].house.ops
        world.inject("postgres", toxic)
        assert (await ask(ops, "/switches")).json[0]["value"] == "on"
        began = trio.current_time()
        said = await ask(ops, "/switches/traffic", {"value": "off", **WHY})
        assert (said.status, said.json["code"], said.json["retryable"]) == (503, "STORE_UNAVAILABLE", True)
        assert "may have been turned or not" in said.json["detail"]
        assert trio.current_time() - began < 5


# -- what they do ---------------------------------------------------------------------------------------------------


async def code(work):
    """What a desk is refused with, '' for a success."""
    try:
        await work
    except Refused as refused:
        return refused.code
    return ""


async def turn(world, name, value, server="one"):
    """Turn it at one server, and let the second pass within which all of them obey."""
    said = await ask(world.servers[server].house.ops, f"/switches/{name}", {"value": value, **WHY})
    assert said.status == 200
    await trio.sleep(1.0)


async def rows(world):
    with within(1):
        return [json.loads(row.entry) for row in await world.stores.ledger.session().trail(HOUSE, after=0, limit=99)]


async def test_with_traffic_off_both_servers_halt_everything_but_health_till_it_is_on_again_f28(autojump_clock):
    async with open_world(servers=("one", "other")) as world:
        desks = [await world.desk(server=name) for name in ("one", "other")]
        outsider = world.client("outsider")
        await turn(world, "traffic", "off")
        for desk, name in zip(desks, ("one", "other"), strict=True):
            ops = world.servers[name].house.ops
            assert await code(desk.dashboard()) == "HALTED"
            assert await code(desk.change("/v1/alerts/a-praia-1/ack", {}, "k1")) == "HALTED"
            for path in ("/", "/openapi.json", "/v1/session", "/nowhere"):
                with within(1):
                    answer = await outsider.get(f"http://{name}{path}")
                assert (answer.status_code, answer.json()["code"]) == (503, "HALTED")
                assert answer.headers["retry-after"] == "60"
            ready = await ask(ops, "/readyz")
            assert ready.status == 503
            assert ready.body.decode().splitlines()[-1] == (
                f"traffic down since=2015-08-15T07:00:00.000Z halted by ann: {WHY['why']}"
            )
            assert (await ask(ops, "/livez")).status == 200
        await turn(world, "traffic", "on", server="other")
        for desk, name in zip(desks, ("one", "other"), strict=True):
            assert await code(desk.dashboard()) == ""
            ready = await ask(world.servers[name].house.ops, "/readyz")
            assert (ready.status, b"traffic" in ready.body) == (200, False)


def tries(desk, code_of_factor):
    """One try of each kind of mutation, each with a key of its own; what they are refused with by a switch."""

    async def sensitive(path, body, action, resource, key):
        return await desk.change(path, body, key, attestation=await desk.step_up(action, resource, code_of_factor))

    return {
        "plain": lambda key: desk.change("/v1/folios/f-00870/charges", CHARGE, key),
        "lock": lambda key: desk.change("/v1/locks/lock-praia-103/keys", KEY, key),
        "sensitive": lambda key: sensitive("/v1/folios/f-00870/refunds", REFUND, "folio.refund", "f-00870", key),
        "both": lambda key: sensitive(
            "/v1/locks/lock-praia-103/keys/k-00870/revoke",
            {"reason": "lost"},
            "lock.revoke",
            "lock-praia-103/k-00870",
            key,
        ),
    }


@pytest.mark.parametrize(
    ("name", "halted"),
    [
        ("mutations", {"plain", "lock", "sensitive", "both"}),
        ("locks", {"lock", "both"}),
        ("sensitive", {"sensitive", "both"}),
    ],
)
async def test_a_switch_halts_what_it_names_at_every_server_uses_no_key_up_and_leaves_reads_alone(
    autojump_clock, name, halted
):
    async with open_world(servers=("one", "other")) as world:
        person = world.hotel.operators[0]
        desks = [await world.desk(person, server=server) for server in ("one", "other")]
        await turn(world, name, "off")
        for number, desk in enumerate(desks):
            for kind, attempt in tries(desk, person.mfa_code).items():
                assert (await code(attempt(f"{kind}-{number}")) == "HALTED") == (kind in halted), kind
            assert await code(desk.dashboard()) == ""
        await turn(world, name, "on", server="other")
        charge = tries(desks[0], "")["plain"]
        for kind in halted:
            for number in range(len(desks)):
                assert not (await charge(f"{kind}-{number}")).replayed, "its key was free for something else"


async def test_a_turn_is_a_row_of_the_house_s_trail_and_outlives_every_server(autojump_clock):
    async with open_world(servers=("one",)) as world:
        await turn(world, "mutations", "off")
        await world.servers["one"].kill()
        assert await rows(world) == [
            {
                "kind": "switch",
                "at": "2015-08-15T07:00:00.000Z",
                "name": "mutations",
                "from": "on",
                "value": "off",
                **WHY,
            }
        ]
        await world.serve("one")
        await trio.sleep(1.0)
        desk = await world.desk(server="one")
        assert await code(desk.change("/v1/alerts/a-praia-1/ack", {}, "k1")) == "HALTED"
