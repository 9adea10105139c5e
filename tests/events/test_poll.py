"""The same events by long poll: the stream's ids, the stream's scope, and a wait that has a bound."""

import pytest
import trio

from bff.events.poll import LONGEST_MS
from chaos.hotel.catalogue.faults import in_force
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world

PATH = "/v1/events/poll"
TWO = ("one", "two")


async def poll(desk, after="", wait=0):
    """What it says, and how long it took."""
    params = {"waitMs": str(wait), **({"after": after} if after else {})}
    seen = await desk.get(PATH, params)
    return seen.body, seen.took


def numbers(said):
    return [one["data"]["n"] for one in said["events"]]


async def test_without_a_place_a_poll_says_where_now_is(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        await side.say(1)
        said, took = await poll(desk, wait=5000)
        assert (said["events"], said["reset"], took < 0.1) == ([], False, True)
        await side.say(2)
        said, took = await poll(desk, said["next"], wait=5000)
        assert (numbers(said), took < 0.1) == ([2], True)
        assert said["events"][0] | {"id": "?"} == {"id": "?", "event": "alert", "data": {"n": 2, "tenantId": "resort"}}
        assert said["next"] == said["events"][0]["id"]


async def test_a_poll_waits_for_what_is_for_its_desk_and_not_longer_than_asked(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        place = (await poll(desk))[0]["next"]
        said, took = await poll(desk, place, wait=2000)
        assert (said["events"], took) == ([], pytest.approx(2.0, abs=0.05))
        async with trio.open_nursery() as nursery:

            async def talk():
                await trio.sleep(3)
                await side.say(1, deviceId="another")
                await trio.sleep(1)
                await side.say(2)

            nursery.start_soon(talk)
            said, took = await poll(desk, said["next"], wait=9000)
        assert (numbers(said), took) == ([2], pytest.approx(4.0, abs=0.05))
        assert (await poll(desk, said["next"]))[0]["events"] == []


async def test_the_longest_wait_is_clamped(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        desk.patience = 60
        place = (await poll(desk))[0]["next"]
        _, took = await poll(desk, place, wait=10**9)
        assert took == pytest.approx(LONGEST_MS / 1000, abs=0.05)


async def test_a_shorter_deadline_than_the_wait_is_kept(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        place = (await poll(desk))[0]["next"]
        seen = await desk.get(PATH, {"after": place, "waitMs": "9000"}, deadline_ms=700)
        assert seen.took <= 0.7
        assert seen.body == {"events": [], "next": place, "reset": False}


@pytest.mark.parametrize("after", ["nonsense", "000000000000-17", "0-0"])
async def test_a_place_that_is_none_is_told_so_at_once(autojump_clock, after):
    async with open_world() as world:
        said, took = await poll(await world.desk(), after, wait=5000)
        assert (said["events"], said["reset"], took < 0.1) == ([], True, True)


async def test_waiting_is_a_whole_number(autojump_clock):
    async with open_world() as world:
        with pytest.raises(Refused) as refused:
            await (await world.desk()).get(PATH, {"waitMs": "soon"})
        assert refused.value.problem["errors"][0]["path"] == "waitMs"


async def test_a_desk_goes_from_stream_to_poll_and_back_without_loss_or_doubles_on_any_server(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        ear = await side.ear(desk)
        await side.say(1, server="two")
        await ear.until(lambda ear: ear.numbers)
        await side.say(2, 3, server="two")
        await ear.until(lambda ear: 3 in ear.numbers)
        place = ear.said[-2].last_id
        desk.base = "http://two"
        said, _ = await poll(desk, place)
        assert numbers(said) == [3]
        assert not ear.over.is_set(), "a poll takes nobody's stream away"
        await side.say(4, server="one")
        said, _ = await poll(desk, said["next"], wait=1000)
        assert numbers(said) == [4]
        again = await side.ear(desk, said["next"])
        await side.say(5, server="one")
        await again.until(lambda ear: 5 in ear.numbers)
        assert (again.numbers, again.data("hello")["resumed"]) == ([5], True)


async def test_what_is_older_than_memory_comes_page_by_page(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        desk, place = await world.desk(), ""
        place = (await poll(desk))[0]["next"]
        await side.say(*range(600))
        heard = []
        while len(heard) < 600:
            said, _ = await poll(desk, place)
            heard += numbers(said)
            place = said["next"]
        assert heard == list(range(600))


async def test_a_force_logout_is_heard_by_who_polls_and_ends_the_session_f31(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        place = (await poll(desk))[0]["next"]
        heard = []
        async with trio.open_nursery() as nursery:

            async def wait():
                heard.append((await poll(desk, place, wait=5000))[0])

            nursery.start_soon(wait)
            await trio.sleep(1)
            assert await side.push("force-logout", deviceId=desk.device) == 204
        assert [one["event"] for one in heard[0]["events"]] == ["force-logout"]
        with pytest.raises(Refused) as refused:
            await poll(desk, heard[0]["next"])
        assert refused.value.code == "SESSION_EXPIRED"


async def test_an_instance_that_leaves_answers_who_waits_f37(autojump_clock):
    async with open_world(servers=TWO) as world:
        desk = await world.desk(server="one")
        place = (await poll(desk))[0]["next"]
        heard = []
        async with trio.open_nursery() as nursery:

            async def wait():
                heard.append(await poll(desk, place, wait=9000))

            nursery.start_soon(wait)
            await trio.sleep(1)
            await world.servers["one"].end()
        assert heard[0][0] == {"events": [], "next": place, "reset": False}
        assert heard[0][1] == pytest.approx(1.0, abs=0.1)


async def test_polls_that_wait_hold_no_place_in_the_house_and_leave_none_behind(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        place = (await poll(desk))[0]["next"]
        admission = world.servers["bff"].house.gate.admission
        async with trio.open_nursery() as nursery:
            for desk in [await world.desk() for _ in range(20)]:
                nursery.start_soon(poll, desk, place, 3000)
            await trio.sleep(1)
            assert (admission.places.in_use, admission.streams.in_use) == (0, 20)
        assert (admission.places.in_use, admission.streams.in_use) == (0, 0)


async def test_of_one_devices_polls_the_newest_waits_and_who_has_left_waits_no_longer(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        place = (await poll(desk))[0]["next"]
        streams = world.servers["bff"].house.gate.admission.streams
        took = []

        async def wait():
            took.append((await poll(desk, place, 3000))[1])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            nursery.start_soon(wait)
            await trio.sleep(1)
            assert (took, streams.in_use) == ([pytest.approx(1.0, abs=0.1)], 1)
            nursery.cancel_scope.cancel()
        await trio.sleep(0.1)
        assert streams.in_use == 0


async def test_with_the_tier_down_there_is_no_poll_f18(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        place = (await poll(desk))[0]["next"]
        world.stores.tier.down()
        with pytest.raises(Refused) as refused:
            await poll(desk, place)
        assert refused.value.code == "CACHE_UNAVAILABLE"
        assert refused.value.problem["retryAfterMs"] > 0


async def test_where_the_bus_delivers_nothing_a_poll_is_told_what_the_log_has_and_does_not_wait_long_f34(
    autojump_clock, between
):
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        place = (await poll(desk))[0]["next"]
        async with in_force("F-34", world):
            await trio.sleep(3)
            await side.say(1, server="two")
            said, took = await poll(desk, place, wait=20_000)
            assert (numbers(said), took < 0.1) == ([1], True)
            said, took = await poll(desk, said["next"], wait=20_000)
            assert (said["events"], took) == ([], pytest.approx(1.0, abs=0.1))
            await side.say(2, server="two")
            assert numbers((await poll(desk, said["next"], wait=20_000))[0]) == [2]
        await trio.sleep(3)
        said, took = await poll(desk, said["next"], wait=2000)
        assert (numbers(said), took < 0.1) == ([2], True), "and it is there once more for who did not take it"
