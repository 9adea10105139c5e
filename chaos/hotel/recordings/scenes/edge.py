"""FAILURE_MODES 1.3: what stands in front of the server, and who floods it.

The server looks at itself from outside once a minute, and has just looked when something breaks. A name that is gone
for a minute and a second is missed by one of its looks, and found again by the next, five seconds later.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.catalogue.faults import KNOWN_AS
from chaos.hotel.catalogue.front import behind_tls
from chaos.hotel.catalogue.staged import FRONT
from chaos.hotel.recordings.scene import Day, Scene
from chaos.hotel.recordings.scenes.told import staged

if TYPE_CHECKING:
    from chaos.hotel.recordings.scene import Set

A_DAY: Final = 86_400.0
CALM: Final = 300.0
ONE_LOOK: Final = 61.0  # seconds in which one look falls
KNOWN: Final = {"known_as": KNOWN_AS}
SILENT: Final = 1_500.0


async def shows(days: float, here: Set) -> None:
    """The other name shows a certificate that has so many days left when the calm is over."""
    async with behind_tls(here.world, FRONT, "bff", days=days + (CALM + 1.0) / A_DAY):
        await trio.sleep_forever()


async def _nothing(here: Set) -> None:
    """It is time that breaks it."""


async def _nobody_looks(here: Set) -> None:
    """The job that looks has no ledger to ask whose turn it is."""
    here.world.inject("postgres", "kill")


def _shown(days: float) -> Day:
    return Day(works=(partial(shows, days),), calm=CALM, world=KNOWN)


def _less_than(days: float, sign: str) -> tuple[Scene, Scene]:
    what = f"its certificate has {days:g} days left, and then less"
    return (
        Scene(row="F-23", sign=sign, what=what, day=_shown(days), fault=_nothing, lasts=180.0),
        Scene(
            row="F-23",
            sign=sign,
            what=f"its certificate has {days + 1:g} days left",
            day=_shown(days + 1),
            fault=_nothing,
            lasts=180.0,
            blip=True,
        ),
    )


ALONE: Final = Day(calm=CALM, world=KNOWN)  # the other name leads nowhere yet
ONE_NAME: Final = Day(calm=CALM, world={"known_as": {"public": KNOWN_AS["public"]}})

EDGE: Final = (
    *_less_than(30.0, "month"),
    *_less_than(7.0, "week"),
    *_less_than(1.0, "day"),
    staged("F-23", "a certificate that is over is shown", ALONE, 300.0, sign="day"),
    Scene(row="F-23", sign="unseen", what="nobody looks any more", day=_shown(60.0), fault=_nobody_looks, lasts=SILENT),
    staged("F-24", "something before the server answers 403", ONE_NAME, 300.0),
    staged("F-24", "it does so for one look", ONE_NAME, 300.0, heals=ONE_LOOK),
    staged("F-25", "nobody finds the server's name", ONE_NAME, 180.0, sign="down"),
    staged("F-25", "one look finds nobody by the name", ONE_NAME, 300.0, sign="down", heals=ONE_LOOK),
    Scene(row="F-25", sign="unseen", what="nobody looks any more", day=ONE_NAME, fault=_nobody_looks, lasts=SILENT),
)
