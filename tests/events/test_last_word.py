"""A stream is told to end when there is something to say: its last word leads the desk past nothing."""

import json
from contextlib import asynccontextmanager
from random import Random

import msgspec
import pytest
import trio
import trio.testing

from bff.events.bus import EventBus
from bff.events.cursor import parsed
from bff.events.event import Said
from bff.events.stream import End, Start, Stream
from bff.model import Claims
from bff.outside import Outside
from bff.stores.bus import Entry, Held, Position
from bff.wire.sse import Event, Reader
from chaos.hotel.stores.tier import SimTier
from nurseries import within

TENANT = "t1"
NOON = 1_448_280_000.0
DESK = Claims("iam", "bff", 9e9, 0.0, 0.0, "ana", TENANT, "d1", "s1", ("p1",), "jkt")


class Desk:
    """It hears what it is sent. `said` are its events, `last` the id that it would come again with."""

    def __init__(self):
        self._reader = Reader("")
        self.said = []

    async def write(self, data):
        await trio.lowlevel.checkpoint()
        self.said += [one for one in self._reader.feed(data) if isinstance(one, Event)]

    async def departed(self):
        await trio.sleep_forever()

    @property
    def last(self):
        return self._reader.last_id

    @property
    def numbers(self):
        return [json.loads(one.data)["n"] for one in self.said if one.event == "alert"]


class House:
    """An instance, a stream of it that is live, and its desk."""

    def __init__(self, nursery):
        self._outside = Outside(lambda: NOON + trio.current_time(), Random(7).randbytes, None)
        self._bus = EventBus(SimTier().bus, self._outside, "one")
        self.desk = Desk()
        nursery.start_soon(self._bus.serve)

    async def begin(self, nursery):
        with within(1):
            self.journal = await self._bus.journal(TENANT)
        held, begins = Held(TENANT, DESK.device, 1), Start(self.journal.head, resumed=True, reset=False)
        self.stream = Stream(DESK, held, self.journal, self._bus, self._outside, lambda: 3600.0)
        nursery.start_soon(self.stream.run, begins, self.desk)
        await trio.testing.wait_all_tasks_blocked()

    def hears(self, number):
        """It goes by on the bus now; whoever listens has been woken."""
        head = self.journal.head
        said = Said("alert", TENANT, data={"n": number})
        entry = Entry(
            Position(head.epoch, head.offset + 1), msgspec.json.encode(said), self._outside.now(), f"u{number}"
        )
        assert self.journal.append(entry)


@asynccontextmanager
async def open_house():
    async with trio.open_nursery() as nursery:
        house = House(nursery)
        await trio.sleep(1)
        await house.begin(nursery)
        yield house
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("unsaid", [1, 2])
async def test_where_a_drained_stream_sends_its_desk_on_from_is_what_it_has_said_f19(autojump_clock, before, unsaid):
    async with open_house() as house:
        for number in range(before):
            house.hears(number)
            await trio.testing.wait_all_tasks_blocked()
        assert house.desk.numbers == list(range(before))
        for number in range(unsaid):
            house.hears(before + number)
        house.stream.end(End.DRAINED, back=500)
        await trio.testing.wait_all_tasks_blocked()
        await house.stream.farewell(house.desk)
        assert (house.desk.said[-1].event, house.stream.cut) == ("drain", False)
        after = house.journal.after(parsed(house.desk.last))
        heard = [*house.desk.numbers, *(event.said.data["n"] for event in after)]
        assert heard == list(range(before + unsaid)), "what it has heard, and what it will when it comes again"
