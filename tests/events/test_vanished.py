"""A desk whose network is gone without a word: its stream ends, its place is free, and it goes on where it was."""

import trio

from bff.facts.events import StreamEnded
from chaos.hotel.world import open_world


def ends(world):
    return [fact.why for fact in world.facts if isinstance(fact, StreamEnded)]


async def test_a_desk_that_has_vanished_is_cut_when_more_waits_for_it_than_may_and_later_resumes_without_loss_f26(
    autojump_clock, between
):
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        ear = await side.ear(desk)
        await side.say(0)
        await ear.until(lambda ear: ear.numbers == [0])
        streams = world.servers["bff"].house.events.streams
        with world.network.partition("desks", "bff"):
            for number in range(1, 400):
                assert await side.push(data={"n": number, "padding": "x" * 2000}) == 204
            await trio.sleep(60)
            assert ends(world) == ["slow"]
            assert len(streams) == 0
        await ear.over.wait()  # what was under way comes when the network is back, and the end
        again = await side.ear(desk, last=ear.last)
        await again.until(lambda ear: 399 in ear.numbers)
        assert ear.cut
        assert ear.numbers + again.numbers == list(range(400))


async def test_one_that_has_vanished_and_to_whom_nobody_says_anything_loses_its_stream_to_its_next_f26(
    autojump_clock, between
):
    """A few bytes of heartbeats lie in the buffer of a socket for ever: until the kernel loses patience, its own next
    stream ends it."""
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        await side.ear(desk)
        with world.network.partition("desks", "bff"):
            await trio.sleep(120)
            assert ends(world) == []
        await side.ear(desk)
        await trio.sleep(1)
        assert ends(world) == ["superseded"]
