import re

import pytest
import trio

from bff.model import Down
from bff.ops.readiness import Readiness
from bff.outside import Outside
from nurseries import Breaker, BreakerRule, open_owner

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
