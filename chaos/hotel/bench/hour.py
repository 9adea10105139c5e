"""What an hour at fifty desks costs in virtual time: the world with its faults, from a plan, in one process.

Each desk looks at its dashboard every thirty seconds and renews its tokens; faults come and go. What is measured is
everything that is there: desks and their proofs, the server, fourteen services, the network between them, the judges.
"""

from __future__ import annotations

import time
from typing import Final

from chaos.hotel.bench import Figure
from chaos.hotel.gamedays import GameDay
from chaos.hotel.gamedays.running import rehearse
from chaos.plan import parse_plan

DESKS: Final = 50
HOUR: Final = 3600.0
PLAN: Final = parse_plan(f"""
    plan        An ordinary hour at fifty desks
    lasts       {HOUR:.0f}, then 30 of calm
    work        looks desks={DESKS} every=30
    work        shifts every=600
    fault       pricing latency ms=300 jitter=200 from 600 until 1200
    fault       billing down from 1500 until 1560
    fault       redis-session failover lost=1 takes=2 from 2400
    fault       iam hang from 3000 until 3100
    always      in-time honest answered
    eventually  whole within 30
""")


def measure() -> list[Figure]:
    """The figures; takes most of a minute. Raises `AssertionError` where the hour broke a promise."""
    began, cpu = time.perf_counter(), time.process_time()
    record = rehearse(GameDay("hour", PLAN), seed=1)
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    assert record.held, record.findings
    looks = float(record.figures["dashboards"])
    return [
        Figure("an hour at fifty desks", record.seconds / took, "s per s", "virtual seconds per real second, one core"),
        Figure("  of it a desk's", spent / DESKS, "s CPU", f"and virtual hour: {looks / DESKS:.0f} dashboards"),
        Figure("  of that a dashboard's", spent / looks * 1000, "ms CPU", "desk, server, services and network"),
    ]
