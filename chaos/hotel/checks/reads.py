"""What a desk reads beside its dashboard, as CONTRACT section 3 has it: a second reading, made without a look at the
server. A look gives the answer or the refusal, and how long it took.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio

from chaos.hotel.fleet.desk import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.hotel.fleet.desk import Desk

Said: TypeAlias = "dict[str, Any] | Refused"

PROPERTY: Final = "resort-praia"  # the first property of the first operator, and the folio of a guest in it
FOLIO: Final = "f-00870"
DEADLINE: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Read:
    """A row: the one service that decides, and for how many seconds its last answer is shown when it fails.

    `lists` is the member that holds what a board or the inbox is made of.
    """

    path: str
    service: str
    keep: float = 0.0
    lists: str = ""

    @property
    def params(self) -> dict[str, str]:
        """What is asked in the query."""
        return {} if FOLIO in self.path else {"propertyId": PROPERTY}


READS: Final[Mapping[str, Read]] = {
    "workbench": Read("/v1/workbench", "reservation"),
    "housekeeping": Read("/v1/housekeeping/board", "housekeeping", 60, "tasks"),
    "maintenance": Read("/v1/maintenance/board", "maintenance", 60, "orders"),
    "folio": Read(f"/v1/folios/{FOLIO}", "billing"),
    "alerts": Read("/v1/alerts", "notification", 300, "alerts"),
}
KEPT: Final = tuple(name for name, read in READS.items() if read.keep)
OF_A_PROPERTY: Final = tuple(name for name, read in READS.items() if read.params)


async def look(desk: Desk, name: str, *, deadline_ms: int | None = None, **more: str) -> tuple[Said, float]:
    """The answer of one read, or the refusal, and how many seconds it took. `more` is asked in the query as well."""
    began = trio.current_time()
    read = READS[name]
    said: Said
    try:
        said = dict((await desk.get(read.path, read.params | more, deadline_ms=deadline_ms)).body)
    except Refused as refused:
        said = refused
    return said, trio.current_time() - began


async def look_at_all(desk: Desk) -> dict[str, tuple[Said, float]]:
    """Every read at once, in the table's order."""
    found: dict[str, tuple[Said, float]] = {}

    async def one(name: str) -> None:
        found[name] = await look(desk, name)

    async with trio.open_nursery() as nursery:
        for name in READS:
            nursery.start_soon(one, name)
    return {name: found[name] for name in READS}


def code(said: Said) -> tuple[int, str]:
    """Status and code of a refusal. Raises `AssertionError` for an answer."""
    assert isinstance(said, Refused), f"an answer: {said}"
    return said.status, said.code


def content(said: Said) -> dict[str, Any]:
    """What an answer shows, without how old it is and what stands beside it. Raises `AssertionError` for a refusal."""
    assert not isinstance(said, Refused), f"refused: {said}"
    return {name: value for name, value in said.items() if name not in {"asOf", "stale", "property"}}
