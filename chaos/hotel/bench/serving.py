"""A server of its own for a bench: `bff serve` with so many workers on what a hotel runs, and what they cost.

Stores are reached directly, not by the proxy that faults on the way are done to; who kills their processes still can.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from chaos.hotel.bench.dashboard import RATES_OFF
from chaos.hotel.children import ServerLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chaos.hotel.ready import Ready

KIB: Final = 1024
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that serves: where it is, and its processes; `workers` are theirs who answer."""

    process: subprocess.Popen[bytes]
    edge: str
    ops: str
    workers: tuple[int, ...]

    def cpu(self) -> float:
        """CPU seconds of its workers so far."""
        return sum(cpu_of(pid) for pid in self.workers)

    def resident(self) -> float:
        """KiB of its workers in memory now."""
        return sum(_resident_of(pid) for pid in self.workers)

    async def end(self) -> None:
        """SIGTERM, and return when it has ended. Raises `AssertionError` where it did not end well."""
        self.process.send_signal(signal.SIGTERM)
        code = await trio.to_thread.run_sync(self.process.wait)
        assert code == 0, f"the server ended with {code}"


@contextmanager
def serving(ready: Ready, workers: int) -> Iterator[Serving]:
    """On the stores and the estate of what is `ready`, rates off; killed with the block where it has not ended."""
    command = [sys.executable, "-P", "-m", "bff", "serve", "--json", "--workers", str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_env(ready)) as process:
        assert process.stdout is not None
        try:
            line = msgspec.json.decode(process.stdout.readline(), type=ServerLine)
            yield Serving(process, line.edge, line.ops, tuple(line.workers))
        finally:
            process.kill()


def _env(ready: Ready) -> Mapping[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BFF_")}
    return {
        **ours,
        **RATES_OFF,
        "BFF_EDGE_BIND": "127.0.0.1:0",
        "BFF_OPS_BIND": "127.0.0.1:0",
        "BFF_POSTGRES_URL": ready.postgres,
        "BFF_REDIS_SESSION_URL": ready.redis_session,
        "BFF_REDIS_CACHE_URL": ready.redis_cache,
        "BFF_ESTATE_URL": ready.estate,
        "BFF_INTERNAL_TOKEN": ready.internal_token,
    }


def cpu_of(pid: int) -> float:
    """CPU seconds of that process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _resident_of(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / KIB
