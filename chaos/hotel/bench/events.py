"""What streams cost and how soon desks are told, with thousands of real connections over real Redis.

    two workers    force-logout of everybody, round after round; the bus dies and is back; a fleet comes back in one
                   moment while dashboards are looked at; SIGTERM
    one worker     as many idle streams as it holds: memory, CPU at rest, a broadcast

The crowd is in this very process (`chaos.hotel.fleet.crowd`), on the same cores as the server: a latency is from the
push to when the desk has read it, the crowd's own reading included. Who looks at dashboards is in another
(`looking.py`), which a busy crowd does not hold up. Of rounds the best one is given, since whatever
else the machine does makes one worse and none better; the others' are in the note.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from bff.events.stream import HEARTBEAT
from bff.outside import real
from bff.wire.dial import connect
from chaos.hotel.bench import Figure
from chaos.hotel.bench.dashboard import quantile, running
from chaos.hotel.bench.looking import looking, now
from chaos.hotel.bench.serving import serving
from chaos.hotel.fleet.crowd import open_crowd
from chaos.hotel.fleet.desk import Operator
from chaos.hotel.fleet.platform import open_platform
from chaos.live.hatch import tell_hatch
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from chaos.hotel.bench.looking import Looks
    from chaos.hotel.bench.serving import Serving
    from chaos.hotel.fleet.crowd import Crowd
    from chaos.hotel.fleet.hearing import Device
    from chaos.hotel.fleet.platform import Platform
    from chaos.hotel.ready import Ready

TENANT: Final = "resort"
LIMIT: Final = 900.0  # seconds for all of it
QUIET_SECONDS: Final = 8.0  # in which dashboards are looked at before the storm
LOOK_BACK: Final = 1.0  # seconds in which those come that were asked for
WARM_UP: Final = 200  # streams that come and go before memory is measured


@dataclass(frozen=True, slots=True)
class Size:
    """How many `devices` are logged out by two workers, in how many `rounds`; how many are `idle` at one, for how long.

    `rest` is in heartbeats.
    """

    devices: int
    rounds: int
    idle: int
    rest: int


FULL: Final = Size(devices=2_000, rounds=5, idle=10_000, rest=2)
SMALL: Final = Size(devices=200, rounds=3, idle=1_000, rest=1)


@dataclass(frozen=True, slots=True)
class Scene:
    """A server, a crowd before it, and who says what."""

    ready: Ready
    server: Serving
    crowd: Crowd
    platform: Platform
    size: Size

    @property
    def people(self) -> list[Operator]:
        there = [one for one in self.ready.operators if one["tenant"] == TENANT]
        return [Operator(one["tenant"], one["operator"], one["password"]) for one in there]

    async def signed_in(self, devices: int) -> list[Device]:
        run = os.urandom(4).hex()
        return await self.crowd.sign_in([f"{run}-{number}" for number in range(devices)], self.people)

    async def said(self, kind: str) -> float:
        """When it was pushed; it has been taken."""
        gc.collect()
        pushed = trio.current_time()
        await self.platform.insist(kind, os.urandom(8).hex(), TENANT)
        return pushed


def measure(size: Size = FULL) -> list[Figure]:
    """The figures; takes about three minutes, half a minute where it is `SMALL`."""
    with tempfile.TemporaryDirectory(prefix="bff-bench-") as folder, running(Path(folder)) as (ready, _):
        with serving(ready, 2) as server:
            told = trio.run(_two_workers, ready, server, size)
        with serving(ready, 1) as server:
            return told + trio.run(_one_worker, ready, server, size)


@asynccontextmanager
async def _scene(ready: Ready, server: Serving, size: Size, streams: int) -> AsyncIterator[Scene]:
    async with (
        open_crowd(server.edge, real(connect), streams=streams) as crowd,
        open_platform(server.ops, ready.internal_token) as platform,
    ):
        yield Scene(ready, server, crowd, platform, size)


async def _two_workers(ready: Ready, server: Serving, size: Size) -> list[Figure]:
    with within(LIMIT / 2):
        async with _scene(ready, server, size, size.devices) as scene:
            figures = await _logged_out(scene)
            devices = await scene.signed_in(size.devices)
            await scene.crowd.listen(devices, insist=True)
            figures += await _bus_dies(scene, devices)
            figures += await _storm(scene, devices)
            return figures + await _drained(scene, devices)
    raise TimeoutError(f"the events' bench took over {LIMIT / 2:.0f} s with two workers")


async def _logged_out(scene: Scene) -> list[Figure]:
    """Everybody signs in, listens, and is told to log out; again and again."""
    count, rounds, rates = scene.size.devices, [], []
    for _ in range(scene.size.rounds):
        devices = await scene.signed_in(count)
        scene.crowd.sign_ahead(devices)
        rates.append(count / await scene.crowd.listen(devices, insist=True))
        pushed = await scene.said("force-logout")
        await scene.crowd.until(lambda: not scene.crowd.open)
        assert {one.stream.word for one in devices} == {"force-logout"}
        rounds.append(sorted(one.stream.at("force-logout") - pushed for one in devices))
    best = min(rounds, key=lambda times: quantile(times, 0.95))
    of = f"force-logout of {count} devices, 2 workers"
    return [
        Figure("streams opened, 2 workers", max(rates), "/s", f"rounds: {_listed(rates)}"),
        Figure(f"{of}, p50", statistics.median(best) * 1000, "ms"),
        Figure(f"{of}, p95", quantile(best, 0.95) * 1000, "ms", f"goal: under 150; rounds: {_p95s(rounds)}"),
        Figure(f"{of}, max", best[-1] * 1000, "ms", f"rounds: {_listed(times[-1] * 1000 for times in rounds)}"),
    ]


async def _bus_dies(scene: Scene, devices: Sequence[Device]) -> list[Figure]:
    """Redis is killed, and begun again once everybody was told; an alert is pushed until it is taken."""
    redis = {"target": "redis-session"}
    died = trio.current_time()
    await tell_hatch(scene.ready.chaos, {"do": "inject", "toxic": "kill", **redis})
    await scene.crowd.until(lambda: scene.crowd.words["bus-stalled"] >= len(devices))
    stalled = sorted(one.stream.at("bus-stalled") - died for one in devices)
    await tell_hatch(scene.ready.chaos, {"do": "clear", **redis})
    back = trio.current_time()
    await scene.said("alert")
    await scene.crowd.until(lambda: scene.crowd.words["alert"] >= len(devices))
    first = sorted(one.stream.at("alert") - back for one in devices)
    assert len(scene.crowd.open) == len(devices), "no stream ends for that"
    of = f"of {len(devices)}"
    return [
        Figure("from the death of Redis to bus-stalled, p50", statistics.median(stalled), "s"),
        Figure(f"from the death of Redis to bus-stalled, last {of}", stalled[-1], "s", "spec: 3"),
        Figure("from when Redis answers to the first event, p50", statistics.median(first), "s"),
        Figure(f"from when Redis answers to the first event, last {of}", first[-1], "s", "spec: 5"),
    ]


async def _storm(scene: Scene, devices: Sequence[Device]) -> list[Figure]:
    """Every stream is cut, and every device comes again in that moment, and then as often as it is told to."""
    with looking(scene.server.edge, scene.people) as looks:
        begins = now()
        await trio.sleep(QUIET_SECONDS)
        scene.crowd.sign_ahead(devices)
        asked = sum(len(one.streams) for one in devices)
        storm, spent = now(), _spent(scene, looks)
        scene.crowd.drop(devices)
        seconds = await scene.crowd.listen(devices, at_once=len(devices), insist=True)
        ends, cost = now(), [later - sooner for later, sooner in zip(_spent(scene, looks), spent, strict=True)]
        await trio.sleep(LOOK_BACK)  # those that were asked for at the end come, too
        quiet, stormy = looks.between(begins, storm - LOOK_BACK), looks.between(storm, ends)
    tries = (sum(len(one.streams) for one in devices) - asked) / len(devices)
    cpu = "CPU seconds: workers {:.1f}, crowd {:.1f}, who looks {:.1f}".format(*cost)
    found = [Figure(f"{len(devices)} devices come back at once", seconds, "s", f"{tries:.1f} tries each; {cpu}")]
    for name, part in (("p50", 0.5), ("p95", 0.95)):
        calm, then = quantile(quiet, part) * 1000, quantile(stormy, part) * 1000
        note = f"{then:.1f} ms of {len(stormy)}, quiet {calm:.1f} ms of {len(quiet)}"
        found.append(Figure(f"dashboard in that storm against quiet, {name}", then / calm, "times", note))
    return found


def _spent(scene: Scene, looks: Looks) -> tuple[float, float, float]:
    """CPU seconds so far: of the workers, of the crowd, of who looks at dashboards."""
    return scene.server.cpu(), time.process_time(), looks.cpu()


async def _drained(scene: Scene, devices: Sequence[Device]) -> list[Figure]:
    """SIGTERM: until the last desk was told, and until no process is left."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.server.end)
        await scene.crowd.until(lambda: not scene.crowd.open)
    ended = trio.current_time() - began
    assert {one.stream.word for one in devices} == {"drain"}
    told = sorted(one.stream.ended_at - began for one in devices)
    return [
        Figure(f"SIGTERM, {len(devices)} streams drained, p50", statistics.median(told) * 1000, "ms"),
        Figure(f"SIGTERM, {len(devices)} streams drained, last", told[-1] * 1000, "ms"),
        Figure("SIGTERM, until both workers have ended", ended, "s", "goal: within 10"),
    ]


async def _one_worker(ready: Ready, server: Serving, size: Size) -> list[Figure]:
    with within(LIMIT / 2):
        async with _scene(ready, server, size, size.idle) as scene:
            return await _idle(scene)
    raise TimeoutError(f"the events' bench took over {LIMIT / 2:.0f} s with one worker")


async def _idle(scene: Scene) -> list[Figure]:
    count, crowd = scene.size.idle, scene.crowd
    devices = await scene.signed_in(count)
    await crowd.listen(devices[:WARM_UP], insist=True)
    crowd.drop(devices[:WARM_UP])
    alone, before = await _at_rest(scene), scene.server.resident()
    crowd.sign_ahead(devices)
    rate = count / await crowd.listen(devices, insist=True)
    with_them, after = await _at_rest(scene), scene.server.resident()
    rounds = [await _broadcast(scene, devices, number) for number in range(1, scene.size.rounds + 1)]
    best = min(rounds, key=lambda times: quantile(times, 0.95))
    of = f"{count} idle streams, one worker"
    note = f"heartbeats every {HEARTBEAT:.0f} s; without streams {alone * 1000:.1f}"
    return [
        Figure("streams opened, one worker", rate, "/s"),
        Figure(f"{of}, memory", (after - before) / count, "KiB a stream", f"{after / 1024:.0f} MiB in all"),
        Figure(f"{of}, CPU", with_them * 1000, "ms a second", note),
        Figure(f"broadcast to {count}, one worker, p50", statistics.median(best) * 1000, "ms"),
        Figure(f"broadcast to {count}, one worker, p95", quantile(best, 0.95) * 1000, "ms", f"rounds: {_p95s(rounds)}"),
        Figure(
            "told bus-stalled while Redis was well", crowd.words["bus-stalled"] / count, "times a stream", "goal: 0"
        ),
    ]


async def _at_rest(scene: Scene) -> float:
    """CPU seconds of the server in a second in which nobody asks for anything."""
    await trio.sleep(1.0)
    seconds, cpu = scene.size.rest * HEARTBEAT, scene.server.cpu()
    await trio.sleep(seconds)
    return (scene.server.cpu() - cpu) / seconds


async def _broadcast(scene: Scene, devices: Sequence[Device], number: int) -> list[float]:
    """An alert to everybody; `number` counts them from 1."""
    pushed = await scene.said("alert")
    await scene.crowd.until(lambda: scene.crowd.words["alert"] >= number * len(devices))
    return sorted(one.stream.told_at("alert") - pushed for one in devices)


def _p95s(rounds: Sequence[list[float]]) -> str:
    return _listed(quantile(times, 0.95) * 1000 for times in rounds)


def _listed(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:.0f}" for number in numbers)
