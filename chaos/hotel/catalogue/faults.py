"""How each row of the catalogue is put in force in a world: for tests, recordings and whoever measures.

    async with open_world(known_as=KNOWN_AS) as world:
        async with in_force("F-4", world):
            ...

Most rows are what a service or a store can have, in the words of `bff chaos inject`: the first fixture of the row. The
others are staged: one operation of a service that fails, what stands in front of the server, who floods it
(`staged.py`), and mistakes of its own (`mistakes.py`). A fault is in
force in that moment, and is lifted when the block is left; what it did meanwhile stays done. It brings no load of its
own but where load is the fault: a fault that nobody runs into shows nowhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from chaos.hotel.catalogue import ROWS, mistakes, staged
from chaos.hotel.catalogue.row import Inject, Row

if TYPE_CHECKING:
    from chaos.hotel.world import World

Fault: TypeAlias = "Callable[[World], AbstractAsyncContextManager[None]]"

KNOWN_AS: Final = {"public": "http://bff", "fallback": f"https://{staged.FRONT}"}  # what F-23 to F-25 need of a world
BY_ID: Final = {row.id: row for row in ROWS}
STAGED: Final[dict[str, Fault]] = {
    "F-1": partial(staged.operation_fails, service="iam", operation="refresh"),
    "F-2": partial(staged.operation_fails, service="iam", operation="attestStepUp"),
    "F-13": partial(staged.operation_fails, service="sync", operation="handshake"),
    "F-23": staged.certificate_is_over,
    "F-24": staged.wall_blocks_some,
    "F-25": staged.name_is_unknown,
    "F-26": staged.streams_flood,
    "F-27": mistakes.audit_row_is_lost,
    "F-28": mistakes.proofs_are_forgotten,
    "F-29": mistakes.second_factors_are_forgotten,
    "F-30": mistakes.cache_keys_collide,
    "F-31": mistakes.ends_are_not_heard,
    "F-32": mistakes.keys_are_forgotten,
    "F-34": mistakes.bus_is_deaf,
    "F-35": mistakes.cursor_moves_unseen,
    "F-37": staged.memory_grows,
    "F-39": staged.instances_run_up,
    "F-40": staged.telemetry_pours,
    "F-41": mistakes.tier_has_no_room,
}


def injection(row: Row | str) -> Inject | None:
    """The words that put a row in force, None for one that is staged. Raises `KeyError` for no row."""
    row = BY_ID[row] if isinstance(row, str) else row
    if row.id in STAGED:
        return None
    return next(fixture for fixture in row.fixtures if isinstance(fixture, Inject))


@asynccontextmanager
async def in_force(row: Row | str, world: World) -> AsyncIterator[None]:
    """A row's fault, for as long as the block lasts.

    F-23 to F-25 need a world that is opened with `KNOWN_AS`. Raises `KeyError` for no row.
    """
    one = injection(row)
    id_ = row if isinstance(row, str) else row.id
    fault = STAGED[id_] if one is None else partial(_injected, one)
    async with fault(world):
        yield


@asynccontextmanager
async def _injected(one: Inject, world: World) -> AsyncIterator[None]:
    world.inject(one.target, one.toxic)
    try:
        yield
    finally:
        world.clear(one.target)
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()  # whoever waited for it has his turn
