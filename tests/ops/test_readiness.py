import re
from contextlib import suppress
from datetime import datetime
from math import ceil

import httpx
import pytest
import trio

from bff.model import Down
from bff.ops.readiness import Readiness
from bff.outside import Outside
from bff.upstreams.services import SERVICES
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from nurseries import Breaker, BreakerRule, BulkheadShed, open_owner, within

KEYS = "/v1/locks/lock-praia-103/keys"
ISSUE = {"reservationId": "r-00870", "validUntil": "2015-08-16T12:00:00Z"}

LINE = re.compile(r"[a-z-]+ (up|degraded|down) since=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z( .+)?")


class Store:
    """A store that answers as it is told: `why` '' is up, None hangs."""

    def __init__(self):
        self.why = ""

    async def ping(self):
        if self.why is None:
            await trio.sleep_forever()
        return Down(self.why) if self.why else None


class Hotel:
    def __init__(self):
        self.stores = {name: Store() for name in ("postgres", "redis-session", "redis-cache", "bus")}
        outside = Outside(now=trio.current_time, entropy=lambda n: b"\0" * n, connect=None)
        self.readiness = Readiness(
            outside, {name: store.ping for name, store in self.stores.items()}, ("pricing", "iam")
        )
        self.breakers = {}
        self.readiness.watch(self.breakers)

    def states(self):
        lines = self.readiness.lines().splitlines()
        assert all(LINE.fullmatch(line) for line in lines)
        return {line.split()[0]: line.split()[1] for line in lines}


@pytest.fixture
async def hotel():
    hotel = Hotel()
    async with open_owner("test", bound=8) as owner:
        owner.supervise("readiness", hotel.readiness.serve, jitter=lambda: 0.0)
        yield hotel


async def test_nobody_is_ready_before_its_stores_have_answered(autojump_clock):
    hotel = Hotel()
    assert not hotel.readiness.ready
    assert hotel.states()["postgres"] == "down"


async def test_all_is_up_once_every_store_has_answered(autojump_clock, hotel):
    await trio.testing.wait_all_tasks_blocked()
    assert hotel.readiness.ready
    assert set(hotel.states().values()) == {"up"}
    assert list(hotel.states()) == ["postgres", "redis-session", "redis-cache", "bus", "pricing", "iam"]


async def test_without_the_cache_tier_it_is_ready_and_says_degraded_f17(autojump_clock, hotel):
    hotel.stores["redis-cache"].why = "connection refused"
    await trio.sleep(1.5)
    assert hotel.readiness.ready
    assert hotel.states()["redis-cache"] == "degraded"
    assert "connection refused" in hotel.readiness.lines()


@pytest.mark.parametrize("vital", ["postgres", "redis-session", "bus"])
@pytest.mark.parametrize("why", ["connection refused", None])
async def test_without_a_vital_store_it_is_not_ready_f18_f20(autojump_clock, hotel, vital, why):
    hotel.stores[vital].why = why
    await trio.sleep(1.6)
    assert not hotel.readiness.ready
    assert hotel.states()[vital] == "down"
    hotel.stores[vital].why = ""
    await trio.sleep(2.0)
    assert hotel.readiness.ready


async def test_a_store_that_hangs_does_not_keep_the_others_from_being_asked(autojump_clock, hotel):
    hotel.stores["redis-session"].why = None
    hotel.stores["redis-cache"].why = "gone"
    await trio.sleep(1.6)
    assert hotel.states() == {
        "postgres": "up",
        "redis-session": "down",
        "redis-cache": "degraded",
        "bus": "up",
        "pricing": "up",
        "iam": "up",
    }


async def test_an_upstream_whose_breaker_is_open_is_degraded_and_the_instance_ready(autojump_clock, hotel):
    await trio.testing.wait_all_tasks_blocked()
    breaker = hotel.breakers["pricing.rateSnapshot"] = Breaker("pricing.rateSnapshot", BreakerRule(consecutive=1))
    breaker.admit().failed()
    assert hotel.readiness.ready
    assert hotel.states()["pricing"] == "degraded"
    assert "rateSnapshot open" in hotel.readiness.lines()
    assert hotel.states()["iam"] == "up"


async def test_since_is_when_the_state_began_and_not_when_it_was_last_looked_at(autojump_clock, hotel):
    hotel.stores["postgres"].why = "gone"
    await trio.sleep(1.5)
    first = hotel.readiness.lines().splitlines()[0]
    await trio.sleep(10)
    assert hotel.readiness.lines().splitlines()[0] == first


async def test_a_draining_instance_is_not_ready_though_all_is_up(autojump_clock, hotel):
    await trio.testing.wait_all_tasks_blocked()
    hotel.readiness.draining = True
    assert not hotel.readiness.ready


# -- in the house ------------------------------------------------------------------------------------------------------


async def told(world):
    """The status of `/readyz`, and each line by its name: state, since and detail."""
    transport = httpx.ASGITransport(world.servers["bff"].house.ops)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as platform:
        with within(5):
            answer = await platform.get("http://ops/readyz")
    assert all(LINE.fullmatch(line) for line in answer.text.splitlines())
    return answer.status_code, {line.split()[0]: line.split(maxsplit=3)[1:] for line in answer.text.splitlines()}


def seconds(line):
    return datetime.fromisoformat(line[1].removeprefix("since=")).timestamp()


async def test_every_service_and_store_has_a_line_and_says_since_when(autojump_clock):
    async with open_world() as world:
        began = world.now()
        await trio.sleep(5)
        status, lines = await told(world)
        assert (status, list(lines)) == (200, ["postgres", "redis-session", "redis-cache", "bus", "outbox", *SERVICES])
        assert {line[0] for line in lines.values()} == {"up"}
        assert all(began <= seconds(line) <= began + 1 for line in lines.values())


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_that_is_away_takes_no_instance_out_f1_f4_f10_f13(autojump_clock, service):
    async with open_world() as world:
        desk = await world.desk()
        world.inject(service, "status code=503")
        for _ in range(8):
            with suppress(Refused):
                await desk.dashboard()
            with suppress(Refused):
                await desk.renew()
            with suppress(Refused):
                await desk.change(KEYS, ISSUE, f"k-{world.now()}")
            await trio.sleep(0.5)
        status, lines = await told(world)
        assert (status, lines[service][0]) == (200, "degraded")
        assert {name for name, line in lines.items() if line[0] != "up"} == {service}


async def test_an_instance_that_begins_while_iam_is_away_is_ready_says_so_and_answers_502_f1(autojump_clock):
    async with open_world(servers=("bff",)) as world:
        desk = await world.desk()
        world.inject("iam", "down")
        await world.serve("new")
        await trio.sleep(5)
        house = world.servers["new"].house
        assert house.readiness.ready
        assert "iam degraded" in house.readiness.lines()
        assert "keys were not read yet" in house.readiness.lines()
        desk.base = "http://new"
        with pytest.raises(Refused) as refused:
            await desk.get("/v1/session")
        assert (refused.value.status, refused.value.code) == (502, "UPSTREAM_UNAVAILABLE")
        world.clear("iam")
        await trio.sleep(5)
        await desk.get("/v1/session")
        assert "iam up" in house.readiness.lines()


async def test_one_that_knew_iams_keys_has_nothing_to_say_of_an_outage_that_nobody_meets_f1(autojump_clock):
    async with open_world() as world:
        await world.desk()
        world.inject("iam", "down")
        await trio.sleep(5)
        assert (await told(world))[1]["iam"][0] == "up"


async def test_a_crowd_is_seen_in_readiness_before_anybody_is_turned_away(autojump_clock):
    async with open_world() as world, trio.open_nursery() as nursery:
        desk = await world.desk()
        await trio.sleep(2)
        places = world.servers["bff"].house.gate.admission.places
        most = places.limit - places.kept
        held = [places.enter() for _ in range(ceil(0.8 * most) - 1)]
        assert "requests" not in (await told(world))[1]
        held.append(places.enter())
        crowded = world.now()
        status, lines = await told(world)
        assert (status, lines["requests"][0], seconds(lines["requests"])) == (200, "degraded", pytest.approx(crowded))
        assert str(most) in lines["requests"][2]
        assert not (await desk.dashboard()).body["partial"], "nobody is turned away yet"
        assert not [fact for fact in world.facts if isinstance(fact, BulkheadShed)]
        for place in held:
            place.leave()
        await trio.sleep(1.5)
        assert "requests" not in (await told(world))[1]
        nursery.cancel_scope.cancel()


async def test_with_postgres_down_it_is_down_since_then_and_says_so_until_it_is_back_f20(autojump_clock):
    async with open_world() as world:
        await trio.sleep(5)
        world.inject("postgres", "stop")
        died = world.now()
        await trio.sleep(4)
        status, lines = await told(world)
        assert (status, lines["postgres"][0]) == (503, "down")
        assert 0 < seconds(lines["postgres"]) - died <= 2
        world.clear("postgres")
        await trio.sleep(3)
        assert (await told(world))[0] == 200
