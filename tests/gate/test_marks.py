"""Marks of what has ended are made again where a tier that took over may lack them, and nowhere else."""

import pytest
import trio

from bff.facts.events import MarksMadeAgain
from bff.gate.marks import LOOK, TAIL, Marks
from bff.gate.standing import ENDED_SECONDS, Ended
from bff.model import Down
from chaos.hotel.stores.tier import SimTier
from nurseries import listening, within


class Side:
    """A tier, who looks after its marks, and how often each was made."""

    def __init__(self, monkeypatch):
        self.tier, self.ended, self.made, self.told = SimTier(), Ended(), [], []
        self.marks = Marks(self.tier, self.ended)
        revoke = self.tier.revoke

        async def counted(tenant, session, ttl):
            done = await revoke(tenant, session, ttl)
            if done is None:
                self.made.append(session)
            return done

        monkeypatch.setattr(self.tier, "revoke", counted)

    async def turn(self, times=1):
        for _ in range(times):
            with within(20):
                await self.marks.turn()
            await trio.sleep(LOOK)

    async def known(self, *sessions):
        with within(1):
            return await self.tier.ended([("t1", session) for session in sessions])

    def hear(self, fact):
        if isinstance(fact, MarksMadeAgain):
            self.told.append(fact.count)


@pytest.fixture
async def side(monkeypatch):
    side = Side(monkeypatch)
    with listening(side.hear):
        yield side


async def test_what_ended_shortly_before_the_old_primary_was_last_seen_is_marked_again_and_no_more_f19(
    autojump_clock, side
):
    await side.turn()
    side.ended.add("t1", "long ago")
    for _ in range(10):
        await side.turn()
    side.ended.add("t1", "just now")
    side.tier.failover()
    await trio.sleep(60)
    side.ended.add("t1", "while it was away")
    await side.turn(3)
    assert side.made == ["while it was away", "just now"]
    assert await side.known("just now", "while it was away", "long ago") == (True, True, False)
    assert side.told == [2]


async def test_while_the_line_stands_nothing_is_marked_and_over_another_one_all_that_is_young_f19(autojump_clock, side):
    await side.turn()
    side.ended.add("t1", "s1")
    await side.turn(3)
    assert (side.made, side.told) == ([], [])
    side.tier.hang_up()  # nobody says that the next one leads to the same server
    await side.turn(3)
    assert (side.made, side.told) == (["s1"], [1])


@pytest.mark.parametrize("word", ["down", "stop"])
async def test_with_the_tier_gone_it_is_tried_again_until_all_are_marked_however_long_that_is_f18(
    autojump_clock, side, word
):
    await side.turn()
    side.ended.add("t1", "s1")
    side.ended.add("t1", "s2")
    getattr(side.tier, word)()
    await side.turn(100)
    assert side.made == []
    side.tier.start()
    await side.turn(3)
    assert sorted(side.made) == ["s1", "s2"]


async def test_a_tier_that_goes_in_the_middle_gets_all_of_them_when_it_is_back(autojump_clock, side, monkeypatch):
    await side.turn()
    for n in range(5):
        side.ended.add("t1", f"s{n}")
    side.tier.failover()
    revoke, asked = side.tier.revoke, []

    async def once_in_vain(tenant, session, ttl):
        asked.append(session)
        return Down("just now") if len(asked) == 3 else await revoke(tenant, session, ttl)

    monkeypatch.setattr(side.tier, "revoke", once_in_vain)
    await side.turn(2)
    assert set(side.made) == {f"s{n}" for n in range(5)}
    assert side.told == [5]


async def test_what_is_remembered_is_found_by_when_it_ended(autojump_clock):
    ended = Ended()
    for n in range(5):
        ended.add("t1", f"s{n}")
        await trio.sleep(1)
    ended.add("t1", "s1")
    now = trio.current_time()
    assert [session for _, session in ended.since(now - 2.5)] == ["s1", "s4", "s3"]
    assert len(ended.since(now - TAIL)) == 5
    assert ended.since(now + 1) == ()
    await trio.sleep(ENDED_SECONDS)
    ended.add("t1", "s9")
    assert ended.since(0.0) == (("t1", "s9"),)
