"""What it costs to be seen: metrics and spans per dashboard, and how large `/metrics` is.

The facts of dashboards are those of a whole hotel in virtual time. They are told again and again to who listens, one
listener at a time, so that what is measured is the listener and nothing else. Off is what everybody pays who has no
collector: ids that are drawn because they go on the wire anyway, and nobody who hears.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio
from trio.testing import MockClock

from bff.facts import UpstreamCalled
from bff.jobs.send_spans import BATCH, SpanSender
from bff.meters import Meters
from bff.outside import real
from bff.tracing import Tracing
from bff.upstreams.otlp import Collector
from bff.wire.dial import connect
from bff.wire.exchange import Prepared, Reply
from bff.wire.trace import Trace
from chaos.hotel.bench import Figure
from chaos.hotel.world import open_world
from nurseries import listening, tell, within

if TYPE_CHECKING:
    from bff.wire.pool import Pool

ROUNDS: Final = 5
TIMES: Final = 300
NOWHERE: Final = Tracing("http://127.0.0.1:4318/v1/traces")


class _Takes:
    """A pool whose collector takes all that it is given, and counts the bytes."""

    def __init__(self) -> None:
        self.size = 0

    async def fetch(self, prepared: Prepared) -> Reply:
        self.size += len(prepared.body)
        await trio.lowlevel.checkpoint()
        return Reply(200, (), b"{}")


def measure() -> list[Figure]:
    """The figures; takes a few seconds."""
    plain, _ = trio.run(_dashboard, 0.0, clock=MockClock(autojump_threshold=0))
    facts, shown = trio.run(_dashboard, 1.0, clock=MockClock(autojump_threshold=0))
    calls = sum(isinstance(fact, UpstreamCalled) for fact in facts)
    heard, posted, size = trio.run(_spans, facts)
    return [
        Figure("metrics, per dashboard", _told(Meters().hear, plain) * 1e6, "us CPU", f"{len(plain)} facts"),
        Figure("metrics with exemplars, per dashboard", _told(Meters().hear, facts) * 1e6, "us CPU", "trace sampled"),
        Figure("nobody listens, per dashboard", _told(tell, plain) * 1e6, "us CPU"),
        Figure(
            "traces off, per dashboard", _best(partial(_ids, calls)) * 1e6, "us CPU", "ids, which the wire has anyway"
        ),
        Figure("traces on, to be heard, per dashboard", heard * 1e6, "us CPU", f"{calls + 1} spans"),
        Figure("traces on, to be written, per dashboard", posted * 1e6, "us CPU", f"{BATCH} spans a request"),
        Figure("a span, as JSON", size, "bytes"),
        Figure("/metrics of one worker", float(len(shown.shown()[0])), "bytes", "after a sign-in and a dashboard"),
        Figure("/metrics, to write it", _best(shown.shown, 20) * 1e3, "ms CPU"),
    ]


def _ids(calls: int) -> None:
    """What is drawn for one request and its calls, whether anybody keeps it or not."""
    outside = real(connect)
    trace = Trace.parse(None, outside.entropy)
    for _ in range(calls):
        trace.child(outside.entropy)


def _told(listener: Callable[[object], None], facts: list[object]) -> float:
    def every() -> None:
        for fact in facts:
            listener(fact)

    return _best(every)


async def _dashboard(share: float) -> tuple[list[object], Meters]:
    """The facts of one dashboard, and the meters that heard its world; `share` of the traces is kept."""
    async with open_world(servers=()) as world:
        world.traces = replace(NOWHERE, share=share)
        await world.serve()
        desk = await world.desk()
        meters = Meters()
        heard: list[object] = []
        with listening(heard.append):
            await desk.dashboard()
        for fact in world.facts:
            meters.hear(fact)
        return heard, meters


async def _spans(facts: list[object]) -> tuple[float, float, float]:
    """Seconds per dashboard to hear its spans, and to write and post them; bytes per span."""
    outside, takes = real(connect), _Takes()
    sender = SpanSender(Collector(cast("Pool", takes), NOWHERE, {"service.name": "bench"}), outside)
    for fact in facts:
        sender.hear(fact)
    spans = sender.waiting
    heard = posted = float("inf")
    for _ in range(ROUNDS):
        many = BATCH // spans * 4
        began = time.process_time()
        for _ in range(many):
            for fact in facts:
                sender.hear(fact)
        heard = min(heard, (time.process_time() - began) / many)
        takes.size, waiting = 0, sender.waiting
        gc.collect()
        began = time.process_time()
        with within(20):
            await sender.flush()
        posted = min(posted, (time.process_time() - began) / (waiting / spans))
    return heard, posted, takes.size / waiting


def _best(work: Callable[[], Any], times: int = TIMES) -> float:
    """CPU seconds of one `work()`, in the best of the rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, (time.process_time() - began) / times)
    return best
