"""PostgreSQL and two Redis on this machine, in one data folder, real, and gone when this process is gone.

    data/postgres/       made once, then kept: what was committed is there at the next start
    data/redis-session/  append-only file: a kill loses nothing that was acknowledged
    data/redis-cache/    the same, bounded, oldest out first

The folder itself is `folder.py`'s. Everything listens on 127.0.0.1 at a free port, never on a Unix socket: those fail
on long paths. Both want a password, because on a machine with other users an open PostgreSQL or Redis is a way into
this one's files.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from chaos.live import postgres, redis
from chaos.live.folder import Folder, claim
from chaos.live.ports import hold, number
from chaos.live.process import Child, LiveError, signalled, state, stop_all

POSTGRES, SESSION, CACHE = "postgres", "redis-session", "redis-cache"
NAMES: Final = (POSTGRES, SESSION, CACHE)
WARDEN: Final = Path(__file__).with_name("warden.py")
READY_WITHIN: Final = 20.0  # seconds; a crash recovery of a large folder takes a while
ENDS_WITHIN: Final = 3.0
LOOK_AGAIN: Final = 0.003


class Kind(Protocol):
    """How one kind of store is run."""

    def launch(self, port: int) -> Child:
        """Begin to run at `port`. Raises `LiveError`."""
        ...

    def answers(self, child: Child, port: int) -> bool:
        """Whether it does its work now; never blocks longer than a quarter of a second."""
        ...


@dataclass(slots=True)
class Store:
    """One store that we started, always at the same port, which `held` keeps for it."""

    name: str
    kind: Kind
    held: socket.socket
    child: Child
    _frozen: tuple[int, ...] = ()
    _warden: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return number(self.held)

    @property
    def answers(self) -> bool:
        """Whether it does its work now."""
        return self.child.alive and self.kind.answers(self.child, self.port)

    @property
    def wrong(self) -> str:
        """`kill` when it does not run, `stop` when it is stopped, whoever did that; else ''."""
        if not self.child.alive:
            return "kill"
        return "stop" if state(self.child.pid) == "T" else ""

    def kill(self) -> None:
        """What a power cut does."""
        self._dismiss()
        self.child.kill()

    def freeze(self) -> None:
        """Connections stay, nothing answers; and should we die now, it dies too."""
        if self._warden is None:
            warden = [sys.executable, "-I", "-S", str(WARDEN), str(self.child.pid)]
            self._warden = subprocess.Popen(warden, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self._frozen = self.child.freeze()

    def begin(self) -> None:
        """Run again, whether it was frozen, killed or neither; `answers` says when it does. Raises `LiveError`."""
        for pid in self._frozen:  # what was below it and has lost it since: it must go on, to end
            signalled(pid, signal.SIGCONT)
        self._dismiss()
        self.child.thaw()
        if not self.child.alive:
            self.child = self.kind.launch(self.port)

    def start(self) -> None:
        """`begin`, and block until it answers. Raises `LiveError`."""
        self.begin()
        await_ready(self)

    def given_up(self) -> Child:
        """Its process, for whoever ends it; the port is anybody's."""
        self._dismiss()
        self.held.close()
        return self.child

    def _dismiss(self) -> None:
        self._frozen = ()
        if self._warden is not None:
            self._warden.kill()
            self._warden.communicate()
            self._warden = None


def await_ready(store: Store) -> None:
    """Block until it answers. Raises `LiveError` for one that ended, or does not answer in `READY_WITHIN` seconds."""
    end = time.monotonic() + READY_WITHIN
    while not store.answers:
        if not store.child.alive:
            raise LiveError(f"{store.name} did not start: {store.child.why()}")
        if time.monotonic() > end:
            raise LiveError(f"{store.name} did not answer within {READY_WITHIN:.0f} s: see {store.child.log}")
        time.sleep(LOOK_AGAIN)


@dataclass(frozen=True, slots=True)
class Given:
    """Addresses of stores that somebody else runs; what is None is started here."""

    postgres: str | None = None
    postgres_admin: str | None = None
    redis_session: str | None = None
    redis_cache: str | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The stores, answering. `stores` holds those that are ours, by their names."""

    postgres_url: str
    postgres_admin_url: str
    redis_session_url: str
    redis_cache_url: str
    stores: Mapping[str, Store] = field(default_factory=dict)

    @property
    def urls(self) -> dict[str, str]:
        """Where a server finds them, by their names."""
        return {POSTGRES: self.postgres_url, SESSION: self.redis_session_url, CACHE: self.redis_cache_url}

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by the names of `bff up --json`: `postgres`, `redisSession`, `redisCache`."""
        names = {POSTGRES: "postgres", SESSION: "redisSession", CACHE: "redisCache"}
        return {names[name]: store.child.pid for name, store in self.stores.items()}


@contextmanager
def start_stores(data: Path, given: Given) -> Iterator[Running]:
    """The stores on the folder `data`, for as long as the block lasts. Blocks. Raises `LiveError` with one line."""
    with claim(data) as folder, stores_in(folder, given) as running:
        yield running


@contextmanager
def stores_in(folder: Folder, given: Given) -> Iterator[Running]:
    """The same on a folder that is claimed already."""
    stores: dict[str, Store] = {}
    try:
        _launch(folder, given, stores)
        for store in stores.values():
            await_ready(store)
        yield _running(folder, given, stores)
    finally:
        stop_all([store.given_up() for store in stores.values()], ENDS_WITHIN)


def _launch(folder: Folder, given: Given, stores: dict[str, Store]) -> None:
    """Begin all that were not given, each into `stores` as soon as it runs, so that nobody is left behind."""
    if given.redis_session is None:
        _begin(SESSION, redis.session_tier(folder), stores)
    if given.redis_cache is None:
        _begin(CACHE, redis.cache_tier(folder), stores)
    if given.postgres is None:
        _begin(POSTGRES, postgres.postgres(folder), stores)


def _begin(name: str, kind: Kind, stores: dict[str, Store]) -> None:
    held = hold()
    try:
        stores[name] = Store(name, kind, held, kind.launch(number(held)))
    except BaseException:
        held.close()
        raise


def _running(folder: Folder, given: Given, stores: Mapping[str, Store]) -> Running:
    server, admin = given.postgres or "", given.postgres_admin or given.postgres or ""
    if POSTGRES in stores:
        port = stores[POSTGRES].port
        server, admin = (postgres.url(role, folder.password(role), port) for role in (postgres.SERVER, postgres.ADMIN))
    return Running(
        postgres_url=server,
        postgres_admin_url=admin,
        redis_session_url=given.redis_session or _redis_url(stores[SESSION]),
        redis_cache_url=given.redis_cache or _redis_url(stores[CACHE]),
        stores=stores,
    )


def _redis_url(store: Store) -> str:
    assert isinstance(store.kind, redis.Redis), "that is how it was begun"
    return store.kind.url(store.port)
