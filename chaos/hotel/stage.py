"""Where plans of a hotel are played: in the virtual world, or at a running `bff up` (`live_stage.py`).

To works and checks both are one. A stage has as many servers as a plan asks for, on the same stores.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import httpx
import trio

from bff.outside import Outside
from bff.wire.exchange import Origin
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.hotel.fleet.desk import Desk, Operator, Refused
from chaos.hotel.fleet.platform import Platform
from chaos.play import Stage
from chaos.sim.entropy import chance, entropy
from chaos.toxics import BadToxic, Hang, Kill
from nurseries import listening

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from random import Random

    from bff.outside import Connect
    from bff.stores.ledger import Ledger
    from chaos.hotel.stores.lines import Trouble
    from chaos.hotel.world import World
    from chaos.toxics import Toxic

Counters: TypeAlias = Mapping[str, Mapping[str, Mapping[str, int]]]

HTTP: Final = 80
BUS: Final = "bus"  # a target: what each server follows the bus by
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

    def outside(self, name: str) -> Outside:
        """The time of day, entropy and the way out, as somebody called `name` has them: anew at each call."""
        ...

    async def platform(self, server: int) -> Platform:
        """Whoever has something to say to desks, at that server. Whoever takes him closes him. Raises `LiveError`."""
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


def reaching(dial: Connect, origin: str) -> httpx.AsyncClient:
    """A client for which every name leads to `origin`."""
    return through(balanced(dial, (origin,)))


def through(dial: Connect) -> httpx.AsyncClient:
    """A client that dials so. Whoever takes it closes it."""
    return httpx.AsyncClient(transport=TrioTransport(Pool(dial)), trust_env=False)


def balanced(dial: Connect, origins: Sequence[str]) -> Connect:
    """A way on which every name leads to the first of `origins`, or else to the next one at which somebody answers."""
    *some, last = [parted(origin) for origin in origins]

    async def dialled(host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
        del host, port
        for there in some:
            with suppress(OSError):
                return await dial(there.host, there.port, tls)
        return await dial(last.host, last.port, tls)

    return dialled


def parted(origin: str) -> Origin:
    """An origin that was said as a URL."""
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
        self._outsides: Counter[str] = Counter()

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

    def outside(self, name: str) -> Outside:
        connect = self._world.network.host(name).connect
        self._outsides[name] += 1
        return Outside(self._world.now, entropy(self._world.seed, "outside", name, self._outsides[name]), connect)

    async def platform(self, server: int) -> Platform:
        await self.origin(server)
        name = list(self._world.servers)[server]
        client = httpx.AsyncClient(transport=_Within(self._world, name), trust_env=False)
        return Platform(client, f"http://{name}", self._world.internal_token)

    async def client(self, server: int) -> httpx.AsyncClient:
        return reaching(self._world.network.connect, await self.origin(server))

    async def counted(self, metric: str) -> float:
        one = self._world.meters.registry.restricted_registry([metric])
        return sum(said.value for family in one.collect() for said in family.samples if said.name == metric)

    async def counters(self) -> Counters:
        await trio.lowlevel.checkpoint()
        doors = self._world.estate.doors
        return {name: {what: n.shown() for what, n in door.service.counts.items()} for name, door in doors.items()}

    async def pool(self, server: int) -> tuple[Pool, Origin]:
        return Pool(self._world.network.host("spree").connect), parted(await self.origin(server))

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
        """Also to a server (`bff kill`), to the lines of a host (`bff reset`), between two (`desk-1|bff hang`), and to
        the lines on which servers follow the bus (`bus hang`): they look well, and nothing comes any more (F-34).
        """
        if target in self._world.servers and isinstance(toxic, Kill):
            await self._world.servers[target].kill()
        elif target == BUS and isinstance(toxic, Hang):
            self._deaf("deaf")
        elif target in self._world.estate.doors or self._world.stores.named(target) is not None:
            self._world.inject(target, toxic)
        else:
            fault = self._fault_of_a_link(target, toxic)
            self._links.setdefault(target, {})[str(toxic)] = held = ExitStack()
            held.enter_context(fault)

    def _deaf(self, trouble: Trouble) -> None:
        for line in self._world.lines.values():
            line.turn(trouble)

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
        if target in {None, BUS}:
            self._deaf("")
        for name, server in self._world.servers.items():
            if target in {None, name} and server.over:
                await self._world.serve(name)
        if target is None:
            self._world.heal()
        elif target in self._world.estate.doors or self._world.stores.named(target) is not None:
            self._world.clear(target, toxic)


class _Within(httpx.AsyncBaseTransport):
    """The way to the ops listener of a server of the world, for as long as the server lives."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        server = self._world.servers[self._name]
        if server.over:
            raise httpx.ConnectError(f"nobody listens at {self._name}")
        return await httpx.ASGITransport(server.house.ops).handle_async_request(request)


@contextmanager
def virtual_stage(world: World) -> Iterator[VirtualStage]:
    """The stage of a world, whose facts are counted as the server itself counts them."""
    with listening(world.meters.hear):
        yield VirtualStage(world)
