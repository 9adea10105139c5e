"""The stage and the cast of the hotel, for `play_plan`."""

from contextlib import asynccontextmanager

import pytest

from chaos.hotel.gamedays import everybody
from chaos.hotel.stage import virtual_stage
from chaos.hotel.world import open_world


@pytest.fixture(scope="session")
def theatre():
    @asynccontextmanager
    async def opened(seed):
        async with open_world(seed=seed, answers_take=(0.005, 0.05)) as world:
            with virtual_stage(world) as stage:
                yield stage, everybody()

    return opened
