"""Very many devices at two servers in virtual time: each hears all that is for it, once, and then is logged out."""

import pytest
import trio

from bff.facts.events import ForceLogoutDelivered
from chaos.hotel.sweeps.airing import SERVERS, open_airing, until
from chaos.toxics import Failover

OPENING = 40  # desks that sign in at once


async def seated(air, devices):
    """So many desks of one operator that listen, half of them at each server."""

    async def some(numbers):
        for number in numbers:
            desk = await air.desk(air.world.hotel.operators[0], SERVERS[number % 2], f"d{number}")
            air.listen(desk, last_id=at)

    first = await air.desk(air.world.hotel.operators[0], "one", "first")
    at = await air.now_at(first)
    async with trio.open_nursery() as nursery:
        for lane in range(OPENING):
            nursery.start_soon(some, range(lane, devices, OPENING))
    assert await until(lambda: all(one.live for one in air.listeners), 10.0)


@pytest.mark.parametrize("devices", [150, pytest.param(2_000, marks=pytest.mark.soak)])
async def test_every_device_hears_everything_once_through_a_failover_and_then_is_logged_out_f19_f31(
    autojump_clock, devices
):
    async with open_airing(0, latency=0.0) as air:
        await seated(air, devices)
        for number in range(3):
            await air.say(SERVERS[number % 2])
        air.world.inject("redis-session", Failover(takes=1.0, lost=2.0))
        await air.say("one", deviceId="d7")
        await air.say("two")
        await trio.sleep(3.0)
        air.judge({})
        assert {one.desk.device: len(one.told) for one in air.listeners} == {
            f"d{n}": 4 + (n == 7) for n in range(devices)
        }
        await air.say("two", "force-logout", operatorId=air.world.hotel.operators[0].operator_id)
        assert await until(lambda: all(one.over == "logged-out" for one in air.listeners), 5.0)
        late = [fact.seconds for fact in air.world.facts if isinstance(fact, ForceLogoutDelivered)]
        assert (len(late), max(late) < 0.5) == (devices, True)
        assert not air.world.stores.tier.blobs
