"""FAILURE_MODES 1.5: what costs money, or memory that is paid for; and floods, which do both."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from bff.model import Down
from chaos.hotel.recordings.days import SHORT
from chaos.hotel.recordings.scene import HOUR, Day, Scene
from chaos.hotel.recordings.scenes.told import staged
from nurseries import within

if TYPE_CHECKING:
    from chaos.hotel.recordings.scene import Set

LONG: Final = 900.0
NEARLY: Final = 0.85  # what the session tier holds, of what it may
FAR: Final = 4.0
STEADY: Final = Day(calm=HOUR)


async def _tier_may_hold_less(full: float, here: Set) -> None:
    """From now on what the session tier holds is so much of what it may."""
    tier = here.world.stores.tier
    with within(1.0):
        size = await tier.size()
        assert not isinstance(size, Down), "it is up"
        tier.most = round(size.used / full)


COST: Final = (
    staged("F-26", "one device opens ten streams a second", SHORT, 210.0, sign="churn"),
    staged("F-39", "four servers more than there was", STEADY, LONG, sign="run-up"),
    staged("F-40", "a desk tells a hundred events a second", STEADY, LONG, sign="pours"),
    Scene(
        row="F-41",
        sign="memory",
        what="the session tier holds four times what it may, however proofs are remembered",
        day=SHORT,
        fault=partial(_tier_may_hold_less, FAR),
        lasts=300.0,
    ),
    Scene(
        row="F-41",
        sign="memory",
        what=f"the session tier is {NEARLY:.0%} full, and proofs are remembered in less by themselves",
        day=SHORT,
        fault=partial(_tier_may_hold_less, NEARLY),
        lasts=300.0,
        blip=True,
    ),
)
