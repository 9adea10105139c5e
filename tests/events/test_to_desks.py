"""The relay's rows for desks: each is on the bus once and in order, or stays, or is poison and says why."""

from contextlib import asynccontextmanager
from random import Random

import msgspec
import pytest
import trio

from bff.events.bus import EventBus
from bff.events.event import Said, read
from bff.jobs.sinks import Delivery, NotNow, Poison, ToDesks
from bff.outside import Outside
from bff.stores.bus import Heard
from bff.stores.outbox import Letter
from chaos.hotel.stores.lines import BusLine
from chaos.hotel.stores.tier import SimTier
from nurseries import within

NOON = 1_448_280_000.0


def letter(number, tenant="t1", payload=None):
    said = Said("board-changed", tenant, property_id="p1", except_device_id="d9", data={"n": number})
    return Letter("desks", f"{tenant}/r-1", said.type, payload or msgspec.json.encode(said), f"{tenant}-{number}")


class Desks:
    """A sink, its tier and its line to the bus. `said` is (tenant, number) of all that went by."""

    def __init__(self, nursery):
        self.tier = SimTier()
        self.events = []
        self.tier.bus.witnesses.append(self._went_by)
        self.line = BusLine(self.tier.bus)
        bus = EventBus(self.line, Outside(lambda: NOON + trio.current_time(), Random(7).randbytes, None), "one")
        nursery.start_soon(bus.serve)
        self.sink = ToDesks(bus, lambda: NOON + trio.current_time())

    def _went_by(self, passing):
        if isinstance(passing, Heard) and passing.entry.payload:
            self.events.append(read(passing.tenant, passing.entry).said)

    @property
    def said(self):
        return [(said.tenant_id, said.data["n"]) for said in self.events]

    async def deliver(self, *letters):
        with within(5):
            return await self.sink.deliver(letters)


@asynccontextmanager
async def desks():
    async with trio.open_nursery() as nursery:
        there = Desks(nursery)
        await trio.sleep(1)  # its bus comes into step
        yield there
        nursery.cancel_scope.cancel()


async def test_letters_are_said_in_their_order_as_they_were_written_each_to_its_tenant(autojump_clock):
    async with desks() as there:
        letters = [letter(n, tenant) for n, tenant in enumerate(("t1", "t2", "t1", "t1", "t2"))]
        assert await there.deliver(*letters) == Delivery(5)
        assert there.said == [("t1", 0), ("t2", 1), ("t1", 2), ("t1", 3), ("t2", 4)]
        assert {(said.type, said.property_id, said.except_device_id) for said in there.events} == {
            ("board-changed", "p1", "d9")
        }


async def test_a_letter_that_comes_again_is_done_and_not_said_again(autojump_clock):
    async with desks() as there:
        assert await there.deliver(letter(1), letter(2)) == Delivery(2)
        assert await there.deliver(letter(2), letter(3)) == Delivery(2)
        assert there.said == [("t1", 1), ("t1", 2), ("t1", 3)]


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{", b"null", b"\xff", b'"\xff"', b"{}", b'{"type": "hello", "tenantId": "t1"}'),
        b'{"type": "alert", "tenantId": "t1", "data": {"n": %b}}' % (b"[" * 50_000 + b"]" * 50_000),
    ],
    ids=lambda payload: repr(payload)[:40],
)
async def test_what_is_no_event_is_poison_and_all_before_it_is_said_and_nothing_after_it_f38(
    autojump_clock, at, payload
):
    async with desks() as there:
        letters = [letter(n) for n in range(4)]
        letters[at] = letter(at, payload=payload) if payload else Letter("desks", "t1/r-1", "x", b"", "t1-x")
        delivery = await there.deliver(*letters)
        assert delivery.done == at
        assert isinstance(delivery.trouble, Poison) and delivery.trouble.why.startswith("no event")
        assert there.said == [("t1", n) for n in range(at)]
        assert (await there.deliver(*letters[at + 1 :])).trouble is None
        assert there.said == [("t1", n) for n in range(4) if n != at]


@pytest.mark.parametrize("word", ["down", "stop"])
async def test_while_the_bus_is_gone_nothing_is_done_no_letter_is_to_blame_and_then_all_is_said_once_f18(
    autojump_clock, word
):
    async with desks() as there:
        letters = [letter(n) for n in range(3)]
        getattr(there.tier, word)()
        for _ in range(3):
            delivery = await there.deliver(*letters)
            assert delivery.done == 0
            assert isinstance(delivery.trouble, NotNow) and delivery.trouble.word == "unavailable"
        there.tier.start()
        await trio.sleep(10)
        assert await there.deliver(*letters) == Delivery(3)
        assert there.said == [("t1", n) for n in range(3)]


async def test_with_the_bus_gone_poison_is_found_when_it_is_back_and_what_is_before_it_stays(autojump_clock):
    async with desks() as there:
        there.tier.down()
        letters = (letter(1), letter(2, payload=b"{"))
        assert isinstance((await there.deliver(*letters)).trouble, NotNow)
        there.tier.start()
        await trio.sleep(10)
        delivery = await there.deliver(*letters)
        assert (delivery.done, type(delivery.trouble)) == (1, Poison)


async def test_what_was_said_though_nobody_heard_so_is_not_said_again_f19(autojump_clock):
    async with desks() as there:
        there.line.turn("lose-answer")
        assert (await there.deliver(letter(1), letter(2))).done == 0
        assert there.said == [("t1", 1), ("t1", 2)]
        there.line.turn("")
        await trio.sleep(10)
        assert await there.deliver(letter(1), letter(2), letter(3)) == Delivery(3)
        assert there.said == [("t1", 1), ("t1", 2), ("t1", 3)]


async def test_who_is_cut_off_in_the_middle_has_said_the_first_and_the_rest_comes_after_them(autojump_clock):
    async with desks() as there:
        there.tier.latency(0.05)
        letters = [letter(n) for n in range(5)]
        for step in range(1, 20):
            with within(step * 0.01):
                await there.deliver(*letters)
        assert await there.deliver(*letters) == Delivery(5)
        assert there.said == [("t1", n) for n in range(5)]
