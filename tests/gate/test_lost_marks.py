"""Signing out holds at every server, also where the session tier loses its mark in a failover (F-19)."""

import pytest
import trio

from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from chaos.toxics import Failover
from tests.events.conftest import Side

TWO = ("one", "two")
INSISTED = 12.0  # seconds: the longest pause between two tries of the mark, and a bit


async def code_of(world, desk, server):
    """What whoever has all of the desk's is told there; '' where he is let in."""
    ghost = await world.desk(server=server, device=desk.device, sign_in=False)
    ghost.key, ghost.session = desk.key, desk.session
    try:
        await ghost.ask("GET", "/v1/session")
    except Refused as refused:
        return refused.code
    return ""


async def left(world, desk):
    """He signs out, and somebody else has all that he had."""
    had = desk.session
    await desk.sign_out()
    desk.session = had


async def test_who_has_signed_out_is_refused_elsewhere_though_the_tiers_mark_was_lost_f19(autojump_clock):
    async with open_world(servers=TWO) as world:
        desk = await world.desk(server="one")
        await trio.sleep(3)
        await left(world, desk)
        await trio.sleep(0.5)
        world.inject("redis-session", Failover(takes=0.5, lost=2.0))
        await trio.sleep(3)
        assert [await code_of(world, desk, server) for server in TWO] == ["SESSION_EXPIRED"] * 2


@pytest.mark.parametrize("after", [0.03, 0.06])
async def test_who_signs_out_while_the_tier_fails_over_is_refused_elsewhere_soon_after_f19(autojump_clock, after):
    """The mark is made and lost, and the word cannot be said: the mark is made again."""
    async with open_world(servers=TWO, answers_take=(0.1, 0.1)) as world:
        desk = await world.desk(server="one")
        await trio.sleep(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left, world, desk)
            await trio.sleep(after)
            world.inject("redis-session", Failover(takes=0.5, lost=2.0))
        await trio.sleep(INSISTED)
        assert [await code_of(world, desk, server) for server in TWO] == ["SESSION_EXPIRED"] * 2


async def test_a_server_that_starts_after_the_tier_has_lost_the_mark_refuses_him_too_f19(autojump_clock):
    """It has heard no word: who has, makes the mark again at the primary that has taken over."""
    async with open_world(servers=TWO) as world:
        desk = await world.desk(server="one")
        await trio.sleep(3)
        await left(world, desk)
        await trio.sleep(0.5)
        world.inject("redis-session", Failover(takes=0.5, lost=2.0))
        await trio.sleep(5)
        await world.serve("three")
        assert await code_of(world, desk, "three") == "SESSION_EXPIRED"


@pytest.mark.parametrize("takes", [0.5, 90.0])
async def test_a_mark_that_a_force_logout_made_outlives_a_failover_though_the_desk_listens_to_nothing_f19_f31(
    autojump_clock, nursery, takes
):
    async with open_world(servers=TWO) as world:
        side = Side(world, nursery)
        desk = await world.desk(server="one")
        await trio.sleep(3)
        assert await side.push("force-logout", server="two", deviceId=desk.device) == 204
        await trio.sleep(0.1)
        world.inject("redis-session", Failover(takes=takes, lost=1.0))
        await trio.sleep(takes + 10)
        await world.serve("three")
        assert [await code_of(world, desk, server) for server in (*TWO, "three")] == ["SESSION_EXPIRED"] * 3
