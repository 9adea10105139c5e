"""The whole hotel in one process and in virtual time: servers, estate, stores and desks on one network, from one seed.

    desk ──► network ──► edge ──► server (compose) ──► network ──► the estate's 14 services, a host each
                                    └──► the stores, simulated

Nothing of the product is replaced but what it is handed: the outside (time of day, entropy, the way out) and the
stores. The edge is the server's own protocol code on simulated streams, the estate's services are those of `bff up`,
desks are those of the fleet. Time is Trio's: under a `MockClock` that jumps, a deadline costs nothing to wait for, and
how late an answer is is exact.

    async with open_world(seed=7) as world:
        desk = await world.desk()
        world.inject("pricing", "hang")
        seen = await desk.dashboard()

Every draw comes from the seed and from the name of who draws. Leaving the block heals everything, lets what is under
way end, ends every server in good order, and raises `AssertionError` for what is still alive then.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import httpx
import trio

from bff.config import Bind, Pushed, Rates, Secret, Settings
from bff.facts import AppFailed, Surprised
from bff.house import Stores
from bff.memory import Memory
from bff.meters import Meters
from bff.outside import Outside
from bff.upstreams.services import SERVICES
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.hotel.checks.listed import all_listed
from chaos.hotel.estate.control import Estate
from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.estate.iam import ISSUER
from chaos.hotel.estate.services import build_services
from chaos.hotel.estate.serving import Door
from chaos.hotel.fleet.desk import Desk, Operator
from chaos.hotel.instance import PORT, Instance, run_instance
from chaos.hotel.stores.cache import SimCache
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.stores.lines import BusLine
from chaos.hotel.stores.tier import SimTier
from chaos.sim.entropy import between, entropy
from chaos.sim.link import Network
from chaos.toxics import Toxic, split
from nurseries import OwnedTaskFailed, listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from bff.outside import Connect
    from bff.tracing import Tracing
    from chaos.hotel.estate import hotel as day
    from chaos.hotel.estate.control import Authority
    from chaos.hotel.stores.faulty import Faulty

Now: TypeAlias = "Callable[[], float]"

MORNING: Final = 1_439_622_000.0  # 2015-08-15T07:00:00Z: the estate's business day has begun, in POSIX seconds
BUGS: Final = (AppFailed, Surprised, OwnedTaskFailed)  # what only a mistake of ours can cause
TOKEN_SECONDS: Final = 900
INTERNAL_TOKEN: Final = "internal"  # noqa: S105 -- of a world without walls
NO_RATES: Final = Rates(requests=0.0, address=0.0, streams=0.0, passwords=0.0, codes=0.0)
NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
SETTLE_SECONDS: Final = 5.0  # the longest that anything of a request may go on once it is answered
LOOK_SECONDS: Final = 0.01  # between two looks whether it does


@dataclass(frozen=True, slots=True)
class SimStores:
    """The stores of all servers, each with its faults."""

    tier: SimTier = field(default_factory=SimTier)
    cache: SimCache = field(default_factory=SimCache)
    ledger: SimLedger = field(default_factory=SimLedger)

    def named(self, name: str) -> Faulty | None:
        """A store by the name it has in the contract."""
        return next((store for store in (self.tier, self.cache, self.ledger) if store.store == name), None)

    def heal(self) -> None:
        """All of them work, at once."""
        for store in (self.tier, self.cache, self.ledger):
            store.clear()


class World:
    """Everything there is. Made by `open_world`.

    `facts` is all that was told in it, in order; `now()` the time of day in POSIX seconds, the same for everybody.
    `held` is how many bytes each server finds that it holds; 0 where nobody counts. `push` is whose push a server that
    is started from now on takes at its edge, `traces` where it posts spans; nobody's and nowhere where it is None.
    """

    def __init__(
        self, seed: int, now: Now, network: Network, nursery: trio.Nursery, rates: Rates, known_as: Mapping[str, str]
    ) -> None:
        self.seed = seed
        self.internal_token = INTERNAL_TOKEN
        self.now = now
        self.network = network
        self.estate, self.authority = _estate(self, nursery)
        self.stores = SimStores()
        self.hotel = build_hotel()
        self.facts: list[object] = []
        self.servers: dict[str, Instance] = {}
        self.lines: dict[str, BusLine] = {}  # each server's own to the bus
        self.desks: list[Desk] = []
        self.held = 0
        self.push: Pushed | None = None
        self.traces: Tracing | None = None
        self.counters = ""  # where the estate counts what it changed; nowhere before `count_changes`
        self._nursery = nursery
        self._told = _settings(self.estate, rates, known_as)
        self._clients: list[httpx.AsyncClient] = []
        self._lives: dict[str, int] = {}

    @cached_property
    def meters(self) -> Meters:
        """Of all servers together. They hear nothing unless somebody lets them, and are dear to make."""
        return Meters()

    # -- who is there -------------------------------------------------------------------------------------------

    async def serve(self, name: str = "bff", *, connect: Connect | None = None) -> Instance:
        """A server at `name`, as if it were started there now: it knows nothing but what the stores keep.

        `connect` is its way out, that of its host on the network where it is not given.
        """
        life = self._lives[name] = self._lives.get(name, 0) + 1
        chance = entropy(self.seed, "server", name, life)
        memory = Memory(lambda: self.held)
        outside = Outside(self.now, chance, connect or self.network.host(name).connect, memory)
        session = self.stores.ledger.session()
        line = self.lines[name] = BusLine(self.stores.tier.bus)
        stores = Stores(self.stores.tier, self.stores.cache, session, line)
        told = replace(self._told, push=self.push, traces=self.traces, counters=self.counters)
        run = partial(run_instance, name, told, outside, stores, self.network, ended=session.close)
        server: Instance = await self._nursery.start(run)
        self.servers[name] = server
        return server

    def count_changes(self) -> None:
        """Servers that are started from now on know where the estate counts what it changed."""
        door = Door(self.estate.control(), self.network.listen, self._nursery, host="counters.estate", port=PORT)
        self.counters = f"{door.url}/_estate/counters"

    async def desk(
        self, who: day.Operator | None = None, *, server: str = "bff", device: str | None = None, sign_in: bool = True
    ) -> Desk:
        """A desk of `who` (by default the hotel's first operator) that asks `server`, signed in."""
        number = len(self.desks) + 1
        name = device or f"desk-{number}"
        outside = Outside(self.now, entropy(self.seed, "desk", number), self.network.host(name).connect)
        desk = Desk(self.client(name), f"http://{server}", outside, device=name)
        self.desks.append(desk)
        if sign_in:
            person = who or self.hotel.operators[0]
            await desk.sign_in(Operator(person.tenant_id, person.operator_id, person.password))
        return desk

    def client(self, host: str) -> httpx.AsyncClient:
        """Somebody at `host` who speaks HTTP; closed at the world's end."""
        client = httpx.AsyncClient(transport=TrioTransport(Pool(self.network.host(host).connect)), trust_env=False)
        self._clients.append(client)
        return client

    # -- what goes wrong ----------------------------------------------------------------------------------------

    def inject(self, target: str, toxic: Toxic | str) -> None:
        """A fault of a service or a store, as a value or in the words of `bff chaos inject`.

        In force when this returns. Raises `BadToxic` for what cannot be.
        """
        toxic = split(toxic) if isinstance(toxic, str) else toxic
        store = self.stores.named(target)
        if store is None:
            self.estate.inject(target, toxic)
        else:
            store.inject(toxic)

    def clear(self, target: str | None = None, toxic: Toxic | None = None) -> None:
        """Heal one service or store, or all services; with `toxic` that fault alone, where it is a service's."""
        store = None if target is None else self.stores.named(target)
        if store is None:
            self.estate.clear(target, toxic)
        else:
            store.clear()

    def heal(self) -> None:
        """Heal every service and every store. Rules of the network end with their `with`."""
        self.clear()
        self.stores.heal()

    # -- what is left -------------------------------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """What of requests is alive, one line each: tasks, exchanges, connections the estate works on for nobody.

        Of the connections a server keeps some may be dead by now, which it finds out when it next needs one.
        """
        found = [line for server in self.servers.values() for line in server.leftovers()]
        held = sum(server.house.pool.free for server in self.servers.values())
        there = sum(self.network.connected(door.host) for door in self.estate.doors.values())
        return found if found or there <= held else [f"{there} connections to the estate, of which {held} are kept"]

    async def quiet(self) -> None:
        """Let time go until nothing of any request is alive.

        Raises `AssertionError` for what still is after `SETTLE_SECONDS`.
        """
        for _ in range(round(SETTLE_SECONDS / LOOK_SECONDS)):
            await trio.sleep(LOOK_SECONDS)  # nothing tells that nothing happens any more: in virtual time one may look
            if not self.leftovers():
                return
        raise AssertionError(f"alive {SETTLE_SECONDS:g} s after their request: {', '.join(self.leftovers())}")

    async def end(self) -> None:
        """Heal, let what is under way end, then end desks and servers.

        Raises `AssertionError` for what is left, for a bug that was told, and for an answer that the contract has not.
        """
        self.heal()
        await self.quiet()
        no_bugs(self.facts)
        all_listed(self.facts)
        for client in self._clients:
            await client.aclose()
        for server in self.servers.values():
            await server.end()
        await self.quiet()  # by now nobody is left who could want anything of the estate


def no_bugs(facts: Iterable[object]) -> None:
    """Raises `AssertionError` for what only a mistake of ours can have caused."""
    bugs = [fact for fact in facts if isinstance(fact, BUGS)]
    assert not bugs, f"told: {bugs}"


@asynccontextmanager
async def open_world(
    *,
    seed: int = 0,
    servers: tuple[str, ...] = ("bff",),
    answers_take: tuple[float, float] = (0.0, 0.0),
    desk_latency: float = 0.0,
    rates: Rates = NO_RATES,
    known_as: Mapping[str, str] = NO_NAMES,
) -> AsyncIterator[World]:
    """A world on the clock of this Trio run.

    `answers_take` is how long answers of the estate are under way, from least to most seconds; `desk_latency` is
    seconds one way between a desk and a server. Rates are off where a world does not say otherwise.
    `known_as` are the origins that desks know, `public` and `fallback`, which servers then look at from outside.
    """
    raised: Exception | None = None
    async with trio.open_nursery() as nursery:
        with ExitStack() as faults:
            network = Network(latency=desk_latency, seed=seed)
            world = World(seed, _clock(), network, nursery, rates, known_as)
            faults.enter_context(listening(world.facts.append))
            least, most = answers_take
            for door in world.estate.doors.values():
                one_way = between(least / 2, most / 2, seed, "way", door.host)
                faults.enter_context(network.delay(door.host, one_way))
            try:
                for name in servers:
                    await world.serve(name)
                yield world
                await world.end()
            except Exception as error:  # held back only until all has ended: in the nursery it would become a group
                raised = error
        nursery.cancel_scope.cancel(reason="the world ends")
    if raised is not None:
        raise raised


def _clock() -> Now:
    began = trio.current_time()
    return lambda: MORNING + (trio.current_time() - began)


def _estate(world: World, nursery: trio.Nursery) -> tuple[Estate, Authority]:
    services, authority = build_services(
        build_hotel(), now=world.now, entropy=entropy(world.seed, "iam"), token_ttl=TOKEN_SECONDS, seed=world.seed
    )
    listen = world.network.listen
    doors = [Door(one, listen, nursery, host=f"{one.name}.estate", port=PORT) for one in services]
    return Estate(doors, authority), authority


def _settings(estate: Estate, rates: Rates, known_as: Mapping[str, str]) -> Settings:
    """What a server is told: where the estate is. The stores' addresses are for adapters that are not there."""
    return Settings(
        edge=Bind("0.0.0.0", PORT),
        ops=Bind("127.0.0.1", 9090),
        ops_token=None,
        postgres=Secret("postgresql://ledger"),
        redis_session=Secret("redis://tier"),
        redis_cache=Secret("redis://cache"),
        upstreams={name: estate.doors[name].url for name in SERVICES},
        tls=None,
        public_origin=known_as.get("public"),
        public_fallback=known_as.get("fallback"),
        trusted_proxies=(),
        token_issuer=ISSUER,
        rates=rates,
        pubsub=estate.doors["pubsub"].url,
        internal_token=Secret(INTERNAL_TOKEN),
    )
