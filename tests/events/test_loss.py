"""What a server has lost and nobody could give back in time: whoever reads on over that is told, now or later."""

import msgspec
import trio

from bff.events.event import Said
from bff.facts.events import EventsLost
from bff.stores.bus import Posting
from chaos.hotel.world import open_world
from nurseries import within

TWO = ("one", "two")


async def overtaken(world, number):
    """The tier fails over without its last half second, and somebody says something before it is given back."""
    tier = world.stores.tier
    said = msgspec.json.encode(Said("alert", "resort", data={"n": number}))
    tier.failover(lost=0.5)
    with within(1):
        await tier.bus.post([Posting("resort", f"n{number}", said, world.now(), 60.0)])


async def a_loss(world, side):
    """A desk that was away while 3 was said and lost, and another that was not; with the last id of the first."""
    away, there = await world.desk(server="one"), await world.desk(server="one")
    ear, still = await side.ear(away), await side.ear(there)
    await side.say(1, 2, server="two")
    await ear.until(lambda ear: 2 in ear.numbers)
    ear.leave()
    await trio.sleep(1)
    await side.say(3, server="two")
    await still.until(lambda ear: 3 in ear.numbers)
    await overtaken(world, 4)
    await trio.sleep(2)
    return away, ear.last, still


async def test_who_was_away_when_something_was_lost_is_told_so_by_the_log_on_any_server_f19(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        away, last, still = await a_loss(world, side)
        assert (still.numbers, still.words.count("reset")) == ([1, 2, 3], 1)
        for server in TWO:
            away.base = f"http://{server}"
            again = await side.ear(away, last)
            assert again.data("hello")["resumed"] is True
            await again.until(lambda ear: "reset" in ear.words)
            assert (again.numbers, again.words) == ([4], ["hello", "alert", "reset"])
            again.leave()
        later = await side.ear(away, again.last)
        await side.say(5, server="two")
        for ear in (later, still):
            await ear.until(lambda ear: 5 in ear.numbers)
        assert (later.words, still.words.count("reset")) == (["hello", "alert"], 1)
        assert sum(isinstance(fact, EventsLost) for fact in world.facts) == len(TWO)


async def test_a_poll_over_a_loss_says_reset_and_goes_on_after_it_f19(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        away, last, _ = await a_loss(world, side)
        polled = (await away.get("/v1/events/poll", {"after": last})).body
        assert (polled["events"], polled["reset"]) == ([], True)
        await side.say(5, server="two")
        polled = (await away.get("/v1/events/poll", {"after": polled["next"]})).body
        assert ([one["data"]["n"] for one in polled["events"]], polled["reset"]) == ([5], False)


async def test_a_server_that_only_lags_behind_tells_its_own_desks_and_not_the_whole_house_f19(autojump_clock, between):
    """What it last heard is too old for the log: nothing is lost to those who heard it elsewhere."""
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        ear = await side.ear(desk)
        await side.say(1, server="two")
        await ear.until(lambda ear: ear.numbers)
        bus = world.stores.tier.bus
        bus.witnesses.append(lambda _: bus.overrun())  # whatever goes by now, nobody hears it
        with within(1):
            first, _ = await bus.post([Posting("resort", f"x{n}", b"", world.now() + 901 * n, 60.0) for n in (1, 2)])
        bus.witnesses.clear()
        await ear.until(lambda ear: "reset" in ear.words)
        await trio.sleep(0.1)
        with within(1):
            page = await bus.page("resort", first, world.now())
        assert ear.words == ["hello", "alert", "reset"]
        assert [entry.uid for entry in page.entries] == ["x2"]


async def test_what_was_said_from_here_is_given_back_though_nobody_of_its_tenant_listens_here_f19(
    autojump_clock, between
):
    async with open_world(servers=TWO) as world, between(world) as side:
        foreign = next(one for one in world.hotel.operators if one.tenant_id != "resort")
        desk = await world.desk(foreign, server="one")
        ear = await side.ear(desk)
        ear.leave()
        await trio.sleep(1)
        await side.say(1, server="two", tenant=foreign.tenant_id)
        await world.servers["one"].kill()
        world.stores.tier.failover(lost=0.5)
        await world.serve("one")
        again = await side.ear(desk, ear.last)
        await again.until(lambda ear: ear.numbers)
        assert (again.numbers, again.words) == ([1], ["hello", "alert"])
