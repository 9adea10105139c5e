"""FAILURE_MODES 1.1: services that fail, are slow, or answer in another shape."""

from __future__ import annotations

from typing import Final

from chaos.hotel.recordings.days import COMING, LOOKING, MORNING
from chaos.hotel.recordings.scene import HOUR, Scene
from chaos.hotel.recordings.scenes.told import BLIP, both, staged

FAILS: Final = "status code=503"
P1: Final = 180.0  # seconds in which it should have fired
P2: Final = 360.0
P3: Final = 660.0

UPSTREAMS: Final = (
    *both("F-4", "reservation", FAILS, MORNING, P1),
    Scene(
        row="F-4",
        what="about one in a hundred of reservation's answers is 503",
        day=MORNING,
        fault=(("reservation", f"{FAILS} rate=0.0125"),),
        lasts=1.5 * HOUR,
    ),
    *both("F-10", "lock-integration", FAILS, MORNING, P1),
    staged("F-1", "iam's refresh answers 503", COMING, P2),
    staged("F-1", "iam's refresh answers 503 for 15 s", COMING, P2, heals=BLIP),
    staged("F-2", "iam's attestStepUp answers 503", COMING, P2),
    staged("F-2", "iam's attestStepUp answers 503 for 15 s", COMING, P2, heals=BLIP),
    *both("F-7", "housekeeping", FAILS, LOOKING, P2),
    *both("F-8", "maintenance", FAILS, LOOKING, P2),
    *both("F-9", "billing", FAILS, LOOKING, P2),
    staged("F-13", "sync's handshake answers 503", COMING, P2),
    staged("F-13", "sync's handshake answers 503 for 15 s", COMING, P2, heals=BLIP),
    *both("F-5", "inventory", FAILS, LOOKING, P3),
    *both("F-6", "pricing", FAILS, LOOKING, P3),
    *both("F-11", "ai-orchestrator", FAILS, LOOKING, P3),
    *both("F-12", "notification", FAILS, LOOKING, P3),
    *both("F-14", "analytics", FAILS, LOOKING, P3),
    *both("F-16", "property", FAILS, LOOKING, 2 * P3),
    *both("F-3", "tenant", "latency ms=1000", LOOKING, 2 * P3, sign="slow"),
    *both("F-3", "tenant", FAILS, LOOKING, 2 * P3, sign="failing"),
    *both("F-15", "pricing", "drift", LOOKING, P2),
)
