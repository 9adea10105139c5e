"""A morning on which nothing breaks: nobody is called."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.catalogue.faults import KNOWN_AS
from chaos.hotel.recordings.days import MORNING
from chaos.hotel.recordings.scene import HOUR, Day, Scene
from chaos.hotel.recordings.scenes.application import listens
from chaos.hotel.recordings.scenes.edge import shows

if TYPE_CHECKING:
    from chaos.hotel.recordings.scene import Set

LASTS: Final = 1_200.0


async def _nothing(_: Set) -> None:
    await trio.lowlevel.checkpoint()


QUIET: Final = Scene(
    row="",
    what="a morning on which nothing breaks",
    day=Day(works=(*MORNING.works, listens, partial(shows, 60.0)), calm=HOUR, world={"known_as": KNOWN_AS}),
    fault=_nothing,
    lasts=LASTS,
    blip=True,
)
