"""What services count of the changes that they were asked for, at one address for all of them: `BFF_COUNTERS_URL`.

    {service: {operation: {"distinctKeys": …, "effects": …}}}

`distinctKeys` are the idempotency keys that came for the first time, `effects` the changes really made; both are
counted in one step, when the change is made or refused. A service that keeps its promise makes one change for a key at
most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import httpx
import msgspec

from bff.model import Down
from bff.upstreams.drift import UNREADABLE
from bff.wire.exchange import DEFAULT_PORTS, Origin, Prepared

if TYPE_CHECKING:
    from bff.wire.pool import Pool


class Count(msgspec.Struct, frozen=True, rename="camel"):
    """Of one operation, since the service began."""

    distinct_keys: int = 0
    effects: int = 0


Counted: TypeAlias = Mapping[str, Mapping[str, Count]]


class Counters:
    """Reads them at `url`."""

    def __init__(self, pool: Pool, url: str) -> None:
        parts = urlsplit(url)
        origin = Origin(parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
        target = (f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/").encode("ascii")
        self._pool = pool
        self._asks = Prepared(origin, b"GET", target, ((b"accept", b"application/json"),), repeatable=True)

    async def read(self) -> Counted | Down:
        """All of them, or why not. Needs a finite deadline above it."""
        try:
            reply = await self._pool.fetch(self._asks)
            if reply.status != 200:
                return Down(f"status {reply.status}")
            counted: Counted = msgspec.json.decode(reply.body, type=dict[str, dict[str, Count]])
        except (httpx.TransportError, httpx.DecodingError, *UNREADABLE) as error:
            return Down(type(error).__name__)
        return counted
