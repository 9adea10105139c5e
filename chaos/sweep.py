"""Sweeps: a named case for everything that could go wrong, each of them run, and an account of what came of it.

    cases      frozen values with a name that replays them: `singles` and `pairs` of faults, or a sweep's own kind
    slice      so many of them, by lot from a seed
    batches    cases that can share what is dear to build
    shard      one of several parts of the batches, for another core or another day
    entries    what came of each case, and which marks were reached, as it happens
    Tally      the account; `Swept` when it is closed

A case stands for itself: run alone by its name it does what it did in the sweep. What shares a world with others must
see to that.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

from chaos.marks import Marks
from chaos.toxics import Toxic

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_TOGETHER: Final = 64  # cases of a batch: what breaks a world breaks no more than these


class Named(Protocol):
    """A case: frozen, hashable, and told from all others by its name, which has no tab and no line end."""

    @property
    def name(self) -> str: ...


C = TypeVar("C", bound=Named)


@dataclass(frozen=True, slots=True)
class Fault:
    """`toxic` on `target`."""

    target: str
    toxic: Toxic

    def __str__(self) -> str:
        return f"{self.target} {self.toxic}"


@dataclass(frozen=True, slots=True)
class FaultCase:
    """Faults that come at once, and when: `onset` is a word of the sweep."""

    faults: tuple[Fault, ...]
    onset: str

    @property
    def name(self) -> str:
        """`pricing hang + billing drip at reserve`."""
        return f"{' + '.join(map(str, self.faults))} at {self.onset}"


def singles(faults: Iterable[Fault], onsets: Iterable[str]) -> list[FaultCase]:
    """Every fault at every onset, fault by fault."""
    moments = tuple(onsets)
    return [FaultCase((fault,), onset) for fault in faults for onset in moments]


def pairs(faults: Iterable[Fault], onsets: Iterable[str]) -> list[FaultCase]:
    """Every two faults of different targets, at every onset, in the order of `faults`."""
    moments = tuple(onsets)
    both = [pair for pair in combinations(faults, 2) if pair[0].target != pair[1].target]
    return [FaultCase(pair, onset) for pair in both for onset in moments]


def sliced(cases: Sequence[C], number: int, seed: int) -> list[C]:
    """`number` of the cases by lot, in their order; all where there are no more."""
    chosen = Random(f"slice:{seed}").sample(range(len(cases)), min(number, len(cases)))
    return [cases[at] for at in sorted(chosen)]


def batches(cases: Iterable[C], together: Callable[[C], Hashable], *, most: int = MOST_TOGETHER) -> list[list[C]]:
    """Cases that may share a world, at most `most` of them, in the order in which their firsts came."""
    groups: dict[Hashable, list[C]] = {}
    for case in cases:
        groups.setdefault(together(case), []).append(case)
    return [group[at : at + most] for group in groups.values() for at in range(0, len(group), most)]


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `of`, counted from 1."""

    number: int = 1
    of: int = 1

    def part(self, batches: Sequence[list[C]]) -> list[list[C]]:
        """Every `of`-th of them: all parts together are all of them, and none is in two."""
        return list(batches[self.number - 1 :: self.of])

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def parse_shard(text: str) -> Shard:
    """`2/3`. Raises `ValueError`, in one line, for what is no part of anything."""
    number, slash, of = text.partition("/")
    if slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
        return Shard(int(number), int(of))
    raise ValueError(f"a shard is like 1/2, not {text!r}")


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a case in `seconds` of real time; `error` is one line, '' when nothing was wrong."""

    name: str
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Reached:
    """A mark was reached for the first time."""

    mark: str


Entry: TypeAlias = Ran | Reached


class Sweep(Protocol[C]):
    """What can be swept. `name` is what a person types, `about` says in a line what it proves."""

    name: str
    about: str

    def cases(self, *, pairs: bool) -> Sequence[C]:
        """All there are: every single one, and with `pairs` every two at once too, where that means something."""
        ...

    def together(self, case: C) -> Hashable:
        """Cases with an equal answer may share a world."""
        ...

    def marks(self) -> Marks:
        """What must be reached when all single cases are run; anew at each call."""
        ...

    def run(self, batch: Sequence[C], seed: int, marks: Marks) -> Iterator[Ran]:
        """Run them, and say of each what came of it. Never raises for what is wrong with the product."""
        ...


def entries(sweep: Sweep[C], batches: Iterable[Sequence[C]], seed: int, marks: Marks) -> Iterator[Entry]:
    """All of them, one after the other, as it happens."""
    for batch in batches:
        yield from sweep.run(batch, seed, marks)
        yield from map(Reached, marks.news())


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep that is over: how many cases there were and how long they took on one core, and what was wrong.

    `missing` are the marks that should have been reached, none where only a part was swept.
    """

    cases: int
    worked: float
    broken: tuple[Ran, ...]
    missing: tuple[str, ...]

    @property
    def held(self) -> bool:
        """No case was broken, and every mark reached."""
        return not (self.broken or self.missing)

    @property
    def per_second(self) -> float:
        """Cases in a second of one core."""
        return self.cases / self.worked if self.worked else 0.0


class Tally:
    """The account of a sweep under way. What is told twice counts as told last."""

    def __init__(self, total: int, marks: Marks) -> None:
        self.total = total
        self._marks = marks
        self._ran: dict[str, Ran] = {}
        self._broken: dict[str, Ran] = {}

    def add(self, entry: Entry) -> None:
        """Something came of something."""
        if isinstance(entry, Reached):
            self._marks.reach(entry.mark)
            return
        self._ran[entry.name] = entry
        self._broken.pop(entry.name, None)
        if entry.error:
            self._broken[entry.name] = entry

    @property
    def done(self) -> Mapping[str, Ran]:
        """What came of the cases that were run, by their names."""
        return self._ran

    @property
    def broken(self) -> tuple[Ran, ...]:
        """The cases in which something was wrong."""
        return tuple(self._broken.values())

    def swept(self, *, whole: bool) -> Swept:
        """The account; marks are asked for when it was the `whole` sweep."""
        worked = sum(ran.seconds for ran in self._ran.values())
        return Swept(len(self._ran), worked, self.broken, self._marks.missing() if whole else ())
