"""A desk that follows its events: what whoever looks on is told, while the real server does all that it may do."""

import json
from base64 import b64encode
from contextlib import asynccontextmanager
from itertools import pairwise

import httpx
import pytest
import trio

from bff.config import Rates
from bff.facts import RequestServed
from bff.outside import Outside
from chaos.hotel.checks.streams import Heard, Posted, judge_streams
from chaos.hotel.fleet.following import Follower
from chaos.hotel.fleet.told import Came, Condition, Refetch
from chaos.hotel.world import INTERNAL_TOKEN, open_world
from chaos.sim.entropy import entropy
from chaos.toxics import Down, Failover
from nurseries import listening, within

TWO = ("one", "two")
UNKNOWN = "000000000000-17"


class Seat:
    """A follower and what it was told. `over` is why it ended."""

    def __init__(self, world, desk, last_id=""):
        connect = world.network.host(desk.device).connect
        outside = Outside(world.now, entropy(world.seed, "follower", len(world.desks)), connect)
        self.desk = desk
        self.told, self.at = [], []
        self.over = None
        self.follower = Follower(desk, outside, self.hear, last_id=last_id)
        self._news = trio.Event()

    def hear(self, one):
        self.told.append(one)
        self.at.append(trio.current_time())
        self._wake()

    async def run(self):
        self.over = await self.follower.run()
        self._wake()

    def _wake(self):
        self._news.set()
        self._news = trio.Event()

    async def until(self, holds):
        with trio.fail_after(400):
            await trio.lowlevel.checkpoint()
            while not holds(self):
                await self._news.wait()

    @property
    def numbers(self):
        return [one.data["n"] for one in self.told if isinstance(one, Came) and one.event == "alert"]

    @property
    def states(self):
        return [one.state for one in self.told if isinstance(one, Condition)]

    def when(self, state):
        """When it was last told to be in that state."""
        return max(at for one, at in zip(self.told, self.at, strict=True) if getattr(one, "state", "") == state)


class Side:
    """Seats at a world's servers, and the platform.

    `opened` has the time and the status of each stream that was asked for.
    """

    def __init__(self, world, nursery):
        self.world = world
        self.opened, self.posted = [], []
        self._nursery = nursery
        self._asked = trio.Event()

    def note(self, fact):
        if isinstance(fact, RequestServed) and fact.route == "/v1/events":
            self.opened.append((trio.current_time(), fact.status))
            self._asked.set()
            self._asked = trio.Event()

    async def until_asked(self, times):
        """Wait until so many streams were asked for."""
        with trio.fail_after(400):
            await trio.lowlevel.checkpoint()
            while len(self.opened) < times:
                await self._asked.wait()

    async def seat(self, server="one", *, desk=None, state="live", **how):
        """One that is in that state by now."""
        seat = Seat(self.world, desk or await self.world.desk(server=server), **how)
        self._nursery.start_soon(seat.run)
        await seat.until(lambda seat: state in seat.states)
        return seat

    async def push(self, kind="alert", *, server="two", name="", **told):
        told = {"type": kind, "tenantId": "resort", **told}
        message = {"messageId": name or kind, "data": b64encode(json.dumps(told).encode()).decode()}
        house = self.world.servers[server].house
        async with httpx.AsyncClient(transport=httpx.ASGITransport(house.ops), trust_env=False) as client:
            with within(10):
                headers = {"authorization": f"Bearer {INTERNAL_TOKEN}"}
                answer = await client.post("http://ops/internal/events", json={"message": message}, headers=headers)
        return answer.status_code

    async def say(self, *numbers, server="two"):
        """An alert for each number, again and again until it is taken."""
        for number in numbers:
            for _ in range(300):
                if await self.push(name=f"n{number}", server=server, data={"n": number}) == 204:
                    break
                await trio.sleep(0.1)
            everybody = {desk.device for desk in self.world.desks}
            self.posted.append(Posted(str(number), everybody, trio.current_time()))

    def judge(self, *seats):
        heard = {seat.desk.device: Heard(seat.told) for seat in seats}
        judge_streams(self.posted, heard, named=lambda came: str(came.data["n"]))


@asynccontextmanager
async def a_side(**how):
    async with open_world(**{"servers": TWO, **how}) as world, trio.open_nursery() as nursery:
        side = Side(world, nursery)
        with listening(side.note):
            yield world, side
        nursery.cancel_scope.cancel()


async def test_a_desk_is_told_once_and_goes_on_where_it_was_after_its_server_died(autojump_clock):
    async with a_side() as (world, side):
        seat, other = await side.seat(), await side.seat("two")
        await side.say(1, 2)
        await side.push("alert", deviceId=other.desk.device, name="his", data={"n": 0})
        await seat.until(lambda seat: seat.numbers == [1, 2])
        await world.servers["one"].kill()
        await side.say(3, 4)
        await world.serve("one")
        await side.say(5)
        await seat.until(lambda seat: 5 in seat.numbers)
        assert (seat.states[:2], seat.states[-1]) == (["live", "offline"], "live")
        assert [one for one in seat.told if isinstance(one, Refetch)] == []
        side.judge(seat)
        assert (other.numbers, other.states) == ([1, 2, 0, 3, 4, 5], ["live"])


async def test_what_is_said_again_is_not_told_again(autojump_clock):
    async with a_side() as (world, side):
        seat = await side.seat()
        began = seat.follower.last_id
        await side.say(1, 2, 3)
        await seat.until(lambda seat: 3 in seat.numbers)
        seat.follower.last_id = began
        await world.servers["one"].kill()
        await world.serve("one")
        await side.say(4)
        await seat.until(lambda seat: 4 in seat.numbers)
        assert seat.follower.last_id == seat.told[-1].id
        side.judge(seat)


async def test_no_stream_to_be_had_is_polled_for_until_there_is_one_and_nothing_comes_twice(autojump_clock):
    async with a_side(desk_latency=0.2) as (world, side):
        opening = world.servers["one"].house.gate.admission.opening
        limit, opening.limit = opening.limit, 0
        seat = await side.seat(state="polling")
        await trio.sleep(60)
        tries = [at for at, status in side.opened if status == 503]
        gaps = [later - sooner for sooner, later in pairwise(tries)]
        assert gaps[0] < 6 < 12 < gaps[-1]
        opening.limit = limit
        number = 0
        while "live" not in seat.states:  # a poll tells what is said while the stream that will tell it too is coming
            number += 1
            await side.say(number)
            await trio.sleep(0.1)
        await side.say(0)
        await seat.until(lambda seat: 0 in seat.numbers)
        assert seat.states == ["polling", "live"]
        side.judge(seat)


async def test_who_is_told_to_stay_away_for_a_while_does_and_polls_meanwhile(autojump_clock):
    rates = Rates(requests=0.0, address=0.0, passwords=0.0, codes=0.0, streams=0.01)
    async with a_side(rates=rates) as (world, side):
        seat = await side.seat()
        while side.opened[-1][1] == 200:
            with world.network.inject("one", Down()):
                await seat.until(lambda seat: seat.states[-1] == "offline")
            await side.until_asked(len(side.opened) + 1)
        refused = side.opened[-1][0]
        await side.say(1)
        await seat.until(lambda seat: seat.numbers)
        assert (trio.current_time() - refused, seat.states[-1]) == (pytest.approx(0, abs=0.2), "polling")
        await seat.until(lambda seat: seat.states[-1] == "live")
        assert side.opened[-1][0] - refused >= 50
        assert [status for _, status in side.opened] == [200] * 5 + [429, 200]
        side.judge(seat)


async def test_a_stream_in_which_nothing_comes_is_given_up_after_two_heartbeats_and_a_bit(autojump_clock):
    async with a_side() as (world, side):
        seat = await side.seat()
        await trio.sleep(16)
        with world.network.partition(seat.desk.device, "one"):
            began = trio.current_time()
            await side.say(1)
            await seat.until(lambda seat: "offline" in seat.states)
            assert 30 <= seat.when("offline") - began <= 33
            assert [one.why for one in seat.told if isinstance(one, Condition)][1] == "the server has fallen silent"
        await seat.until(lambda seat: 1 in seat.numbers)
        assert seat.states[-1] == "live"
        side.judge(seat)


@pytest.mark.parametrize("word", ["down", "stop"])
async def test_a_stalled_bus_is_polled_beside_and_its_stream_is_kept_f34(autojump_clock, word):
    async with a_side() as (world, side):
        seat = await side.seat()
        await side.say(1)
        died = trio.current_time()
        world.inject("redis-session", "kill" if word == "down" else "stop")
        await seat.until(lambda seat: "offline" in seat.states)
        assert seat.states == ["live", "polling", "offline"]
        assert seat.when("polling") - died <= 3
        await trio.sleep(60)
        world.clear("redis-session")
        await side.say(2, 3)
        await seat.until(lambda seat: 3 in seat.numbers)
        assert seat.states[-1] == "live"
        assert len(side.opened) == 1
        side.judge(seat)


async def test_a_desk_that_is_sent_away_comes_back_when_it_was_told_to_f37(autojump_clock):
    async with a_side() as (world, side):
        seat = await side.seat()
        await side.say(1)
        await seat.until(lambda seat: seat.numbers)
        await world.servers["one"].end()
        left = trio.current_time()
        await world.serve("one")
        await side.say(2)
        await seat.until(lambda seat: 2 in seat.numbers)
        assert seat.states == ["live", "offline", "live"]
        assert 0 < side.opened[-1][0] - left <= 1.1
        side.judge(seat)


async def test_of_two_that_follow_as_one_device_the_older_ends_and_stays_away_f26(autojump_clock):
    async with a_side() as (_, side):
        older = await side.seat()
        newer = await side.seat(desk=older.desk)
        await older.until(lambda seat: seat.over)
        assert (older.over, older.states) == ("superseded", ["live", "ended"])
        await side.say(1)
        await newer.until(lambda seat: seat.numbers)
        await trio.sleep(40)
        assert (len(side.opened), older.numbers, newer.states) == (2, [], ["live"])


async def test_the_end_of_a_token_is_not_noticed_and_that_of_a_session_is_the_end(autojump_clock, monkeypatch):
    monkeypatch.setattr("chaos.hotel.world.TOKEN_SECONDS", 30)
    async with a_side() as (_, side):
        seat = await side.seat()
        token = seat.desk.session.access_token
        await trio.sleep(31)
        await side.say(1)
        await seat.until(lambda seat: seat.numbers)
        assert seat.desk.session.access_token != token
        assert (seat.states, len(side.opened)) == (["live"], 2)
        await seat.desk.sign_out()
        await seat.until(lambda seat: seat.over)
        assert (seat.over, seat.states) == ("session-over", ["live", "ended"])


async def test_who_is_logged_out_hears_why_and_nothing_more_f31(autojump_clock):
    async with a_side() as (world, side):
        seat = await side.seat()
        world.servers["one"].house.gate.admission.opening.limit = 0
        polls = await side.seat(state="polling")
        await trio.sleep(2)
        whose = world.hotel.operators[0].operator_id
        assert await side.push("force-logout", operatorId=whose, data={"reason": "stolen"}) == 204
        for one in (seat, polls):
            await one.until(lambda seat: seat.over)
            assert one.over == "logged-out"
            assert [type(told).__name__ for told in one.told] == ["Condition", "Came", "Condition"]
            assert one.told[-1] == Condition("ended", "stolen")
        asked = len(side.opened)
        await trio.sleep(40)
        assert len(side.opened) == asked


async def test_who_has_missed_what_cannot_be_said_again_is_told_to_fetch_everything(autojump_clock):
    async with a_side() as (_, side):
        seat = await side.seat(last_id=UNKNOWN)
        await seat.until(lambda seat: len(seat.told) > 1)
        assert seat.told == [Condition("live"), Refetch("some of what happened was missed")]
        await side.say(1)
        await seat.until(lambda seat: seat.numbers)
        side.judge(seat)


async def test_a_failover_that_nobody_can_make_up_for_is_told_and_one_that_somebody_can_is_not_f19(autojump_clock):
    async with a_side() as (world, side):
        seat = await side.seat()
        await side.say(1, 2)
        await seat.until(lambda seat: 2 in seat.numbers)
        world.inject("redis-session", Failover(takes=1.0, lost=5.0))
        await side.say(3)
        await seat.until(lambda seat: 3 in seat.numbers)
        assert not any(isinstance(one, Refetch) for one in seat.told)
        await world.servers["two"].kill()
        await world.servers["one"].kill()
        world.inject("redis-session", Failover(takes=0.0, lost=5.0))
        for server in TWO:
            await world.serve(server)
        await seat.until(lambda seat: isinstance(seat.told[-1], Refetch))
        await side.say(4)
        await seat.until(lambda seat: 4 in seat.numbers)
        side.judge(seat)
