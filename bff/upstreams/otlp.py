"""Spans as OpenTelemetry's protocol has them (OTLP/HTTP 1.5, JSON), and what a collector says to that.

    200                   taken, but for as many as `partialSuccess` says were not
    429, 502, 503, 504    later, and the same again (OTLP specification, "Retryable Response Codes")
    no answer             the same: twice is once, since a span has an id
    all else              refused, for good

There is no SDK behind it: its exporter lives in threads of its own, with sockets that no deadline of ours reaches.
Ids are in hex and times in nanoseconds as strings, which is what the JSON of OTLP asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from bff.facts import RequestServed, UpstreamCalled
from bff.upstreams.drift import UNREADABLE
from bff.wire.exchange import DEFAULT_PORTS, Origin, Prepared
from bff.wire.pool import Crowded, Pool

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bff.model import Span
    from bff.tracing import Tracing

SCOPE: Final = "bff"
_LATER: Final = frozenset({429, 502, 503, 504})
_ERROR: Final = 2  # STATUS_CODE_ERROR
_ASKED: Final = frozenset({"ok", "cancelled", "refused"})  # of a call: nothing that its service could be blamed for


class Kind(Enum):
    """SPAN_KIND, by its number."""

    SERVER = 2
    CLIENT = 3


class Later(Exception):
    """The collector takes nothing now."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Of one request so many spans were kept, and so many not."""

    kept: int
    refused: int


Ended = tuple[RequestServed | UpstreamCalled, float]  # what was told, and when, in POSIX seconds


class _Partial(msgspec.Struct, frozen=True, rename="camel"):
    rejected_spans: int | str = 0


class _Said(msgspec.Struct, frozen=True, rename="camel"):
    partial_success: _Partial | None = None


class Collector:
    """A collector at `where.url`, who is told what `resource` the spans are of."""

    def __init__(self, pool: Pool, where: Tracing, resource: Mapping[str, str]) -> None:
        parts = urlsplit(where.url)
        self._pool = pool
        self._origin = Origin(parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
        self._target = parts.path.encode("ascii")
        self._headers = ((b"content-type", b"application/json"), *where.headers)
        self._resource = {"attributes": _attributes(resource)}

    async def take(self, spans: Iterable[Ended]) -> Taken:
        """Post `spans`. Raises `Later`, `nurseries.Unbounded` without a deadline, `httpx.LocalProtocolError`."""
        written = [_written(fact, at) for fact, at in spans]
        of_scope = [{"scope": {"name": SCOPE}, "spans": written}]
        body = msgspec.json.encode({"resourceSpans": [{"resource": self._resource, "scopeSpans": of_scope}]})
        try:
            reply = await self._pool.fetch(
                Prepared(self._origin, b"POST", self._target, self._headers, body, repeatable=True)
            )
        except httpx.LocalProtocolError:
            raise
        except (httpx.TransportError, httpx.DecodingError, Crowded) as error:
            raise Later(type(error).__name__) from None
        if reply.status in _LATER:
            raise Later(f"status {reply.status}")
        if reply.status != 200:
            return Taken(0, len(written))
        refused = min(_rejected(reply.body), len(written))
        return Taken(len(written) - refused, refused)


def _rejected(body: bytes) -> int:
    """A number, or its digits: int64 is a string in the JSON of protobuf. What cannot be read rejects nothing."""
    try:
        said = msgspec.json.decode(body, type=_Said) if body else _Said()
        return max(0, int(said.partial_success.rejected_spans)) if said.partial_success is not None else 0
    except (ValueError, *UNREADABLE):
        return 0


def _written(fact: RequestServed | UpstreamCalled, at: float) -> dict[str, Any]:
    span = fact.span
    assert span is not None, "only what has a span is kept"
    if isinstance(fact, RequestServed):
        return _span(span, Kind.SERVER, f"{fact.method} {fact.route}", at, fact.seconds, _served(fact), _failed(fact))
    error = "" if fact.outcome == "ok" else fact.outcome
    said = {"peer.service": fact.service, "bff.operation": fact.operation, "error.type": error}
    failed = "" if fact.outcome in _ASKED else fact.outcome
    return _span(span, Kind.CLIENT, f"{fact.service} {fact.operation}", at, fact.seconds, said, failed)


def _served(fact: RequestServed) -> dict[str, str | int]:
    """By OpenTelemetry's semantic conventions of HTTP servers; a problem's code is `error.type` where it is ours."""
    return {
        "http.request.method": fact.method,
        "http.route": fact.route,
        "http.response.status_code": fact.status,
        "bff.code": fact.code,
        "error.type": _failed(fact),
    }


def _failed(fact: RequestServed) -> str:
    """A desk's own mistake is no error of the server's."""
    return (fact.code or str(fact.status)) if fact.status >= 500 else ""


def _span(
    span: Span, kind: Kind, name: str, at: float, seconds: float, said: Mapping[str, str | int], failed: str
) -> dict[str, Any]:
    ended = round(at * 1e9)
    written: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "flags": int(span.sampled),
        "name": name,
        "kind": kind.value,
        "startTimeUnixNano": str(ended - round(seconds * 1e9)),
        "endTimeUnixNano": str(ended),
        "attributes": _attributes(said),
        "status": {"code": _ERROR, "message": failed} if failed else {},
    }
    if span.parent:
        written["parentSpanId"] = span.parent
    return written


def _attributes(said: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for name, value in said.items()
        if value != ""
    ]
