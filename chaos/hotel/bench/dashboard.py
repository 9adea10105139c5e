"""What a dashboard costs, and how late it can be, on a whole hotel that really runs.

`measure()` starts `bff up` in a folder of its own, with rates off, signs desks in, and keeps `CONCURRENCY` dashboards
under way. The server's cost is its own process' CPU time, so that the estate, the stores and whoever asks are not in
it; dashboards per second is what this machine does with all of them on its cores.

Caches are cold: the cache tier is emptied before each request, and how many calls a dashboard really made is counted
by the estate and shown beside the figure.

Lateness: pricing hangs for a part of its calls, few enough that its breaker stays closed. The dashboards it hung for
are those whose rate snapshot timed out; how long after their deadline their last byte came is measured where they were
asked for. A figure below zero was in time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import redis
import trio

from bff.outside import real
from bff.wire.dial import connect
from bff.wire.exchange import Origin, Prepared
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.hotel.bench import Figure
from chaos.hotel.fleet.desk import Desk, Operator
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.ready import Ready
from chaos.live.hatch import tell_hatch
from nurseries import within

CONCURRENCY: Final = 32
WARM_UP: Final = 320  # dashboards
DASHBOARDS: Final = 3200
HUNG: Final = 4800
HANG: Final = "hang rate=0.12"
DEADLINE: Final = 0.8
RATES_OFF: Final = {f"BFF_RATE_{name}": "0" for name in ("REQUESTS", "ADDRESS", "STREAMS", "PASSWORDS", "CODES")}


@contextmanager
def running(data: Path) -> Iterator[tuple[Ready, float]]:
    """A hotel on `data`, and the seconds until it said that it is ready; ends with the block."""
    ports = [word for option in ("--port", "--ops-port", "--estate-port") for word in (option, "0")]
    command = [sys.executable, "-m", "bff", "up", "--json", "--data", str(data), *ports]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **RATES_OFF}) as hotel:
        assert hotel.stdout is not None
        try:
            line = hotel.stdout.readline()
            yield msgspec.json.decode(line, type=Ready), time.perf_counter() - began
        finally:
            hotel.terminate()


@dataclass(slots=True)
class Load:
    """Desks that look at dashboards, as many at once as there are desks."""

    ready: Ready
    pool: Pool = field(default_factory=lambda: Pool(connect))
    desks: list[Desk] = field(default_factory=list)
    took: list[tuple[float, bytes]] = field(default_factory=list)

    async def open(self) -> None:
        """Sign everybody in."""
        outside = real(connect)
        async with httpx.AsyncClient(transport=TrioTransport(Pool(connect))) as client:
            for number in range(CONCURRENCY):
                who = self.ready.operators[number % len(self.ready.operators)]
                desk = Desk(client, self.ready.edge, outside, device=f"bench-{number}")
                await desk.sign_in(Operator(who["tenant"], who["operator"], who["password"]))
                self.desks.append(desk)

    async def look(self, dashboards: int, cache: redis.Redis | None = None) -> float:
        """So many dashboards; the seconds they took in all. What each took, and its body, is kept."""
        self.took.clear()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for desk in self.desks:
                nursery.start_soon(self._look, desk, dashboards // len(self.desks), cache)
        return trio.current_time() - began

    async def _look(self, desk: Desk, times: int, cache: redis.Redis | None) -> None:
        host, _, port = self.ready.edge.rpartition("//")[2].partition(":")
        origin = Origin("http", host, int(port))
        assert desk.session is not None, "signed in"
        target = f"/v1/dashboard?propertyId={desk.session.properties[0]['id']}".encode()
        for _ in range(times):
            if cache is not None:
                cache.flushall()
            prepared = Prepared(origin, b"GET", target, _headers(desk, self.ready.edge), repeatable=True)
            began = trio.current_time()
            with within(30):
                reply = await self.pool.fetch(prepared)
                self.took.append((trio.current_time() - began, reply.body))
                assert reply.status == 200, reply.body


def _headers(desk: Desk, edge: str) -> tuple[tuple[bytes, bytes], ...]:
    assert desk.session is not None, "signed in"
    token = desk.session.access_token
    url, jti = f"{edge}/v1/dashboard", os.urandom(12).hex()
    proof = make_proof(desk.key, "GET", url, token=token, now=time.time(), jti=jti)
    return (
        (b"authorization", f"DPoP {token}".encode()),
        (b"dpop", proof.encode()),
        (b"x-device-id", desk.device.encode()),
    )


def measure() -> list[Figure]:
    """The figures; takes about a minute."""
    with tempfile.TemporaryDirectory(prefix="bff-bench-") as folder:
        with running(Path(folder)) as (_, first):
            pass
        with running(Path(folder)) as (ready, second):
            found = trio.run(_measure, ready)
    return [
        Figure("first start of the hotel", first, "s"),
        Figure("second start of the hotel", second, "s", "goal: under 3"),
        *found,
    ]


async def _measure(ready: Ready) -> list[Figure]:
    load = Load(ready)
    with within(600):
        await load.open()
        return [*await _cost(load), *await _lateness(load)]
    raise TimeoutError("the dashboard's bench took over 600 s")


async def _cost(load: Load) -> Iterator[Figure]:
    with redis.Redis.from_url(load.ready.redis_cache) as cache:
        await load.look(WARM_UP, cache)
        calls, cpu = await _calls(load.ready), cpu_of_server(load.ready)
        seconds = await load.look(DASHBOARDS, cache)
        cpu, calls = cpu_of_server(load.ready) - cpu, await _calls(load.ready) - calls
    times = sorted(took for took, _ in load.took)
    each = f"{calls / DASHBOARDS:.1f} upstream calls each"
    at = f"{CONCURRENCY} at once"
    return iter(
        (
            Figure(f"dashboards, {at}", DASHBOARDS / seconds, "/s", f"{os.cpu_count()} cores for all, {each}"),
            Figure("server CPU per dashboard, caches cold", cpu / DASHBOARDS * 1000, "ms", "goal: at most 1.8"),
            Figure(f"dashboard, {at}, p50", statistics.median(times) * 1000, "ms"),
            Figure(f"dashboard, {at}, p99", quantile(times, 0.99) * 1000, "ms"),
        )
    )


async def _lateness(load: Load) -> Iterator[Figure]:
    await tell_hatch(load.ready.chaos, {"do": "inject", "target": "pricing", "toxic": HANG})
    await load.look(HUNG)  # the hotel ends with the measurement: there is nobody to heal it for
    late = sorted(took - DEADLINE for took, body in load.took if _timed_out(body))
    note = f"{len(late)} of {HUNG} dashboards ran to their deadline"
    return iter(
        (
            Figure("past the deadline, one upstream hung, p50", statistics.median(late) * 1000, "ms", note),
            Figure("past the deadline, one upstream hung, p99", quantile(late, 0.99) * 1000, "ms", "goal: at most 15"),
            Figure("past the deadline, one upstream hung, max", late[-1] * 1000, "ms"),
        )
    )


def _timed_out(body: bytes) -> bool:
    widget: dict[str, Any] = msgspec.json.decode(body)["widgets"]["rateSnapshot"]
    return widget.get("reason") == "UPSTREAM_TIMEOUT"


async def _calls(ready: Ready) -> int:
    """How many requests the estate has had."""
    async with httpx.AsyncClient(transport=TrioTransport(Pool(connect))) as client:
        with within(5):
            counters = (await client.get(f"{ready.estate}/_estate/counters")).json()
            return sum(count["calls"] for service in counters.values() for count in service.values())
    raise TimeoutError("the estate does not answer")


def cpu_of_server(ready: Ready) -> float:
    """CPU seconds of the server's processes so far."""
    return sum(_cpu_of(pid) for pid in ready.pids["workers"])


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quantile(ordered: list[float], part: float) -> float:
    """The value that `part` of `ordered` is below."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
