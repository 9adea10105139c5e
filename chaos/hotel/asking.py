"""A question over HTTP to a part of the hotel that should be there, and one line when it is not."""

from __future__ import annotations

from typing import Any, Final

import httpx

from bff.wire.dial import connect
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.live.process import LiveError
from nurseries import described, within

ASKED_WITHIN: Final = 5.0  # seconds


def a_client() -> httpx.AsyncClient:
    """A client of httpx over the house's own transport, for real sockets."""
    return httpx.AsyncClient(transport=TrioTransport(Pool(connect)), trust_env=False)


async def asked(method: str, url: str, **what: Any) -> httpx.Response:
    """One answer, whatever its status; `what` is httpx's. Raises `LiveError` where there is none."""
    with within(ASKED_WITHIN):
        async with a_client() as client:
            try:
                return await client.request(method, url, **what)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise LiveError(f"{url} does not answer ({described(error)})") from None
    raise LiveError(f"{url} did not answer within {ASKED_WITHIN:.0f} s")
