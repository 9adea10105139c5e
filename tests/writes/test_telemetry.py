"""Telemetry: sampled, put into the outbox, and never a desk's problem (F-22, F-40)."""

import json
import math
from collections import Counter, deque
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.facts import TelemetryDropped, TelemetryTaken
from bff.meters import Meters
from bff.model import Claims, DeviceId, Jkt, OperatorId, SessionId, TenantId
from bff.outside import Outside
from bff.stores.outbox import Letter
from bff.writes.telemetry import BATCH, Bounds, Buffer, Telemetry, TelemetryBody
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.world import open_world
from chaos.sim.entropy import entropy
from nurseries import listening, open_owner, within

PATH = "/v1/telemetry"
AT = "2015-08-15T06:59:59.5Z"
PATIENCE = 0.25  # seconds that a desk waits for the ledger, and no longer
SETTLED = 40.0  # seconds after which all is flushed, whatever the pauses between two tries


def event(name="opened", **attributes):
    return {"name": str(name), "at": AT, "attributes": attributes}


def body(*names):
    return {"events": [event(name) for name in names]}


async def tell(desk, *names):
    """The answer, and how many seconds it took."""
    began = trio.current_time()
    answer = await desk.ask("POST", PATH, body=body(*names))
    assert answer.status_code == 202
    return answer.json(), trio.current_time() - began


def letters(ledger):
    return [waiting.letter for waiting in ledger.outbox.next(100_000, frozenset())]


def names_in(ledger):
    return [json.loads(letter.payload)["name"] for letter in letters(ledger)]


def counted(facts):
    """Events by what was told of them."""
    count = Counter()
    for fact in facts:
        if isinstance(fact, TelemetryTaken):
            count[fact.outcome] += fact.count
        elif isinstance(fact, TelemetryDropped):
            count[fact.why] += fact.count
    return count


async def turned(world, rate):
    with within(1):
        await world.servers["bff"].house.switches.turn("telemetry-sample", rate, by="ann", why="the bill")


@asynccontextmanager
async def without_pubsub():
    """A world in which whatever is in the outbox stays there."""
    async with open_world() as world:
        world.inject("pubsub", "status code=503")
        yield world, await world.desk()


# -- through the door --------------------------------------------------------------------------------------------------


async def test_what_a_desk_tells_is_in_the_outbox_in_its_order_when_it_is_answered_f22(autojump_clock):
    async with without_pubsub() as (world, desk):
        answer = await desk.ask("POST", PATH, body={"events": [event("a", n=1, x=None, on=True), event("b", s="é")]})
        assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "sampled": 2})
        first, second = letters(world.stores.ledger)
        assert {(one.topic, one.ordering_key, one.kind) for one in (first, second)} == {
            ("bff-telemetry", "resort/desk-1", "telemetry")
        }
        assert json.loads(first.payload) == {
            "tenantId": "resort",
            "operatorId": "ines",
            "deviceId": "desk-1",
            "receivedAt": "2015-08-15T07:00:00.000Z",
            "name": "a",
            "at": "2015-08-15T06:59:59.500000Z",
            "attributes": {"n": 1, "x": None, "on": True},
        }
        assert json.loads(second.payload)["attributes"] == {"s": "é"}
        assert first.message_id != second.message_id
        assert (await tell(desk)) == ({"accepted": 0, "sampled": 0}, 0)
        assert counted(world.facts) == {"written": 2}


@pytest.mark.parametrize(("rate", "least", "most"), [("0", 0, 0), ("0.25", 150, 250), ("1", 800, 800)])
async def test_the_switch_says_which_part_of_the_events_is_kept_f40(autojump_clock, rate, least, most):
    """Of 800 a quarter is 200, with a standard deviation of 12: further off than four of those is not the rate."""
    async with without_pubsub() as (world, desk):
        await turned(world, rate)
        kept = 0
        for _ in range(8):
            said, _ = await tell(desk, *range(100))
            assert said["accepted"] == 100
            kept += said["sampled"]
        assert least <= kept <= most
        assert len(letters(world.stores.ledger)) == kept
        assert counted(world.facts) == Counter({"written": kept, "left-out": 800 - kept}) - Counter()


@pytest.mark.parametrize(("fault", "at_most"), [("down", 0.0), ("stop", PATIENCE)])
async def test_without_the_ledger_every_event_is_taken_at_once_and_is_in_the_outbox_once_it_is_back_f22(
    autojump_clock, fault, at_most
):
    async with without_pubsub() as (world, desk):
        getattr(world.stores.ledger, fault)()
        told = []
        for number in range(5):
            said, took = await tell(desk, f"{number}a", f"{number}b")
            assert said == {"accepted": 2, "sampled": 2}
            assert took <= (0 if number else at_most + 1e-6)  # one request finds out, and the others wait for nothing
            told += [f"{number}a", f"{number}b"]
        await trio.sleep(60)
        world.stores.ledger.start()
        await trio.sleep(0.01)
        await tell(desk, "after")
        await trio.sleep(SETTLED)
        assert names_in(world.stores.ledger) == [*told, "after"]
        world.clear("pubsub")
        await trio.sleep(SETTLED)
        assert names_in(world.stores.ledger) == []  # they have been said
        assert world.servers["bff"].house.telemetry.waiting == 0
        assert counted(world.facts)["full"] == 0


async def test_an_append_of_which_nobody_knows_whether_it_was_done_is_there_once(autojump_clock):
    """The ledger does it, and the way back takes longer than a desk waits."""
    async with without_pubsub() as (world, desk):
        world.stores.ledger.latency(0.4)
        said, took = await tell(desk, "a", "b")
        assert (said["sampled"], took) == (2, pytest.approx(PATIENCE))
        await trio.sleep(5)
        assert names_in(world.stores.ledger) == ["a", "b"]
        assert counted(world.facts) == {"buffered": 2, "flushed": 2}


async def test_the_session_tier_is_not_needed_and_no_key_is(autojump_clock):
    async with without_pubsub() as (world, desk):
        world.stores.tier.down()
        world.stores.cache.down()
        assert (await tell(desk, "a"))[0] == {"accepted": 1, "sampled": 1}


async def test_what_is_in_memory_when_a_process_ends_is_counted_as_lost(autojump_clock):
    async with without_pubsub() as (world, desk):
        world.stores.ledger.down()
        await tell(desk, "a", "b", "c")
        await world.servers["bff"].kill()
        assert counted(world.facts) == {"buffered": 3, "ended": 3}


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "n" * 129},
        {"name": 1},
        {"at": "2015-08-15T07:00:00"},
        {"at": "yesterday"},
        {"at": 1439622000},
        {"attributes": {"a": []}},
        {"attributes": {"a": {}}},
        {"attributes": {"": 1}},
        {"attributes": {f"a{number}": 1 for number in range(65)}},
        {"attributes": None},
        {"more": 1},
    ],
    ids=lambda wrong: "-".join(wrong),
)
async def test_an_event_that_is_none_is_refused_by_its_place_and_nothing_of_its_request_is_taken(autojump_clock, wrong):
    async with without_pubsub() as (world, desk):
        with pytest.raises(Refused) as refused:
            await desk.ask("POST", PATH, body={"events": [event("fine"), event() | wrong]})
        assert (refused.value.status, refused.value.code) == (400, "VALIDATION_FAILED")
        assert "$.events[1]" in refused.value.problem["errors"][0]["path"]
        assert letters(world.stores.ledger) == []


async def test_a_hundred_events_are_taken_and_one_more_is_too_many(autojump_clock):
    async with without_pubsub() as (_, desk):
        assert (await tell(desk, *range(100)))[0] == {"accepted": 100, "sampled": 100}
        for more in (body(*range(101)), {}, {"events": None}, {"events": [], "more": 1}):
            with pytest.raises(Refused) as refused:
                await desk.ask("POST", PATH, body=more)
            assert refused.value.code == "VALIDATION_FAILED"


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
attributes = st.dictionaries(st.text(min_size=1, max_size=20), st.text() | numbers | st.booleans() | st.none())


@given(st.lists(st.tuples(st.text(min_size=1, max_size=128), attributes), max_size=5))
def test_whatever_a_desk_may_tell_comes_out_as_it_went_in(told):
    raw = json.dumps({"events": [event() | {"name": name, "attributes": about} for name, about in told]})
    taken = msgspec.json.decode(raw, type=TelemetryBody)
    again = json.loads(msgspec.json.encode(taken))["events"]
    assert [(one["name"], one["attributes"]) for one in again] == told


def test_events_are_counted_by_what_became_of_them_and_those_that_are_lost_apart_f40():
    meters = Meters()
    for fact in (TelemetryTaken("written", 7), TelemetryTaken("left-out", 2), TelemetryDropped(3, "full")):
        meters.hear(fact)
    shown, _ = meters.shown()
    for line in (
        b'bff_telemetry_events_total{outcome="written"} 7.0',
        b'bff_telemetry_events_total{outcome="left-out"} 2.0',
        b'bff_telemetry_dropped_total{why="full"} 3.0',
    ):
        assert line in shown


# -- in memory ---------------------------------------------------------------------------------------------------------


def letter(number, size):
    return Letter("t", "k", "e", b"x" * size, str(number))


steps = st.lists(
    st.lists(st.integers(0, 40), min_size=1, max_size=8) | st.sampled_from(["batch", "flushed"]), max_size=30
)


@given(steps, st.integers(1, 12), st.integers(1, 200))
def test_the_eldest_go_when_there_are_too_many_and_none_of_a_batch_that_is_under_way(steps, most, size):
    buffer, waiting, flying, put = Buffer(Bounds(most, size)), deque(), (), 0
    for step in steps:
        if step == "batch":
            flying = flying or tuple(waiting.popleft() for _ in range(min(BATCH, len(waiting))))
            assert buffer.batch() == flying
        elif step == "flushed":
            flying = ()
            buffer.flushed()
        else:
            new = [letter(put + place, one) for place, one in enumerate(step)]
            put += len(new)
            waiting.extend(new)
            gone = 0
            while len(waiting) > most or sum(len(one.payload) + 1 + len(one.message_id) for one in waiting) > size:
                waiting.popleft()
                gone += 1
            assert buffer.put(new) == gone
        assert len(buffer) == len(waiting) + len(flying)


CLAIMS = Claims(
    issuer="iam",
    audience="bff",
    expires_at=math.inf,
    issued_at=0,
    not_before=0,
    operator=OperatorId("ines"),
    tenant=TenantId("resort"),
    device=DeviceId("desk-1"),
    session=SessionId("s1"),
    properties=(),
    jkt=Jkt("k1"),
)
phases = st.lists(  # what the ledger does, how many events each request tells meanwhile, and for how many seconds
    st.tuples(
        st.sampled_from(["down", "stop", "start"]),
        st.lists(st.integers(1, 7), min_size=1, max_size=6),
        st.sampled_from([0.0, 0.05, 0.3, 1.0, 7.0]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(phases, st.integers(1, 20))
def test_what_is_flushed_is_what_was_taken_less_what_was_counted_as_dropped_in_its_order(simulate, phases, most):
    """Where the ledger only hung, an event may be there that was counted as dropped, since nobody knew; never not."""

    async def main():
        ledger, facts, told = SimLedger(), [], []
        outside = Outside(lambda: 1_439_622_000.0, entropy(0, "telemetry"), None)
        room = Telemetry(ledger.session(), outside, lambda: 1.0, Bounds(letters=most))
        with listening(facts.append):
            async with open_owner("test", bound=9) as owner:
                owner.supervise("telemetry", room.serve, jitter=lambda: 0.0)
                for state, requests, seconds in phases:
                    getattr(ledger, state)()
                    for events in requests:
                        await take(room, told, events)
                    await trio.sleep(seconds)
                ledger.start()
                await trio.sleep(SETTLED)
        there, count = names_in(ledger), counted(facts)
        assert room.waiting == 0
        assert there == [name for name in told if name in set(there)]  # each once, and in order
        assert len(there) >= len(told) - count["full"]
        if all(state != "stop" for state, _, _ in phases):
            assert len(there) == len(told) - count["full"]
        assert count["written"] + count["buffered"] == len(told)
        assert count["flushed"] + count["full"] == count["buffered"]

    async def take(room, told, events):
        new = [str(len(told) + place) for place in range(events)]
        told += new
        began = trio.current_time()
        with within(5):
            await room.take(CLAIMS, msgspec.convert(body(*new), TelemetryBody))
        assert trio.current_time() - began <= PATIENCE + 1e-6

    simulate(main)
