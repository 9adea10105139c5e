"""What a mutation costs, on a whole hotel that really runs: claimed, carried out, recorded, and told.

As `dashboard.py`: so many desks at once, each charging the folios of its house one after the other, each charge with a
key of its own. Charges are counted by the estate: as many effects as keys, or there is no figure. Commits are counted
by PostgreSQL as transaction ids, of which each one that writes takes one: a mutation's own two, and what the relay
writes for whole batches.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import msgspec
import trio

from bff.outside import real
from bff.wire.dial import connect
from bff.wire.exchange import Origin, Prepared
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.hotel.bench import Figure
from chaos.hotel.bench.dashboard import CONCURRENCY, cpu_of_server, quantile, running
from chaos.hotel.fleet.desk import Desk, Operator
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.ready import Ready
from nurseries import within

WARM_UP: Final = 320  # mutations
MUTATIONS: Final = 3200
BODY: Final = msgspec.json.encode({"amountMinor": 100, "currency": "EUR", "description": "Minibar"})
NEXT_XID: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


@dataclass(slots=True)
class Till:
    """A desk, and the folio that it charges."""

    desk: Desk
    folio: str


class Load:
    """Desks that charge, as many at once as there are."""

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.took: list[float] = []
        self._pool = Pool(connect)
        self._tills: list[Till] = []
        host, _, port = ready.edge.rpartition("//")[2].partition(":")
        self._origin = Origin("http", host, int(port))

    async def open(self) -> None:
        """Sign everybody in, and give each a folio of its own."""
        outside = real(connect)
        taken: dict[str, int] = {}
        async with httpx.AsyncClient(transport=TrioTransport(Pool(connect))) as client:
            for number in range(CONCURRENCY):
                who = self.ready.operators[number % len(self.ready.operators)]
                desk = Desk(client, self.ready.edge, outside, device=f"till-{number}")
                session = await desk.sign_in(Operator(who["tenant"], who["operator"], who["password"]))
                house = session.properties[0]["id"]
                folios = await self._folios(desk, house)
                place = taken[house] = taken.get(house, -1) + 1
                self._tills.append(Till(desk, folios[place % len(folios)]))

    async def _folios(self, desk: Desk, house: str) -> list[str]:
        seen = await desk.get("/v1/workbench", {"propertyId": house})
        return [stay["folioId"] for stay in seen.body["inHouse"]]

    async def charge(self, times: int) -> float:
        """So many charges; the seconds they took in all."""
        self.took.clear()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for till in self._tills:
                nursery.start_soon(self._charge, till, times // len(self._tills))
        return trio.current_time() - began

    async def _charge(self, till: Till, times: int) -> None:
        path = f"/v1/folios/{till.folio}/charges"
        for _ in range(times):
            prepared = Prepared(self._origin, b"POST", path.encode(), _headers(till.desk, self.ready.edge + path), BODY)
            began = trio.current_time()
            with within(30):
                reply = await self._pool.fetch(prepared)
                self.took.append(trio.current_time() - began)
                assert reply.status == 201, reply.body


def _headers(desk: Desk, url: str) -> tuple[tuple[bytes, bytes], ...]:
    assert desk.session is not None, "signed in"
    token = desk.session.access_token
    proof = make_proof(desk.key, "POST", url, token=token, now=time.time(), jti=os.urandom(12).hex())
    return (
        (b"authorization", f"DPoP {token}".encode()),
        (b"dpop", proof.encode()),
        (b"x-device-id", desk.device.encode()),
        (b"content-type", b"application/json"),
        (b"idempotency-key", os.urandom(12).hex().encode()),
    )


def measure() -> list[Figure]:
    """The figures; takes about half a minute."""
    with tempfile.TemporaryDirectory(prefix="bff-bench-") as folder, running(Path(folder)) as (ready, _):
        load = Load(ready)
        trio.run(_open, load)
        xids, effects, cpu = _next_xid(ready), trio.run(_effects, ready), cpu_of_server(ready)
        seconds = trio.run(load.charge, MUTATIONS)
        cpu, xids = cpu_of_server(ready) - cpu, _next_xid(ready) - xids
        effects = trio.run(_effects, ready) - effects
    if effects != MUTATIONS:
        raise AssertionError(f"{MUTATIONS} charges had {effects} effects")
    times = sorted(load.took)
    at = f"{CONCURRENCY} at once"
    return [
        Figure(f"mutations, {at}", MUTATIONS / seconds, "/s", f"{os.cpu_count()} cores for all, {effects} effects"),
        Figure("server CPU per mutation", cpu / MUTATIONS * 1000, "ms"),
        Figure("writing transactions per mutation", xids / MUTATIONS, "commits", "goal: 2, and the relay's batches"),
        Figure(f"mutation, {at}, p50", statistics.median(times) * 1000, "ms"),
        Figure(f"mutation, {at}, p99", quantile(times, 0.99) * 1000, "ms"),
    ]


async def _open(load: Load) -> None:
    with within(120):
        await load.open()
        await load.charge(WARM_UP)
        return
    raise TimeoutError("the mutations' bench did not begin within 120 s")


async def _effects(ready: Ready) -> int:
    async with httpx.AsyncClient(transport=TrioTransport(Pool(connect))) as client:
        with within(5):
            counters = (await client.get(f"{ready.estate}/_estate/counters")).json()
            effects: int = counters["billing"]["charge"]["effects"]
            return effects
    raise TimeoutError("the estate does not answer")


def _next_xid(ready: Ready) -> int:
    async def asked() -> int:
        connection = await asyncpg.connect(ready.postgres_admin)
        try:
            xid: int = await connection.fetchval(NEXT_XID)
        finally:
            connection.terminate()
        return xid

    return asyncio.run(asked())
