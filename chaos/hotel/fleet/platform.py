"""The platform, that has something to say to desks: Pub/Sub's push to `/internal/events`, until it is taken."""

from __future__ import annotations

from base64 import b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import trio

from chaos.hotel.asking import a_client
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE: Final = 5.0  # seconds for one push
AGAIN: Final = 0.02  # seconds until one that was not taken is pushed again


class Platform:
    """At the ops listener `ops` of a server, with its internal token. Whoever has it closes it."""

    def __init__(self, client: httpx.AsyncClient, ops: str, token: str) -> None:
        self._client = client
        self._url = f"{ops.rstrip('/')}/internal/events"
        self._bearer = {"authorization": f"Bearer {token}"}

    async def push(self, kind: str, uid: str, tenant: str, *, data: dict[str, Any] | None = None, **ids: str) -> int:
        """An event, once; the status of the answer, 0 where there was none. `ids` narrow whom it reaches."""
        told = {"type": kind, "tenantId": tenant, "data": data or {}, **ids}
        message = {"messageId": uid, "data": b64encode(msgspec.json.encode(told)).decode()}
        with within(PATIENCE):
            try:
                answer = await self._client.post(self._url, json={"message": message}, headers=self._bearer)
            except httpx.TransportError:
                return 0
            return answer.status_code
        return 0

    async def aclose(self) -> None:
        """There is nothing more to say."""
        await self._client.aclose()

    async def insist(
        self, kind: str, uid: str, tenant: str, *, data: dict[str, Any] | None = None, **ids: str
    ) -> float:
        """The same until it is taken; when that was, on Trio's clock. Has no deadline but whoever asks sets one."""
        status = 0
        while status != 204:
            status = await self.push(kind, uid, tenant, data=data, **ids)
            await trio.sleep(0 if status == 204 else AGAIN)
        return trio.current_time()


@asynccontextmanager
async def open_platform(ops: str, token: str) -> AsyncIterator[Platform]:
    """For as long as the block lasts."""
    async with a_client() as client:
        yield Platform(client, ops, token)
