"""The stage of the virtual world: what can be broken on it, in the words of plans, and that it heals."""

import pytest
import trio

from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stage import signed_in, sum_of, virtual_stage
from chaos.hotel.world import open_world
from chaos.toxics import BadToxic, split


async def broken_and_healed(clock, target, toxic, expect):
    """What a desk meets while a fault is there, and that it is gone when only that one, or everything, is healed."""
    async with open_world() as world:
        with virtual_stage(world) as stage:
            desk = await signed_in(stage, "desk-1", 0)
            for what in ((target, split(toxic)), (None, None)):
                await stage.inject(target, split(toxic))
                await expect(desk)
                await stage.clear(*what)
                clock.jump(20)  # a breaker closes again
                assert (await desk.dashboard()).body["partial"] is False


async def unreachable(desk):
    with pytest.raises(Refused) as refused:
        await desk.dashboard()
    assert refused.value.status == 0


async def partial(desk):
    assert (await desk.dashboard()).body["partial"] is True


@pytest.mark.parametrize(
    ("target", "toxic", "expect"),
    [
        ("bff", "kill", unreachable),
        ("bff", "down", unreachable),
        ("bff", "reset", unreachable),
        ("desk-1|bff", "hang", unreachable),
        ("bff|pricing.estate", "hang", partial),
        ("pricing.estate", "drip", partial),
        ("pricing", "hang", partial),
    ],
)
async def test_whatever_is_broken_is_felt_and_heals(autojump_clock, target, toxic, expect):
    await broken_and_healed(autojump_clock, target, toxic, expect)


async def test_one_fault_of_a_host_is_healed_and_the_other_stays(autojump_clock):
    async with open_world() as world:
        with virtual_stage(world) as stage:
            desk = await signed_in(stage, "desk-1", 0)
            await stage.inject("bff", split("latency ms=300"))
            await stage.inject("bff", split("down"))
            await stage.clear("bff", split("down"))
            seen = await desk.dashboard()
            assert seen.took >= 0.3
            await stage.clear("bff", split("latency ms=300"))
            assert (await desk.dashboard()).took < 0.3


@pytest.mark.parametrize(
    ("target", "toxic", "line"),
    [
        ("nobody", "hang", "no service, store or host is called 'nobody'"),
        ("desk-1", "hang", "no service, store or host is called 'desk-1'"),
        ("desk-9|bff", "hang", "no service, store or host is called 'desk-9'"),
        ("desk-1|bff", "drip", "drip: between two hosts there is hang alone"),
        ("bff", "garbage", "garbage"),
        ("pricing", "failover", "failover"),
    ],
)
async def test_what_cannot_be_broken_is_one_line_and_changes_nothing(autojump_clock, target, toxic, line):
    async with open_world() as world:
        with virtual_stage(world) as stage:
            desk = await signed_in(stage, "desk-1", 0)
            with pytest.raises(BadToxic) as bad:
                await stage.inject(target, split(toxic))
            assert str(bad.value).startswith(line) or line in str(bad.value)
            assert (await desk.dashboard()).body["partial"] is False


async def test_servers_are_begun_when_they_are_asked_for_and_a_client_reaches_his_own_under_any_name(autojump_clock):
    async with open_world() as world:
        with virtual_stage(world) as stage:
            assert list(world.servers) == ["bff"]
            origins = [None, None]

            async def ask(number):
                origins[number] = await stage.origin(number)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, 1)
                nursery.start_soon(ask, 0)
            assert origins == ["http://bff", "http://bff-2"]
            async with await stage.client(1) as client:
                with trio.fail_after(5):
                    answer = await client.get("http://bff/openapi.json")
            assert answer.status_code == 200
            assert world.servers["bff-2"].listening.accepted == 1
            assert world.servers["bff"].listening.accepted == 0


async def test_what_the_servers_count_is_read_as_it_is_exposed(autojump_clock):
    async with open_world() as world:
        with virtual_stage(world) as stage:
            desk = await signed_in(stage, "desk-1", 0)
            await desk.dashboard()
            assert await stage.counted("bff_requests_total") == 2
            assert await stage.counted("bff_nothing_total") == 0


def test_samples_are_summed_over_their_labels_and_a_name_is_no_beginning_of_another():
    page = '# HELP a x\na{by="tier"} 2.0\na{by="window"} 3\na_created 9\nab 7\n'
    assert sum_of(page, "a") == 5
    assert sum_of(page, "ab") == 7


def test_a_thing_drawn_is_drawn_again_by_the_same_seed_alone(simulate):
    async def draws(seed):
        async with open_world(seed=seed) as world:
            with virtual_stage(world) as stage:
                return [stage.chance(about).random() for about in ("a", "a", "b")]

    one, again, other = (simulate(draws, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert one[0] == one[1] != one[2]
