"""The days that scenes are played in: what goes on in a hotel before anything breaks."""

from __future__ import annotations

from typing import Final

from chaos.hotel.recordings.scene import HOUR, Day
from chaos.hotel.recordings.works import changes, comes_back, looks, prefers, renews, steps_up

# An hour of everything: burn rates compare with the hour before, and after a good one an alert comes latest.
MORNING: Final = Day(
    works=(
        looks(),
        renews(),
        steps_up(),
        comes_back(),
        prefers(),
        changes("reservation.room"),
        changes("folio.charge"),
        changes("lock.issue"),
    ),
    calm=HOUR,
)

# The same for what needs less of it: a dashboard each fifteen seconds, and whoever asks for preferences.
LOOKING: Final = Day(works=(looks(1), prefers()), calm=HOUR)

# Desks that come and go, and show who they are.
COMING: Final = Day(works=(renews(), steps_up(), comes_back()), calm=HOUR)

# A little of it, for what is a state: nothing is compared with what was before.
SHORT: Final = Day(works=(looks(1), changes("folio.charge")))
