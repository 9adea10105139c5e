"""The switches as every room reads them: at once, out of memory, true on every instance within a second.

`Switches.serve` reads the ledger twice a second. While it cannot, what was read last holds, and before the first time
what is the default: a ledger that is down neither opens nor closes anything. A value that this version does not know,
or a switch, is passed over in the same way.

A person turns a switch, and may turn any of them back. A job trips one, by its own finding: only to where the table
says, only from its default, and never back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from unicodedata import category

import msgspec
import trio

from bff.facts import SwitchTurned
from bff.model import Down
from bff.outside import rfc3339
from bff.stores.switchboard import Switch, Switchboard
from nurseries import tell, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

READ_EVERY: Final = 0.5  # seconds, from one reading's beginning to the next one's
READ_WITHIN: Final = 0.4  # seconds; together less than the second in which a turn takes effect
SAID_AT_MOST: Final = 500  # characters of a reason, or of a name
TRIES: Final = 3  # while others turn the same one
NUMBER: Final = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
UNSEEN: Final = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories of what would end a line, or cannot be written

ON, OFF, FROZEN = "on", "off", "frozen"


@dataclass(frozen=True, slots=True)
class Words:
    """A switch that says one of `values`."""

    values: tuple[str, ...]

    def allow(self, value: str) -> bool:
        """Whether it may say so."""
        return value in self.values

    def __str__(self) -> str:
        return f"one of {', '.join(self.values)}"


@dataclass(frozen=True, slots=True)
class Range:
    """A switch that says a number, `least` and `most` included."""

    least: float
    most: float

    def allow(self, value: str) -> bool:
        """Whether it may say so."""
        return NUMBER.fullmatch(value) is not None and self.least <= float(value) <= self.most

    def __str__(self) -> str:
        return f"a number from {self.least:g} to {self.most:g}"


@dataclass(frozen=True, slots=True)
class Known:
    """A switch there is: `trips` is what a job may set, `effect` what turning it does, in one line."""

    name: str
    default: str
    values: Words | Range
    effect: str
    trips: str | None = None

    @property
    def untouched(self) -> Switch:
        """As it is while nobody has turned it."""
        return Switch(self.name, self.default, 0.0, "", "")

    def allows(self, value: str) -> bool:
        """Whether it may have that value, by anybody."""
        return value == self.trips or self.values.allow(value)


ON_OFF: Final = Words((ON, OFF))
SWITCHES: Final = (  # CONTRACT section 7
    Known("traffic", ON, ON_OFF, "off: everything but health is 503 HALTED, and the server not ready", trips=OFF),
    Known("mutations", ON, ON_OFF, "off: every mutation is 503 HALTED", trips=OFF),
    Known("locks", ON, ON_OFF, "off: lock actions are 503 HALTED; frozen: LOCK_PROXY_FROZEN", trips=FROZEN),
    Known("sensitive", ON, ON_OFF, "off: every action that needs a second factor is 503 HALTED", trips=OFF),
    Known("telemetry-sample", "1", Range(0, 1), "the part of telemetry events that is kept"),
    Known("sse-timeout", "3600", Range(60, 86_400), "seconds until an event stream is asked to connect again"),
)
BY_NAME: Final = {known.name: known for known in SWITCHES}

Turned: TypeAlias = Switch | Down | str  # as it is now; not known whether; or why not, in one line


class Entry(msgspec.Struct, frozen=True):
    """A turn, as the house's trail keeps it: `at` is RFC 3339 in UTC."""

    kind: str
    at: str
    name: str
    before: str = msgspec.field(name="from")
    value: str
    by: str
    why: str


def entry(switch: Switch, before: str) -> str:
    """The row of the house's trail that says that it was turned; `before` is what it was."""
    told = Entry("switch", rfc3339(switch.since), switch.name, before, switch.value, switch.by, switch.why)
    return msgspec.json.encode(told).decode()


class Switches:
    """All there are, on a switchboard; `now` gives POSIX seconds."""

    def __init__(self, board: Switchboard, now: Callable[[], float]) -> None:
        self._board = board
        self._now = now
        self._seen = {known.name: known.untouched for known in SWITCHES}
        self._turns = 0  # done here: what was read before one is older than it

    # -- as rooms read them -------------------------------------------------------------------------------------

    def switch(self, name: str) -> Switch:
        """As it was turned last; one never turned has its default, `since` 0 and nobody. `KeyError` for no switch."""
        return self._seen[name]

    def value(self, name: str) -> str:
        """What it says."""
        return self.switch(name).value

    def off(self, name: str) -> bool:
        """Whether it is off; one that is frozen is not."""
        return self.value(name) == OFF

    @property
    def frozen(self) -> bool:
        """A job has frozen the lock proxy (F-27), and no person has lifted that yet."""
        return self.value("locks") == FROZEN

    def number(self, name: str) -> float:
        """The same of one that says a number."""
        return float(self.value(name))

    @property
    def all(self) -> tuple[Switch, ...]:
        """Each of them, in the table's order."""
        return tuple(self._seen.values())

    # -- kept true ----------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Read them again and again; for an owner to supervise."""
        while True:
            began = trio.current_time()
            await self.read()
            await trio.sleep_until(began + READ_EVERY)

    async def read(self) -> Down | None:
        """Read them now; `Down`, and nothing changed, while the ledger gives no answer."""
        turns = self._turns
        with within(READ_WITHIN):
            kept = await self._board.switches()
            if isinstance(kept, Down):
                return kept
            if turns == self._turns:
                self._see(kept)
            return None
        return Down(f"no answer within {READ_WITHIN * 1000:.0f} ms")

    def _see(self, kept: Iterable[Switch]) -> None:
        """All that were ever turned: a turn that the ledger has lost was none (F-19)."""
        rows = {switch.name: switch for switch in kept}
        for known in SWITCHES:
            switch = rows.get(known.name, known.untouched)
            if known.allows(switch.value):
                self._put(switch)

    def _put(self, switch: Switch) -> None:
        before, self._seen[switch.name] = self._seen[switch.name], switch
        if switch.value != before.value:
            tell(SwitchTurned(switch.name, switch.value, switch.by))

    # -- turned -------------------------------------------------------------------------------------------------

    async def turn(self, name: str, value: str, *, by: str, why: str) -> Turned:
        """A person turns it; what a job has counted with it stays.

        Needs a finite deadline above it and raises `nurseries.Unbounded` without one.
        """
        known = BY_NAME.get(name)
        if known is None:
            return f"there is no switch {_shown(name)}: there are {', '.join(BY_NAME)}"
        if not known.values.allow(value):
            return f"{name} cannot be {_shown(value)}: it should be {known.values}"
        return _unsaid(by=by, why=why) or await self._turn(known, value, by, why)

    async def trip(self, name: str, *, by: str, why: str, mark: int = 0) -> Turned:
        """A job turns it to what it trips to, from its default alone; `mark` is kept with it until the next trip.

        Raises `KeyError` and `ValueError` for a switch that no job may trip, or for words that cannot be said.
        """
        known = BY_NAME[name]
        if known.trips is None:
            raise ValueError(f"no job may turn {name}")
        if unsaid := _unsaid(by=by, why=why):
            raise ValueError(unsaid)
        return await self._turn(known, known.trips, by, why, mark)

    async def _turn(self, known: Known, value: str, by: str, why: str, mark: int | None = None) -> Turned:
        for _ in range(TRIES):
            kept = await self._board.switches()
            if isinstance(kept, Down):
                return kept
            now = next((switch for switch in kept if switch.name == known.name), None)
            before = now.value if now else known.default
            if mark is not None and before != known.default:
                return f"{known.name} is {before} already"
            marked = mark if mark is not None else (now.mark if now else 0)
            switch = Switch(known.name, value, round(self._now(), 3), by, why, marked)
            turned = await self._board.turn(switch, entry(switch, before), only_from=now.value if now else "")
            if isinstance(turned, Down):
                return turned
            if turned:
                self._turns += 1
                self._put(switch)
                return switch
        return Down(f"{known.name} is being turned by others: look, and try again")


def _unsaid(**said: str) -> str:
    for name, words in said.items():
        if not 1 <= len(words.strip()) <= len(words) <= SAID_AT_MOST:
            return f"{name} should have 1 to {SAID_AT_MOST} characters"
        if any(category(letter) in UNSEEN for letter in words):
            return f"{name} should be one line, without control characters"
    return ""


def _shown(words: str) -> str:
    return ascii(words if len(words) <= 40 else f"{words[:40]}...")
