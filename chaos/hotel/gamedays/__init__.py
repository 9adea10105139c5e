"""The game-days: exercises with a plan, an owner and a record, played in virtual time or at a hotel that runs.

A module here is a game-day: its docstring says what it is for, its `GAME_DAY` what is played. A file with a plan in it
is one too, here or anywhere, by the same cast: `bff gameday run FILE`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Final

from chaos.history import Moment
from chaos.hotel.checks import changed, heard, promises
from chaos.hotel.fleet.follows import follows, speaks
from chaos.hotel.fleet.inspecting import inspector
from chaos.hotel.fleet.works import looks, shifts
from chaos.hotel.stage import HotelStage
from chaos.plan import BadPlan, Plan, read_plan
from chaos.play import Cast

Figures = Callable[[Sequence[Moment]], Mapping[str, "float | int | str"]]

CAST: Final[Cast[HotelStage]] = Cast(
    {"looks": looks, "shifts": shifts, "inspector": inspector, "follows": follows, "speaks": speaks},
    {**promises.ALWAYS, **changed.ALWAYS},
    {**promises.EVENTUALLY, **changed.EVENTUALLY, **heard.EVENTUALLY},
)
MACHINERY: Final = frozenset({"commands", "running"})  # modules here that are no game-day
HERE: Final = Path(__file__).parent


def no_figures(_: Sequence[Moment]) -> Mapping[str, float | int | str]:
    """Of a game-day that counts nothing of its own."""
    return {}


@dataclass(frozen=True, slots=True)
class GameDay:
    """A plan with what it needs: its own works and checks beside those of every plan, and its own figures."""

    name: str
    plan: Plan
    cast: Cast[HotelStage] = field(default_factory=Cast)
    figures: Figures = no_figures
    about: str = ""
    given: str = ""  # what names it, where its name does not: the path of a file


def game_days() -> dict[str, GameDay]:
    """Those that are here, by name: the modules, and the plans."""
    days = [*_exercises(), *(_planned(path) for path in sorted(HERE.glob("*.plan")))]
    return {day.name: day for day in days}


def everybody() -> Cast[HotelStage]:
    """The cast of all game-days, for plans in files."""
    return reduce(lambda cast, day: cast.and_also(day.cast), _exercises(), CAST)


def find(name: str) -> GameDay:
    """A game-day by its name, or a plan by its file. Raises `BadPlan`."""
    there = game_days()
    if name in there:
        return there[name]
    if not Path(name).exists():
        raise BadPlan(f"no game-day is called {name!r}, and no file: there are {', '.join(there)}")
    return replace(_planned(Path(name)), given=name)


def _exercises() -> list[GameDay]:
    names = sorted(one.name for one in pkgutil.iter_modules(__path__) if one.name not in MACHINERY)
    return [importlib.import_module(f"{__name__}.{name}").GAME_DAY for name in names]


def _planned(path: Path) -> GameDay:
    """A plan in a file, with everybody's cast, and the figures of those whose works it takes."""
    plan = read_plan(path)
    words = {work.word for work in plan.work}
    counting = [day.figures for day in _exercises() if words & day.cast.works.keys()]

    def figures(moments: Sequence[Moment]) -> Mapping[str, float | int | str]:
        return {name: value for one in counting for name, value in one(moments).items()}

    return GameDay(path.stem, plan, everybody(), figures, about=plan.title)
