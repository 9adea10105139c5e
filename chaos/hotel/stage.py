"""Where plans of a hotel are played: in the virtual world, or at a running `bff up`. To works and checks both are one.

A stage has as many servers as a plan asks for, on the same stores: in the world they are put together on demand, live
the first is that of `bff up` and the others are `bff serve` begun beside it, which end with the stage.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import httpx
import trio

from bff.outside import real
from bff.stores.border import open_border
from bff.stores.postgres import open_ledger
from bff.wire.dial import connect
from bff.wire.exchange import Origin
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.hotel.asking import a_client, asked
from chaos.hotel.children import Server
from chaos.hotel.fleet.desk import Desk, Operator, Refused
from chaos.hotel.ready import running
from chaos.live.hatch import tell_hatch
from chaos.live.ports import LOOPBACK, hold, number
from chaos.play import Stage
from chaos.sim.entropy import chance
from chaos.toxics import BadToxic, Hang, Kill
from nurseries import listening

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator
    from random import Random

    from bff.outside import Connect, Outside
    from bff.stores.ledger import Ledger
    from chaos.hotel.ready import Kept
    from chaos.hotel.world import World
    from chaos.toxics import Toxic

Counters: TypeAlias = Mapping[str, Mapping[str, Mapping[str, int]]]

HTTP: Final = 80
BEGINS_AGAIN: Final = 0.3  # seconds until a server that was killed is there again: as long as a process needs, or so
AGAIN: Final = 1.0  # seconds after which a desk that could not sign in tries again
SAMPLE: Final = re.compile(r"^(?P<name>[a-zA-Z_:]+)(?:\{[^}]*\})? (?P<value>\S+)", re.MULTILINE)


class HotelStage(Stage, Protocol):
    """What works of the hotel need of where they are."""

    late: float  # seconds by which an answer may be late to who measures it at the desk

    @property
    def ledger(self) -> Ledger:
        """The ledger, on a line of one's own: for whoever audits what servers write."""
        ...

    def now(self) -> float:
        """The time of day in POSIX seconds."""
        ...

    def chance(self, about: str) -> Random:
        """What a work draws from: in the world, from its seed and from what it is for."""
        ...

    def person(self, number: int) -> Operator:
        """The operators of the hotel, one after the other."""
        ...

    def second_factor(self, number: int) -> str:
        """The code that `person(number)` steps up with."""
        ...

    async def origin(self, number: int) -> str:
        """Where server `number` is, from 0; it is begun where it does not run yet. Raises `LiveError`."""
        ...

    async def desk(self, name: str, *, server: int = 0) -> Desk:
        """A desk that is not signed in yet."""
        ...

    async def client(self, server: int) -> httpx.AsyncClient:
        """Somebody who reaches that server whatever name he asks for, as behind a balancer. Whoever takes it closes it.

        Raises `LiveError`.
        """
        ...

    async def counted(self, metric: str) -> float:
        """The sum of all samples of `metric` at all servers."""
        ...

    async def counters(self) -> Counters:
        """What the estate has counted: service, operation, and of it `calls`, `distinctKeys` and `effects`."""
        ...

    async def pool(self, server: int) -> tuple[Pool, Origin]:
        """The way to that server for who prepares every request himself: 64 desks at full speed. Closed by him."""
        ...

    async def kill_a_server(self, chance: Random) -> str:
        """End one that serves as `kill -9` does, and have it begun again; who it was, '' where nobody served."""
        ...


async def signed_in(stage: HotelStage, name: str, person: int, *, server: int = 0) -> Desk:
    """A desk that is signed in, however often it has to try."""
    desk = await stage.desk(name, server=server)
    while True:
        try:
            await desk.sign_in(stage.person(person))
        except Refused:
            await trio.sleep(AGAIN)
        else:
            return desk


def sum_of(exposition: str, metric: str) -> float:
    """The sum of all samples of `metric` in a page of Prometheus' text format."""
    return sum(float(one["value"]) for one in SAMPLE.finditer(exposition) if one["name"] == metric)


def _reaching(dial: Connect, origin: str) -> httpx.AsyncClient:
    """A client for which every name leads to `origin`."""
    url = httpx.URL(origin)

    async def dialled(host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
        del host, port
        return await dial(url.host, url.port or HTTP, tls)

    return httpx.AsyncClient(transport=TrioTransport(Pool(dialled)), trust_env=False)


def _parted(origin: str) -> Origin:
    url = httpx.URL(origin)
    return Origin(url.scheme, url.host, url.port or HTTP)


class VirtualStage:
    """The world as a stage."""

    late = 0.0

    def __init__(self, world: World) -> None:
        self._world = world
        self.ledger: Ledger = world.stores.ledger.session()
        self._begin = trio.Lock()
        self._links: dict[str, dict[str, ExitStack]] = {}

    def now(self) -> float:
        return self._world.now()

    def chance(self, about: str) -> Random:
        return chance(self._world.seed, "work", about)

    def person(self, number: int) -> Operator:
        there = self._world.hotel.operators
        one = there[number % len(there)]
        return Operator(one.tenant_id, one.operator_id, one.password)

    def second_factor(self, number: int) -> str:
        there = self._world.hotel.operators
        return there[number % len(there)].mfa_code

    async def origin(self, number: int) -> str:
        async with self._begin:
            while len(self._world.servers) <= number:
                await self._world.serve(f"bff-{len(self._world.servers) + 1}")
        return list(self._world.servers.values())[number].origin

    async def desk(self, name: str, *, server: int = 0) -> Desk:
        host = (await self.origin(server)).removeprefix("http://")
        return await self._world.desk(server=host, device=name, sign_in=False)

    async def client(self, server: int) -> httpx.AsyncClient:
        return _reaching(self._world.network.connect, await self.origin(server))

    async def counted(self, metric: str) -> float:
        shown, _ = self._world.meters.shown()
        return sum_of(shown.decode(), metric)

    async def counters(self) -> Counters:
        await trio.lowlevel.checkpoint()
        doors = self._world.estate.doors
        return {name: {what: n.shown() for what, n in door.service.counts.items()} for name, door in doors.items()}

    async def pool(self, server: int) -> tuple[Pool, Origin]:
        return Pool(self._world.network.host("spree").connect), _parted(await self.origin(server))

    async def kill_a_server(self, chance: Random) -> str:
        alive = [name for name, server in self._world.servers.items() if not server.over]
        if not alive:
            return ""
        name = chance.choice(alive)
        await self._world.servers[name].kill()
        await trio.sleep(BEGINS_AGAIN)
        async with self._begin:
            if self._world.servers[name].over:  # who heals everything may have been sooner
                await self._world.serve(name)
        return name

    async def inject(self, target: str, toxic: Toxic) -> None:
        """Also to a server (`bff kill`), to the lines of a host (`bff reset`), and between two (`desk-1|bff hang`)."""
        if target in self._world.servers and isinstance(toxic, Kill):
            await self._world.servers[target].kill()
        elif target in self._world.estate.doors or self._world.stores.named(target) is not None:
            self._world.inject(target, toxic)
        else:
            fault = self._fault_of_a_link(target, toxic)
            self._links.setdefault(target, {})[str(toxic)] = held = ExitStack()
            held.enter_context(fault)

    def _fault_of_a_link(self, target: str, toxic: Toxic) -> AbstractContextManager[None]:
        network = self._world.network
        one, bar, other = target.partition("|")
        services = {door.host for door in self._world.estate.doors.values()}
        hosts = {*self._world.servers, *services, *(desk.device for desk in self._world.desks if bar)}
        strangers = [name for name in target.split("|") if name not in hosts]
        if strangers:
            raise BadToxic(f"no service, store or host is called {strangers[0]!r}")
        if not bar:
            return network.inject(target, toxic)
        if not isinstance(toxic, Hang):
            raise BadToxic(f"{toxic.word}: between two hosts there is hang alone, which parts them")
        return network.partition(one, other)

    async def clear(self, target: str | None, toxic: Toxic | None = None) -> None:
        for name in list(self._links) if target is None else [target]:
            for word in list(self._links.get(name, ())):
                if toxic is None or word == str(toxic):
                    self._links[name].pop(word).close()
        for name, server in self._world.servers.items():
            if target in {None, name} and server.over:
                await self._world.serve(name)
        if target is None:
            self._world.heal()
        elif target in self._world.estate.doors or self._world.stores.named(target) is not None:
            self._world.clear(target, toxic)


@contextmanager
def virtual_stage(world: World) -> Iterator[VirtualStage]:
    """The stage of a world, whose facts are counted as the server itself counts them."""
    with listening(world.meters.hear):
        yield VirtualStage(world)


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
        told = {**_same_stores(self._ready), **_at(number(edge), number(ops))}
        server = Server(told, self._data / "logs" / f"server-{len(self._servers) + 1}.log", self._warn)
        self._parts.callback(server.stop)
        server.begin()
        line = await server.ready()
        return line.edge, line.ops

    async def desk(self, name: str, *, server: int = 0) -> Desk:
        client = a_client()
        self._clients.append(client)
        device = f"{name}-{self._outside.identifier()[:8]}"
        return Desk(client, await self.origin(server), self._outside, device=device)

    async def client(self, server: int) -> httpx.AsyncClient:
        return _reaching(connect, await self.origin(server))

    async def counted(self, metric: str) -> float:
        pages = [await asked("GET", f"{ops}/metrics") for _, ops in self._servers]
        return sum(sum_of(page.text, metric) for page in pages)

    async def counters(self) -> Counters:
        found: Counters = (await asked("GET", f"{self._ready.estate}/_estate/counters")).json()
        return found

    async def pool(self, server: int) -> tuple[Pool, Origin]:
        return Pool(connect), _parted(await self.origin(server))

    async def kill_a_server(self, chance: Random) -> str:
        await trio.lowlevel.checkpoint()
        workers: list[int] = running(self._data).pids["workers"]
        for worker in chance.sample(workers, len(workers)):  # one that was killed before may not be replaced yet
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                return f"worker {worker}"
        return ""

    async def inject(self, target: str, toxic: Toxic) -> None:
        await tell_hatch(self._ready.chaos, {"do": "inject", "target": target, "toxic": str(toxic)})

    async def clear(self, target: str | None, toxic: Toxic | None = None) -> None:
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
    }


def _at(edge: int, ops: int) -> Mapping[str, str]:
    return {"BFF_EDGE_BIND": f"{LOOPBACK}:{edge}", "BFF_OPS_BIND": f"{LOOPBACK}:{ops}"}
