"""A network in one process: names, listeners, and rules that decide what a dial meets.

A rule looks at where a dial goes and gives a verdict or None; the first verdict wins, the youngest rule is asked first,
and leaving its `with` heals. Without a verdict a dial reaches whoever listens, or is refused as a real one is. All of
it is on the Trio clock: a dial costs one round trip of its latency, a black hole lasts until the dialler gives up.

`Network.connect` has the shape of the server's `Outside.connect`, so that the whole server runs on it unchanged, TLS
included (inside the simulated stream).
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from chaos.sim.stream import WINDOW, Latency, SimStream, stream_pair

if TYPE_CHECKING:
    import ssl

Serve = Callable[[trio.abc.Stream], Awaitable[None]]
Address = tuple[str, int]
FIRST_FREE_PORT = 49_152  # the dynamic range of RFC 6335, section 6


@dataclass(frozen=True, slots=True)
class Refuse:
    """The dial is refused at once (nobody listens, or the host says so)."""


@dataclass(frozen=True, slots=True)
class BlackHole:
    """The dial is never answered: a dropped packet, a host that is gone."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The dial goes through. `latency` gives seconds one way, `window` is bytes per direction."""

    latency: Latency
    window: int = WINDOW


Verdict = Refuse | BlackHole | Reach
Rule = Callable[[str, int], Verdict | None]


def _refused(address: Address) -> OSError:
    return ConnectionRefusedError(errno.ECONNREFUSED, f"connection to {address[0]}:{address[1]} refused")


class Listening:
    """Somebody who accepts at `host:port`. Closing it refuses who comes; who is connected stays, unless cut."""

    def __init__(self, network: Network, address: Address, serve: Serve, nursery: trio.Nursery) -> None:
        self._network = network
        self._serve = serve
        self._nursery = nursery
        self.address = address
        self.accepted = 0
        self.sessions: dict[SimStream, None] = {}  # a dict, because its order does not depend on hashes

    @property
    def host(self) -> str:
        return self.address[0]

    @property
    def port(self) -> int:
        return self.address[1]

    def accept(self, stream: SimStream) -> None:
        """Serve `stream` in a task of the nursery that `listen` was given."""
        self.accepted += 1
        self.sessions[stream] = None
        self._nursery.start_soon(self._session, stream)

    async def _session(self, stream: SimStream) -> None:
        try:
            await self._serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # a broken connection is its own affair, as with a real listener
        finally:
            self.sessions.pop(stream, None)
            await trio.aclose_forcefully(stream)

    def close(self) -> None:
        """Refuse from now on. Safe twice."""
        self._network.forget(self)

    def cut(self) -> None:
        """Reset every connection that is open, in the order they came."""
        for stream in tuple(self.sessions):
            stream.reset()


class Network:
    """Who listens where, and the rules of the way there. `latency` (seconds one way) holds where no rule speaks."""

    def __init__(self, *, latency: float = 0.0, window: int = WINDOW) -> None:
        self._plain = Reach(lambda: latency, window)
        self._listening: dict[Address, Listening] = {}
        self._rules: list[Rule] = []
        self._free_port = FIRST_FREE_PORT
        self.dialled: dict[Address, int] = {}

    def listen(self, host: str, port: int, serve: Serve, nursery: trio.Nursery) -> Listening:
        """Accept at `host:port` (0: a free port) and serve each connection in `nursery`. `OSError` when taken."""
        if port == 0:
            port, self._free_port = self._free_port, self._free_port + 1
        address = (host, port)
        if address in self._listening:
            raise OSError(errno.EADDRINUSE, f"{host}:{port} is in use")
        listening = self._listening[address] = Listening(self, address, serve, nursery)
        return listening

    def forget(self, listening: Listening) -> None:
        """Nobody listens there any more."""
        if self._listening.get(listening.address) is listening:
            del self._listening[listening.address]

    def connected(self, host: str) -> int:
        """How many connections are open to whoever listens at `host`."""
        return sum(len(listening.sessions) for listening in self._listening.values() if listening.host == host)

    @contextmanager
    def rule(self, rule: Rule) -> Iterator[None]:
        """Let `rule` be asked first while inside; leaving heals."""
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)

    def refuse(self, host: str, port: int | None = None) -> AbstractContextManager[None]:
        """Refuse every dial to `host` (at `port`, or any) while inside."""
        return self.rule(_at(host, port, Refuse()))

    def black_hole(self, host: str, port: int | None = None) -> AbstractContextManager[None]:
        """Never answer a dial to `host` while inside; connections already open are not touched."""
        return self.rule(_at(host, port, BlackHole()))

    def delay(self, host: str, latency: Latency, port: int | None = None) -> AbstractContextManager[None]:
        """Connections opened to `host` while inside have `latency` (seconds one way)."""
        return self.rule(_at(host, port, Reach(latency)))

    def _verdict(self, host: str, port: int) -> Verdict:
        given = (rule(host, port) for rule in reversed(self._rules))
        return next((verdict for verdict in given if verdict is not None), self._plain)

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
        """Dial. Raises `OSError` when refused, or when the TLS handshake fails; hangs in a black hole."""
        address = (host, port)
        self.dialled[address] = self.dialled.get(address, 0) + 1
        verdict = self._verdict(host, port)
        if isinstance(verdict, BlackHole):
            await trio.sleep_forever()
        if isinstance(verdict, Refuse):
            await trio.lowlevel.checkpoint()
            raise _refused(address)
        assert isinstance(verdict, Reach)
        await trio.sleep(2 * verdict.latency())  # SYN and its answer
        listening = self._listening.get(address)
        if listening is None:
            raise _refused(address)
        ours, theirs = stream_pair(window=verdict.window, latency=verdict.latency)
        listening.accept(theirs)
        return ours if tls is None else await _secured(ours, host, tls)


def _at(host: str, port: int | None, verdict: Verdict) -> Rule:
    return lambda to, at: verdict if to == host and port in (None, at) else None


async def _secured(stream: SimStream, host: str, tls: ssl.SSLContext) -> trio.abc.Stream:
    secured = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=False)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise ConnectionError(f"no TLS session with {host}: {error.__cause__ or error}") from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured
