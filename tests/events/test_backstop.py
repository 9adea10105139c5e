"""A session that is over ends whatever listens by it, also where the word for it was lost."""

import pytest
import trio

from bff.events.backstop import ASK_SECONDS, BATCH, Backstop
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stores.tier import SimTier
from chaos.hotel.world import open_world
from nurseries import within

POLL = "/v1/events/poll"
TWO = ("one", "two")
SOON = ASK_SECONDS + 0.1


async def revoked(world, desk):
    """The session is over in the tier, and nobody says so."""
    with within(1):
        assert await world.stores.tier.revoke("resort", desk.session.session_id, 86_400.0) is None


async def test_a_stream_whose_end_nobody_has_heard_of_ends_within_a_turn_with_the_word_why_f31(autojump_clock, between):
    async with open_world(servers=TWO) as world, between(world) as side:
        desk, other = await world.desk(server="one"), await world.desk(server="one")
        ear, still = await side.ear(desk), await side.ear(other)
        await trio.sleep(1.2)
        await revoked(world, desk)
        ended = trio.current_time()
        await ear.until(lambda _: False)
        assert (ear.words, ear.data("expired"), ear.cut) == (["hello", "expired"], {"reason": "session-ended"}, False)
        assert ear.at[-1] - ended <= SOON
        assert not still.over.is_set()


async def test_who_signs_out_while_the_bus_is_down_loses_his_stream_elsewhere_soon_after_f31(autojump_clock, between):
    """The word is lost; the mark is insisted on behind the answer, and is found once it is there."""
    async with open_world(servers=TWO) as world, between(world) as side:
        desk = await world.desk(server="one")
        ear = await side.ear(desk)
        world.inject("redis-session", "kill")
        desk.base = "http://two"
        await desk.sign_out()
        await trio.sleep(3)
        assert not ear.over.is_set(), "nobody can know yet"
        world.clear("redis-session")
        healed = trio.current_time()
        await ear.until(lambda _: False)
        assert ear.data("expired") == {"reason": "session-ended"}
        assert ear.at[-1] - healed <= 10 + SOON


async def test_who_signs_out_while_the_bus_is_down_loses_his_stream_on_the_same_server_at_once_f31(
    autojump_clock, between
):
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        ear = await side.ear(desk)
        world.inject("redis-session", "kill")
        await desk.sign_out()
        signed_out = trio.current_time()
        await ear.until(lambda _: False)
        assert ear.data("expired") == {"reason": "session-ended"}
        assert ear.at[-1] - signed_out < 0.1


async def test_while_the_tier_is_down_nobody_is_judged_f18(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        desk = await world.desk()
        ear = await side.ear(desk)
        await revoked(world, desk)
        world.inject("redis-session", "stop")
        await trio.sleep(4 * ASK_SECONDS)
        assert not ear.over.is_set()
        world.clear("redis-session")
        healed = trio.current_time()
        await ear.until(lambda _: False)
        assert ear.data("expired") == {"reason": "session-ended"}
        assert ear.at[-1] - healed <= SOON


@pytest.mark.parametrize("heard", [True, False], ids=["the word", "the mark alone"])
async def test_a_poll_whose_session_is_over_is_answered_and_the_next_one_is_refused_f31(autojump_clock, heard):
    async with open_world(servers=TWO) as world:
        desk = await world.desk(server="one")
        place = (await desk.get(POLL)).body["next"]
        waited = []

        async def wait():
            waited.append(await desk.get(POLL, {"after": place, "waitMs": "9000"}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            if heard:
                elsewhere = await world.desk(server="two")
                elsewhere.key, elsewhere.session = desk.key, desk.session
                elsewhere.device = desk.device
                await elsewhere.sign_out()
            else:
                await revoked(world, desk)
        assert waited[0].body == {"events": [], "next": place, "reset": False}
        assert waited[0].took <= (1.1 if heard else 1 + SOON)
        with pytest.raises(Refused) as refused:
            await desk.get(POLL, {"after": place})
        assert refused.value.code == "SESSION_EXPIRED"


class Listening:
    """Sessions that listen, and those of them that were ended."""

    def __init__(self, count):
        self._sessions = [("resort", f"s{number}") for number in range(count)]
        self.ended = []

    def sessions(self):
        return iter(self._sessions)

    def end_session(self, tenant, session):
        self.ended.append((tenant, session))


class Counted(SimTier):
    """How many were asked for in each call."""

    def __init__(self):
        super().__init__()
        self.asked_for = []

    async def ended(self, sessions):
        self.asked_for.append(len(sessions))
        return await super().ended(sessions)


async def test_all_are_asked_for_in_few_calls_and_a_session_that_listens_twice_once(autojump_clock):
    tier, streams, polls = Counted(), Listening(600), Listening(10)
    backstop = Backstop(tier, streams, polls)
    with within(1):
        for session in ("s3", "s599", "s700"):
            await tier.revoke("resort", session, 60.0)
    await backstop.turn()
    assert tier.asked_for == [BATCH, BATCH, 600 - 2 * BATCH]
    assert streams.ended == polls.ended == [("resort", "s3"), ("resort", "s599")]


@pytest.mark.parametrize("fault", ["down", "stop"])
async def test_a_tier_that_gives_no_answer_is_asked_once_a_turn_and_not_once_a_batch(autojump_clock, fault):
    tier, streams = Counted(), Listening(600)
    backstop = Backstop(tier, streams)
    with within(1):
        await tier.revoke("resort", "s3", 60.0)
    getattr(tier, fault)()
    began = trio.current_time()
    await backstop.turn()
    assert (tier.asked_for, streams.ended) == ([BATCH], [])
    assert trio.current_time() - began <= 0.5
    tier.start()
    await backstop.turn()
    assert streams.ended == [("resort", "s3")]


async def test_with_nobody_there_nobody_is_asked(autojump_clock):
    tier = Counted()
    await Backstop(tier, Listening(0)).turn()
    assert tier.asked_for == []
