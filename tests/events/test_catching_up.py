"""A desk that takes its time over what it has missed: its journal may have closed by the time it wants to listen."""

import json
from contextlib import asynccontextmanager
from random import Random

import msgspec
import trio

from bff.events.bus import IDLE_SECONDS, EventBus
from bff.events.event import Said
from bff.events.stream import End, Start, Stream
from bff.model import Claims
from bff.outside import Outside
from bff.stores.bus import Held, Posting
from bff.wire.sse import Event, Reader
from chaos.hotel.stores.tier import SimTier
from nurseries import within

TENANT = "t1"
NOON = 1_448_280_000.0
DESK = Claims("iam", "bff", 9e9, 0.0, 0.0, "ana", TENANT, "d1", "s1", ("p1",), "jkt")


class Slow:
    """A desk that takes its time over the first that it is sent, and then none. `said` are the events that it has."""

    def __init__(self, seconds):
        self._seconds = seconds
        self._reader = Reader("")
        self.said = []

    async def write(self, data):
        seconds, self._seconds = self._seconds, 0.0
        await trio.sleep(seconds)
        self.said += [one for one in self._reader.feed(data) if isinstance(one, Event)]

    async def departed(self):
        await trio.sleep_forever()

    @property
    def words(self):
        return [one.event for one in self.said]

    @property
    def numbers(self):
        return [json.loads(one.data)["n"] for one in self.said if one.event == "alert"]


class House:
    """An instance on a session tier, and one stream of it."""

    def __init__(self, nursery):
        self.tier = SimTier()
        self._outside = Outside(lambda: NOON + trio.current_time(), Random(7).randbytes, None)
        self.bus = EventBus(self.tier.bus, self._outside, "one")
        nursery.start_soon(self.bus.serve)

    async def stream(self):
        """One that goes on from now, and where it does."""
        with within(1):
            journal = await self.bus.journal(TENANT)
        held = Held(TENANT, DESK.device, 1)
        stream = Stream(DESK, held, journal, self.bus, self._outside, lambda: 3600.0)
        return stream, Start(journal.head, resumed=True, reset=False)

    async def say(self, *numbers):
        for number in numbers:
            said = msgspec.json.encode(Said("alert", TENANT, data={"n": number}))
            with within(1):
                await self.tier.bus.post([Posting(TENANT, f"u{number}", said, self._outside.now(), 3600.0)])


@asynccontextmanager
async def open_house():
    async with trio.open_nursery() as nursery:
        house = House(nursery)
        await trio.sleep(1)
        yield house
        nursery.cancel_scope.cancel()


async def test_a_desk_that_catches_up_for_longer_than_its_journal_stays_open_misses_nothing(autojump_clock):
    async with open_house() as house, trio.open_nursery() as nursery:
        stream, start = await house.stream()
        desk = Slow(IDLE_SECONDS + 5)
        await house.say(1, 2)
        nursery.start_soon(stream.run, start, desk)
        await trio.sleep(IDLE_SECONDS / 2)
        await house.say(3)
        await trio.sleep(IDLE_SECONDS / 2 + 3)
        assert house.bus.journals == (), "nobody listens"
        await house.say(4)
        await trio.sleep(5)
        assert desk.numbers == [1, 2, 3, 4]
        await house.say(5)
        await trio.sleep(1)
        assert (desk.numbers, desk.words[0], stream.why) == ([1, 2, 3, 4, 5], "hello", None)
        stream.end(End.LEFT)


async def test_a_desk_whose_journal_cannot_be_had_again_is_let_go_to_come_with_its_last_id(autojump_clock):
    async with open_house() as house, trio.open_nursery() as nursery:
        stream, start = await house.stream()
        nursery.start_soon(stream.run, start, Slow(IDLE_SECONDS + 5))
        await trio.sleep(IDLE_SECONDS + 3)
        house.tier.down()
        await trio.sleep(5)
        assert stream.why is End.BROKEN
