"""A network goes, and with it all of its streams in one moment: they end one after the other, and all of them do."""

import pytest
import trio
import trio.testing

from bff.events.streams import LEAVING
from bff.facts.events import ForceLogoutDelivered, StreamEnded
from chaos.hotel.world import open_world

DESKS = 5 * LEAVING


class Steps(trio.abc.Instrument):
    """How many streams had ended, after each step of the scheduler."""

    def __init__(self, world):
        self.ended = [0]
        self._facts = world.facts
        self._looked = len(world.facts)

    def before_io_wait(self, timeout):
        new = self._facts[self._looked :]
        self._looked += len(new)
        self.ended.append(self.ended[-1] + sum(isinstance(fact, StreamEnded) for fact in new))

    @property
    def at_once(self):
        """The most that ended in one step."""
        return max(later - sooner for sooner, later in zip(self.ended, self.ended[1:], strict=False))


async def test_of_all_that_are_cut_in_one_moment_a_few_end_in_each_step_of_the_scheduler_f26(autojump_clock, between):
    async with open_world() as world, between(world) as side:
        desks = [await world.desk() for _ in range(DESKS)]
        ears = [await side.ear(desk) for desk in desks]
        assert [ear.words for ear in ears] == [["hello"]] * DESKS
        steps = Steps(world)
        trio.lowlevel.add_instrument(steps)
        for ear in ears:
            ear.leave()
        await trio.sleep(1)
        trio.lowlevel.remove_instrument(steps)
        assert steps.ended[-1] == DESKS
        assert [fact.why for fact in world.facts if isinstance(fact, StreamEnded)] == ["left"] * DESKS
        assert 0 < steps.at_once <= LEAVING
        again = [await side.ear(desk, ear.last) for desk, ear in zip(desks, ears, strict=True)]
        assert [ear.data("hello")["resumed"] for ear in again] == [True] * DESKS


async def test_of_all_that_are_logged_out_each_hears_it_at_once_and_then_a_few_end_in_each_step_f31(
    autojump_clock, between
):
    async with open_world() as world, between(world) as side:
        ears = [await side.ear(await world.desk()) for _ in range(DESKS)]
        steps, began = Steps(world), len(world.facts)
        trio.lowlevel.add_instrument(steps)
        assert await side.push("force-logout") == 204
        for ear in ears:
            await ear.until(lambda _: False)
        await trio.sleep(5)
        trio.lowlevel.remove_instrument(steps)
        assert steps.ended[-1] == DESKS
        assert 0 < steps.at_once <= LEAVING
        kinds = [type(fact) for fact in world.facts[began:]]
        heard = [at for at, kind in enumerate(kinds) if kind is ForceLogoutDelivered]
        assert len(heard) == DESKS
        assert heard[-1] < kinds.index(StreamEnded)


@pytest.mark.parametrize("kind", ["force-logout", "tenant-status"])
async def test_who_is_told_to_end_while_he_waits_to_leave_gives_his_turn_to_the_next_f26(autojump_clock, between, kind):
    async with open_world() as world, between(world) as side:
        ears = [await side.ear(await world.desk()) for _ in range(DESKS)]
        for ear in ears[: DESKS // 2]:
            ear.leave()
        assert await side.push(kind, data={"status": "suspended"}) == 204
        for ear in ears[DESKS // 2 :]:
            await ear.until(lambda _: False)
        await trio.sleep(5)
        assert sum(isinstance(fact, StreamEnded) for fact in world.facts) == DESKS
        assert len(world.servers["bff"].house.events.streams) == 0
        assert await side.push("tenant-status", data={"status": "active"}) == 204
        later = [await side.ear(await world.desk()) for _ in range(2 * LEAVING)]
        for ear in later:
            ear.leave()
        await trio.sleep(5)
        assert len(world.servers["bff"].house.events.streams) == 0
