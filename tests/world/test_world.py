"""The virtual world itself: it is the product on a network that is not there, and it tells what is left of it."""

import pytest
import trio

from bff.facts import AppFailed, RequestServed, WidgetServed
from chaos.hotel.checks.answers import judge, without
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import MORNING, open_world
from nurseries import tell


async def test_a_desk_sees_its_day_and_not_a_moment_passes(autojump_clock):
    began = trio.current_time()
    async with open_world() as world:
        desk = await world.desk()
        seen = await desk.dashboard()
        judge(seen, {})
        assert seen.body["propertyId"] == "resort-praia"
        assert seen.body["generatedAt"] == "2015-08-15T07:00:00.000Z"
        assert (trio.current_time(), world.now()) == (began, MORNING)
        assert [fact.widget for fact in world.facts if isinstance(fact, WidgetServed)] == list(seen.body["widgets"])


async def test_two_worlds_of_one_seed_answer_the_same_and_those_of_two_do_not_share_a_key(autojump_clock):
    async def told(seed):
        async with open_world(seed=seed) as world:
            desk = await world.desk()
            seen = await desk.dashboard()
            return desk.key.kid, desk.session.access_token, seen.body["widgets"]

    one, again, other = await told(5), await told(5), await told(6)
    assert one[0] == again[0] != other[0]
    assert one[1].split(".")[0] == again[1].split(".")[0] != other[1].split(".")[0]  # iam's key
    assert one[2]["occupancy"]["data"] == again[2]["occupancy"]["data"] == other[2]["occupancy"]["data"]


async def test_a_world_hears_only_its_own_facts(autojump_clock):
    async with open_world() as world:
        await world.desk()
        served = [fact for fact in world.facts if isinstance(fact, RequestServed)]
        assert [(fact.route, fact.status) for fact in served] == [("/v1/session", 201)]
    tell("afterwards")
    assert "afterwards" not in world.facts


async def test_what_is_still_alive_at_the_end_is_an_error_that_names_it(autojump_clock):
    with pytest.raises(AssertionError, match="alive 5 s after their request: bff: forgotten"):
        async with open_world() as world:
            world.servers["bff"].owner.start(trio.sleep_forever, name="forgotten")


async def test_a_connection_that_nobody_keeps_and_the_estate_still_serves_is_told_too(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.dashboard()
        await world.quiet()
        kept = world.servers["bff"].house.pool.free
        stream = await world.network.connect("pricing.estate", 80, None)
        assert world.leftovers() == [f"{kept + 1} connections to the estate, of which {kept} are kept"]
        await stream.aclose()
        await world.quiet()


async def test_a_bug_that_was_told_is_an_error_at_the_end_though_every_answer_was_good(autojump_clock):
    with pytest.raises(AssertionError, match="AppFailed"):
        async with open_world() as world:
            await world.desk()
            tell(AppFailed("KeyError", "somewhere"))


async def test_what_the_block_raises_comes_out_as_it_is_and_ends_the_world(autojump_clock):
    with pytest.raises(LookupError):
        async with open_world() as world:
            desk = await world.desk()
            world.inject("pricing", "hang")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.dashboard)
                await trio.sleep(0.1)
                nursery.cancel_scope.cancel()
            raise LookupError


async def test_a_server_that_ends_answers_what_is_under_way_and_refuses_what_comes(autojump_clock):
    async with open_world() as world:
        desk, late = await world.desk(), await world.desk()
        world.inject("pricing", "hang")
        async with trio.open_nursery() as nursery:
            seen = []

            async def look():
                seen.append(await desk.dashboard())

            nursery.start_soon(look)
            await trio.sleep(0.1)
            nursery.start_soon(world.servers["bff"].end)
            await trio.sleep(0.1)
            with pytest.raises(Refused) as refused:
                await late.dashboard()
            assert refused.value.status == 0
        judge(seen[0], without("pricing", "UPSTREAM_TIMEOUT"))


async def test_a_server_that_is_killed_breaks_its_connections_and_another_takes_its_place(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.dashboard()
        world.inject("pricing", "hang")
        async with trio.open_nursery() as nursery:

            async def look():
                began = trio.current_time()
                with pytest.raises(Refused):
                    await desk.dashboard()
                assert trio.current_time() == began + 0.1

            nursery.start_soon(look)
            await trio.sleep(0.1)
            await world.servers["bff"].kill()
        assert world.leftovers() == []
        await world.serve()
        world.clear()
        judge(await desk.dashboard(), {})


async def test_two_servers_share_the_stores_and_nothing_else(autojump_clock):
    async with open_world(servers=("one", "two")) as world:
        desk, other = await world.desk(server="one"), await world.desk(server="two")
        first = await desk.dashboard()
        await world.quiet()
        second = await other.dashboard()
        judge(second, {})
        assert second.body["widgets"]["operator"] == first.body["widgets"]["operator"]  # kept by the other
        assert world.servers["one"].house.upstreams is not world.servers["two"].house.upstreams


async def test_answers_take_as_long_as_the_world_is_told(autojump_clock):
    async with open_world(answers_take=(0.2, 0.2), desk_latency=0.01) as world:
        desk = await world.desk()
        await desk.dashboard()
        seen = await desk.dashboard()
        judge(seen, {})
        assert seen.took == pytest.approx(0.22, abs=1e-9)
