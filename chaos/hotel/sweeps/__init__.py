"""Everything that is swept, by the name a person types: `bff sweep list` shows it."""

from __future__ import annotations

from typing import Any, Final

from chaos.hotel.sweeps.buses import StreamSweep
from chaos.hotel.sweeps.crashes import CrashSweep
from chaos.hotel.sweeps.dashboard import DashboardSweep
from chaos.hotel.sweeps.gate import GateSweep
from chaos.hotel.sweeps.leaving import LeavingSweep
from chaos.hotel.sweeps.openings import OpeningSweep
from chaos.hotel.sweeps.replays import ReplaySweep
from chaos.hotel.sweeps.takeovers import TakeoverSweep
from chaos.sweep import Sweep

SWEEPS: Final[dict[str, Sweep[Any]]] = {
    sweep.name: sweep
    for sweep in (
        DashboardSweep(),
        LeavingSweep(),
        GateSweep(),
        ReplaySweep(),
        CrashSweep(),
        TakeoverSweep(),
        StreamSweep(),
        OpeningSweep(),
    )
}
