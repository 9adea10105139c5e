"""What `/readyz` says of the bus: in which state it is, since when, and whether work may be sent here."""

from datetime import datetime

import httpx
import pytest
import trio

from bff.stores.bus import FOLLOW_SECONDS, Passage
from chaos.hotel.world import open_world


class Deaf:
    """A bus that looks well and delivers nothing while it is `deaf`, however often the line is made anew (F-34)."""

    def __init__(self, bus):
        self._bus = bus
        self.deaf = False

    def __getattr__(self, name):
        return getattr(self._bus, name)

    async def follow(self, after):
        if not self.deaf:
            return await self._bus.follow(after)
        await trio.sleep(FOLLOW_SECONDS)
        return Passage((), after)


async def told(world):
    """The status, and each dependency's line by its name."""
    transport = httpx.ASGITransport(world.servers["bff"].house.ops)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as platform:
        with trio.fail_after(5):
            answer = await platform.get("http://ops/readyz")
    return answer.status_code, {line.split()[0]: line.split(maxsplit=3)[1:] for line in answer.text.splitlines()}


def when(line):
    return datetime.fromisoformat(line[1].removeprefix("since=")).timestamp()


async def test_a_healthy_bus_has_a_line_of_its_own_from_the_first_answer_on(autojump_clock):
    async with open_world() as world:
        status, lines = await told(world)
        assert (status, lines["bus"][0], lines["bus"][2:]) == (503, "down", ["not asked yet"])
        await trio.sleep(0.2)
        status, lines = await told(world)
        assert (status, lines["bus"][0], lines["bus"][2:]) == (200, "up", [])


@pytest.mark.parametrize("word", ["kill", "stop"])
async def test_with_the_session_tier_down_the_bus_is_down_too_and_both_come_back_f18(autojump_clock, word):
    async with open_world() as world:
        await trio.sleep(5)
        world.inject("redis-session", word)
        died = world.now()
        await trio.sleep(4)
        status, lines = await told(world)
        assert (status, lines["bus"][0], lines["redis-session"][0]) == (503, "down", "down")
        assert lines["bus"][2].startswith("nothing delivered for ")
        assert 0 < when(lines["bus"]) - died <= 4
        began = lines["bus"][1]
        await trio.sleep(20)
        assert (await told(world))[1]["bus"][1] == began, "since is when it began"
        world.clear("redis-session")
        healed = world.now()
        await trio.sleep(5)
        status, lines = await told(world)
        assert (status, lines["bus"][0], lines["redis-session"][0]) == (200, "up", "up")
        assert when(lines["bus"]) >= healed


async def test_a_bus_that_delivers_nothing_is_down_though_the_tier_answers_f34(autojump_clock):
    async with open_world(servers=()) as world:
        bus = world.stores.tier.bus = Deaf(world.stores.tier.bus)
        await world.serve()
        await trio.sleep(5)
        assert (await told(world))[0] == 200
        bus.deaf = True
        await trio.sleep(3.5)
        status, lines = await told(world)
        assert (status, lines["bus"][0], lines["redis-session"][0]) == (503, "down", "up")
        bus.deaf = False
        await trio.sleep(3)
        status, lines = await told(world)
        assert (status, lines["bus"][0]) == (200, "up")


async def test_with_only_the_cache_tier_down_it_is_ready_and_degraded_and_the_bus_is_up_f17(autojump_clock):
    async with open_world() as world:
        world.inject("redis-cache", "kill")
        await trio.sleep(4)
        status, lines = await told(world)
        assert (status, lines["redis-cache"][0], lines["bus"][0]) == (200, "degraded", "up")


async def test_a_failover_that_is_over_in_a_moment_does_not_take_the_bus_out_f19(autojump_clock):
    async with open_world() as world:
        await trio.sleep(5)
        world.inject("redis-session", "failover takes=0.5")
        states = []
        for _ in range(10):
            await trio.sleep(0.5)
            states.append((await told(world))[1]["bus"][0])
        assert set(states) == {"up"}
