"""What became of spans: row by row they are no facts of their own, but what the facts say they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpansSent:
    """So many spans were taken by the collector."""

    count: int


@dataclass(frozen=True, slots=True)
class SpansDropped:
    """So many spans that nobody will see; `why` is `full`, `refused` or `ended`."""

    count: int
    why: str
