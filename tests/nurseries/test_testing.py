import pytest
import trio

from nurseries import at_checkpoint, cancel_at, count_checkpoints, no_task_left, open_owner


async def three_steps():
    await trio.lowlevel.checkpoint()
    await trio.sleep(1)
    await trio.lowlevel.checkpoint()


async def the_second_of_two(events):
    """Takes a lock before it is sure to give it back: wrong at exactly one checkpoint."""
    await trio.lowlevel.checkpoint()
    events.append("taken")
    await trio.lowlevel.checkpoint()
    try:
        await trio.lowlevel.checkpoint()
    finally:
        events.remove("taken")


async def begun_in(nursery):
    """A task with a nursery of its own, both, once they are there."""
    here, there = trio.open_memory_channel(1)

    async def server():
        async with trio.open_nursery() as requests:
            here.send_nowait((trio.lowlevel.current_task(), requests))
            await trio.sleep_forever()

    nursery.start_soon(server)
    return await there.receive()


async def test_the_checkpoints_of_a_block_are_counted_and_no_others(autojump_clock):
    await trio.lowlevel.checkpoint()
    with count_checkpoints() as counted:
        assert counted.checkpoints == 0
        await three_steps()
    await trio.lowlevel.checkpoint()
    assert counted.checkpoints == 3


async def test_tasks_that_the_block_begins_are_counted_with_it_and_strangers_are_not(autojump_clock):
    async with trio.open_nursery() as strangers:
        strangers.start_soon(three_steps)
        with count_checkpoints() as alone:
            await trio.sleep(5)
    with count_checkpoints() as together:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(three_steps)
            nursery.start_soon(three_steps)
    assert alone.checkpoints == 1 + 4  # the stranger was begun in a nursery of this very task: that is below it
    assert together.checkpoints == 1 + 2 * 4


async def test_another_task_and_what_is_below_it_can_be_counted_from_elsewhere(autojump_clock):
    async with trio.open_nursery() as nursery:
        task, requests = await begun_in(nursery)
        with count_checkpoints(root=task) as counted:
            await three_steps()
            assert counted.checkpoints == 0
            requests.start_soon(three_steps)
            await trio.sleep(5)
        assert counted.checkpoints == 4  # its three, and its end
        nursery.cancel_scope.cancel()


async def test_who_is_cancelled_at_each_checkpoint_is_found_at_the_one_where_it_is_wrong(autojump_clock):
    with count_checkpoints() as counted:
        await the_second_of_two([])
    wrong = []
    for n in range(1, counted.checkpoints + 1):
        events = []
        with cancel_at(n) as scope:
            await the_second_of_two(events)
        assert scope.cancelled_caught
        if events:
            wrong.append(n)
    assert (counted.checkpoints, wrong) == (3, [2])


async def test_a_block_with_fewer_checkpoints_is_not_cancelled(autojump_clock):
    with cancel_at(4) as scope:
        await three_steps()
    assert not scope.cancel_called
    await trio.lowlevel.checkpoint()


async def test_who_waits_at_a_checkpoint_has_not_gone_on_when_the_act_happens(autojump_clock):
    done = []

    async def work():
        done.append("begun")
        await trio.sleep(1)
        done.append("slept")

    with at_checkpoint(1, lambda: done.append("acted")) as counted:
        await work()
    assert done == ["begun", "acted", "slept"]
    assert counted.checkpoints == 1


@pytest.mark.parametrize("n", [0, -1])
async def test_checkpoints_are_counted_from_one(autojump_clock, n):
    with pytest.raises(ValueError, match="from 1"), cancel_at(n):
        pass


async def test_no_instrument_stays_behind_when_the_block_raises(autojump_clock):
    with pytest.raises(LookupError), count_checkpoints() as counted:
        raise LookupError
    await three_steps()
    assert counted.checkpoints == 0


async def test_tasks_that_end_with_the_block_or_were_there_before_are_not_left_behind(autojump_clock):
    async with open_owner("house", bound=5) as owner:
        owner.start(trio.sleep_forever, name="always there")
        async with no_task_left():
            owner.start(trio.lowlevel.checkpoint, name="quick")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 1)
                nursery.start_soon(trio.sleep, 2)


async def test_a_task_that_waits_on_after_the_block_is_an_error_that_shows_it_with_what_is_below(autojump_clock):
    async def parent():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever, name="its child")
            await trio.sleep_forever()

    async with open_owner("house", bound=5) as owner:
        with pytest.raises(AssertionError, match="left behind") as caught:
            async with no_task_left():
                owner.start(parent, name="forgotten")
        lines = str(caught.value).splitlines()[1:]
        assert [line.split("  at ")[0].strip() for line in lines] == [
            "forgotten  no deadline",
            "nursery",
            "its child  no deadline",
        ]


async def test_of_one_root_alone_other_tasks_may_stay(autojump_clock):
    async with open_owner("house", bound=5) as owner, trio.open_nursery() as nursery:
        task, requests = await begun_in(nursery)
        async with no_task_left(root=task):
            owner.start(trio.sleep_forever, name="not below it")
        with pytest.raises(AssertionError, match="left behind"):
            async with no_task_left(root=task):
                requests.start_soon(trio.sleep_forever)
        nursery.cancel_scope.cancel()


async def test_what_the_block_raises_comes_out_as_it_is(autojump_clock):
    async with open_owner("house", bound=5) as owner:
        with pytest.raises(LookupError):
            async with no_task_left():
                owner.start(trio.sleep_forever, name="forgotten")
                raise LookupError
