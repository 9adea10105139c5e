"""Where the services listen: on real sockets here, on simulated ones in `chaos.sim.link`, in the same words."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import trio

Serve = Callable[[trio.abc.Stream], Awaitable[None]]


class Listening(Protocol):
    """Somebody who accepts. `close` refuses who comes from now on; `cut` breaks who is connected."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    def close(self) -> None: ...
    def cut(self) -> None: ...


class Listen(Protocol):
    """Begin to accept at `host:port` (0 for any free one) in `nursery`. Raises `OSError` when the place is taken."""

    def __call__(self, host: str, port: int, serve: Serve, nursery: trio.Nursery) -> Listening: ...


class Tcp:
    """Real sockets: `listen` is here what `chaos.sim.link.Network.listen` is in virtual time.

    A port once had stays ours until the nursery ends, by a second socket that is bound to it and deaf: whoever dials a
    service that is down is refused, and yet the port is given to nobody else, who would be in the way of its recovery.
    """

    def __init__(self) -> None:
        self._held: set[tuple[str, int]] = set()

    def listen(self, host: str, port: int, serve: Serve, nursery: trio.Nursery) -> Listening:
        """As `Listen`."""
        if (host, port) not in self._held:
            held = _bound(host, port)
            port = held.getsockname()[1]
            self._held.add((host, port))
            nursery.start_soon(self._hold, held, (host, port))
        return _TcpListening(host, port, serve, nursery)

    async def _hold(self, held: socket.socket, place: tuple[str, int]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            held.close()
            self._held.discard(place)


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


class _TcpListening:
    """`Listening` on a real socket."""

    def __init__(self, host: str, port: int, serve: Serve, nursery: trio.Nursery) -> None:
        self.host, self.port = host, port
        bound = _bound(host, port)
        try:
            bound.listen(256)
        except OSError:
            bound.close()
            raise
        self._socket = trio.socket.from_stdlib_socket(bound)
        self._accepting = trio.CancelScope()
        self._live: dict[trio.SocketStream, None] = {}
        nursery.start_soon(self._accept, partial(self._session, serve), nursery)

    async def _accept(self, session: Callable[[trio.SocketStream], Awaitable[None]], nursery: trio.Nursery) -> None:
        with self._accepting:
            await trio.serve_listeners(session, [trio.SocketListener(self._socket)], handler_nursery=nursery)

    async def _session(self, serve: Serve, stream: trio.SocketStream) -> None:
        self._live[stream] = None
        try:
            await serve(stream)
        finally:
            del self._live[stream]

    def close(self) -> None:
        self._accepting.cancel()  # first, so that who accepts is told of this and not of a socket closed under it
        self._socket.close()

    def cut(self) -> None:
        for stream in tuple(self._live):
            broken(stream)


def broken(stream: trio.abc.Stream) -> None:
    """Break the connection so that the peer sees a reset, real or simulated. Safe twice."""
    if not isinstance(stream, trio.SocketStream):
        reset: Callable[[], None] = getattr(stream, "reset", lambda: None)
        reset()
    elif stream.socket.fileno() >= 0:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
