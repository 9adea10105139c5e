"""The whole hotel on one machine: stores, estate, ledger's schema, server, and the hatch to break them through.

    estate      fourteen stand-in services, each on its own socket        one process
    stores      PostgreSQL and two Redis, from wheels or given by URL     their own processes
    proxy       in front of the stores, for the server alone              one process, replaced when it dies
    server      `bff serve`, as a container runs it                       one process or several, replaced when they die
    hatch       chaos control, on loopback                                here

Begun in that order, each as soon as it can be: the estate warms up while the stores start, the schema is brought up to
date while the server does. Ended the other way round, so that the server can finish what it holds while its stores
still answer. Every child is leashed: whatever ends this process ends them (`chaos.live.process`).

What is running is written to `DATA/run.json`, readable by its owner alone, which is how the other commands find it.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from bff.config import AUDIT_KEY, variable
from bff.outside import real
from bff.stores.migrate import MigrationError, migrate
from bff.upstreams.services import LOCATED
from bff.wire.dial import connect
from chaos.hotel.asking import asked
from chaos.hotel.children import EstateLine, Server, ServerLine, begun_estate, estate_line
from chaos.hotel.faults import EstateFaults, HotelFaults, StoreFaults
from chaos.hotel.ready import RUN, Ready, kept
from chaos.hotel.signing import signing
from chaos.live.folder import Folder, claim, write_private
from chaos.live.hatch import Hatch
from chaos.live.ports import LOOPBACK, hold, number
from chaos.live.process import Child, LiveError
from chaos.live.proxy import Proxy, begun_proxy
from chaos.live.stores import CACHE, NAMES, POSTGRES, SESSION, Given, Running, stores_in
from nurseries import Backoff, open_owner, within

MIGRATES_WITHIN: Final = 10.0  # seconds
FIT_WITHIN: Final = 3.0  # to find every store up, from when it listens
LOOK_AGAIN: Final = 0.02
GIVEN_BY: Final = {
    POSTGRES: "BFF_POSTGRES_URL",
    SESSION: "BFF_REDIS_SESSION_URL",
    CACHE: "BFF_REDIS_CACHE_URL",
}
REPLACED: Final = Backoff(first=0.05, most=5.0, calm=10.0)
OWNED: Final = 256  # injections that heal by themselves, the proxy and the server


@dataclass(frozen=True, slots=True)
class Options:
    """`bff up`'s options. A port of 0 is any free one; `token_ttl` in seconds."""

    port: int = 8080
    ops_port: int = 9090
    estate_port: int = 9100
    data: Path = Path(".bff")
    fresh: bool = False
    token_ttl: int = 900
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Heard:
    """Who is told what: `announce` that it is ready, and after how many seconds; `warn` what a person should know."""

    announce: Callable[[Ready, float], None]
    warn: Callable[[str], None]


async def hotel(options: Options, env: Mapping[str, str], heard: Heard) -> None:
    """Start everything, announce it, and run until SIGINT or SIGTERM. Raises `LiveError` with one clear line."""
    began = trio.current_time()
    _allow_many_sockets()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as hearing:
            everything = trio.CancelScope()
            hearing.start_soon(_end_when_told, signals, everything)
            with everything:
                await _run(options, env, heard, began)
            hearing.cancel_scope.cancel(reason="it has ended")


async def _end_when_told(signals: AsyncIterator[int], everything: trio.CancelScope) -> None:
    """The first signal ends everything. Others change nothing, since the end has a bound; but they must be heard:

    one that was not would be delivered once more, by its default, when nobody listens any longer.
    """
    async for _ in signals:
        for impatient in (signal.SIGINT, signal.SIGTERM):
            signal.signal(impatient, signal.SIG_IGN)
        everything.cancel(reason="asked to end")


async def _run(options: Options, env: Mapping[str, str], heard: Heard, began: float) -> None:
    given = _given(env)
    with ExitStack() as parts:
        edge = parts.enter_context(_held(options.port, "--port"))
        ops = parts.enter_context(_held(options.ops_port, "--ops-port"))
        with _held(options.estate_port, "--estate-port"):
            pass  # the estate takes it by itself: this says in time that it cannot
        folder = parts.enter_context(claim(options.data, fresh=options.fresh))
        logs, signs = folder.logs, signing(folder, env)
        child = parts.enter_context(begun_estate(options.estate_port, options.token_ttl, env, logs / "estate.log"))
        stores = parts.enter_context(stores_in(folder, given))
        proxy = parts.enter_context(begun_proxy(stores.urls, logs / "proxy.log", heard.warn))
        line = await estate_line(child, env)
        await proxy.ready()
        told = _server_env(env, proxy.urls, line, edge=number(edge), ops=number(ops)) | {AUDIT_KEY: signs.setting}
        server = Server(told, logs / "server.log", heard.warn, workers=options.workers)
        parts.callback(server.stop)
        server.begin()
        await _migrated(stores.postgres_admin_url, given)
        addresses = await server.ready()
        await _fit(addresses.ops, env, ours=stores.stores)
        hotel = Hotel(addresses, line, stores, proxy, server, child, told["BFF_INTERNAL_TOKEN"], signs.public)
        await _open(hotel, folder, heard, began)


@dataclass(frozen=True, slots=True)
class Hotel:
    """Everything that runs, but for the hatch."""

    addresses: ServerLine
    line: EstateLine
    stores: Running
    proxy: Proxy
    server: Server
    estate: Child | None
    token: str
    audit_public_key: str

    def ready(self, hatch: str) -> Ready:
        """What there is to say of it now."""
        return Ready(
            edge=self.addresses.edge,
            ops=self.addresses.ops,
            estate=self.line.control,
            chaos=hatch,
            postgres=self.stores.postgres_url,
            postgres_admin=self.stores.postgres_admin_url,
            redis_session=self.stores.redis_session_url,
            redis_cache=self.stores.redis_cache_url,
            internal_token=self.token,
            pids=self._pids(),
            operators=self.line.operators,
        )

    def _pids(self) -> dict[str, Any]:
        ours = {"up": os.getpid(), "workers": self.server.workers, **self.stores.pids}
        return ours if self.estate is None else {**ours, "estate": self.estate.pid}


async def _open(hotel: Hotel, folder: Folder, heard: Heard, began: float) -> None:
    """Let people in, until cancelled."""
    path = folder.path / RUN
    address = ""

    def register() -> Ready:
        ready = hotel.ready(address)
        write_private(path, msgspec.json.encode(kept(ready, _told_of(hotel.proxy.urls), hotel.audit_public_key)))
        return ready

    faults = HotelFaults(EstateFaults(hotel.line.control), StoreFaults(hotel.stores.stores, hotel.proxy, register))
    async with open_owner("up", bound=OWNED) as owner, trio.open_nursery() as nursery:
        address = f"ws://{LOOPBACK}:{await nursery.start(Hatch(faults, owner).serve, LOOPBACK, 0)}"
        hotel.server.replaced = register
        owner.supervise("proxy", hotel.proxy.stay, jitter=lambda: 0.0, backoff=REPLACED)
        owner.supervise("server", hotel.server.stay, jitter=lambda: 0.0, backoff=REPLACED)
        try:
            heard.announce(register(), trio.current_time() - began)
            await _watch(hotel.estate, heard.warn)
        finally:
            path.unlink(missing_ok=True)


async def _watch(estate: Child | None, warn: Callable[[str], None]) -> None:
    """For ever. An estate that was killed stays dead: that is what whoever killed it wants to see."""
    if estate is not None:
        code = await estate.ended()
        warn(f"the estate ended ({code}): every upstream is gone until `bff up` is started again")
    await trio.sleep_forever()


def _held(port: int, option: str) -> socket.socket:
    """The port, kept for the server, now and when it is replaced; or one line before anything is started."""
    try:
        return hold(port)
    except OSError as error:
        raise LiveError(f"port {port} cannot be had ({error.strerror}): choose another with {option}") from None


def _given(env: Mapping[str, str]) -> Given:
    given = Given(
        postgres=env.get("BFF_POSTGRES_URL") or None,
        postgres_admin=env.get("BFF_POSTGRES_ADMIN_URL") or None,
        redis_session=env.get("BFF_REDIS_SESSION_URL") or None,
        redis_cache=env.get("BFF_REDIS_CACHE_URL") or None,
    )
    if given.postgres_admin and not given.postgres:
        raise LiveError("BFF_POSTGRES_ADMIN_URL is set and BFF_POSTGRES_URL is not: set both, or neither")
    return given


def _told_of(stores: Mapping[str, str]) -> dict[str, str]:
    """The variables that say where the stores are."""
    return {GIVEN_BY[name]: url for name, url in stores.items()}


def _server_env(
    env: Mapping[str, str], stores: Mapping[str, str], line: EstateLine, *, edge: int, ops: int
) -> dict[str, str]:
    """The environment of `bff serve`: what the person set, and what was started here."""
    services = {variable(name): url for name, url in line.services.items() if name in LOCATED}
    started = {
        **_told_of(stores),
        "BFF_EDGE_BIND": f"{LOOPBACK}:{edge}",
        "BFF_OPS_BIND": f"{LOOPBACK}:{ops}",
        "BFF_INTERNAL_TOKEN": env.get("BFF_INTERNAL_TOKEN") or real(connect).entropy(24).hex(),
    }
    counters = {"BFF_COUNTERS_URL": f"{line.control}/_estate/counters"}
    return {**services, **counters, **env, **started}


async def _migrated(url: str, given: Given) -> None:
    """The schema, by the role that may change it. Raises `LiveError`."""
    variable = "BFF_POSTGRES_ADMIN_URL: " if given.postgres_admin else "BFF_POSTGRES_URL: " if given.postgres else ""
    try:
        with within(MIGRATES_WITHIN):
            await migrate(url)
            return
    except MigrationError as error:
        raise LiveError(f"{variable}{error}") from None
    raise LiveError(f"{variable}the ledger's schema was not up to date within {MIGRATES_WITHIN:.0f} s")


async def _fit(ops: str, env: Mapping[str, str], *, ours: Container[str]) -> None:
    """Wait till the server has found every store. Raises `LiveError` with what it says of one that it has not.

    A dead cache makes no server unready, but at the start it is a variable that cannot be used.
    """
    token = env.get("BFF_OPS_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    wrong = ["nothing"]
    with within(FIT_WITHIN):
        while wrong:
            lines = (await asked("GET", f"{ops}/readyz", headers=headers)).text.split("\n")
            wrong = [line for line in lines if line.startswith(NAMES) and line.split()[1] != "up"]
            await trio.sleep(LOOK_AGAIN if wrong else 0)
    if wrong:
        variables = [name for store, name in GIVEN_BY.items() if wrong[0].startswith(store) and store not in ours]
        raise LiveError(": ".join([*variables, f"the server says {wrong[0]}"]))


def _allow_many_sockets() -> None:
    """As many open files as this process may have, for every child too: a stream per desk, and calls behind it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
