"""Answers that are said piece by piece, through the edge in virtual time, by each protocol as its desk reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import h2.config
import h2.connection
import h2.events
import h11
import pytest
import trio
import trio.testing

from bff.facts import AppFailed
from bff.model import Pieces, Streamed
from bff.outside import Outside
from bff.wire.asgi import ClientLeft, Receive, Scope, Send, send_pieces
from bff.wire.edge import serve_edge
from bff.wire.limits import EdgeConfig
from bff.wire.sse import MEDIA, encode
from chaos.sim.stream import WINDOW, SimStream, stream_pair
from nurseries import listening

Run = Callable[[Pieces], Awaitable[None]]
ALL = ("1.0", "1.1", "2")
LASTING = ("1.1", "2")
HELD = 32_768  # bytes of an answer over HTTP/2 that may wait for a window
FRAMES = [encode("alert", b'{"n":%d}' % n, f"e-{n}") for n in range(3)]


async def nowhere(host: str, port: int, tls: object) -> trio.abc.Stream:
    raise OSError(host, port, tls)


CONFIG = EdgeConfig(Outside(now=lambda: 1_439_624_400.0, entropy=lambda n: b"\x0e" * n, connect=nowhere))


class Plain:
    """A desk that speaks HTTP/1.1, or 1.0, as h11 has it."""

    def __init__(self, stream: SimStream, version: str) -> None:
        self.stream = stream
        self.version = version
        self.h11 = h11.Connection(h11.CLIENT)

    def words(self, path: str) -> bytes:
        asked = h11.Request(method="GET", target=path, headers=[("host", "desk")])
        return (self.h11.send(asked) or b"").replace(b"HTTP/1.1", b"HTTP/" + self.version.encode())

    async def ask(self, path: str = "/") -> None:
        if self.h11.our_state is h11.DONE:
            self.h11.start_next_cycle()
        raw = self.words(path)
        self.h11.send(h11.EndOfMessage())
        await self.stream.send_all(raw)

    async def hear(self) -> tuple[str, Any]:
        """What comes next: its head, a piece, its end, or that it was cut."""
        try:
            while (event := self.h11.next_event()) is h11.NEED_DATA:
                self.h11.receive_data(await self.stream.receive_some(65_536))
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            return "cut", None
        if isinstance(event, h11.Response):
            return "head", {name.decode(): value.decode() for name, value in event.headers}
        return ("piece", bytes(event.data)) if isinstance(event, h11.Data) else ("end", None)


class Framed:
    """A desk that speaks HTTP/2 and asks for one thing at a time. `takes` whether it gives windows back."""

    def __init__(self, stream: SimStream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.number = 0
        self.takes = True
        self.heard: deque[tuple[str, Any]] = deque()

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def ask(self, path: str = "/") -> None:
        self.number = self.h2.get_next_available_stream_id()
        head = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "desk")]
        self.h2.send_headers(self.number, head, end_stream=True)
        await self.flush()

    async def reset(self) -> None:
        self.h2.reset_stream(self.number)
        await self.flush()

    async def hear(self) -> tuple[str, Any]:
        while not self.heard:
            data = await self.stream.receive_some(65_536)
            if not data:
                return "cut", None
            for event in self.h2.receive_data(data):
                self.heard.extend(self.meaning(event))
            with suppress(trio.BrokenResourceError):
                await self.flush()
        return self.heard.popleft()

    def meaning(self, event: h2.events.Event) -> list[tuple[str, Any]]:
        if isinstance(event, h2.events.ResponseReceived):
            return [("head", dict(event.headers))]
        if isinstance(event, h2.events.DataReceived):
            if self.takes:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return [("piece", event.data)] if event.data else []
        if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
            return [("cut", None)]
        return [("end", None)] if isinstance(event, h2.events.StreamEnded) else []


Desk = Plain | Framed


class Porch(trio.abc.Listener[SimStream]):
    """Where simulated connections come in."""

    def __init__(self) -> None:
        self.arrive, self._arrivals = trio.open_memory_channel[SimStream](10)

    async def accept(self) -> SimStream:
        return await self._arrivals.receive()

    async def aclose(self) -> None:
        await self._arrivals.aclose()


@dataclass
class Edge:
    """An edge whose paths are streams. `cut` is how many connections were, once it has drained."""

    porch: Porch = field(default_factory=Porch)
    shutdown: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    cut: int = 0

    async def desk(self, version: str) -> Desk:
        near, far = stream_pair()
        await self.porch.arrive.send(far)
        return Framed(near) if version == "2" else Plain(near, version)


@asynccontextmanager
async def serving(config: EdgeConfig = CONFIG, **runs: Run) -> AsyncIterator[Edge]:
    """An edge with a stream at each name, where the border of a request is as `bff.app` has it; no bug may happen."""
    edge = Edge()
    facts: list[object] = []

    async def app(scope: Scope, receive: Receive, out: Send) -> None:
        run = runs[scope["path"].strip("/") or "stream"]
        with suppress(ClientLeft):
            await send_pieces(out, receive, Streamed(run, MEDIA), "rid", (("server-timing", "a;dur=1"),))

    async def serve(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        edge.cut = await serve_edge(app, config, listeners=[edge.porch], shutdown=edge.shutdown)
        edge.over.set()

    with listening(facts.append):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            yield edge
            edge.shutdown.set()
    assert [fact for fact in facts if isinstance(fact, AppFailed)] == []


async def every_second(pieces: Pieces) -> None:
    for frame in FRAMES:
        await pieces.write(frame)
        await trio.sleep(1)


async def until_left(pieces: Pieces) -> None:
    await pieces.write(FRAMES[0])
    await pieces.departed()


async def whole(desk: Desk) -> list[tuple[float, str, Any]]:
    """All of an answer, with when each part of it came."""
    heard: list[tuple[float, str, Any]] = []
    while not heard or heard[-1][1] not in {"end", "cut"}:
        kind, what = await desk.hear()
        heard.append((trio.current_time(), kind, what))
    return heard


# -- what a desk hears ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ALL)
async def test_pieces_leave_as_they_are_written_and_the_first_with_the_head(
    autojump_clock: trio.testing.MockClock, version: str
) -> None:
    async with serving(stream=every_second) as edge:
        desk = await edge.desk(version)
        began = trio.current_time()
        await desk.ask()
        (_, _, head), *rest = await whole(desk)
        assert rest == [(began + n, "piece", frame) for n, frame in enumerate(FRAMES)] + [(began + 3, "end", None)]
        assert {name: head.get(name) for name in ("content-type", "cache-control", "x-accel-buffering")} == {
            "content-type": "text/event-stream",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
        assert (head["x-request-id"], head["server-timing"]) == ("rid", "a;dur=1")
        assert "content-length" not in head


@pytest.mark.parametrize("version", LASTING)
async def test_a_stream_that_has_ended_leaves_its_connection_to_the_next(
    autojump_clock: trio.testing.MockClock, version: str
) -> None:
    async with serving(stream=every_second) as edge:
        desk = await edge.desk(version)
        for _ in range(3):
            await desk.ask()
            assert [kind for _, kind, _ in await whole(desk)] == ["head", "piece", "piece", "piece", "end"]


async def test_what_is_asked_during_a_stream_is_answered_after_it(autojump_clock: trio.testing.MockClock) -> None:
    told = trio.Event()

    async def until_told(pieces: Pieces) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pieces.departed)  # reads what comes, as a stream does all the while
            await pieces.write(FRAMES[0])
            await told.wait()
            nursery.cancel_scope.cancel()

    async with serving(stream=until_told) as edge:
        desk = await edge.desk("1.1")
        assert isinstance(desk, Plain)
        await desk.ask()
        await desk.stream.send_all(b"GET / HTTP/1.1\r\nhost: desk\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        told.set()
        assert [kind for _, kind, _ in await whole(desk)] == ["head", "piece", "end"]
        desk.h11.start_next_cycle()
        desk.words("/")
        desk.h11.send(h11.EndOfMessage())
        assert [kind for _, kind, _ in await whole(desk)] == ["head", "piece", "end"]


@pytest.mark.parametrize("version", LASTING)
async def test_behind_a_piece_that_was_given_up_nothing_follows_and_the_end_is_a_cut(
    autojump_clock: trio.testing.MockClock, version: str
) -> None:
    refused: list[type[Exception]] = []

    async def gives_up(pieces: Pieces) -> None:
        with trio.move_on_after(1):
            await pieces.write(b"x" * 1_000_000)
        try:
            await pieces.write(FRAMES[0])
        except ClientLeft as left:
            refused.append(type(left))

    async with serving(stream=gives_up) as edge:
        desk = await edge.desk(version)
        await desk.ask()
        await trio.sleep(2)  # before it takes the first byte
        heard = await whole(desk)
    assert refused == [ClientLeft]
    assert heard[-1][1] == "cut"
    said = b"".join(what for _, kind, what in heard if kind == "piece")
    assert set(said) == set(b"x")
    assert len(said) < 1_000_000


# -- who leaves, and who takes nothing -----------------------------------------------------------------------------


LEAVING: list[Any] = [
    pytest.param("1.1", lambda desk: desk.stream.aclose(), id="1.1 closes"),
    pytest.param("1.1", lambda desk: desk.stream.send_eof(), id="1.1 closes its half"),
    pytest.param("1.0", lambda desk: desk.stream.aclose(), id="1.0 closes"),
    pytest.param("2", lambda desk: desk.stream.aclose(), id="2 closes"),
    pytest.param("2", lambda desk: desk.reset(), id="2 resets its stream"),
]


@pytest.mark.parametrize(("version", "leave"), LEAVING)
async def test_that_a_desk_has_left_is_known_at_once_without_a_write(
    autojump_clock: trio.testing.MockClock, version: str, leave: Callable[[Desk], Awaitable[None]]
) -> None:
    left: list[float] = []

    async def looking(pieces: Pieces) -> None:
        await until_left(pieces)
        left.append(trio.current_time())

    async with serving(stream=looking) as edge:
        desk = await edge.desk(version)
        await desk.ask()
        assert [(await desk.hear())[0] for _ in range(2)] == ["head", "piece"]
        await trio.sleep(300)
        gone = trio.current_time()
        assert left == []
        await leave(desk)
        await trio.testing.wait_all_tasks_blocked()
        assert left == [gone]


async def test_a_stream_that_is_reset_ends_alone(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(stream=until_left, other=every_second) as edge:
        desk = await edge.desk("2")
        assert isinstance(desk, Framed)
        await desk.ask("/stream")
        assert [(await desk.hear())[0] for _ in range(2)] == ["head", "piece"]
        await desk.reset()
        await desk.ask("/other")
        assert [kind for _, kind, _ in await whole(desk)] == ["head", "piece", "piece", "piece", "end"]


@pytest.mark.parametrize("version", ALL)
async def test_a_desk_that_takes_nothing_is_cut_by_the_bound_of_one_write(
    autojump_clock: trio.testing.MockClock, version: str
) -> None:
    begun, ended = 0.0, trio.Event()

    async def says_much(pieces: Pieces) -> None:
        nonlocal begun
        try:
            for _ in range(1_000):
                begun = trio.current_time()
                await pieces.write(b": %b\n\n" % (b"x" * 10_000))
                await trio.sleep(1)
        finally:
            ended.set()

    async with serving(stream=says_much) as edge:
        desk = await edge.desk(version)
        await desk.ask()
        if isinstance(desk, Framed):  # its socket is read, its window is not
            desk.takes = False
            while (await desk.hear())[0] != "cut":
                pass
        await ended.wait()
        assert begun * 10_000 < WINDOW + HELD  # a second each: what nobody took until one waited
        assert trio.current_time() == begun + CONFIG.limits.write_seconds
        if isinstance(desk, Plain):
            assert (await whole(desk))[-1][1] == ("end" if version == "1.0" else "cut")  # of 1.0 nobody can tell


# -- the end of an edge --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", LASTING)
async def test_a_drain_waits_for_streams_that_end_by_themselves_and_cuts_the_others(
    autojump_clock: trio.testing.MockClock, version: str
) -> None:
    told = trio.Event()

    async def ends_when_told(pieces: Pieces) -> None:
        await pieces.write(FRAMES[0])
        await told.wait()
        await pieces.write(FRAMES[1])

    async with serving(replace(CONFIG, grace=8.0), obeys=ends_when_told, stays=until_left) as edge:
        obeys, stays = await edge.desk(version), await edge.desk(version)
        await obeys.ask("/obeys")
        await stays.ask("/stays")
        assert [[(await desk.hear())[0] for _ in range(2)] for desk in (obeys, stays)] == [["head", "piece"]] * 2
        await trio.sleep(30)
        began = trio.current_time()
        edge.shutdown.set()
        await trio.sleep(1)
        told.set()
        assert await whole(obeys) == [(began + 1, "piece", FRAMES[1]), (began + 1, "end", None)]
        assert [(at, kind) for at, kind, _ in await whole(stays)] == [(began + 8, "cut")]
        await edge.over.wait()
        assert edge.cut == 1
        assert trio.current_time() == began + 8
