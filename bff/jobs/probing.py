"""What a probe is: it looks at one thing of this very server, and says line by line what it found.

A probe is a job, and looks by itself; `bff probe NAME` has it look now. What it finds wanting it tells as a fact, and
where the specification says *halt* it trips a switch, which a person alone turns back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from bff.facts.probes import Tripped
from bff.jobs.asking import in_time
from bff.model import Down
from nurseries import tell

if TYPE_CHECKING:
    from bff.stores.switches import Switches


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `good` is None where nobody could look; `said` is a line for people."""

    what: str
    good: bool | None
    said: str


Look: TypeAlias = Callable[[], Awaitable[tuple[Finding, ...]]]


class Probe(Protocol):
    """A job that can be asked to look now."""

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        ...

    async def look(self) -> tuple[Finding, ...]:
        """Once."""
        ...


async def halt(switches: Switches, switch: str, job: str, why: str) -> bool:
    """Trip `switch`, from its default alone. False with the ledger down: to be tried again at the job's next turn."""
    turned = await in_time(partial(_trip, switches, switch, job, why))
    if turned is None:
        tell(Tripped(switch, job))
    return not isinstance(turned, Down)


async def _trip(switches: Switches, switch: str, job: str, why: str) -> Down | str | None:
    turned = await switches.trip(switch, by=job, why=why)
    return turned if isinstance(turned, Down | str) else None
