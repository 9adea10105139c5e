"""A virtual run goes on in several ways from one moment, and none of them knows of another."""

from functools import partial

import pytest
import trio

from chaos.sim.clock import simulate
from chaos.sim.fork import Forked, in_a_fork


class Counting:
    """Somebody who counts each second, for as long as there is anybody."""

    def __init__(self):
        self.seconds = 0

    async def serve(self):
        while True:
            await trio.sleep(1.0)
            self.seconds += 1


async def _counted(counting, more):
    await trio.sleep(more)
    return counting.seconds, trio.current_time()


def test_each_goes_on_from_the_same_moment_with_all_that_was_alive_then():
    async def main():
        counting, found = Counting(), []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(counting.serve)
            await trio.sleep(10.5)
            for more in (5.0, 20.0, 5.0):
                found.append(await in_a_fork(partial(_counted, counting, more)))
            left = counting.seconds, trio.current_time()
            nursery.cancel_scope.cancel()
        return found, left

    found, left = simulate(main)
    assert found == [(15, 15.5), (30, 30.5), (15, 15.5)]
    assert left == (10, 10.5), "here no time has gone by"


def test_one_that_fails_says_so_here_and_the_rest_goes_on(capfd):
    async def fails():
        raise ValueError("it broke")

    async def main():
        await trio.sleep(1.0)
        with pytest.raises(Forked):
            await in_a_fork(fails)
        return await in_a_fork(partial(_counted, Counting(), 1.0))

    assert simulate(main) == (0, 2.0)
    assert "it broke" in capfd.readouterr().err
