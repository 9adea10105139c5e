"""A device's stream in the virtual world: what it says, in which order, what ends it, and what the desk hears then."""

import json

import pytest
import trio

from bff.config import Rates
from bff.events.farewell import CAPACITY, moments, span
from bff.facts.events import ForceLogoutDelivered, StreamEnded
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.opened import Cut, opened
from chaos.hotel.world import TOKEN_SECONDS, open_world
from chaos.sim.entropy import entropy
from chaos.toxics import Failover
from nurseries import within

TWO = ("one", "two")


def ends(world):
    return [fact.why for fact in world.facts if isinstance(fact, StreamEnded)]


async def test_a_stream_says_hello_and_then_what_is_for_its_desk_and_nobody_elses(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        first, second = world.hotel.operators[:2]
        mine, other = await world.desk(first), await world.desk(second)
        foreign = next(one for one in world.hotel.operators if one.tenant_id != first.tenant_id)
        ears = [await side.ear(desk) for desk in (mine, other, await world.desk(foreign))]
        assert [ear.data("hello") for ear in ears] == [{"heartbeatMs": 15000, "resumed": False}] * 3
        await side.say(1)
        await side.say(2, operatorId=first.operator_id)
        await side.say(3, deviceId=other.device)
        await side.say(4, propertyId="resort-serra")
        await side.say(5, operatorId=second.operator_id, deviceId=mine.device)
        await side.say(6, tenant=foreign.tenant_id)
        for ear, last in zip(ears, (4, 3, 6), strict=True):
            await ear.until(lambda ear, last=last: last in ear.numbers)
        assert [ear.numbers for ear in ears] == [[1, 2, 4], [1, 3], [6]]
        assert json.loads(ears[0].said[-1].data) == {"n": 4, "tenantId": "resort", "propertyId": "resort-serra"}
        assert len({one.last_id for one in ears[0].said}) == 4


async def test_a_comment_comes_each_quarter_of_a_minute_and_nothing_else(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        ear = await side.ear(await world.desk())
        began = ear.at[0]
        await trio.sleep(61)
        assert [round(at - began) for at in ear.beats] == [15, 30, 45, 60]
        assert ear.words == ["hello"]


async def test_a_desk_that_comes_again_goes_on_right_after_its_last_id(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        ear = await side.ear(desk)
        await side.say(1, 2, server="two")
        await ear.until(lambda ear: 2 in ear.numbers)
        ear.leave()
        await side.say(*range(3, 9), server="two")
        for server in TWO:
            desk.base = f"http://{server}"
            again = await side.ear(desk, ear.last)
            assert again.data("hello")["resumed"] is True
            await again.until(lambda ear: 8 in ear.numbers)
            assert (again.numbers, again.words[0]) == (list(range(3, 9)), "hello")
            again.leave()


async def test_what_is_older_than_memory_is_read_from_the_log_page_by_page(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        desk, other = await world.desk(), await world.desk()
        ear = await side.ear(desk)
        ear.leave()
        await side.ear(other)
        await side.say(*range(700))
        again = await side.ear(desk, ear.last)
        await again.until(lambda ear: 699 in ear.numbers)
        assert again.numbers == list(range(700))
        assert again.data("hello")["resumed"] is True


@pytest.mark.parametrize(
    "last", ["", "nonsense", "000000000000-17", "theirs", "0-0", "é", "-1", "x" * 5000], ids=lambda last: last[:9]
)
async def test_an_id_that_is_none_of_ours_is_answered_with_a_reset_and_then_all_that_comes(
    autojump_clock, between, last
):
    async with open_world() as world, between(world) as side:
        foreign = next(one for one in world.hotel.operators if one.tenant_id != "resort")
        theirs = await side.ear(await world.desk(foreign))
        desk = await world.desk()
        ear = await side.ear(desk, theirs.last if last == "theirs" else last)
        await ear.until(lambda ear: len(ear.said) > 1)
        assert (ear.words, ear.data("hello")["resumed"]) == (["hello", "reset"], False)
        assert ear.said[0].last_id == ear.said[1].last_id
        await side.say(1)
        await ear.until(lambda ear: ear.numbers)
        assert ear.numbers == [1]


async def test_after_a_quarter_of_an_hour_of_other_events_an_old_id_is_told_so(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        ear = await side.ear(desk)
        ear.leave()
        await side.say(1)
        await trio.sleep(901)
        await side.say(2, 3)
        await trio.sleep(1)
        await desk.renew()
        again = await side.ear(desk, ear.last)
        await again.until(lambda ear: len(ear.said) > 1)
        assert again.words == ["hello", "reset"]


@pytest.mark.parametrize("servers", [("one",), TWO], ids=["one", "two"])
async def test_a_newer_stream_of_the_device_ends_the_older_wherever_it_is_f26(autojump_clock, between, servers):
    async with open_world(servers=servers) as world, between(world) as side:
        desk = await world.desk(server=servers[0])
        older = await side.ear(desk)
        desk.base = f"http://{servers[-1]}"
        newer = await side.ear(desk)
        await older.until(lambda _: False)
        assert (older.words, older.cut) == (["hello", "superseded"], False)
        await side.say(1, server=servers[0])
        await newer.until(lambda ear: ear.numbers)
        assert not newer.over.is_set()
        assert ends(world) == ["superseded"]


async def test_a_word_that_is_lost_is_made_up_for_within_a_heartbeat_f26(autojump_clock, between):
    """The second server takes the device while the first one hears nothing of the bus."""
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        older = await side.ear(desk)
        tier = world.stores.tier
        with within(1):
            await tier.bus.take("resort", desk.device, now=world.now(), ttl=45.0)
        tier.bus.overrun()
        await older.until(lambda _: False)
        assert older.words[-1] == "superseded"


async def test_the_end_of_the_token_ends_the_stream_with_a_word_why(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        ear = await side.ear(await world.desk())
        began = trio.current_time()
        await trio.sleep(TOKEN_SECONDS - 1)
        assert not ear.over.is_set()
        await trio.sleep(2)
        assert ear.over.is_set()
        assert (ear.words, ear.data("expired")) == (["hello", "expired"], {"reason": "expired"})
        assert ear.at[-1] - began == pytest.approx(TOKEN_SECONDS, abs=0.1)


async def test_signing_out_anywhere_ends_the_sessions_stream_f31(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        desk, other = await world.desk(server="one"), await world.desk(server="one")
        ear, still = await side.ear(desk), await side.ear(other)
        desk.base = "http://two"
        await desk.sign_out()
        await ear.until(lambda _: False)
        assert ear.data("expired") == {"reason": "session-ended"}
        assert not still.over.is_set()


async def test_a_force_logout_is_heard_ends_the_stream_and_the_session_and_signing_in_again_works_f31(
    autojump_clock, between
):
    async with open_world(servers=TWO) as world, between(world) as side:
        ines, tiago = world.hotel.operators[:2]
        hers, his = await world.desk(ines, server="one"), await world.desk(tiago, server="two")
        told, untold = await side.ear(hers), await side.ear(his)
        assert await side.push("force-logout", server="two", operatorId=ines.operator_id) == 204
        await told.until(lambda _: False)
        assert (told.words, told.cut, untold.over.is_set()) == (["hello", "force-logout"], False, False)
        for asked in (hers.get("/v1/session"), hers.renew()):
            with pytest.raises(Refused) as refused:
                await asked
            assert refused.value.code == "SESSION_EXPIRED"
        again = await world.desk(ines, server="one", device=hers.device)
        assert (await side.ear(again)).words == ["hello"]
        (latency,) = [fact.seconds for fact in world.facts if isinstance(fact, ForceLogoutDelivered)]
        assert latency < 0.1


async def test_one_that_is_told_to_end_in_the_moment_in_which_it_has_something_to_say_says_its_last_word(
    autojump_clock, between
):
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        ear = await side.ear(desk)
        events = world.servers["bff"].house.events
        (journal,) = events.bus.journals
        journal.turn(stalled=True)
        events.streams.end_session("resort", desk.session.session_id)
        await ear.until(lambda _: False)
        assert (ear.words, ear.cut) == (["hello", "expired"], False)


async def test_a_suspended_tenants_desks_hear_that_and_no_more_and_come_back_when_it_is_lifted(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        ear = await side.ear(desk)
        assert await side.push("tenant-status", server="two", data={"status": "suspended"}) == 204
        await ear.until(lambda _: False)
        assert ear.words == ["hello", "tenant-status"]
        refused = await side.ear(desk)
        assert (refused.said, refused.problem["code"]) == ([], "TENANT.SUSPENDED")
        assert await side.push("tenant-status", server="two", data={"status": "active"}) == 204
        back = await side.ear(desk, ear.last)
        await back.until(lambda ear: len(ear.said) > 1)
        assert (back.words, back.data("tenant-status")["status"]) == (["hello", "tenant-status"], "active")


async def test_a_mutation_tells_the_other_desks_of_its_property_and_not_its_own(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        mine, other = await world.desk(server="one"), await world.desk(server="two")
        ears = [await side.ear(mine), await side.ear(other)]
        await mine.change("/v1/housekeeping/tasks/t-praia-103/transition", {"to": "cleaning"}, "k1")
        await ears[1].until(lambda ear: len(ear.said) > 1)
        assert ears[1].words == ["hello", "board-changed"]
        await trio.sleep(2)
        assert ears[0].words == ["hello"]


async def test_an_instance_that_leaves_tells_each_desk_another_moment_to_come_back_at_and_nothing_is_lost_f37(
    autojump_clock, between
):
    async with open_world(servers=TWO) as world, between(world) as side:
        desks = [await world.desk(server="one") for _ in range(4)]
        ears = [await side.ear(desk) for desk in desks]
        await world.servers["one"].end()
        for ear in ears:
            await ear.until(lambda _: False)
            assert (ear.words, ear.cut) == (["hello", "drain"], False)
        backs = [ear.data("drain")["reconnectAfterMs"] for ear in ears]
        assert len({back // 250 for back in backs}) == 4, "each in a slot of its own"
        await side.say(1, server="two")
        desks[0].base = "http://two"
        again = await side.ear(desks[0], ears[0].last)
        await again.until(lambda ear: ear.numbers)
        assert (again.numbers, again.data("hello")["resumed"]) == ([1], True)


async def test_the_switch_shortens_the_streams_that_there_are_f39(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        ear = await side.ear(await world.desk())
        with within(5):
            await world.servers["bff"].house.switches.turn("sse-timeout", "60", by="ana", why="cost")
        await ear.until(lambda _: False)
        assert ear.words == ["hello", "drain"]
        assert 40 < ear.at[-1] - ear.at[0] <= 75


async def test_a_desk_that_reads_nothing_is_cut_and_others_do_not_notice(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        slow, quick = await world.desk(), await world.desk()
        ear = await side.ear(quick)
        connect = world.network.host("slow").connect
        url = f"{slow.base}/v1/events"
        async with opened(connect, url, slow.proved("GET", "/v1/events")) as stuck:
            await side.say_much(400)
            await ear.until(lambda ear: 399 in ear.numbers)
            assert ear.numbers == list(range(400))
            assert "slow" in ends(world)
            with pytest.raises(Cut):
                while await stuck.piece():
                    pass


async def test_a_desk_that_leaves_is_noticed_at_once(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        ear = await side.ear(await world.desk())
        ear.leave()
        await ear.over.wait()
        await trio.sleep(0.1)
        assert ends(world) == ["left"]
        assert len(world.servers["bff"].house.events.streams) == 0


@pytest.mark.parametrize("word", ["down", "stop"])
async def test_a_dead_bus_is_told_within_three_seconds_and_then_nothing_is_lost_f34(autojump_clock, between, word):
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        ear = await side.ear(desk)
        await side.say(1, server="two")
        await ear.until(lambda ear: ear.numbers)
        died = trio.current_time()
        world.inject("redis-session", "kill" if word == "down" else "stop")
        await ear.until(lambda ear: "bus-stalled" in ear.words)
        assert ear.at[-1] - died <= 3
        refused = await side.ear(desk)
        assert refused.problem["code"] == "CACHE_UNAVAILABLE"
        assert await side.push(server="two") == 503
        await trio.sleep(30)
        assert ear.beats == []
        healed = trio.current_time()
        world.clear("redis-session")
        await side.insist(2, server="two")
        await ear.until(lambda ear: 2 in ear.numbers)
        assert ear.at[-1] - healed <= 5
        assert (ear.numbers, ear.words.count("bus-stalled"), "reset" in ear.words) == ([1, 2], 1, False)
        assert ear.beats[0] - healed <= 5, "a comment says that it is back"


async def test_a_failover_is_felt_as_a_pause_and_not_as_a_loss_f19(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        ear = await side.ear(desk)
        await side.say(1, 2, 3, server="two")
        await ear.until(lambda ear: 3 in ear.numbers)
        world.inject("redis-session", Failover(takes=1.0, lost=5.0))
        await side.insist(4, server="two")
        await ear.until(lambda ear: 4 in ear.numbers)
        assert (ear.numbers, ear.words) == ([1, 2, 3, 4], ["hello", *["alert"] * 4])
        again = await side.ear(desk, ear.last)
        assert again.data("hello")["resumed"] is True


async def test_new_streams_have_a_rate_per_device_and_a_place_each_f26(autojump_clock, between):
    rates = Rates(requests=0.0, address=0.0, passwords=0.0, codes=0.0)
    async with open_world(rates=rates) as world, between(world) as side:
        desk, other = await world.desk(), await world.desk()
        ears = [await side.ear(desk) for _ in range(6)]
        assert [ear.words[:1] for ear in ears] == [["hello"]] * 5 + [[]]
        assert ears[-1].problem["code"] == "RATE_LIMITED"
        assert ears[-1].problem["retryAfterMs"] >= 900
        places = world.servers["bff"].house.gate.admission.streams
        assert (await side.ear(other)).words == ["hello"]
        places.limit = places.in_use
        full = await side.ear(await world.desk())
        assert (full.problem["code"], full.problem["status"]) == ("OVERLOADED", 503)
        assert full.problem["retryAfterMs"] > 0


def test_a_fleet_comes_back_spread_out_by_what_the_others_can_open():
    backs = moments(2000, entropy(7, "desks").__call__)
    assert len(backs) == 2000
    assert span(2000) == 2000 / CAPACITY
    seconds = [sum(1 for back in backs if at * 1000 <= back < (at + 1) * 1000) for at in range(5)]
    assert all(abs(count - CAPACITY) <= 1 for count in seconds)
