"""Who comes back when: whoever is turned away is told a moment of his own, and a fleet does not come back as one."""

from base64 import b64encode
from random import Random

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bff.events.bus import EventBus
from bff.events.farewell import LEAST_SECONDS, MOST_SECONDS, TRY_AGAIN, again, span
from bff.events.poll import PollQuery, Polls
from bff.events.registry import Registry
from bff.events.streams import Streams
from bff.model import Claims
from bff.outside import Outside
from bff.problem import Code
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stores.tier import SimTier
from chaos.hotel.world import INTERNAL_TOKEN, open_world
from nurseries import Bulkhead, within

POLL = "/v1/events/poll"
DESK = Claims("iam", "bff", 9e9, 0.0, 0.0, "ana", "t1", "d1", "s1", ("p1",), "jkt")


@given(streams=st.integers(0, 100_000), lot=st.binary(min_size=4, max_size=4))
def test_who_is_turned_away_waits_a_little_and_never_longer_than_the_fleet_needs_to_come_back(streams, lot):
    wait = again(streams, lambda _: lot)
    assert TRY_AGAIN <= wait < TRY_AGAIN + span(streams) <= TRY_AGAIN + MOST_SECONDS


def test_a_fleet_that_is_turned_away_comes_back_over_the_whole_of_its_span_f26():
    lot = Random(7).randbytes
    waits = [again(2000, lot) for _ in range(2000)]
    seconds = [sum(1 for wait in waits if at <= wait - TRY_AGAIN < at + 1) for at in range(round(span(2000)))]
    assert sum(seconds) == 2000
    assert min(seconds) > 300, "400 each, but for chance"


def rooms(taken):
    """Streams and polls of an instance where nobody reads the bus, and `taken` places are."""
    bus, outside = SimTier().bus, Outside(lambda: 1.4e9, Random(7).randbytes, None)
    reader = EventBus(bus, outside, "one")
    places = Bulkhead("streams", 4096, kept=0)
    for _ in range(taken):
        places.enter()
    streams = Streams(reader, Registry(bus, outside), outside, places, lifetime=lambda: 60.0, over=print)
    return streams, Polls(reader, outside, places, print)


@pytest.mark.parametrize("taken", [0, 2000])
async def test_who_finds_no_bus_is_told_a_moment_of_his_own_f18(autojump_clock, taken):
    streams, polls = rooms(taken)
    with within(1):
        refused = [await streams.open(DESK, None) for _ in range(20)]
        refused += [await polls.answer(DESK, PollQuery()) for _ in range(20)]
    assert {problem.code for problem in refused} == {Code.CACHE_UNAVAILABLE}
    waits = [problem.retry_after for problem in refused]
    assert len(set(waits)) == 40
    assert max(waits) - min(waits) > span(taken) / 2


async def test_who_finds_no_place_to_wait_in_is_told_a_moment_of_his_own_f26(autojump_clock):
    async with open_world() as world:
        desks = [await world.desk() for _ in range(10)]
        place = (await desks[0].get(POLL)).body["next"]
        world.servers["bff"].house.gate.admission.streams.limit = 0
        waits = []
        for desk in desks:
            with pytest.raises(Refused) as refused:
                await desk.get(POLL, {"after": place, "waitMs": "5000"})
            assert refused.value.code == "OVERLOADED"
            waits.append(refused.value.problem["retryAfterMs"])
        assert len(set(waits)) == 10
        assert 1000 <= min(waits) <= max(waits) <= 1000 * (TRY_AGAIN + LEAST_SECONDS)


async def test_the_platform_is_told_to_come_again_in_a_moment_while_the_tier_is_down_f18(autojump_clock):
    async with open_world() as world:
        transport = httpx.ASGITransport(world.servers["bff"].house.ops)
        data = b64encode(b'{"type": "alert", "tenantId": "resort"}').decode()
        headers = {"authorization": f"Bearer {INTERNAL_TOKEN}"}
        world.inject("redis-session", "kill")
        async with httpx.AsyncClient(transport=transport, trust_env=False) as platform:
            waits = []
            for number in range(5):
                envelope = {"message": {"messageId": f"m{number}", "data": data}}
                with trio.fail_after(10):
                    answer = await platform.post("http://ops/internal/events", json=envelope, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (503, "CACHE_UNAVAILABLE")
                waits.append(answer.json()["retryAfterMs"])
        assert len(set(waits)) == 5
        assert 1000 <= min(waits) <= max(waits) <= 1000 * (TRY_AGAIN + LEAST_SECONDS)
