"""A fleet comes back in one moment: few of its streams climb at once, the others stand in line, nobody else waits."""

from contextlib import ExitStack

import pytest
import trio

from bff.facts import RungRefused
from bff.gate.admission import IN_LINE, STREAM_AGAIN, TRY_AGAIN, TURNS
from bff.gate.ladder import Pass
from bff.problem import Problem
from nurseries import Unbounded

PATH = "/v1/events"
ASK = 0.1  # seconds that the session tier takes


def a_request(world, device, **claims):
    desk = world.desk(device=device)
    return world.head("GET", PATH, desk.head("GET", PATH, desk.token(**claims)))


class Fleet:
    """Who has come up the ladder, or why not, and when; in the order in which they came to it."""

    def __init__(self, world):
        self.world = world
        self.came, self.up = [], {}

    async def comes(self, request, number, *, stream=True):
        self.came.append(number)
        result = await self.world.climb(request, seconds=5.0, tier=stream, stream=stream)
        self.up[number] = (result, round(trio.current_time() - self.began, 6))

    async def all_come(self, count):
        """So many of them in one moment, and one that reads."""
        requests = [a_request(self.world, f"desk-{number}") for number in range(count)]
        read = a_request(self.world, "reader")
        self.began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number, request in enumerate(requests):
                nursery.start_soon(self.comes, request, number)
            nursery.start_soon(lambda: self.comes(read, "read", stream=False))
        self.came.remove("read")


async def test_few_streams_of_a_storm_climb_at_once_and_a_read_is_not_held_up_by_them_f26(autojump_clock, world):
    world.tier.latency(ASK)
    fleet = Fleet(world)
    await fleet.all_come(4 * TURNS)
    assert all(isinstance(result, Pass) for result, _ in fleet.up.values())
    in_turn = [fleet.up[number][1] for number in fleet.came]
    first = in_turn[0]
    assert in_turn == pytest.approx([first * (1 + at // TURNS) for at in range(4 * TURNS)]), "in order, so many at once"
    assert fleet.up["read"][1] == pytest.approx(first), "as if nobody else were there"


async def test_who_stands_in_line_for_too_long_is_told_when_to_come_again_f26(autojump_clock, world):
    world.tier.latency(3 * ASK)
    fleet = Fleet(world)
    await fleet.all_come(9 * TURNS)
    step = fleet.up[fleet.came[0]][1]
    served = TURNS * (int(IN_LINE // step) + 1)
    assert served < len(fleet.came)
    for place, number in enumerate(fleet.came):
        result, at = fleet.up[number]
        assert isinstance(result, Pass if place < served else Problem)
        if place >= served:
            assert (result.code.word, at) == ("OVERLOADED", IN_LINE)
            assert TRY_AGAIN <= result.retry_after <= TRY_AGAIN + STREAM_AGAIN
    assert {(fact.rung, fact.why) for fact in world.told(RungRefused)} == {(0, "overloaded")}
    world.tier.latency(0.0)
    again = Fleet(world)
    await again.all_come(9 * TURNS)
    assert all(isinstance(result, Pass) for result, _ in again.up.values()), "nobody has kept a turn"


async def test_who_is_refused_further_up_gives_his_turn_to_the_next_f26(autojump_clock, world):
    world.tier.latency(ASK)
    strangers = [a_request(world, f"desk-{number}", aud="somebody else") for number in range(3 * TURNS)]
    for request in strangers:
        assert isinstance(await world.climb(request, seconds=5.0, tier=True, stream=True), Problem)
    fleet = Fleet(world)
    await fleet.all_come(2 * TURNS)
    assert all(isinstance(result, Pass) for result, _ in fleet.up.values())


async def test_who_leaves_the_line_holds_up_nobody_f26(autojump_clock, world):
    admission, order, climbed = world.gate.admission, [], trio.Event()

    async def waits(number, scope):
        with scope, ExitStack() as held:
            assert await admission.turn(held) is None
            order.append(number)
            await climbed.wait()

    scopes = [trio.CancelScope(deadline=trio.current_time() + 60) for _ in range(4 * TURNS)]
    async with trio.open_nursery() as nursery:
        for number, scope in enumerate(scopes):
            nursery.start_soon(waits, number, scope)
            for _ in range(3):  # in this order, and in no time
                await trio.lowlevel.checkpoint()
        for scope in scopes[1:-TURNS]:  # of those who have their turn, and of those in line
            scope.cancel()
        climbed.set()
    assert order[:TURNS] == list(range(TURNS))
    assert sorted(order[TURNS:]) == list(range(3 * TURNS, 4 * TURNS)), "all at once, since all turns came free at once"


async def test_there_is_no_waiting_in_line_without_a_deadline_above_it(autojump_clock, world):
    with ExitStack() as held, pytest.raises(Unbounded):
        await world.gate.admission.turn(held)
