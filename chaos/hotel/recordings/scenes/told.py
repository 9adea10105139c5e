"""The commonest scenes: a toxic from one moment on, and the same for some seconds only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chaos.hotel.recordings.scene import Scene

if TYPE_CHECKING:
    from chaos.hotel.recordings.scene import Day

BLIP: Final = 15.0  # seconds
AFTER_A_BLIP: Final = 180.0


def breaks(row: str, target: str, toxic: str, day: Day, lasts: float, *, sign: str = "") -> Scene:
    """It breaks, and stays so."""
    return Scene(row=row, sign=sign, what=f"{target} {toxic}", day=day, fault=((target, toxic),), lasts=lasts)


def blip(row: str, target: str, toxic: str, day: Day, *, sign: str = "", heals: float = BLIP) -> Scene:
    """It breaks, and is healed before anybody should be called."""
    return Scene(
        row=row,
        sign=sign,
        what=f"{target} {toxic} for {heals:.0f} s",
        day=day,
        fault=((target, toxic),),
        lasts=AFTER_A_BLIP,
        heals=heals,
        blip=True,
    )


def staged(row: str, what: str, day: Day, lasts: float, *, sign: str = "", heals: float | None = None) -> Scene:
    """What the catalogue has for the row; a blip where it is healed."""
    return Scene(row=row, sign=sign, what=what, day=day, lasts=lasts, heals=heals, blip=heals is not None)


def both(row: str, target: str, toxic: str, day: Day, lasts: float, *, sign: str = "") -> tuple[Scene, Scene]:
    """The one, and the other."""
    return breaks(row, target, toxic, day, lasts, sign=sign), blip(row, target, toxic, day, sign=sign)
