"""httpx's face of the pool: any `httpx.AsyncClient` gets the same connections, bounds and refusals as the hot path.

What differs from httpx's default transport, on purpose:

    timeouts of httpx are not looked at: the scope around the call is the timeout, and there must be one
    an answer is read whole, within its bound, before the call returns: a half-read answer cannot leak a connection
    a request body is read whole and sent by its length
    the transport says framing, `Host` and `Accept-Encoding` itself, and so drops what httpx's client says of them
    an answer that came in gzip is handed on decoded, without `Content-Encoding`
    what carries a DPoP proof is never sent a second time: a proof is good once (RFC 9449, 11.1), and whoever asks again
    makes another one
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import httpx

from bff.wire.exchange import DEFAULT_PORTS, Origin, Prepared

if TYPE_CHECKING:
    from bff.wire.pool import Pool

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110, 9.2.2
SAID_BY_HTTPX = frozenset(
    (b"host", b"connection", b"keep-alive", b"content-length", b"transfer-encoding", b"accept-encoding")
)
_EXTENSIONS = {"http_version": b"HTTP/1.1"}


class TrioTransport(httpx.AsyncBaseTransport):
    """`httpx.AsyncClient(transport=TrioTransport(pool))`. Closing the client closes the pool.

    Raises what `Pool.fetch` raises: httpx's own exceptions, and `nurseries.Unbounded` without a deadline around it.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        reply = await self._pool.fetch(prepared(request, body))
        return httpx.Response(
            reply.status,
            headers=list(reply.headers),
            stream=httpx.ByteStream(reply.body),
            extensions=_EXTENSIONS.copy(),
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


def prepared(request: httpx.Request, body: bytes) -> Prepared:
    """An httpx request as the pool sends it. Raises `httpx.LocalProtocolError` for a `Host` that is not the URL's."""
    url = request.url
    origin, authority = _origin(url.scheme, url.raw_host, url.port)
    repeatable = request.method in IDEMPOTENT or "idempotency-key" in request.headers
    kept = []
    for name, value in request.headers.raw:
        lower = name.lower()
        if lower not in SAID_BY_HTTPX:
            kept.append((lower, value))
        elif lower == b"host" and value.lower() != authority:
            raise httpx.LocalProtocolError(f"Host {value!r} is not the host of the URL")
    once = "dpop" in request.headers
    return Prepared(origin, request.method.encode(), url.raw_path, tuple(kept), body, repeatable and not once)


@lru_cache(maxsize=256)
def _origin(scheme: str, host: bytes, port: int | None) -> tuple[Origin, bytes]:
    origin = Origin(scheme, host.decode(), port or DEFAULT_PORTS.get(scheme, 0))
    return origin, origin.authority().lower()
