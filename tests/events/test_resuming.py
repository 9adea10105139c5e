"""A desk that comes again, and what must not be taken for its own: others' ends, a place it was never told, a ghost."""

import trio

from bff.facts.events import StreamEnded
from bff.stores.bus import Held
from chaos.hotel.world import open_world

TWO = ("one", "two")


async def restarted(world, name):
    """What it kept in memory is read from the log from now on."""
    await world.servers[name].kill()
    await world.serve(name)


async def ended_after(world, name, seconds):
    await trio.sleep(seconds)
    await world.servers[name].end()


async def test_that_somebody_else_was_logged_out_meanwhile_ends_neither_stream_nor_session_f31(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        ines, tiago = world.hotel.operators[:2]
        hers = await world.desk(ines, server="one")
        ear = await side.ear(hers)
        ear.leave()
        assert await side.push("force-logout", server="two", operatorId=tiago.operator_id) == 204
        await side.say(1, server="two")
        await restarted(world, "one")
        again = await side.ear(hers, ear.last)
        await again.until(lambda ear: ear.numbers)
        await trio.sleep(1)
        assert (again.words, again.over.is_set()) == (["hello", "alert"], False)
        await hers.renew()


async def test_a_desk_that_is_sent_away_before_it_was_greeted_goes_on_where_it_was_and_misses_nothing_f37(
    autojump_clock, between
):
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        ear = await side.ear(desk)
        ear.leave()
        await side.say(1, server="two")
        await restarted(world, "one")
        world.stores.tier.latency(0.2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ended_after, world, "one", 0.5)  # by then it has been let in, and has no stream yet
            sent = await side.ear(desk, ear.last)
            await sent.until(lambda _: False)
        world.stores.tier.latency(0.0)
        assert (sent.words, sent.last) == (["drain"], ear.last)
        desk.base = "http://two"
        again = await side.ear(desk, sent.last)
        await again.until(lambda ear: ear.numbers)
        assert (again.numbers, again.words) == ([1], ["hello", "alert"])


async def test_a_request_that_takes_longer_does_not_take_the_place_of_one_that_came_after_it_f26(
    autojump_clock, between
):
    """Its connection may be broken long since: a desk that was told `superseded` by itself would stay away."""
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        first = await side.ear(desk)
        first.leave()
        epoch, offset = first.last.split("-")
        ahead = f"{epoch}-{int(offset) + 9}"  # as if the log had lost its end: that is waited for
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side.ear, desk, ahead)
            await trio.sleep(0.2)
            ear = await side.ear(desk, first.last)
        await trio.sleep(3)
        assert (ear.words, ear.over.is_set()) == (["hello"], False)
        await side.say(1)
        await ear.until(lambda ear: ear.numbers)
        assert [fact.why for fact in world.facts if isinstance(fact, StreamEnded)] == ["left", "superseded"]


async def test_a_stream_that_is_outdated_when_it_begins_leaves_the_newer_one_alone_f26(autojump_clock, between):
    """Two that came in one moment may begin in the other order than they got their tokens."""
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        ear = await side.ear(desk)

        async def older_token(tenant, device):
            await trio.lowlevel.checkpoint()
            return Held(tenant, device, 1)

        world.servers["bff"].house.events.registry.take = older_token
        older = await side.ear(desk)
        await trio.sleep(0.1)
        assert (older.words, ear.over.is_set()) == (["superseded"], False)
