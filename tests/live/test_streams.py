"""Streams of a server that really runs, by the hundred and by the thousand: two workers, real Redis, real connections.

Beside the workers that are tried the hotel has a server of its own on the same stores: it goes on where they end.
"""

import json
import os
import signal
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio

from bff.events.farewell import CAPACITY, span
from bff.outside import real
from bff.wire.dial import connect
from chaos.hotel.checks.streams import Heard, Posted, judge_streams
from chaos.hotel.fleet.crowd import open_crowd
from chaos.hotel.fleet.desk import Operator
from chaos.hotel.fleet.platform import open_platform
from chaos.live.hatch import tell_hatch
from nurseries import within

BINDS = {"BFF_EDGE_BIND": "127.0.0.1:0", "BFF_OPS_BIND": "127.0.0.1:0"}
OURS, THEIRS = "resort", "city"
PACE = 0.05  # seconds from one alert to the next
PATIENCE = 30.0  # seconds; only a failure waits that long

so_many = pytest.mark.parametrize("streams", [100, pytest.param(2_000, marks=pytest.mark.soak)])


@pytest.fixture
def serving(bff, hotel):
    """`bff serve` with two workers on what the hotel runs, and its first line."""
    begun = bff("serve", "--workers", "2", "--json", **hotel.given(), **BINDS)
    return begun, json.loads(begun.line())


def people(hotel, tenant):
    there = [one for one in hotel.said["operators"] if one["tenant"] == tenant]
    return [Operator(one["tenant"], one["operator"], one["password"]) for one in there]


class Side:
    """Devices that listen, and what the platform says to them: by the hotel's own server, which nobody here ends."""

    def __init__(self, crowd, platform, devices):
        self.crowd, self.platform, self.devices = crowd, platform, devices
        self.taken = []  # when which alert was
        self.enough = False

    async def talk(self):
        """An alert after the other, until it is enough."""
        while not self.enough:
            number = len(self.taken)
            uid = f"{self.devices[0].name}-{number}"
            self.taken.append(await self.platform.insist("alert", uid, OURS, data={"n": number}))
            await trio.sleep(PACE)

    async def heard(self, word, times):
        """Until so many events of that type came to each device; whatever is missing then is for whoever judges."""
        with within(PATIENCE):
            await self.crowd.until(lambda: self.crowd.words[word] >= times * len(self.devices))

    def judge(self):
        """Each device has heard each alert once, and in order."""
        everybody = {one.name for one in self.devices}
        posted = [Posted(str(number), everybody, at) for number, at in enumerate(self.taken)]
        heard = {one.name: Heard(one.told()) for one in self.devices}
        judge_streams(posted, heard, named=lambda came: str(came.data["n"]))


@asynccontextmanager
async def listening(hotel, edge, streams):
    """So many devices of one tenant, whose streams have said hello."""
    async with (
        open_crowd(edge, real(connect), streams=streams + 1) as crowd,
        open_platform(hotel.said["ops"], hotel.said["internalToken"]) as platform,
    ):
        run = os.urandom(4).hex()
        with within(4 * PATIENCE):
            devices = await crowd.sign_in([f"{run}-{number}" for number in range(streams)], people(hotel, OURS))
            await crowd.listen(devices, insist=True)
        assert crowd.words == {"hello": streams}
        yield Side(crowd, platform, devices)


def ends(devices):
    return {(one.stream.word, one.stream.whole) for one in devices}


@so_many
async def test_a_force_logout_of_a_tenant_ends_every_stream_and_session_of_it_and_no_other_f31(hotel, serving, streams):
    _, said = serving
    async with listening(hotel, said["edge"], streams) as side:
        crowd, ours = side.crowd, side.devices
        theirs = await crowd.sign_in(["elsewhere"], people(hotel, THEIRS))
        await crowd.listen(theirs)
        await side.platform.insist("force-logout", f"out-{ours[0].name}", OURS, data={"reason": "the key was lost"})
        with within(PATIENCE):
            await crowd.until(lambda: len(crowd.open) == 1)
        assert ends(ours) == {("force-logout", True)}
        assert ends(theirs) == {("", False)}
        await crowd.listen(ours)
        assert {(one.stream.status, one.stream.refusal["code"]) for one in ours} == {(401, "SESSION_EXPIRED")}
        again = await crowd.sign_in([one.name for one in ours[:4]], people(hotel, OURS))
        await crowd.listen(again)
        assert ends(again) == {("", False)}


@so_many
async def test_nothing_is_lost_when_redis_is_killed_and_back_by_who_stays_and_by_who_comes_again_f34(
    hotel, serving, streams
):
    _, said = serving
    redis = {"target": "redis-session"}
    async with listening(hotel, said["edge"], streams) as side:
        crowd, leaves = side.crowd, side.devices[::4]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side.talk)
            await side.heard("alert", 3)
            await tell_hatch(hotel.said["chaos"], {"do": "inject", "toxic": "kill", **redis})
            await side.heard("bus-stalled", 1)
            assert crowd.words["bus-stalled"] == streams
            crowd.drop(leaves)
            await tell_hatch(hotel.said["chaos"], {"do": "clear", **redis})
            with within(PATIENCE):
                await crowd.listen(leaves, insist=True)
            await side.heard("alert", len(side.taken) + 3)
            side.enough = True
        await side.heard("alert", len(side.taken))
        side.judge()
        assert crowd.words["reset"] == 0
        assert ends(side.devices) == {("", False)}
        assert all(json.loads(one.stream.heard[0].data)["resumed"] for one in leaves)


@so_many
async def test_sigterm_under_load_tells_every_stream_a_moment_of_its_own_and_the_desks_miss_nothing_f37(
    hotel, serving, streams
):
    begun, said = serving
    async with (
        listening(hotel, said["edge"], streams) as side,
        open_crowd(hotel.said["edge"], real(connect), streams=streams) as elsewhere,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side.talk)
            await side.heard("alert", 3)
            began = trio.current_time()
            begun.process.send_signal(signal.SIGTERM)
            with within(PATIENCE):
                await side.crowd.until(lambda: not side.crowd.open)
            assert ends(side.devices) == {("drain", True)}
            assert await trio.to_thread.run_sync(begun.ended) == 0
            assert trio.current_time() - began < 10  # CONTRACT section 7
            assert_spread(sorted(json.loads(one.stream.heard[-1].data)["reconnectAfterMs"] for one in side.devices))
            elsewhere.words.update(side.crowd.words)
            side.crowd = elsewhere
            with within(PATIENCE):
                await elsewhere.listen(side.devices, insist=True)
            side.enough = True
        await side.heard("alert", len(side.taken))
        side.judge()


def assert_spread(moments):
    """Each of two workers deals a moment in a slot of its own, over a span for all that it has: at least half of them.

    So from one moment to the next there are never more than two slots of the one that has more.
    """
    half = len(moments) / 2
    slot = 1000 * max(1 / half, 1 / CAPACITY)  # milliseconds, at most
    assert moments[0] <= 2 * slot
    assert max(after - before for before, after in pairwise(moments)) <= 2 * slot
    assert 1000 * span(round(half)) - 2 * slot <= moments[-1] <= 1000 * span(len(moments))
