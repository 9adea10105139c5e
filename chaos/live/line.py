"""One connection through the proxy: a client, a store, the two ways between them, and what falls on those.

                    at rest              hang     latency      drip           reset
    to the store    what comes goes on   held
    to the client   what comes goes on   held     later        by pieces      so many bytes, then broken

The answers are what a latency, a drip and a reset fall on, as in `chaos.sim.rules`: to whoever waits, an answer is late
once.

The faces of the store are passed on: where it refuses, its client is reset at once; who ends one way has it ended at
the other end; who breaks the connection has it broken. While a hang lasts nobody dials the store, or it would have as
many connections as clients had patience; a client that leaves before its store was dialled is gone with what it said.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, TypeVar

from chaos.live.rounds import BROKEN, LEFT, READABLE, WRITABLE, Rounds
from chaos.live.way import STRAIGHT, Bent, Way
from chaos.toxics import Drip, Hang, Latency, Reset, Toxic

DIALS: Final = 3  # times that a dial is tried again without an answer: some ten seconds
ABORT: Final = struct.pack("ii", 1, 0)

T = TypeVar("T", bound=Toxic)


class Line:
    """A client that has come, and its connection to the store at `place`, which is dialled once `strike` was called.

    `gone` is called at its end, once.
    """

    def __init__(
        self, client: socket.socket, place: tuple[str, int], rounds: Rounds, gone: Callable[[Line], None]
    ) -> None:
        self._client, self._store = client, client  # the store's own comes with its dial
        self._place = place
        self._rounds = rounds
        self._gone = gone
        self._ways: tuple[Way, Way] | None = None
        self._dials: Iterator[Any] | None = None  # the store's addresses that were not tried yet
        self._late: Callable[[], float] | None = None
        self.struck: tuple[Toxic, ...] = ()

    def strike(self, toxics: Iterable[Toxic], late: Callable[[], float]) -> None:
        """These are in force on it from now on, and no others; `late` gives seconds for each piece of an answer."""
        self.struck, self._late = tuple(toxics), late
        self._do(self._struck)

    def _struck(self) -> None:
        if self._ways is not None:
            self._bend(*self._ways)
        elif self._dials is None and self._has(Hang) is None:
            self._dial()
        elif self._dials is None:
            self._rounds.watch(self._client.fileno(), LEFT, self._left)

    def _left(self, events: int) -> None:
        """Before its store was dialled."""
        del events
        self.cut()

    def _has(self, kind: type[T]) -> T | None:
        return next((toxic for toxic in self.struck if isinstance(toxic, kind)), None)

    def _bend(self, there: Way, back: Way) -> None:
        silent = self._has(Hang) is not None
        late = None if self._has(Latency) is None else self._late
        bent = Bent(silent, late, self._has(Drip), self._has(Reset))
        there.bend(Bent(silent=True) if silent else STRAIGHT)
        back.bend(STRAIGHT if bent == STRAIGHT else bent)
        self._turn(there, back)

    def _dial(self) -> None:
        self._rounds.forget(self._client.fileno())
        host, port = self._place
        self._dials = iter(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        self._dial_next()

    def _dial_next(self) -> None:
        for family, kind, protocol, _, address in self._dials or ():
            store = socket.socket(family, kind, protocol)
            quick(store)
            store.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, DIALS)
            if store.connect_ex(address) in {0, errno.EINPROGRESS}:
                self._store = store
                self._rounds.watch(store.fileno(), WRITABLE, self._answered)
                return
            store.close()
        self.cut()

    def _answered(self, events: int) -> None:
        del events
        self._do(self._dialled)

    def _dialled(self) -> None:
        refused = self._store.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not refused and not _connected(self._store):
            return
        self._rounds.forget(self._store.fileno())
        if refused:
            self._store.close()
            self._store = self._client
            self._dial_next()
            return
        there = Way(self._client, self._store, self._rounds, partial(self._woken, 0))
        back = Way(self._store, self._client, self._rounds, partial(self._woken, 1))
        self._ways = there, back
        self._at_client, self._at_store = partial(self._ready, there, back), partial(self._ready, back, there)
        self._bend(there, back)

    def _ready(self, comes: Way, goes: Way, events: int) -> None:
        """At the end where one way begins and the other goes to."""
        try:
            if events == READABLE:
                if comes.take():
                    return
            else:
                if comes.reads and events & (READABLE | BROKEN):
                    comes.take()
                if goes.writes:
                    goes.pour()
        except OSError:
            self.cut()
        else:
            self._turned()

    def _woken(self, way: int) -> None:
        if self._ways is not None:
            self._do(self._ways[way].pour)
            self._turned()

    def _turned(self) -> None:
        if self._ways is not None:
            self._turn(*self._ways)

    def _turn(self, there: Way, back: Way) -> None:
        """Wait for what can be done now, and for nothing else: a line that hangs is not looked at, broken or not."""
        if there.over and back.over:
            self._close()
            return
        client = (READABLE if there.reads else 0) | (WRITABLE if back.writes else 0)
        store = (READABLE if back.reads else 0) | (WRITABLE if there.writes else 0)
        self._rounds.watch(self._client.fileno(), client, self._at_client)
        self._rounds.watch(self._store.fileno(), store, self._at_store)

    def _do(self, what: Callable[[], object]) -> None:
        try:
            what()
        except OSError:
            self.cut()

    def cut(self) -> None:
        """Break it, so that both ends see a reset. Safe twice."""
        for end in {self._client, self._store}:
            abort(end)
        self._close()

    def _close(self) -> None:
        if self._client.fileno() < 0:
            return
        for way in self._ways or ():
            way.rest()
        for end in {self._client, self._store}:
            self._rounds.forget(end.fileno())
            end.close()
        self._ways = None
        self._gone(self)


def quick(end: socket.socket) -> None:
    """It neither blocks nor waits for more to send."""
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _connected(end: socket.socket) -> bool:
    try:
        end.getpeername()
    except OSError:
        return False
    return True


def abort(end: socket.socket) -> None:
    """When it is closed, its peer sees a reset."""
    if end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
