"""One call to a service: what leaves, what its answer means, and what it says about the service."""

import msgspec
import pytest
import trio

from bff.facts import SchemaDrifted, Surprised, UpstreamCalled
from bff.model import OperatorId, PropertyId, TenantId
from bff.outside import Outside
from bff.problem import Code
from bff.upstreams import services
from bff.upstreams.client import Call, Got, Journey, Missed, Reason, Upstreams
from bff.upstreams.services import Operation
from bff.wire.exchange import Origin
from bff.wire.pool import Pool, PoolLimits
from bff.wire.trace import ServerTiming, Trace
from chaos.hotel.estate.service import Reply, Service, changes, reads
from chaos.hotel.estate.serving import Door
from chaos.sim.entropy import entropy
from chaos.sim.link import Network
from chaos.toxics import split
from nurseries import BreakerRule, State, Unbounded, listening, open_owner, within


class Count(msgspec.Struct, rename="camel"):
    tenant_id: str
    count: int


LOOK = Operation("pricing", "look", b"GET", "/looks/{id}", Count)
SLOW = Operation("pricing", "look", b"GET", "/looks/{id}", Count, seconds=0.25)
CHANGE = Operation("pricing", "change", b"POST", "/looks/{id}/changes", Count, repeatable=False)
CALL = Call(LOOK, {"id": "a/b"})


class Side:
    """A client and the one service behind it."""

    def __init__(self, network, owner, nursery, limits=None):
        self.handler = lambda call: Reply(200, {"tenantId": call.tenant, "count": 7})

        def changed(call):
            return Reply(201, {"tenantId": call.tenant, "count": 8}, effect=True)

        operations = [
            reads("look", path="/looks/{id}", handler=lambda call: self.handler(call)),
            changes("change", path="/looks/{id}/changes", handler=changed),
        ]
        self.service = Service("pricing", operations, tenants=["resort", "city"])
        self.door = Door(self.service, network.listen, nursery, host="pricing", port=80)
        outside = Outside(lambda: 1_439_622_000.0 + trio.current_time(), entropy(1), network.connect)
        self.pool = Pool(network.connect, limits=limits)
        origins = {"pricing": Origin("http", "pricing", 80)}
        self.upstreams = Upstreams(self.pool, origins, outside, owner, BreakerRule(consecutive=2))
        self.timing = ServerTiming()
        trace = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)
        scope = (PropertyId("p1"), PropertyId("p2"))
        self.journey = Journey(trace, self.timing, TenantId("resort"), OperatorId("ines"), scope)

    async def ask(self, call=CALL, seconds=1.0):
        with within(9):
            until = trio.current_time() + seconds
            return (await self.upstreams.gather({"call": call}, self.journey, until=until))["call"]


@pytest.fixture
async def side(autojump_clock, nursery):
    async with open_owner("test", bound=64) as owner:
        yield Side(Network(), owner, nursery)


@pytest.fixture
def facts():
    return []


async def test_what_leaves_says_for_whom_in_what_trace_and_how_long_there_is(autojump_clock, side):
    """CONTRACT section 8."""
    assert isinstance(await side.ask(seconds=0.5), Got)
    last = side.service.last
    assert (last["method"], last["path"]) == ("GET", "/looks/a%2Fb")
    headers = last["headers"]
    assert headers["x-tenant-id"] == "resort"
    assert headers["x-operator-id"] == "ines"
    assert headers["x-property-scope"] == "p1,p2"
    assert headers["x-request-timeout-ms"] == "500"
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span_id != "b7ad6b7169203331"
    assert "idempotency-key" not in headers


async def test_the_time_that_leaves_is_the_operation_s_budget_where_that_is_shorter(autojump_clock, side):
    with within(9):
        await side.upstreams.one(Call(SLOW, {"id": "a"}), side.journey)
    assert side.service.last["headers"]["x-request-timeout-ms"] == "250"


async def test_a_change_carries_its_key_and_its_body_and_is_answered_once_for_both_times(autojump_clock, side):
    call = Call(CHANGE, {"id": "a"}, body=b'{"n": 1}', key="k-1")
    first, again = await side.ask(call), await side.ask(call)
    assert first.value == again.value == Count("resort", 8)
    assert side.service.last["headers"]["idempotency-key"] == "k-1"
    assert side.service.last["headers"]["content-type"] == "application/json"
    assert side.service.counts["change"].shown() == {"calls": 2, "distinctKeys": 1, "effects": 1}


async def test_an_answer_is_its_value_as_it_came_and_when(autojump_clock, side):
    got = await side.ask()
    assert got == Got(Count("resort", 7), b'{"tenantId":"resort","count":7}', 1_439_622_000.0 + trio.current_time())


@pytest.mark.parametrize(
    ("toxic", "reason", "status", "code"),
    [
        ("status code=500", Reason.UPSTREAM_UNAVAILABLE, None, None),
        ("redirect", Reason.UPSTREAM_UNAVAILABLE, None, None),
        ("down", Reason.UPSTREAM_UNAVAILABLE, None, None),
        ("reset", Reason.UPSTREAM_UNAVAILABLE, None, None),
        ("status code=409", Reason.UPSTREAM_UNAVAILABLE, 409, "BROKEN"),
        ("status code=404", Reason.UPSTREAM_UNAVAILABLE, 404, "BROKEN"),
        ("status code=422", Reason.UPSTREAM_UNAVAILABLE, 422, "BROKEN"),
        ("hang", Reason.UPSTREAM_TIMEOUT, None, None),
        ("drift", Reason.SCHEMA_DRIFT, None, None),
        ("garbage", Reason.SCHEMA_DRIFT, None, None),
        ("wrong-tenant", Reason.SCHEMA_DRIFT, None, None),
    ],
)
async def test_a_failure_is_a_value_that_says_why_and_a_fact(autojump_clock, side, facts, toxic, reason, status, code):
    side.door.inject(split(toxic))
    with listening(facts.append):
        missed = await side.ask()
        await trio.sleep(0.01)  # the call that was cut off has ended too
    assert isinstance(missed, Missed)
    assert (missed.reason, missed.status, missed.code) == (reason, status, code)
    (called,) = [fact for fact in facts if isinstance(fact, UpstreamCalled)]
    refused = status is not None  # which is an answer: whoever counts failures of the service does not count it
    assert (called.service, called.operation) == ("pricing", "look")
    assert called.outcome == ("refused" if refused else reason.value)
    assert called.seconds == pytest.approx(1.0 if toxic == "hang" else 0.0)
    assert side.timing.header().startswith(b"pricing;dur=")


async def test_drift_names_the_field_and_none_of_what_was_in_it(autojump_clock, side, facts):
    """F-15."""
    side.door.inject(split("drift field=count"))
    with listening(facts.append):
        missed = await side.ask()
    (drift,) = [fact for fact in facts if isinstance(fact, SchemaDrifted)]
    assert (drift.service, drift.operation, drift.path) == ("pricing", "look", "$.count")
    assert "drifted" not in missed.detail + drift.message


async def test_an_answer_nested_without_end_is_drift_and_no_bug(autojump_clock, side, facts):
    deep = b'{"tenantId":"resort","count":7,"more":%b%b}' % (b"[" * 5000, b"]" * 5000)
    raw = msgspec.Raw(deep)
    side.handler = lambda call: Reply(200, raw)
    with listening(facts.append):
        missed = await side.ask()
    assert missed == Missed(Reason.SCHEMA_DRIFT, "$: nested too deeply")
    assert not [fact for fact in facts if isinstance(fact, Surprised)]


@pytest.mark.parametrize(
    ("toxic", "state"),
    [
        ("status code=500", State.OPEN),
        ("redirect", State.OPEN),
        ("down", State.OPEN),
        ("hang", State.OPEN),
        ("status code=404", State.CLOSED),
        ("drift", State.CLOSED),
        ("wrong-tenant", State.CLOSED),
    ],
)
async def test_what_is_the_service_s_failure_opens_its_breaker_and_an_answer_of_any_shape_does_not(
    autojump_clock, side, toxic, state
):
    side.door.inject(split(toxic))
    for _ in range(2):
        await side.ask()
        await trio.sleep(0.01)
    assert side.upstreams.breakers["pricing.look"].state is state
    missed = await side.ask()
    assert (missed.reason is Reason.BREAKER_OPEN) == (state is State.OPEN)
    if state is State.OPEN:
        assert 0 < missed.retry_after <= BreakerRule().open_for
        assert side.service.counts["look"].calls <= 2


async def test_a_call_with_too_little_time_says_nothing_about_the_service(autojump_clock, side):
    side.door.inject(split("hang"))
    for _ in range(3):
        missed = await side.ask(seconds=0.5)  # of a budget of 2 s
        assert missed.reason is Reason.UPSTREAM_TIMEOUT
    assert side.upstreams.breakers["pricing.look"].state is State.CLOSED


async def test_more_calls_than_may_wait_are_shed_at_once_and_open_nothing(autojump_clock, nursery):
    async with open_owner("test", bound=64) as owner:
        side = Side(Network(), owner, nursery, PoolLimits(per_origin=1, waiting=1))
        side.door.inject(split("latency ms=100"))
        with within(1.0):
            calls = {str(number): CALL for number in range(4)}
            found = await side.upstreams.gather(calls, side.journey, until=trio.current_time() + 1)
        missed = [one for one in found.values() if isinstance(one, Missed)]
        assert [one.reason for one in missed] == [Reason.OVERLOADED] * 2
        assert trio.current_time() == pytest.approx(0.2)
        assert side.upstreams.breakers["pricing.look"].state is State.CLOSED


async def test_many_calls_come_back_in_their_order_and_each_for_itself(autojump_clock, side):
    side.door.inject(split("latency ms=100"))
    until = trio.current_time() + 0.2
    with within(1.0):
        found = await side.upstreams.gather(
            {"b": CALL, "a": CALL, "c": Call(CHANGE, {"id": "a"})}, side.journey, until=until
        )
    assert list(found) == ["b", "a", "c"]
    assert [type(one) for one in found.values()] == [Got, Got, Got]


async def test_without_a_deadline_nothing_is_asked(autojump_clock, side):
    """F-33 by construction."""
    with pytest.raises(Unbounded):
        await side.upstreams.one(CALL, side.journey)
    with pytest.raises(Unbounded):
        await side.upstreams.ask(CALL, side.journey, ())
    assert side.service.counts["look"].calls == 0


@pytest.mark.parametrize(
    ("missed", "code"),
    [
        (Missed(Reason.UPSTREAM_UNAVAILABLE, "why"), Code.UPSTREAM_UNAVAILABLE),
        (Missed(Reason.UPSTREAM_TIMEOUT, "why"), Code.UPSTREAM_TIMEOUT),
        (Missed(Reason.SCHEMA_DRIFT, "why"), Code.SCHEMA_DRIFT),
        (Missed(Reason.BREAKER_OPEN, "why", retry_after=2.0), Code.UPSTREAM_UNAVAILABLE),
        (Missed(Reason.OVERLOADED, "why"), Code.OVERLOADED),
        (Missed(Reason.UPSTREAM_UNAVAILABLE, "why", status=404), Code.NOT_FOUND),
        (Missed(Reason.UPSTREAM_UNAVAILABLE, "why", status=409), Code.UPSTREAM_UNAVAILABLE),
    ],
)
def test_a_read_that_depends_on_one_call_answers_as_the_contract_says(missed, code):
    problem = missed.problem("pricing")
    assert (problem.code, problem.upstream, problem.retry_after) == (code, "pricing", missed.retry_after)


def test_a_path_cannot_be_left_by_what_fills_it():
    call = services.PROPERTY.target({"pid": "../tenants/x?y#z%2F"})
    assert call == b"/properties/..%2Ftenants%2Fx%3Fy%23z%252F"
