"""Spans on their way to a collector that stands on the simulated network: which they are, and what it costs to lose it.

Everything is judged by what the collector got, as JSON, and by what the services behind the server were asked.
"""

from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
import trio
import trio.testing

from bff.config import BadSetting, settings
from bff.facts import RequestServed, UpstreamCalled
from bff.facts.spans import SpansDropped, SpansSent
from bff.jobs.send_spans import BATCH, EVERY, MOST, SpanSender
from bff.model import Span
from bff.outside import Outside
from bff.tracing import Tracing, tracing
from bff.upstreams.otlp import Collector
from bff.upstreams.services import SERVICES
from bff.wire.edge import serve_stream
from bff.wire.limits import EdgeConfig
from bff.wire.pool import Pool
from chaos.hotel.checks.answers import judge, without
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import MORNING, open_world
from chaos.sim.entropy import entropy
from chaos.sim.link import Network
from nurseries import listening, open_owner, within

URL = "http://collector:4318/v1/traces"
TRACE = "0af7651916cd43dd8448eb211c80319c"
DESK = "b7ad6b7169203331"
HERE = Tracing(URL)
PARTLY = b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}'


class Heard:
    """A collector. `answers` is what it says, a status and a body; None is nothing at all."""

    def __init__(self):
        self.answers = (200, b"")
        self.posts = []
        self.heads = []
        self.came = trio.Event()

    @property
    def spans(self):
        return [span for post in self.posts for span in post["resourceSpans"][0]["scopeSpans"][0]["spans"]]

    async def app(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.heads.append((scope["method"], scope["path"], dict(scope["headers"])))
        self.posts.append(msgspec.json.decode(body))
        self.came.set()
        if self.answers is None:
            await trio.sleep_forever()
        status, said = self.answers
        length = (b"content-length", b"%d" % len(said))
        await send({"type": "http.response.start", "status": status, "headers": [length]})
        await send({"type": "http.response.body", "body": said})

    async def next(self):
        self.came = trio.Event()
        with within(60):
            await self.came.wait()
            await trio.sleep(0.1)  # and the answer to it is there
            return
        raise AssertionError("nothing came")


@asynccontextmanager
async def traced_world(traces=HERE, **more):
    """A world with one server that posts spans, and who gets them."""
    async with open_world(servers=(), **more) as world, trio.open_nursery() as nursery:
        heard = Heard()
        edge = EdgeConfig(Outside(world.now, entropy(1, "collector"), world.network.connect))
        listener = world.network.listen("collector", 4318, partial(_served, heard, edge), nursery)
        world.traces = traces
        await world.serve()
        yield world, heard
        listener.close()
        listener.cut()
        nursery.cancel_scope.cancel()


async def _served(heard, edge, stream):
    await serve_stream(heard.app, stream, edge)


def said(span):
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


async def test_a_dashboard_is_a_span_with_fourteen_below_it_and_their_ids_are_those_on_the_wire(autojump_clock):
    async with traced_world(answers_take=(0.01, 0.05)) as (world, heard):
        desk = await world.desk()
        await heard.next()
        heard.posts.clear()
        looked = world.now()
        property_id = desk.session.properties[0]["id"]
        parent = {"traceparent": f"00-{TRACE}-{DESK}-01"}
        judge_me = await desk.ask("GET", "/v1/dashboard", params={"propertyId": property_id}, headers=parent)
        assert judge_me.status_code == 200
        took = world.now() - looked
        await heard.next()
        servers = [span for span in heard.spans if span["kind"] == 2]
        calls = [span for span in heard.spans if span["kind"] == 3]
        (server,) = servers
        assert (server["traceId"], server["parentSpanId"], server["name"]) == (TRACE, DESK, "GET /v1/dashboard")
        assert said(server) == {
            "http.request.method": "GET",
            "http.route": "/v1/dashboard",
            "http.response.status_code": "200",
        }
        assert (server["status"], server["flags"]) == ({}, 1)
        assert len(calls) == len({span["spanId"] for span in calls}) == 14
        assert {span["traceId"] for span in calls} == {TRACE}
        assert {span["parentSpanId"] for span in calls} == {server["spanId"]}
        asked = {f"00-{TRACE}-{span['spanId']}-01" for span in calls}
        last = {door.service.last["headers"]["traceparent"] for door in doors(world) if door.service.last}
        assert asked & last
        times = [(int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])) for span in calls]
        first, end = int(server["startTimeUnixNano"]), int(server["endTimeUnixNano"])
        assert end - first == pytest.approx(took * 1e9, abs=1e5)
        assert all(
            first - 1000 <= began < ended <= end + 1000 for began, ended in times
        )  # of a float, nanoseconds are rounded
        assert first == pytest.approx(looked * 1e9, abs=1e5)


def doors(world):
    return list(world.estate.doors.values())


async def test_who_sends_it_is_said_once_and_the_collector_is_shown_what_it_wants(autojump_clock):
    traces = Tracing(URL, headers=((b"authorization", b"Basic hush"),))
    async with traced_world(traces) as (world, heard):
        await world.desk()
        await heard.next()
        method, path, headers = heard.heads[0]
        assert (method, path, headers[b"content-type"]) == ("POST", "/v1/traces", b"application/json")
        assert headers[b"authorization"] == b"Basic hush"
        resource = said(heard.posts[0]["resourceSpans"][0]["resource"])
        assert resource["service.name"] == "bff-backoffice"
        assert len(resource["service.instance.id"]) == 32
        assert "hush" not in repr(traces)


async def test_what_failed_is_an_error_and_a_desks_own_mistake_is_none(autojump_clock):
    async with traced_world() as (world, heard):
        desk = await world.desk()
        world.inject("pricing", "status code=503")
        judge(await desk.dashboard(), without("pricing", "UPSTREAM_UNAVAILABLE"))
        with pytest.raises(Refused):
            await desk.get("/v1/nothing")
        await heard.next()
        (call,) = [span for span in heard.spans if said(span).get("peer.service") == "pricing"]
        assert call["status"] == {"code": 2, "message": "UPSTREAM_UNAVAILABLE"}
        assert said(call)["error.type"] == "UPSTREAM_UNAVAILABLE"
        dashboard = next(span for span in heard.spans if span["name"] == "GET /v1/dashboard")
        nothing = next(span for span in heard.spans if span["name"] == "GET (none)")
        assert (said(nothing)["http.response.status_code"], said(nothing)["bff.code"]) == ("404", "NOT_FOUND")
        assert dashboard["status"] == nothing["status"] == {}


async def test_nobody_is_asked_and_nothing_kept_of_a_trace_that_its_caller_does_not_want(autojump_clock):
    async with traced_world(Tracing(URL, share=0.0)) as (world, heard):
        desk = await world.desk()
        await desk.dashboard()
        await trio.sleep(60)
        assert heard.posts == []
        assert not any(isinstance(fact, SpansSent) for fact in world.facts)


async def test_without_an_endpoint_there_is_no_service_for_it_and_no_trace_is_sampled(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.dashboard()
        house = world.servers["bff"].house
        assert house.spans is None and "spans" not in world.servers["bff"].owner.services
        served = [fact.span for fact in world.facts if isinstance(fact, RequestServed | UpstreamCalled)]
        assert served and not any(span.sampled for span in served if span is not None)


@pytest.mark.parametrize("how", ["refuses to be dialled", "never answers", "answers 503"])
async def test_a_collector_that_is_not_there_slows_nobody_and_gets_what_waits_when_it_is_back(autojump_clock, how):
    async with traced_world() as (world, heard):
        desk = await world.desk()
        await heard.next()
        heard.posts.clear()
        sent = sum(fact.count for fact in world.facts if isinstance(fact, SpansSent))
        heard.answers = None if how == "never answers" else (503, b"")
        refuses = world.network.refuse("collector") if how == "refuses to be dialled" else world.network.delay("x", 0)
        with refuses:
            if how == "refuses to be dialled":
                await trio.sleep(80)  # connections that were kept are gone
            for _ in range(3):
                seen = await desk.dashboard()
                judge(seen, {})
                assert seen.took == 0
                await trio.sleep(20)
        waiting = world.servers["bff"].house.spans.waiting
        assert waiting > 40
        heard.posts.clear()
        heard.answers = (200, b"")
        await heard.next()
        assert world.servers["bff"].house.spans.waiting == 0
        assert sum(fact.count for fact in world.facts if isinstance(fact, SpansSent)) == sent + waiting
        assert len({span["spanId"] for span in heard.spans}) == len(heard.spans) == waiting
        assert not any(isinstance(fact, SpansDropped) for fact in world.facts)


# -- the queue by itself -------------------------------------------------------------------------------------------


def served(number, sampled=True):
    return RequestServed("/v1/x", "GET", 200, "", 0.1, Span("0a" * 16, f"{number:016x}", sampled))


@asynccontextmanager
async def sending():
    """A sender, its collector, and what was told of spans."""
    network, heard, facts = Network(), Heard(), []
    chance = entropy(2, "sender")
    outside = Outside(lambda: MORNING + trio.current_time(), chance, network.host("bff").connect)
    pool = Pool(outside.connect)

    def hear(fact):
        if isinstance(fact, SpansSent | SpansDropped):
            facts.append(fact)

    with listening(hear):
        async with open_owner("spans", bound=1) as owner, trio.open_nursery() as nursery:
            listener = network.listen("collector", 4318, partial(_served, heard, EdgeConfig(outside)), nursery)
            sender = SpanSender(Collector(pool, HERE, {"service.name": "x"}), outside)
            owner.supervise("spans", sender.serve, jitter=lambda: 0.0)
            await trio.testing.wait_all_tasks_blocked()
            yield sender, heard, facts
            nursery.cancel_scope.cancel()
            listener.close()
    await pool.aclose()


async def test_so_many_wait_and_no_more_and_what_does_not_fit_is_counted(autojump_clock):
    async with sending() as (sender, heard, facts):
        heard.answers = (503, b"")
        for number in range(1, MOST + 11):
            sender.hear(served(number))
        assert sender.waiting == MOST
        await trio.sleep(5)
        assert facts == [SpansDropped(10, "full")]
        heard.posts.clear()
        heard.answers = (200, b"")
        await trio.sleep(60)
        assert sender.waiting == 0
        assert [len(post["resourceSpans"][0]["scopeSpans"][0]["spans"]) for post in heard.posts] == [BATCH] * 8
        assert sum(fact.count for fact in facts if isinstance(fact, SpansSent)) == MOST


async def test_a_full_batch_waits_for_nobody_and_a_lonely_span_a_second(autojump_clock):
    async with sending() as (sender, heard, _):
        began = trio.current_time()
        for number in range(1, BATCH + 1):
            sender.hear(served(number))
        await heard.came.wait()
        assert trio.current_time() == began
        heard.came = trio.Event()
        sender.hear(served(9_999))
        await heard.came.wait()
        assert 0 < trio.current_time() - began <= 2 * EVERY


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((200, b"{}"), [SpansSent(3)]),
        ((200, b"not json"), [SpansSent(3)]),
        ((200, PARTLY), [SpansSent(1), SpansDropped(2, "refused")]),
        ((200, b'{"partialSuccess":{"rejectedSpans":7}}'), [SpansDropped(3, "refused")]),
        ((400, b""), [SpansDropped(3, "refused")]),
        ((404, b"no such path"), [SpansDropped(3, "refused")]),
        ((302, b""), [SpansDropped(3, "refused")]),
    ],
)
async def test_what_a_collector_says_is_counted_as_it_says_it(autojump_clock, answers, expected):
    async with sending() as (sender, heard, facts):
        heard.answers = answers
        for number in range(1, 4):
            sender.hear(served(number))
        await trio.sleep(5)
        assert facts == expected
        assert len(heard.posts) == 1


async def test_what_still_waits_at_the_end_is_counted_as_lost(autojump_clock):
    async with sending() as (sender, heard, facts):
        heard.answers = (503, b"")
        sender.hear(served(1))
        await heard.next()
    assert facts == [SpansDropped(1, "ended")]


# -- settings ------------------------------------------------------------------------------------------------------


def test_the_variables_are_opentelemetrys_own():
    assert tracing({}) is None
    assert tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}) == Tracing("http://c:4318/v1/traces")
    told = tracing(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://[::1]:4318/otlp",
            "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20aHVzaA==, x-tenant=a",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
        }
    )
    assert told == Tracing(
        "https://[::1]:4318/otlp/v1/traces", 0.25, ((b"authorization", b"Basic aHVzaA=="), (b"x-tenant", b"a"))
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hush@collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:hush"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector/?hush"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hush"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hush%0d%0ab"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "content-length=hush"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_TRACES_SAMPLER_ARG", "-1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
    ],
)
def test_a_variable_that_cannot_be_used_is_one_line_without_what_may_be_secret(name, value):
    env = {
        "BFF_POSTGRES_URL": "postgresql://x",
        "BFF_REDIS_SESSION_URL": "redis://x",
        "BFF_REDIS_CACHE_URL": "redis://x",
        **{f"BFF_UPSTREAM_{one.upper().replace('-', '_')}_URL": "http://x" for one in SERVICES},
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    }
    assert settings(env, SERVICES).traces == Tracing("http://collector:4318/v1/traces")
    with pytest.raises(BadSetting) as caught:
        settings({**env, name: value}, SERVICES)
    assert name in str(caught.value)
    assert "hush" not in str(caught.value) and "\n" not in str(caught.value)
