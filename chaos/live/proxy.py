"""Stands in front of stores, so that what goes wrong on a network can go wrong on the way to them, also while it runs.

    client -> a port of loopback, here -> the store        `switchboard.py`, a process of its own, leashed to this one
              hang, latency, drip, reset, down             `front.py`, `line.py`, `way.py`

A process of its own, since at rest it adds its own turn to every round trip and must wait for nothing else that this
one does. Its ports are held here: when it dies and is begun again it has them again, and what was in force is not.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import trio

from chaos.live.address import Address, address
from chaos.live.hatch import InForce
from chaos.live.ports import LOOPBACK, hold, number
from chaos.live.process import Child, LiveError, spawn, stop_all
from chaos.toxics import BadToxic, Toxic
from nurseries import within

STARTS_WITHIN: Final = 10.0  # seconds
ANSWERS_WITHIN: Final = 3.0
ENDS_WITHIN: Final = 0.5
LONGEST: Final = 65_536  # bytes of an answer
SWITCHBOARD: Final = ("-P", "-m", "chaos.live.switchboard")


class ProxyEnded(Exception):
    """It ended and nobody had asked it to; the text is its last word."""


class Proxy:
    """`chaos.live.hatch.Faults`, for the stores it stands in front of. Made by `begun_proxy`.

    `urls` are what clients are to be told, by store: its own URL where no proxy can stand in, and `direct` says why.
    """

    def __init__(self, urls: Mapping[str, str], parts: ExitStack, log: Path, warn: Callable[[str], None]) -> None:
        self._log = log
        self._warn = warn
        self._child: Child | None = None
        self._ours: socket.socket | None = None
        self._stream: trio.SocketStream | None = None
        self._one_at_a_time = trio.Lock()
        self._asked = 0
        self._rest = b""
        self._fronts: dict[str, tuple[socket.socket, Address]] = {}
        self.urls = dict(urls)
        self.direct: dict[str, str] = {}
        for name, url in urls.items():
            try:
                there = address(url)
            except LiveError as reason:
                self.direct[name] = str(reason)
                continue
            held = parts.enter_context(hold())
            self._fronts[name] = held, there
            self.urls[name] = there.at(LOOPBACK, number(held))

    @property
    def pid(self) -> int:
        """Its process, now."""
        assert self._child is not None, "begun"
        return self._child.pid

    def begin(self) -> None:
        """A process that is not ready yet. Raises `LiveError`."""
        self._hang_up()
        ours, theirs = socket.socketpair()
        fronts = {name: [[LOOPBACK, number(held)], [at.host, at.port]] for name, (held, at) in self._fronts.items()}
        argv = [sys.executable, *SWITCHBOARD, str(theirs.fileno()), json.dumps(fronts)]
        with theirs:
            try:
                self._child = spawn(argv, name="proxy", log=self._log, keep=[theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        self._ours, self._stream = ours, trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        self._rest = b""

    async def ready(self) -> None:
        """Wait till it lets clients in. Raises `LiveError`."""
        await self._ask(STARTS_WITHIN, do="list")

    async def stay(self) -> None:
        """Until it ends, which it should not; begun anew where it has ended already. A service for an owner."""
        if self._child is None or not self._child.alive:
            self.begin()
            await self.ready()
        assert self._child is not None, "begun"
        code = await self._child.ended()
        self._warn(f"the proxy in front of the stores ended ({code}), and is started again with no faults in force")
        raise ProxyEnded(f"return code {code}")

    async def inject(self, target: str, toxic: Toxic) -> InForce:
        """In force when this returns, for connections that are open too."""
        self._must_stand_before(target, toxic)
        return await self._ask(do="inject", target=target, toxic=str(toxic))

    async def clear(self, target: str | None, toxic: Toxic | None = None) -> InForce:
        """Heal one store, or all; with `toxic` only that one, if it is still in force."""
        if target in self.direct:
            return await self.in_force()
        return await self._ask(do="clear", target=target, toxic=None if toxic is None else str(toxic))

    async def in_force(self) -> InForce:
        """What is wrong now."""
        return await self._ask(do="list")

    def _must_stand_before(self, target: str, toxic: Toxic) -> None:
        if target in self.direct:
            raise BadToxic(f"{toxic.word}: no proxy stands in front of {target}: {self.direct[target]}")
        if target not in self._fronts:
            raise BadToxic(f"no store is called {target!r}")

    async def _ask(self, patience: float = ANSWERS_WITHIN, /, **what: Any) -> InForce:
        async with self._one_at_a_time:
            self._asked += 1
            with within(patience):
                answer = await self._answer(self._asked, what)
                if "error" in answer:
                    raise BadToxic(answer["error"])
                in_force: InForce = answer["ok"]
                return in_force
        raise LiveError(f"the proxy did not answer within {patience:.0f} s: see {self._log}")

    async def _answer(self, number: int, what: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to that question: those of questions that nobody waits for any more are passed over."""
        assert self._stream is not None, "begun"
        try:
            await self._stream.send_all(json.dumps({"number": number, **what}).encode() + b"\n")
            while True:
                answer: dict[str, Any] = json.loads(await self._line(self._stream))
                if answer["number"] == number:
                    return answer
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LiveError(f"the proxy in front of the stores ended: see {self._log}") from None

    async def _line(self, stream: trio.SocketStream) -> bytes:
        while b"\n" not in self._rest:
            piece = await stream.receive_some(LONGEST)
            if not piece:
                raise trio.BrokenResourceError
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def stop(self) -> None:
        """Whoever is connected is cut. Blocks."""
        self._hang_up()
        if self._child is not None:
            stop_all([self._child], ENDS_WITHIN)

    def _hang_up(self) -> None:
        if self._ours is not None:
            self._ours.close()  # as it is, and not by its stream: this may be where Trio is not
            self._ours = self._stream = None


@contextmanager
def begun_proxy(urls: Mapping[str, str], log: Path, warn: Callable[[str], None]) -> Iterator[Proxy]:
    """A proxy in front of the stores at `urls`, by their names, begun and not ready yet. Raises `LiveError`.

    `warn` gets a line for a person when it had to be begun again.
    """
    with ExitStack() as parts:
        proxy = Proxy(urls, parts, log, warn)
        parts.callback(proxy.stop)
        proxy.begin()
        yield proxy
