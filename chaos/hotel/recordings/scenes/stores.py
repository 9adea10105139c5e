"""FAILURE_MODES 1.2: the stores, and the outbox on its way to Pub/Sub."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.outside import rfc3339
from chaos.hotel.recordings.days import SHORT
from chaos.hotel.recordings.scene import Scene
from chaos.hotel.recordings.scenes.told import both, breaks
from chaos.hotel.stage import signed_in

if TYPE_CHECKING:
    from chaos.hotel.recordings.scene import Set

LONG: Final = 600.0
AT_ONCE: Final = 100  # events in one request: as many as it may have


async def _a_fleet_s_telemetry(here: Set) -> None:
    """Pub/Sub hangs, and desks send a hundred events every ten seconds."""
    here.world.inject("pubsub", "hang")
    desk = await signed_in(here.stage, "telemetry", 0)
    here.nursery.start_soon(partial(_send_on, here, desk))


async def _send_on(here: Set, desk: object) -> None:
    while True:
        event = {"name": "screen.opened", "at": rfc3339(here.world.now()), "attributes": {"screen": "workbench"}}
        await desk.ask("POST", "/v1/telemetry", body={"events": [event] * AT_ONCE})  # type: ignore[attr-defined]
        await trio.sleep(10.0)


STORES: Final = (
    *both("F-18", "redis-session", "kill", SHORT, 180.0),
    *both("F-18", "redis-session", "stop", SHORT, 180.0),
    breaks("F-19", "redis-session", "failover", SHORT, 180.0),
    *both("F-20", "postgres", "kill", SHORT, 180.0),
    *both("F-20", "postgres", "stop", SHORT, 180.0),
    *both("F-17", "redis-cache", "kill", SHORT, 180.0),
    *both("F-22", "pubsub", "status code=503", SHORT, 300.0),
    breaks("F-21", "pubsub", "hang", SHORT, LONG, sign="old"),
    Scene(
        row="F-21",
        sign="deep",
        what="pubsub hangs while a fleet sends telemetry",
        day=SHORT,
        fault=_a_fleet_s_telemetry,
        lasts=LONG,
    ),
)
