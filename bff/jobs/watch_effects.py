"""Compares what services changed with the keys they got for it, and halts mutations where they changed more (F-32).

    a service counts   keys that came for the first time, and changes that it made      (`bff.upstreams.counters`)
    the ledger knows   which keys were refused by their service, and which may have changed something

A key that is refused changes nothing, any other makes one change at most. So what a service changed since the last
`Base` is no more than either of these, and the two fail for different reasons:

    keys that it got, less those refused     unless somebody before the service refused a key that it never saw
    keys that the ledger has, less those     unless others than this server have it change things

Above both of them something was done a second time for a key. It gets worse with every mutation: `mutations` is halted
in that step, and what was found is no news any more, so that a person who turns it back is not overruled.

The order of reading keeps it so while desks work: counters, then the moment from which keys are looked at; afterwards
keys, then counters. The moment moves on every few minutes, and where a service began anew, which counts from nothing.
One instance looks; who takes over from it begins anew, so that what went wrong in between is not seen by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from bff.facts.probes import DuplicatesFound, EffectsCompared, EffectsUnseen
from bff.jobs.asking import in_time
from bff.jobs.probing import halt
from bff.model import Down
from bff.writes.actions import ACTIONS
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bff.stores.keys import Outcomes
    from bff.stores.ledger import Ledger
    from bff.stores.switches import Switches
    from bff.upstreams.counters import Count, Counted, Counters

JOB: Final = "watch-effects"
EVERY: Final = 30.0  # seconds: a quarter of the two minutes in which a P1 has to be noticed
MOVES: Final = 300.0  # seconds after which keys are looked at from a later moment

Name: TypeAlias = tuple[str, str]  # service and operation
WATCHED: Final[Mapping[str, Name]] = {one.name: (one.operation.service, one.operation.name) for one in ACTIONS.values()}


@dataclass(frozen=True, slots=True)
class Base:
    """What is compared with: the counters then, and the ledger's moment after them, in its POSIX seconds."""

    counted: Counted
    moment: float
    began: float  # on Trio's clock


class EffectsWatch:
    """Of all services that a mutation changes. Without `counters` there is nothing to compare."""

    def __init__(self, counters: Counters | None, ledger: Ledger, switches: Switches) -> None:
        self._counters = counters
        self._ledger = ledger
        self._switches = switches
        self._base: Base | None = None
        self._to_halt = ""

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            await self.turn()
            await trio.sleep(EVERY)

    async def turn(self) -> None:
        """Look once, where this process leads; halt what a look has found, where the ledger takes it."""
        if self._counters is None:
            await trio.lowlevel.checkpoint()
            return
        if not isinstance(await in_time(partial(self._ledger.lead, JOB)), int):
            self._base = None
            return
        await self._look(self._counters)
        if self._to_halt and await halt(self._switches, "mutations", JOB, self._to_halt):
            self._to_halt = ""

    async def _look(self, counters: Counters) -> None:
        base = self._base
        keys = await in_time(partial(self._ledger.keys_since, base.moment if base else None))
        if isinstance(keys, Down):
            tell(EffectsUnseen())
            return
        counted = await in_time(counters.read)
        if isinstance(counted, Down):
            tell(EffectsUnseen())
            return
        if base is None:
            await self._begin(counted)
            return
        extra = {
            name: more
            for action, name in WATCHED.items()
            if (more := _extra(base.counted, counted, name, keys.of(action))) > 0
        }
        tell(EffectsCompared(len(WATCHED)))
        if extra:
            self._found(extra)
        if extra or _begun_anew(base.counted, counted) or trio.current_time() - base.began >= MOVES:
            await self._begin(counted)

    async def _begin(self, counted: Counted) -> None:
        """From these counters on."""
        keys = await in_time(partial(self._ledger.keys_since, None))
        self._base = None if isinstance(keys, Down) else Base(counted, keys.moment, trio.current_time())

    def _found(self, extra: Mapping[Name, int]) -> None:
        for (service, operation), more in extra.items():
            tell(DuplicatesFound(service, operation, more))
        what = ", ".join(f"{service} {operation} {more}" for (service, operation), more in extra.items())
        self._to_halt = f"F-32: changes made a second time for a key: {what}"


def _count(counted: Counted, name: Name) -> Count | None:
    service, operation = name
    return counted.get(service, {}).get(operation)


def _extra(before: Counted, now: Counted, name: Name, keys: Outcomes) -> int:
    """How many changes there are more than there may be; 0 or less where there are none."""
    one, other = _count(before, name), _count(now, name)
    if one is None or other is None or _less(one, other):
        return 0
    may = max(other.distinct_keys - one.distinct_keys - keys.refused, keys.others)
    return other.effects - one.effects - may


def _less(before: Count, now: Count) -> bool:
    return now.effects < before.effects or now.distinct_keys < before.distinct_keys


def _begun_anew(before: Counted, now: Counted) -> bool:
    """Whether a service counts from nothing, or is there for the first time."""
    for name in WATCHED.values():
        one, other = _count(before, name), _count(now, name)
        if other is not None and (one is None or _less(one, other)):
            return True
    return False
