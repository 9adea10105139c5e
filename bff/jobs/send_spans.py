"""Hears which requests and calls have ended, and posts those that are sampled to a collector, behind everybody's back.

    a fact with a sampled span ──► at most MOST wait ──► at most BATCH a request ──► the collector
                                       │ full: dropped, and counted

Whoever tells a fact waits for nobody: what does not fit is counted and gone. A collector that is not there keeps what
waits waiting, between pauses that grow, and what comes meanwhile fills the queue up and no more. Who ends loses the
last second of it.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

import trio

from bff.facts import RequestServed, UpstreamCalled
from bff.facts.spans import SpansDropped, SpansSent
from bff.outside import fraction
from bff.upstreams.otlp import Collector, Later
from nurseries import Backoff, listening, tell, within

if TYPE_CHECKING:
    from bff.outside import Outside
    from bff.tracing import Tracing
    from bff.upstreams.otlp import Ended
    from bff.wire.pool import Pool

MOST: Final = 4_096  # spans that wait
BATCH: Final = 512  # spans in a request
EVERY: Final = 1.0  # seconds that the first of them waits for others
SECONDS: Final = 5.0  # for a request
PAUSES: Final = Backoff(first=1.0, most=30.0)


class SpanSender:
    """The spans of one process, on their way. `waiting` is how many there are."""

    def __init__(self, collector: Collector, outside: Outside) -> None:
        self._collector = collector
        self._outside = outside
        self._spans: deque[Ended] = deque()
        self._full = 0
        self._failures = 0
        self._enough = trio.Event()

    @property
    def waiting(self) -> int:
        return len(self._spans)

    def hear(self, fact: object) -> None:
        """Keep the fact where it has a span that somebody wants."""
        if not isinstance(fact, (UpstreamCalled, RequestServed)) or fact.span is None or not fact.span.sampled:
            return
        if len(self._spans) >= MOST:
            self._full += 1
            return
        self._spans.append((fact, self._outside.now()))
        if len(self._spans) >= BATCH:
            self._enough.set()

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        with listening(self.hear):
            try:
                while True:
                    with within(EVERY):
                        await self._enough.wait()
                    await self.flush()
                    self._enough = trio.Event()
            finally:
                self._forget(len(self._spans), "ended")

    async def flush(self) -> None:
        """Post what waits, in batches; after one that was not taken only a pause."""
        several = False
        while len(self._spans) >= (BATCH if several else 1):
            several = True
            batch = list(islice(self._spans, BATCH))
            if not await self._posted(batch):
                self._failures += 1
                await trio.sleep(PAUSES.after(self._failures, fraction(self._outside.entropy)))
                break
            self._failures = 0
        full, self._full = self._full, 0
        if full:
            tell(SpansDropped(full, "full"))

    async def _posted(self, batch: list[Ended]) -> bool:
        """Whether nothing more is to be done about `batch`."""
        with within(SECONDS):
            try:
                taken = await self._collector.take(batch)
            except Later:
                return False
            for _ in batch:  # others are only ever added behind them
                self._spans.popleft()
            if taken.kept:
                tell(SpansSent(taken.kept))
            if taken.refused:
                tell(SpansDropped(taken.refused, "refused"))
            return True
        return False

    def _forget(self, count: int, why: str) -> None:
        self._spans.clear()
        if count:
            tell(SpansDropped(count, why))


def sender(where: Tracing | None, pool: Pool, outside: Outside) -> SpanSender | None:
    """Who posts this process's spans, None where nobody wants them."""
    if where is None:
        return None
    resource = {"service.name": "bff-backoffice", "service.instance.id": outside.identifier()}
    return SpanSender(Collector(pool, where, resource), outside)
