"""What the platform says is taken in whole or not at all, once, and true before anybody hears of it."""

import json
from base64 import b64encode
from contextlib import asynccontextmanager
from functools import partial
from random import Random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.config import Secret
from bff.events.bus import EventBus
from bff.events.event import ORDINARY, read
from bff.events.intake import DEEPEST, PATH, REMEMBER, Intake
from bff.facts.events import EventTaken, SessionsEnded
from bff.model import Answer
from bff.outside import Outside
from bff.problem import Code, Problem
from bff.stores.bus import Entry, Heard, Position
from bff.stores.tier import Presented, SessionBlob
from bff.wire.asgi import Request
from chaos.hotel.stores.lines import BusLine
from chaos.hotel.stores.tier import SimTier
from nurseries import Unbounded, listening, within

TOKEN = Secret("platform")
NOON = 1_448_280_000.0
OPERATORS = ("ana", "bo")


def blob(tenant, session, operator="ana", device="d1", properties=("p1",)):
    return SessionBlob(tenant, operator, device, session, "jkt", None, NOON + 900, properties)


class Platform:
    """An intake, its tier and its line to the bus. `went_by` is all that was said, as desks will have it; `ended` the
    sessions of which the intake told whoever goes on with them.
    """

    def __init__(self, nursery):
        self.tier = SimTier()
        self.went_by, self.ended, self.told = [], [], []
        self.tier.bus.witnesses.append(self._went_by)
        self.line = BusLine(self.tier.bus)
        self.outside = Outside(lambda: NOON + trio.current_time(), Random(7).randbytes, None)
        self.bus = EventBus(self.line, self.outside, "one")
        nursery.start_soon(self.bus.serve)
        self.intake = Intake(self.bus, self.tier, self.outside, TOKEN, self.end)

    def _went_by(self, passing):
        if isinstance(passing, Heard) and passing.entry.payload:
            self.went_by.append(read(passing.tenant, passing.entry).said)

    def end(self, tenant, sessions):
        self.ended.extend((tenant, session) for session in sessions)

    @property
    def said(self):
        return [(said.type, said.data.get("n")) for said in self.went_by]

    @property
    def taken(self):
        return [fact.again for fact in self.told if isinstance(fact, EventTaken)]

    async def send(self, body, *, token="platform", method="POST", seconds=5.0, headers=()):
        """Those bytes, and what is answered to them."""
        given = ((b"authorization", f"Bearer {token}".encode()),) if token else ()
        request = Request(method, PATH, "", (*given, *headers), "http", "192.0.2.1")
        pieces = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            await trio.lowlevel.checkpoint()
            return pieces.pop(0) if pieces else {"type": "http.disconnect"}

        with within(seconds):
            return await self.intake.answer(request, receive)

    async def push(self, uid="m1", **told):
        """An event in its envelope."""
        said = {"type": "alert", "tenantId": "t1", "data": {"n": 1}, **told}
        return await self.send(envelope(uid, json.dumps(said).encode()))

    async def keep(self, *blobs):
        with within(1):
            for one in blobs:
                assert await self.tier.keep(one, 900) is None

    async def over(self, tenant, session):
        with within(1):
            proof = Presented(tenant, session, "jkt", f"{tenant}{session}{trio.current_time()}", "n", 60)
            return (await self.tier.present(proof)).revoked


def envelope(uid, payload):
    return json.dumps(
        {"message": {"messageId": uid, "data": b64encode(payload).decode()}, "subscription": "s"}
    ).encode()


@asynccontextmanager
async def a_platform():
    async with trio.open_nursery() as nursery:
        platform = Platform(nursery)
        with listening(platform.told.append):
            await trio.sleep(1)  # its bus comes into step
            yield platform
        nursery.cancel_scope.cancel()


def taken(answer):
    return isinstance(answer, Answer) and (answer.status, answer.body) == (204, b"")


def refused(answer, code):
    return isinstance(answer, Problem) and answer.code is code


# -- who may say something ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "wrong", "platform ", "Platform"])
async def test_who_does_not_show_the_token_says_nothing_and_his_body_is_not_read(autojump_clock, token):
    async with a_platform() as platform:
        answer = await platform.send(b"{", token=token)
        assert refused(answer, Code.SESSION_REQUIRED)
        assert ("www-authenticate", "Bearer") in answer.headers
        assert platform.went_by == []


async def test_where_there_is_no_token_nobody_may_say_anything(autojump_clock):
    async with a_platform() as platform:
        platform.intake = Intake(platform.bus, platform.tier, platform.outside, None, platform.end)
        assert refused(await platform.push(), Code.SESSION_REQUIRED)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_there_is_nothing_but_post_and_that_is_said_to_anybody(autojump_clock, method):
    async with a_platform() as platform:
        answer = await platform.send(b"", method=method, token="")
        assert refused(answer, Code.METHOD_NOT_ALLOWED)
        assert ("allow", "POST") in answer.headers


# -- what may be said -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ORDINARY)
async def test_each_of_the_ordinary_events_is_said_as_it_came(autojump_clock, kind):
    async with a_platform() as platform:
        data = {"status": "active"} if kind == "tenant-status" else {"n": 1, "deep": {"is": ["kept"]}}
        assert taken(await platform.push(type=kind, data=data, operatorId="ana", deviceId="d1", propertyId="p1"))
        (said,) = platform.went_by
        assert (said.type, said.tenant_id, said.data) == (kind, "t1", data)
        assert (said.operator_id, said.device_id, said.property_id) == ("ana", "d1", "p1")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        *((b"", "$"), (b"{", "$"), (b"\xff", "$"), (b"[]", "$"), (b"{}", "$")),
        *((b'{"message": 7}', "message"), (b'{"message": {"data": ""}}', "message")),
        (b'{"message": {"data": 7, "messageId": "m"}}', "message.data"),
        (b'{"message": {"data": "e30=", "messageId": ""}}', "message.messageId"),
        (b'{"message": {"data": "e30=", "messageId": "%b"}}' % (b"m" * 257), "message.messageId"),
        *((b'{"message": {"data": "%b", "messageId": "m"}}' % bad, "message.data") for bad in (b"e30", b"e3 0=", b"?")),
        (b'{"message": {"data": "e30\\u00e9", "messageId": "m"}}', "message.data"),
        *((envelope("m", bad), "message.data") for bad in (b"", b"\xff", b"null", b"[]", b"{}", b'"alert"')),
        (envelope("m", b'{"type": "alert", "tenantId": "\xff"}'), "message.data"),
        (envelope("m", b'{"type": "hello", "tenantId": "t1"}'), "message.data.type"),
        (envelope("m", b'{"type": "reset", "tenantId": "t1"}'), "message.data.type"),
        (envelope("m", b'{"type": "alert"}'), "message.data"),
        (envelope("m", b'{"type": "alert", "tenantId": ""}'), "message.data.tenantId"),
        (envelope("m", b'{"type": "alert", "tenantId": "t1", "deviceId": 7}'), "message.data.deviceId"),
        (envelope("m", b'{"type": "alert", "tenantId": "t1", "data": []}'), "message.data.data"),
        (envelope("m", b'{"type": "alert", "tenantId": "t1", "exceptDeviceId": "d1"}'), "message.data"),
        (envelope("m", b'{"type": "tenant-status", "tenantId": "t1"}'), "message.data"),
        (envelope("m", b'{"type": "tenant-status", "tenantId": "t1", "data": {"status": "x"}}'), "message.data.status"),
    ],
    ids=str,
)
async def test_what_is_no_event_is_refused_with_the_field_that_is_wrong_and_nothing_is_said(autojump_clock, body, path):
    async with a_platform() as platform:
        answer = await platform.send(body)
        assert refused(answer, Code.VALIDATION_FAILED)
        assert [error.path for error in answer.errors] == [path]
        assert platform.went_by == [] and platform.taken == []


def nested(levels):
    """Data in which something lies below so many levels, the first of which is `data` itself."""
    return b'{"a":' * levels + b"1" + b"}" * levels


async def test_data_that_nests_without_end_is_refused_before_anybody_has_to_read_it_again(autojump_clock):
    said = b'{"type": "alert", "tenantId": "t1", "data": %b}'
    async with a_platform() as platform:
        for levels in (DEEPEST + 2, 900, 30_000):
            answer = await platform.send(envelope(f"m{levels}", said % nested(levels)))
            assert refused(answer, Code.VALIDATION_FAILED)
        assert platform.went_by == []
        assert taken(await platform.send(envelope("m", said % nested(DEEPEST))))
        assert len(platform.went_by) == 1


@pytest.mark.parametrize("payload", [b"\xff", b'"' + b"\xff" + b'"', b'{"type":"alert","tenantId":"t1","data":%b}'])
def test_an_entry_that_nobody_could_have_said_says_nothing_to_anybody_f30(payload):
    deep = payload.replace(b"%b", nested(50_000))
    event = read("t1", Entry(Position("e", 1), deep, NOON))
    assert event.said is None and not event.lost


async def test_a_body_that_is_too_large_or_coded_or_cut_is_refused_as_everywhere(autojump_clock):
    async with a_platform() as platform:
        assert refused(await platform.send(b" " * 262_145), Code.PAYLOAD_TOO_LARGE)
        gzip = ((b"content-encoding", b"gzip"),)
        assert refused(await platform.send(b"", headers=gzip), Code.UNSUPPORTED_MEDIA_TYPE)
        assert platform.went_by == []


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
Ids = st.none() | st.text(max_size=3) | st.just("x" * 257) | Json
Told = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from((*ORDINARY, "hello", "Alert", None, 1)),
        "tenantId": Ids,
        "operatorId": Ids,
        "deviceId": Ids,
        "propertyId": Ids,
        "data": st.dictionaries(st.text(max_size=4), Json, max_size=3) | st.just({"status": "active"}) | Json,
        "more": Json,
    },
)


def is_id(value):
    return isinstance(value, str) and 1 <= len(value) <= 256


def is_event(told):
    """Whether that is one, as CONTRACT section 5 has it."""
    data = told.get("data", {})
    return (
        "more" not in told
        and told.get("type") in ORDINARY
        and is_id(told.get("tenantId"))
        and all(told.get(name) is None or is_id(told[name]) for name in ("operatorId", "deviceId", "propertyId"))
        and isinstance(data, dict)
        and (told["type"] != "tenant-status" or data.get("status") in ("active", "suspended"))
    )


async def takes_it_whole_or_not_at_all(told):
    async with a_platform() as platform:
        answer = await platform.send(envelope("m1", json.dumps(told).encode()))
        if is_event(told):
            assert taken(answer)
            (said,) = platform.went_by
            assert (said.type, said.tenant_id) == (told["type"], told["tenantId"])
            assert said.data == told.get("data", {})
        else:
            assert refused(answer, Code.VALIDATION_FAILED)
            assert platform.went_by == []


@settings(max_examples=40, deadline=None)
@given(told=Told)
def test_whatever_is_in_the_envelope_is_taken_whole_or_not_at_all(simulate, told):
    simulate(partial(takes_it_whole_or_not_at_all, told))


async def answers(body):
    async with a_platform() as platform:
        answer = await platform.send(body)
        assert refused(answer, Code.VALIDATION_FAILED)


@settings(max_examples=40, deadline=None)
@given(body=st.binary(max_size=40) | Json.map(lambda value: json.dumps({"message": value}).encode()))
def test_whatever_comes_instead_of_an_envelope_is_refused(simulate, body):
    simulate(partial(answers, body))


# -- once -----------------------------------------------------------------------------------------------------------


async def test_a_message_that_comes_again_within_a_day_is_not_said_again_and_each_tenant_has_its_own(autojump_clock):
    async with a_platform() as platform:
        assert taken(await platform.push("m1"))
        autojump_clock.jump(REMEMBER - 20)
        await trio.sleep(10)  # its bus comes into step again
        assert taken(await platform.push("m1", data={"n": 2}))
        assert platform.said == [("alert", 1)]
        assert platform.taken == [False, True]
        assert taken(await platform.push("m1", tenantId="t2"))
        assert [said.tenant_id for said in platform.went_by] == ["t1", "t2"]
        await trio.sleep(20)
        assert taken(await platform.push("m1", data={"n": 3}))
        assert platform.said == [("alert", 1), ("alert", 1), ("alert", 3)]


async def test_of_a_message_that_comes_many_times_at_once_one_is_said_and_all_are_answered(autojump_clock):
    async with a_platform() as platform:
        platform.tier.latency(0.05)
        got = []

        async def one():
            got.append(await platform.push("m1"))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
        assert len(got) == 10 and all(map(taken, got))
        assert platform.said == [("alert", 1)]


async def test_an_echo_of_a_force_logout_leaves_who_has_signed_in_since_alone_f31(autojump_clock):
    async with a_platform() as platform:
        await platform.keep(blob("t1", "s1"))
        assert taken(await platform.push(type="force-logout"))
        await platform.keep(blob("t1", "s2"))
        assert taken(await platform.push(type="force-logout"))
        assert platform.ended == [("t1", "s1")]
        assert not await platform.over("t1", "s2")


# -- true first -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "ended"),
    [
        ({}, {"s1", "s2", "s3", "s4"}),
        ({"operatorId": "ana"}, {"s1", "s2"}),
        ({"deviceId": "d2"}, {"s2", "s4"}),
        ({"propertyId": "p2"}, {"s3"}),
        ({"operatorId": "ana", "deviceId": "d2"}, {"s2"}),
        ({"operatorId": "ana", "propertyId": "p2"}, set()),
    ],
)
async def test_a_force_logout_ends_the_sessions_that_all_its_ids_match_before_it_is_said_f31(
    autojump_clock, ids, ended
):
    async with a_platform() as platform:
        everybody = [
            blob("t1", "s1", "ana", "d1"),
            blob("t1", "s2", "ana", "d2"),
            blob("t1", "s3", "bo", "d3", ("p1", "p2")),
            blob("t1", "s4", "bo", "d2"),
            blob("t2", "s1", "ana", "d1"),
        ]
        await platform.keep(*everybody)
        before = []
        platform.tier.bus.witnesses.append(lambda _: before.append(len(platform.ended)))
        assert taken(await platform.push(type="force-logout", **ids))
        assert set(platform.ended) == {("t1", session) for session in ended}
        assert before[-1] == len(ended), "by the time that anybody hears of it they are over"
        for one in everybody:
            assert await platform.over(one.tenant, one.session) is (one.tenant == "t1" and one.session in ended)
        assert [fact.count for fact in platform.told if isinstance(fact, SessionsEnded)] == [len(ended)]


async def test_a_tenant_s_status_is_kept_before_it_is_said_and_for_that_tenant_alone(autojump_clock):
    async with a_platform() as platform:
        assert taken(await platform.push(type="tenant-status", data={"status": "suspended", "why": "unpaid"}))
        with within(1):
            one = await platform.tier.present(Presented("t1", None, "jkt", "j1", "n", 60))
            other = await platform.tier.present(Presented("t2", None, "jkt", "j2", "n", 60))
        assert (one.tenant_status, other.tenant_status) == ("suspended", None)
        assert platform.went_by[0].data == {"status": "suspended", "why": "unpaid"}


@pytest.mark.parametrize("kind", [kind for kind in ORDINARY if kind != "force-logout"])
async def test_no_other_event_ends_a_session(autojump_clock, kind):
    async with a_platform() as platform:
        await platform.keep(blob("t1", "s1"))
        assert taken(await platform.push(type=kind, data={"status": "active"}))
        assert platform.ended == []
        assert not await platform.over("t1", "s1")


# -- what fails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["down", "stop"])
async def test_with_the_tier_gone_nothing_is_done_and_the_next_try_does_all_of_it_f18(autojump_clock, word):
    async with a_platform() as platform:
        await platform.keep(blob("t1", "s1"))
        getattr(platform.tier, word)()
        began = trio.current_time()
        answer = await platform.push(type="force-logout")
        assert refused(answer, Code.CACHE_UNAVAILABLE) and answer.retry_after >= 1
        assert trio.current_time() - began <= 5.0
        assert (platform.went_by, platform.ended) == ([], [])
        platform.tier.start()
        await trio.sleep(10)
        assert taken(await platform.push(type="force-logout"))
        assert platform.said == [("force-logout", 1)]
        assert platform.ended == [("t1", "s1")]


async def test_when_it_was_said_and_the_answer_was_lost_the_next_try_says_nothing_more_f19(autojump_clock):
    async with a_platform() as platform:
        await platform.keep(blob("t1", "s1"))
        lost = []
        platform.tier.bus.witnesses.append(lambda passing: lost or lose(passing))

        def lose(passing):
            if isinstance(passing, Heard) and passing.entry.payload:
                lost.append(passing)
                platform.line.turn("lose-answer")

        assert refused(await platform.push(type="force-logout"), Code.CACHE_UNAVAILABLE)
        assert platform.said == [("force-logout", 1)]
        platform.line.turn("")
        await trio.sleep(10)
        await platform.keep(blob("t1", "s2"))
        assert taken(await platform.push(type="force-logout"))
        assert platform.said == [("force-logout", 1)]
        assert not await platform.over("t1", "s2")


async def test_what_was_made_true_and_not_said_is_said_by_the_next_try_f31(autojump_clock):
    async with a_platform() as platform:
        await platform.keep(blob("t1", "s1"))

        def end_and_break_off(tenant, sessions):
            platform.end(tenant, sessions)
            platform.line.turn("hang" if sessions else "")

        platform.intake = Intake(platform.bus, platform.tier, platform.outside, TOKEN, end_and_break_off)
        assert refused(await platform.push(type="force-logout"), Code.CACHE_UNAVAILABLE)
        assert (platform.said, await platform.over("t1", "s1")) == ([], True)
        platform.line.turn("")
        await trio.sleep(10)
        assert taken(await platform.push(type="force-logout"))
        assert platform.said == [("force-logout", 1)]


async def test_who_is_cut_off_at_any_moment_has_said_it_once_by_the_next_try(autojump_clock):
    async with a_platform() as platform:
        platform.tier.latency(0.05)
        for n, after in enumerate(step * 0.01 for step in range(1, 25)):
            with within(after):
                await platform.push(f"m{n}", data={"n": n})
            assert taken(await platform.push(f"m{n}", data={"n": n}))
        assert platform.said == [("alert", n) for n in range(24)]


async def test_nothing_is_asked_without_a_deadline_f33(autojump_clock):
    async with a_platform() as platform:
        with pytest.raises(Unbounded):
            await platform.send(b"{}", seconds=float("inf"))
