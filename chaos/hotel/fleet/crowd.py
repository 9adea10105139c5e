"""Thousands of devices in one process: each with a session, a key and a stream of its own, over real sockets.

    sign_in ─► devices ─► open: connect, ask, hello ─► one task reads all of them ─► what each heard, and when

A client that costs more than the server would measure itself. So no stream has a task: one waits for all sockets by an
epoll of its own, for which Trio can wait as for any other file, and reads what there is (`hearing.py`). A stream costs
about 0.1 ms of CPU to open and a few microseconds an event; a session 0.25 ms, most of them its key and its proof.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import Counter
from contextlib import asynccontextmanager
from itertools import count as counted_from
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from bff.wire.exchange import Prepared
from bff.wire.files import allow_many_files
from bff.wire.pool import Pool
from chaos.hotel.fleet.desk import Refused, Session
from chaos.hotel.fleet.hearing import Device, Stream
from chaos.hotel.fleet.proof import make_key, make_proof
from chaos.hotel.stage import parted
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from bff.outside import Outside
    from chaos.hotel.fleet.desk import Operator
    from chaos.hotel.fleet.proof import Key

EVENTS: Final = "/v1/events"
SIGN_IN: Final = "/v1/session"
PATIENCE: Final = 20.0  # seconds for an answer to begin
AT_ONCE: Final = 48  # that sign in, or are opened: fewer than stand in line at a server
PROOF_SECONDS: Final = 45.0  # that a proof signed in advance is good for: the gate gives it sixty
FILES_BESIDE: Final = 256  # open files of a process beside its streams
PER_ADDRESS: Final = 8_000  # connections from one address of loopback: it has 28,000 ports, of which some rest
READ: Final = 65_536
BATCH: Final = 256  # sockets read between two checkpoints
NO_LINGER: Final = struct.pack("ii", 1, 0)  # whoever vanishes says no goodbye, and no port has to rest
LATE_PORT: Final = 24  # IP_BIND_ADDRESS_NO_PORT of Linux: an address alone is bound, its port chosen by the connection


class TooFewFiles(RuntimeError):
    """This process may not open as many files as there are to be streams; the text is one line that says what to do."""


class Crowd:
    """All devices at one server, whose origin is `edge`. Made by `open_crowd`.

    `open` are the streams that are not over, by their sockets' numbers; `words` counts events by type, over all of
    them, since it was last cleared.
    """

    def __init__(self, edge: str, outside: Outside) -> None:
        self.edge = edge.rstrip("/")
        self.open: dict[int, Stream] = {}
        self.words: Counter[str] = Counter()
        self._outside = outside
        self._origin = parted(self.edge)
        self._poll = select.epoll()
        self._news = trio.Event()
        self._seats = counted_from()

    # -- sessions -----------------------------------------------------------------------------------------------

    async def sign_in(self, names: Sequence[str], people: Sequence[Operator]) -> list[Device]:
        """A device of each name, in order, with the `people` one after the other. Raises a group of `Refused`."""
        devices: dict[str, Device] = {}
        waiting = enumerate(names)
        pool = Pool(self._outside.connect)

        async def some() -> None:
            for number, name in waiting:
                devices[name] = await self._signed_in(pool, name, people[number % len(people)])

        try:
            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(some)
        finally:
            await pool.aclose()
        return [devices[name] for name in names]

    async def _signed_in(self, pool: Pool, name: str, who: Operator) -> Device:
        key = make_key(self._outside.entropy)
        body = {"tenant": who.tenant, "operator": who.operator, "password": who.password, "deviceId": name}
        proof = self._proof(key, "POST", SIGN_IN, None)
        headers = (
            (b"dpop", proof.encode()),
            (b"x-device-id", name.encode()),
            (b"content-type", b"application/json"),
        )
        with within(PATIENCE):
            asked = Prepared(self._origin, b"POST", SIGN_IN.encode(), headers, msgspec.json.encode(body))
            reply = await pool.fetch(asked)
            if reply.status != 201:
                problem = msgspec.json.decode(reply.body, type=dict[str, Any])
                raise Refused(reply.status, problem["code"], problem["detail"], problem)
            return Device(name, key, msgspec.json.decode(reply.body, type=Session))
        raise Refused(0, "UNREACHABLE", f"{self.edge} did not answer within {PATIENCE:.0f} s")

    def sign_ahead(self, devices: Iterable[Device]) -> None:
        """Proofs for the next stream of each: what they cost is not paid while streams are opened."""
        until = self._outside.now() + PROOF_SECONDS
        for device in devices:
            device.signed = until, self._proof(device.key, "GET", EVENTS, device.session.access_token)

    def _proof(self, key: Key, method: str, path: str, token: str | None) -> str:
        now, jti = self._outside.now(), self._outside.identifier()
        return make_proof(key, method, f"{self.edge}{path}", token=token, now=now, jti=jti)

    # -- streams ------------------------------------------------------------------------------------------------

    async def listen(self, devices: Sequence[Device], *, at_once: int = AT_ONCE, insist: bool = False) -> float:
        """A stream for each, so many at once; the seconds until the last one had said hello or was refused.

        Who `insist`s comes again for as long as he is told to, or is not answered.
        """
        began = trio.current_time()
        waiting = iter(devices)

        async def some() -> None:
            for device in waiting:
                there = await self._listens(device)
                while insist and not there:
                    await trio.sleep(device.stream.refusal.get("retryAfterMs", 1000) / 1000)
                    there = await self._listens(device)

        async with trio.open_nursery() as nursery:
            for _ in range(min(at_once, len(devices))):
                nursery.start_soon(some)
        return trio.current_time() - began

    async def _listens(self, device: Device) -> bool:
        """Whether there is a stream now."""
        request = self._request(device)
        connected = socket.socket()
        stream = Stream(device, connected)
        device.streams.append(stream)
        with within(PATIENCE):
            try:
                await self._connected(connected)
                connected.send(request)
            except OSError:
                stream.end()
                return False
            self.open[connected.fileno()] = stream
            self._poll.register(connected.fileno(), select.EPOLLIN)
            await stream.settled.wait()
            return stream.began > 0
        self._drop(stream)
        return False

    async def _connected(self, one: socket.socket) -> None:
        """Raises `OSError`. The first address is the usual one; each `PER_ADDRESS` there is another."""
        host, port = self._origin.host, self._origin.port
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        one.setsockopt(socket.IPPROTO_IP, LATE_PORT, 1)
        if host.startswith("127."):
            one.bind((f"127.0.0.{1 + next(self._seats) // PER_ADDRESS % 250}", 0))
        one.connect_ex((host, port))
        await trio.lowlevel.wait_writable(one)
        failed = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))

    def _request(self, device: Device) -> bytes:
        if device.signed[0] < self._outside.now():
            self.sign_ahead([device])
        _, proof = device.signed
        device.signed = (0.0, "")  # for one use
        last = f"last-event-id: {device.last}\r\n" if device.last else ""
        return (
            f"GET {EVENTS} HTTP/1.1\r\nhost: {self._origin.host}:{self._origin.port}\r\naccept: text/event-stream\r\n"
            f"authorization: DPoP {device.session.access_token}\r\ndpop: {proof}\r\nx-device-id: {device.name}\r\n"
            f"{last}\r\n"
        ).encode()

    def drop(self, devices: Iterable[Device]) -> None:
        """Their network is gone: the streams are cut in this moment."""
        for device in devices:
            self._drop(device.stream)

    def _drop(self, stream: Stream) -> None:
        if not stream.ended:
            self.open.pop(stream.socket.fileno(), None)
            stream.end()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until that holds: asked whenever something was read. Has no deadline but whoever asks sets one."""
        await trio.lowlevel.checkpoint()
        while not holds():
            await self._news.wait()

    async def read(self) -> None:
        """Read all streams, for ever."""
        while True:
            await trio.lowlevel.wait_readable(self._poll.fileno())
            for descriptor, _ in self._poll.poll(0, BATCH):
                stream = self.open.get(descriptor)
                if stream is not None:
                    self._read(descriptor, stream)
            self._news.set()
            self._news = trio.Event()

    def _read(self, descriptor: int, stream: Stream) -> None:
        try:
            new = stream.feed(os.read(descriptor, READ))
        except BlockingIOError:
            return
        except OSError:
            new = stream.feed(b"")
        for one in stream.heard[len(stream.heard) - new :]:
            self.words[one.word] += 1
        if stream.ended:
            del self.open[descriptor]

    def close(self) -> None:
        """Nobody listens any more."""
        for stream in list(self.open.values()):
            self._drop(stream)
        self._poll.close()


@asynccontextmanager
async def open_crowd(edge: str, outside: Outside, *, streams: int) -> AsyncIterator[Crowd]:
    """A crowd that may have so many streams, for as long as the block lasts. Raises `TooFewFiles`."""
    files = allow_many_files()
    if files < streams + FILES_BESIDE:
        raise TooFewFiles(
            f"{streams} streams need {streams + FILES_BESIDE} open files, and this process may have {files}: "
            "raise its hard limit (`ulimit -Hn`)"
        )
    crowd = Crowd(edge, outside)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crowd.read)
            yield crowd
            nursery.cancel_scope.cancel(reason="the crowd has left")
    finally:
        crowd.close()
