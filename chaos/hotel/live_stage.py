"""A running `bff up` as a stage for plans of a hotel.

Its first server is that of `bff up`; the others that a plan asks for are `bff serve` begun beside it, on the same
stores, and end with the stage.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import trio

from bff.config import AUDIT_KEY
from bff.outside import real
from bff.stores.border import open_border
from bff.stores.postgres import open_ledger
from bff.wire.dial import connect
from bff.wire.pool import Pool
from chaos.hotel.asking import a_client, asked
from chaos.hotel.children import Server
from chaos.hotel.fleet.desk import Desk, Operator
from chaos.hotel.fleet.platform import Platform
from chaos.hotel.ready import running
from chaos.hotel.signing import setting_of
from chaos.hotel.stage import parted, reaching, sum_of
from chaos.live.hatch import tell_hatch
from chaos.live.ports import LOOPBACK, hold, number
from chaos.sim.entropy import chance
from chaos.toxics import Kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path
    from random import Random

    from bff.outside import Outside
    from bff.stores.ledger import Ledger
    from bff.wire.exchange import Origin
    from chaos.hotel.ready import Kept
    from chaos.hotel.stage import Counters
    from chaos.toxics import Toxic


class LiveStage:
    """A running `bff up` as a stage. Made by `live_stage`."""

    late = 0.25  # a machine with other things to do

    def __init__(self, ready: Kept, data: Path, ledger: Ledger, parts: ExitStack, warn: Callable[[str], None]) -> None:
        self._ready = ready
        self._data = data
        self.ledger = ledger
        self._parts = parts
        self._warn = warn
        self._begin = trio.Lock()
        self._outside: Outside = real(connect)
        self._clients: list[httpx.AsyncClient] = []
        self._servers = [(ready.edge, ready.ops)]
        self._begun_here: dict[str, Server] = {}

    def now(self) -> float:
        return self._outside.now()

    def chance(self, about: str) -> Random:
        return chance(int.from_bytes(self._outside.entropy(8), "big"), about)

    def person(self, number: int) -> Operator:
        one = self._ready.operators[number % len(self._ready.operators)]
        return Operator(one["tenant"], one["operator"], one["password"])

    def second_factor(self, number: int) -> str:
        code: str = self._ready.operators[number % len(self._ready.operators)]["mfaCode"]
        return code

    async def origin(self, number: int) -> str:
        async with self._begin:
            while len(self._servers) <= number:
                self._servers.append(await self._begun())
        return self._servers[number][0]

    async def _begun(self) -> tuple[str, str]:
        """One more server on the same stores, as it would be started on another machine."""
        edge, ops = (self._parts.enter_context(hold()) for _ in range(2))
        told = {**_same_stores(self._ready), **self._same_key(), **_at(number(edge), number(ops))}
        name = f"bff-{len(self._servers) + 1}"
        server = self._begun_here[name] = Server(told, self._data / "logs" / f"{name}.log", self._warn)
        self._parts.callback(server.stop)
        server.begin()
        line = await server.ready()
        return line.edge, line.ops

    def _same_key(self) -> dict[str, str]:
        """What its own server signs with: whichever server leads, one key checks the trail."""
        setting = setting_of(self._ready.audit_public_key, self._data, os.environ)
        if setting is None:
            self._warn(f"the servers begun here sign nothing: set {AUDIT_KEY} as it was set for `bff up`")
            return {}
        return {AUDIT_KEY: setting}

    async def desk(self, name: str, *, server: int = 0) -> Desk:
        client = a_client()
        self._clients.append(client)
        device = f"{name}-{self._outside.identifier()[:8]}"
        return Desk(client, await self.origin(server), self._outside, device=device)

    def outside(self, name: str) -> Outside:
        del name  # real entropy is everybody's own
        return self._outside

    async def platform(self, server: int) -> Platform:
        await self.origin(server)
        return Platform(a_client(), self._servers[server][1], self._ready.internal_token)

    async def client(self, server: int) -> httpx.AsyncClient:
        return reaching(connect, await self.origin(server))

    async def counted(self, metric: str) -> float:
        pages = [await asked("GET", f"{ops}/metrics") for _, ops in self._servers]
        return sum(sum_of(page.text, metric) for page in pages)

    async def counters(self) -> Counters:
        found: Counters = (await asked("GET", f"{self._ready.estate}/_estate/counters")).json()
        return found

    async def pool(self, server: int) -> tuple[Pool, Origin]:
        return Pool(connect), parted(await self.origin(server))

    async def kill_a_server(self, chance: Random) -> str:
        await trio.lowlevel.checkpoint()
        workers: list[int] = running(self._data).pids["workers"]
        for worker in chance.sample(workers, len(workers)):  # one that was killed before may not be replaced yet
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                return f"worker {worker}"
        return ""

    async def inject(self, target: str, toxic: Toxic) -> None:
        """Also to a server that was begun here (`bff-2 kill`)."""
        server = self._begun_here.get(target)
        if server is not None and server.child is not None and isinstance(toxic, Kill):
            server.child.kill()
            await trio.lowlevel.checkpoint()
        else:
            await tell_hatch(self._ready.chaos, {"do": "inject", "target": target, "toxic": str(toxic)})

    async def clear(self, target: str | None, toxic: Toxic | None = None) -> None:
        for name, server in self._begun_here.items():
            if target in {None, name} and server.child is not None and not server.child.alive:
                server.begin()
                await server.ready()
        if target not in self._begun_here:
            narrowed = {} if toxic is None else {"toxic": str(toxic)}
            await tell_hatch(self._ready.chaos, {"do": "clear", "target": target, **narrowed})

    async def close(self) -> None:
        """No desk is left."""
        for client in self._clients:
            await client.aclose()


@asynccontextmanager
async def live_stage(ready: Kept, data: Path, warn: Callable[[str], None]) -> AsyncIterator[LiveStage]:
    """The stage of what runs on `data`. Whatever it began beside it has ended when this is left."""
    with ExitStack() as parts:
        async with open_border() as border, open_ledger(border, ready.postgres) as ledger:
            stage = LiveStage(ready, data, ledger, parts, warn)
            try:
                yield stage
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                    await stage.close()


def _same_stores(ready: Kept) -> Mapping[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BFF_")}
    return {
        **ours,
        **ready.stores,  # as its own server has them, with what is wrong on the way
        "BFF_ESTATE_URL": ready.estate,
        "BFF_INTERNAL_TOKEN": ready.internal_token,
    }


def _at(edge: int, ops: int) -> Mapping[str, str]:
    return {"BFF_EDGE_BIND": f"{LOOPBACK}:{edge}", "BFF_OPS_BIND": f"{LOOPBACK}:{ops}"}
