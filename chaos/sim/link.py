"""A network in one process: names, listeners, and what goes wrong on the way between them.

    network = Network(seed=7)
    network.listen("pricing", 80, serve, nursery)
    stream = await network.host("desk-1").connect("pricing", 80, None)
    with network.partition("desk-1", {"pricing", "billing"}), network.inject("billing", Drip(bytes_per_second=10)):
        ...

A fault lasts as long as its `with`, and leaving heals. A dial asks the youngest fault first, and the first verdict
wins; but nobody has a say where a partition is. Without a verdict a dial reaches whoever listens, or is refused as a
real one is. A dial that is under way when a fault begins meets it on its arrival. All of it is on the Trio clock: a
dial costs one round trip of its latency, a black hole lasts until the dialler gives up, though the fault be healed
before. What each fault does to lines that are open is in the table of rules.py.

`Network.connect` and `Host.connect` have the shape of the server's `Outside.connect`, so that the whole server runs on
it unchanged, TLS included (inside the simulated stream).
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import trio

from chaos.sim.hosts import NOBODY, Address, Host, Line, Listening, Serve
from chaos.sim.pipe import Latency, Way
from chaos.sim.rules import (
    Asked,
    BlackHole,
    Dialled,
    Fault,
    Leg,
    Names,
    Reach,
    Refuse,
    Rule,
    Silence,
    Throttle,
    Verdict,
    injected,
    names,
)
from chaos.sim.stream import WINDOW, SimStream, stream_pair
from chaos.sim.trace import note

if TYPE_CHECKING:
    import ssl

    from chaos.toxics import Toxic

__all__ = ["NOBODY", "BlackHole", "Host", "Listening", "Network", "Reach", "Refuse", "Rule", "Verdict"]

FIRST_FREE_PORT: Final = 49_152  # the dynamic range of RFC 6335, section 6
FEW_LINES: Final = 64  # not worth looking which of them are over


class Network:
    """Who listens where, and what goes wrong on the way there.

    `latency` (seconds one way), `window` (bytes) and `bytes_per_second` hold, per line and direction, where no rule
    speaks. Every draw comes from `seed` and from what it is for.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        window: int = WINDOW,
        bytes_per_second: float = math.inf,
        seed: int = 0,
    ) -> None:
        self._plain = Reach(lambda: latency, window, bytes_per_second)
        self._seed = seed
        self._listening: dict[Address, Listening] = {}
        self._faults: list[Fault] = []
        self._injected: dict[tuple[str, str], int] = {}  # how often the same words were said of a host
        self._lines: list[Line] = []
        self._many = FEW_LINES
        self._free_port = FIRST_FREE_PORT
        self.dialled: dict[Address, int] = {}

    # -- who is there -------------------------------------------------------------------------------------------

    def host(self, name: str) -> Host:
        """Somebody called `name`, to dial from. Whoever listens at a name is the host of that name."""
        return Host(name, self._dial)

    def listen(self, host: str, port: int, serve: Serve, nursery: trio.Nursery) -> Listening:
        """Accept at `host:port` (0: a free port) and serve each connection in `nursery`. `OSError` when taken."""
        if port == 0:
            port, self._free_port = self._free_port, self._free_port + 1
        address = (host, port)
        if address in self._listening:
            raise OSError(errno.EADDRINUSE, f"{host}:{port} is in use")
        listening = self._listening[address] = Listening(address, serve, nursery, self._forget)
        return listening

    def _forget(self, listening: Listening) -> None:
        if self._listening.get(listening.address) is listening:
            del self._listening[listening.address]

    def connected(self, host: str) -> int:
        """How many connections are open to whoever listens at `host`."""
        return sum(len(listening.sessions) for listening in self._listening.values() if listening.host == host)

    # -- what goes wrong ----------------------------------------------------------------------------------------

    def rule(self, rule: Rule) -> AbstractContextManager[None]:
        """Let `rule` be asked first of each dial while inside. No line that is open is touched."""
        return self._while(Asked(rule))

    def refuse(self, host: str, port: int | None = None) -> AbstractContextManager[None]:
        """Refuse every dial to `host` (at `port`, or any) while inside. No line that is open is touched."""
        return self.rule(_at(host, port, Refuse()))

    def black_hole(self, host: str, port: int | None = None) -> AbstractContextManager[None]:
        """Never answer a dial to `host` while inside. No line that is open is touched."""
        return self.rule(_at(host, port, BlackHole()))

    def delay(self, host: str, latency: Latency, port: int | None = None) -> AbstractContextManager[None]:
        """Lines opened to `host` while inside have `latency` (seconds one way), for as long as they are open."""
        return self.rule(_at(host, port, replace(self._plain, latency=latency)))

    def throttle(self, host: str, bytes_per_second: float) -> AbstractContextManager[None]:
        """While inside, each line from or to `host` carries so much in either direction, also one that was open.

        It bites what has not left; what is on its way arrives. Each line has this pace of its own: what is modelled is
        a share of the link, not how lines compete for it.
        """
        return self._while(Throttle(host, bytes_per_second))

    @contextmanager
    def partition(self, one: Names, other: Names) -> Iterator[None]:
        """Nothing passes between hosts of `one` and of `other` while inside, not even what is under way.

        Dials are black-holed. On open lines bytes and news are held, and sent again when it heals: they arrive a
        latency later. A sender goes on until its window is full. Dials without a name are outside of any partition.
        """
        one, other = names(one), names(other)
        with self.lose(one, other), self.lose(other, one):
            yield

    def lose(self, from_: Names, to: Names) -> AbstractContextManager[None]:
        """Nothing passes from hosts of `from_` to hosts of `to` while inside; the other direction still speaks.

        It does so until its window is full, as nobody acknowledges. Dials either way are black-holed.
        """
        return self._while(Silence(from_, to))

    def inject(self, host: str, toxic: Toxic) -> AbstractContextManager[None]:
        """Put `toxic` on the lines dialled to `host` while inside. Raises `BadToxic` for one that no link can have."""
        said = (host, str(toxic))
        number = self._injected[said] = self._injected.get(said, 0) + 1
        return self._while(injected(host, toxic, self._seed, number))

    @contextmanager
    def _while(self, fault: Fault) -> Iterator[None]:
        self._faults.append(fault)
        lines = self._open_lines()
        for line in lines:
            fault.begins(line)
        self._reroute(lines)
        try:
            yield
        finally:
            self._faults.remove(fault)
            lines = self._open_lines()
            for line in lines:
                line.struck.pop(fault, None)
            self._reroute(lines)

    # -- lines --------------------------------------------------------------------------------------------------

    def _open_lines(self) -> list[Line]:
        self._lines = [line for line in self._lines if not line.over]
        self._many = FEW_LINES + 2 * len(self._lines)
        return self._lines

    def _reroute(self, lines: Iterable[Line]) -> None:
        for line in lines:
            out, back = (self._way(line, sender) for sender in (line.near, line.far))
            line.near.reroute(replace(out, unanswered=back.silent))
            line.far.reroute(replace(back, unanswered=out.silent))

    def _way(self, line: Line, sender: SimStream) -> Way:
        way = line.way
        for fault in self._faults:
            way = fault.bend(Leg(line, sender, way))
        return way

    def _opened(self, line: Line) -> None:
        if len(self._lines) >= self._many:
            self._open_lines()
        self._lines.append(line)
        for fault in self._faults:
            fault.opened(line)
        self._reroute([line])

    # -- dials --------------------------------------------------------------------------------------------------

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
        """Dial, as nobody in particular.

        Raises `OSError` when refused, or when the TLS handshake fails; hangs in a black hole.
        """
        return await self._dial(NOBODY, host, port, tls)

    async def _dial(self, one: str, host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
        address, dialled = (host, port), Dialled(one, host, port)
        note("dial", f"{one}>{host}:{port}".encode())
        self.dialled[address] = self.dialled.get(address, 0) + 1
        asked = tuple(self._faults)
        reach = await _met(_verdict(asked, dialled) or self._plain, address)
        await trio.sleep(2 * reach.latency())  # SYN and its answer
        begun = tuple(fault for fault in self._faults if fault not in asked)
        await _met(_verdict(begun, dialled) or reach, address)
        listening = self._listening.get(address)
        if listening is None:
            raise _refused(address)
        ours, theirs = stream_pair(window=reach.window, hosts=(one, host))
        self._opened(Line(ours, theirs, Way(reach.latency, reach.bytes_per_second)))
        listening.accept(theirs)
        return ours if tls is None else await _secured(ours, host, tls)


def _at(host: str, port: int | None, verdict: Verdict) -> Rule:
    return lambda to, at: verdict if to == host and port in (None, at) else None


def _verdict(faults: Sequence[Fault], dialled: Dialled) -> Verdict | None:
    """What the youngest of `faults` that has a say says, silences before all others; they come eldest first."""
    silences = [fault for fault in faults if isinstance(fault, Silence)]
    given = (fault.dial(dialled) for fault in (*silences, *reversed(faults)))
    return next((verdict for verdict in given if verdict is not None), None)


def _refused(address: Address) -> OSError:
    return ConnectionRefusedError(errno.ECONNREFUSED, f"connection to {address[0]}:{address[1]} refused")


async def _met(verdict: Verdict, address: Address) -> Reach:
    """What a dial does with its verdict: go on, be refused, or wait until the dialler gives up."""
    if isinstance(verdict, BlackHole):
        await trio.sleep_forever()
    if isinstance(verdict, Refuse):
        await trio.lowlevel.checkpoint()
        raise _refused(address)
    assert isinstance(verdict, Reach)
    return verdict


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
