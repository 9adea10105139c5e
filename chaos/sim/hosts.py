"""Who is on the network: hosts that dial, listeners that accept, and the lines that are open between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from chaos.sim.pipe import Way
from chaos.sim.stream import SimStream

if TYPE_CHECKING:
    import ssl

Serve = Callable[[trio.abc.Stream], Awaitable[None]]
Dial = Callable[[str, str, int, "ssl.SSLContext | None"], Awaitable[trio.abc.Stream]]
Address = tuple[str, int]

NOBODY: Final = ""  # the host of a dial that nobody gave a name; no fault between named hosts touches it


@dataclass(frozen=True, slots=True)
class Host:
    """Somebody with a name who dials. Made by `Network.host`; a name needs no other introduction."""

    name: str
    _dial: Dial = field(repr=False)

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
        """Dial from here. The shape, and the errors, of `Network.connect`."""
        return await self._dial(self.name, host, port, tls)


@dataclass(eq=False, slots=True)
class Line:
    """An open connection: the end that dialled, the end that accepted, and the way both directions had at first.

    `struck` is what was drawn for this line: the faults that fell on it, each with how many bytes had been sent towards
    the dialler by then. It dies with the line, so that a fault of an hour remembers no line that is gone.
    """

    near: SimStream
    far: SimStream
    way: Way
    struck: dict[object, int] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Nobody holds an end of it any more."""
        return self.near.closed and self.far.closed


class Listening:
    """Somebody who accepts at `host:port`. Closing it refuses who comes; who is connected stays, unless cut."""

    def __init__(
        self, address: Address, serve: Serve, nursery: trio.Nursery, forget: Callable[[Listening], None]
    ) -> None:
        self._serve = serve
        self._nursery = nursery
        self._forget = forget
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
        self._forget(self)

    def cut(self) -> None:
        """Reset every connection that is open, in the order they came."""
        for stream in tuple(self.sessions):
            stream.reset()
