"""The edge's HTTP/2 in virtual time: Hypercorn's protocol class with what it leaves open closed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.facts import AppFailed, RequestRefused
from bff.model import Answer
from bff.outside import Outside
from bff.problem import Problem, render
from bff.wire.asgi import ASGI3, Message, Receive, Request, Scope, Send, read_body, request_of, send
from bff.wire.edge import Room, serve_stream
from bff.wire.h2 import FrameWatch
from bff.wire.head import PREFACE
from bff.wire.limits import EdgeConfig
from chaos.sim.stream import WINDOW, SimStream, stream_pair
from nurseries import listening, within

GET = [(":method", "GET"), (":scheme", "http"), (":path", "/v1/x?y=1"), (":authority", "desk")]
POST = [(":method", "POST"), *GET[1:]]


async def nowhere(host: str, port: int, tls: object) -> trio.abc.Stream:
    raise OSError(host, port, tls)


CONFIG = EdgeConfig(Outside(now=lambda: 1_439_624_400.0, entropy=lambda n: b"\x0e" * n, connect=nowhere))


@dataclass
class Echo:
    seen: list[tuple[Request, bytes]] = field(default_factory=list)
    reads: bool = True
    takes: float = 0.0

    async def __call__(self, scope: Scope, receive: Receive, out: Send) -> None:
        request = request_of(scope)
        body: bytes | Problem = b""
        if self.reads:
            with within(2.0):
                body = await read_body(receive)
        await trio.sleep(self.takes)
        if isinstance(body, Problem):
            await send(out, render(body, "rid"), "rid")
            return
        self.seen.append((request, body))
        await send(out, Answer(200, b'{"read":%d}' % len(body)), "rid")


@dataclass
class Stream:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None


class Peer:
    """The desk's end: h2's own client, and raw bytes where h2 would not let us."""

    def __init__(self, stream: SimStream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.streams: defaultdict[int, Stream] = defaultdict(Stream)
        self.goodbye: int | None = None
        self.acknowledges = True

    async def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            await self.stream.send_all(data)

    async def ask(self, headers: list[tuple[str, str]], body: bytes | None = None) -> int:
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, headers, end_stream=body is None)
        if body is not None:
            self.h2.send_data(number, body, end_stream=True)
        await self.flush()
        return number

    async def step(self) -> bool:
        """Take what comes next; False when the edge closed."""
        data = await self.stream.receive_some(65_536)
        for event in self.h2.receive_data(bytes(data)) if data else ():
            number = getattr(event, "stream_id", 0) or 0
            if isinstance(event, h2.events.ResponseReceived):
                self.streams[number].headers = dict(event.headers)
                self.streams[number].status = int(self.streams[number].headers[":status"])
            elif isinstance(event, h2.events.DataReceived):
                self.streams[number].body += event.data
                if self.acknowledges:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, number)
            elif isinstance(event, h2.events.StreamEnded):
                self.streams[number].ended = True
            elif isinstance(event, h2.events.StreamReset):
                self.streams[number].reset = event.error_code
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goodbye = event.error_code
        if data and self.goodbye is None:
            await self.flush()
        return bool(data)

    async def answer(self, number: int) -> Stream:
        while not (self.streams[number].ended or self.streams[number].reset is not None):
            assert await self.step(), "closed"
        return self.streams[number]

    async def closed(self) -> float:
        while await self.step():
            pass
        return trio.current_time()


@asynccontextmanager
async def connected(
    app: ASGI3, config: EdgeConfig = CONFIG, room: Room | None = None, window: int = WINDOW
) -> AsyncIterator[Peer]:
    near, far = stream_pair(window=window)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_stream(app, far, config, client=("192.0.2.7", 5), room=room))
        peer = Peer(near)
        await peer.flush()
        yield peer
        await near.aclose()


async def test_who_opens_with_the_preface_speaks_http2(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(app := Echo()) as peer:
        got = await peer.answer(await peer.ask(GET))
        assert (got.status, got.body) == (200, b'{"read":0}')
        assert got.headers["date"] == "Sat, 15 Aug 2015 07:40:00 GMT"
        assert got.headers["x-request-id"] == "rid"
    request, _ = app.seen[0]
    assert request == Request("GET", "/v1/x", "y=1", ((b"host", b"desk"),), "http", "192.0.2.7", "2", 1)


async def test_many_streams_are_served_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo(takes=1.0)) as peer:
        began = trio.current_time()
        numbers = [await peer.ask(POST, b"a" * size) for size in range(50)]
        bodies = [(await peer.answer(number)).body for number in numbers]
        assert bodies == [b'{"read":%d}' % size for size in range(50)]
        assert trio.current_time() == began + 1.0


async def test_a_large_answer_comes_whole(autojump_clock: trio.testing.MockClock) -> None:
    whole = bytes(range(256)) * 2000

    async def large(scope: Scope, receive: Receive, out: Send) -> None:
        await send(out, Answer(200, whole), "rid")

    async with connected(large) as peer:
        assert (await peer.answer(await peer.ask(GET))).body == whole


async def test_a_head_request_gets_no_body(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer:
        got = await peer.answer(await peer.ask([(":method", "HEAD"), *GET[1:]]))
        assert (got.status, got.headers["content-length"], got.body) == (200, "10", b"")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        pytest.param(431, [*GET, *[(f"x-{i}", "1") for i in range(101)]], id="101 fields"),
        pytest.param(431, [*GET, *[(f"x-{i}", "a" * 8000) for i in range(5)]], id="over 32 KiB"),
        pytest.param(400, [*GET[:3], (":authority", "u@x")], id="a user in the authority"),
        pytest.param(400, [*GET[:2], (":path", "x"), GET[3]], id="a path without slash"),
    ],
)
async def test_a_refused_head_leaves_the_other_streams_alone(
    autojump_clock: trio.testing.MockClock, status: int, headers: list[tuple[str, str]]
) -> None:
    facts: list[object] = []
    with listening(facts.append):
        async with connected(app := Echo(takes=0.5)) as peer:
            fine, bad = await peer.ask(GET), await peer.ask(headers)
            got = await peer.answer(bad)
            assert (got.status, json.loads(got.body)["status"]) == (status, status)
            assert (await peer.answer(fine)).status == 200
    assert len(app.seen) == 1
    assert [fact.status for fact in facts if isinstance(fact, RequestRefused)] == [status]


async def test_a_header_block_beyond_all_measure_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer:
        await peer.ask([*GET, *[(f"x-{i}", "a" * 8000) for i in range(9)]])
        await peer.closed()
        assert peer.goodbye == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


async def test_a_path_that_is_not_ascii_ends_nothing_but_its_request(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer:
        assert (await peer.answer(await peer.ask([*GET[:2], (":path", "/é"), GET[3]]))).status == 400
        assert (await peer.answer(await peer.ask(GET))).status == 200


async def test_a_header_block_that_never_ends_is_left_after_ten_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo(takes=8.0)) as peer:
        await peer.answer(await peer.ask(GET))
        began = trio.current_time()
        fine = await peer.ask(GET)
        await peer.stream.send_all(b"\x00\x00\x01\x01\x00\x00\x00\x00\x05\x82")  # HEADERS without END_HEADERS
        await peer.answer(fine)
        assert trio.current_time() == began + 8
        assert await peer.closed() == began + 10
        assert peer.goodbye == h2.errors.ErrorCodes.NO_ERROR


async def test_an_idle_connection_gets_a_goaway_after_75_seconds_whatever_it_pings(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(Echo()) as peer, trio.open_nursery() as nursery:
        await peer.answer(await peer.ask(GET))
        answered = trio.current_time()

        async def pings() -> None:
            while True:
                await trio.sleep(10.3)
                peer.h2.ping(b"12345678")
                await peer.flush()

        nursery.start_soon(pings)
        assert await peer.closed() == answered + 75
        assert peer.goodbye == h2.errors.ErrorCodes.NO_ERROR
        nursery.cancel_scope.cancel()


async def test_262144_bytes_of_body_pass_and_one_more_is_413(autojump_clock: trio.testing.MockClock) -> None:
    for size, status in ((262_144, 200), (262_145, 413)):
        async with connected(Echo()) as peer:
            number = peer.h2.get_next_available_stream_id()
            peer.h2.send_headers(number, POST)
            left = size
            while left and not peer.streams[number].status:
                step = min(left, peer.h2.local_flow_control_window(number), 16_384)
                if step:
                    peer.h2.send_data(number, b"a" * step, end_stream=step == left)
                    left -= step
                    await peer.flush()
                else:
                    await peer.step()
            assert (await peer.answer(number)).status == status


async def test_a_body_slower_than_its_deadline_is_408_on_its_stream_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(Echo()) as peer:
        began = trio.current_time()
        number = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(number, POST)
        peer.h2.send_data(number, b"a")
        await peer.flush()
        got = await peer.answer(number)
        assert (got.status, trio.current_time()) == (408, pytest.approx(began + 1.95))
        assert (await peer.answer(await peer.ask(GET))).status == 200


async def test_a_body_nobody_reads_waits_in_its_window_and_holds_no_other_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def first_sleeps(scope: Scope, receive: Receive, out: Send) -> None:
        await trio.sleep(5 if scope["method"] == "POST" else 0)
        await send(out, Answer(200, b"{}"), "rid")

    async with connected(first_sleeps) as peer:
        number = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(number, POST)
        for _ in range(1000):  # far more pieces than any queue of messages would hold
            peer.h2.send_data(number, b"a")
        await peer.flush()
        assert (await peer.answer(await peer.ask(GET))).status == 200
        assert peer.h2.local_flow_control_window(number) == 65_535 - 1000  # nothing was given back
        assert trio.current_time() < 1
        assert (await peer.answer(number)).status == 200


async def test_data_behind_an_early_answer_is_dropped_and_the_connection_lives(
    autojump_clock: trio.testing.MockClock,
) -> None:
    facts: list[object] = []
    with listening(facts.append):
        async with connected(Echo(reads=False)) as peer:
            number = peer.h2.get_next_available_stream_id()
            peer.h2.send_headers(number, POST)
            peer.h2.send_data(number, b"a")
            await peer.flush()
            await trio.sleep(1)  # answered, but we have not read it
            for _ in range(20):
                peer.h2.send_data(number, b"a" * 1000)
                await peer.flush()
            assert (await peer.answer(number)).status == 200
            assert (await peer.answer(await peer.ask(GET))).status == 200
            assert peer.streams[number].reset in {None, h2.errors.ErrorCodes.NO_ERROR}
    assert facts == []


async def test_more_streams_than_allowed_are_refused_as_repeatable(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo(takes=5.0)) as peer:
        numbers = []
        for _ in range(100):
            numbers.append(await peer.ask(GET))
            peer.h2.reset_stream(numbers[-1], h2.errors.ErrorCodes.CANCEL)  # gone for us, at work for the edge
        one_more = await peer.ask(GET)
        assert (await peer.answer(one_more)).reset == h2.errors.ErrorCodes.REFUSED_STREAM
        await trio.sleep(5)
        assert (await peer.answer(await peer.ask(GET))).status == 200


async def test_rapid_resets_end_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    facts: list[object] = []
    with listening(facts.append):
        async with connected(Echo()) as peer:
            for number in range(1, 301, 2):
                peer.h2.send_headers(number, GET, end_stream=True)
                peer.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
            await peer.flush()
            await peer.closed()
            assert peer.goodbye == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    assert any(isinstance(fact, RequestRefused) and fact.status == 503 for fact in facts)


async def test_frames_that_carry_nothing_end_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer:
        number = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(number, POST)
        for _ in range(200):
            peer.h2.send_data(number, b"")
        await peer.flush()
        await peer.closed()
        assert peer.goodbye == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


async def test_who_resets_now_and_then_but_lets_us_answer_is_welcome(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer:
        for _ in range(150):
            peer.h2.reset_stream(await peer.ask(GET), h2.errors.ErrorCodes.CANCEL)
            assert (await peer.answer(await peer.ask(GET))).status == 200


async def test_an_answer_nobody_takes_is_given_up_after_twenty_seconds(autojump_clock: trio.testing.MockClock) -> None:
    ended = trio.Event()

    async def large(scope: Scope, receive: Receive, out: Send) -> None:
        try:
            await send(out, Answer(200, b"a" * 300_000), "rid")
        finally:
            ended.set()

    async with connected(large) as peer:
        peer.acknowledges = False
        number = await peer.ask(GET)
        began = trio.current_time()
        assert (await peer.answer(number)).reset == h2.errors.ErrorCodes.CANCEL
        assert ended.is_set()
        assert trio.current_time() == began + 20
        peer.acknowledges = True


async def test_a_peer_that_stops_reading_its_socket_is_left(autojump_clock: trio.testing.MockClock) -> None:
    async def large(scope: Scope, receive: Receive, out: Send) -> None:
        await send(out, Answer(200, b"a" * 60_000), "rid")

    room = Room(large, CONFIG)
    # Its socket is full before the window that HTTP/2 gave us is: what is tested is the write, not that window.
    async with connected(large, room=room, window=16_384) as peer:
        for _ in range(10):
            await peer.ask(GET)
        await trio.sleep(60)
        assert room.live == set()


async def test_an_app_that_fails_gives_500_or_a_reset_and_a_fact(autojump_clock: trio.testing.MockClock) -> None:
    async def fails(scope: Scope, receive: Receive, out: Send) -> None:
        if scope["method"] == "POST":
            await out({"type": "http.response.start", "status": 200, "headers": []})
            await out({"type": "http.response.body", "body": b"half", "more_body": True})
        raise KeyError("a secret")

    facts: list[object] = []
    with listening(facts.append):
        async with connected(fails) as peer:
            got = await peer.answer(await peer.ask(GET))
            assert (got.status, json.loads(got.body)["code"]) == (500, "INTERNAL")
            cut = await peer.answer(await peer.ask(POST, b""))
            assert (cut.reset, cut.ended) == (h2.errors.ErrorCodes.INTERNAL_ERROR, False)
    failed = [fact for fact in facts if isinstance(fact, AppFailed)]
    assert [fact.error for fact in failed] == ["KeyError"] * 2
    assert all("test_edge_http2.py:" in fact.where for fact in failed)


async def test_an_app_learns_that_its_stream_was_reset_and_that_its_peer_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    messages: list[Message] = []

    async def waits(scope: Scope, receive: Receive, out: Send) -> None:
        await receive()
        messages.append(await receive())

    facts: list[object] = []
    with listening(facts.append):
        async with connected(waits) as peer:
            number = await peer.ask(GET)
            await trio.sleep(1)
            peer.h2.reset_stream(number)
            await peer.ask(GET)
            await trio.sleep(1)
    assert [message["type"] for message in messages] == ["http.disconnect"] * 2
    assert facts == []


async def test_a_drain_says_goodbye_to_the_idle_and_after_the_last_answer_to_the_busy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    room = Room(Echo(takes=1.0), CONFIG)
    async with connected(room.app, room=room) as idle, connected(room.app, room=room) as busy:
        await idle.answer(await idle.ask(GET))
        number = await busy.ask(GET)
        await trio.sleep(0.5)
        began = trio.current_time()
        room.drain()
        assert await idle.closed() == began
        assert idle.goodbye == h2.errors.ErrorCodes.NO_ERROR
        late = await busy.ask(GET)
        assert (await busy.answer(late)).reset == h2.errors.ErrorCodes.REFUSED_STREAM
        assert (await busy.answer(number)).status == 200
        assert await busy.closed() == began + 0.5
        assert busy.goodbye == h2.errors.ErrorCodes.NO_ERROR


async def test_nonsense_behind_the_preface_is_answered_with_a_goaway(autojump_clock: trio.testing.MockClock) -> None:
    facts: list[object] = []
    with listening(facts.append):
        async with connected(Echo()) as peer:
            await peer.stream.send_all(b"GET / HTTP/1.1\r\nHost: d\r\n\r\n")
            began = trio.current_time()
            assert await peer.closed() == began
            assert peer.goodbye == h2.errors.ErrorCodes.FRAME_SIZE_ERROR
    assert facts == [RequestRefused(400, "a frame over its bound")]


def conversation() -> bytes:
    """What a desk writes in two requests, one with a body."""
    peer = h2.connection.H2Connection()
    peer.initiate_connection()
    peer.send_headers(1, POST)
    peer.send_data(1, b"a" * 40, end_stream=True)
    peer.ping(b"12345678")
    peer.send_headers(3, GET, end_stream=True)
    peer.increment_flow_control_window(1000)
    return peer.data_to_send()


TALK = conversation()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(24, len(TALK) - 1), st.binary(max_size=3)), max_size=4), st.integers(1, 50))
def test_whatever_frames_come_only_their_own_connection_can_end(
    simulate: Callable[..., Any], changes: list[tuple[int, bytes]], step: int
) -> None:
    raw = bytearray(TALK)
    for at, instead in changes:
        raw[at : at + len(instead)] = instead
    facts: list[object] = []

    async def main() -> None:
        near, far = stream_pair()
        room = Room(Echo(), CONFIG)
        with listening(facts.append), within(200):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: serve_stream(room.app, far, CONFIG, room=room))
                with suppress(trio.BrokenResourceError):
                    for at in range(0, len(raw), step):
                        await near.send_all(raw[at : at + step])
                        await trio.sleep(0.001)
                    while await near.receive_some(65_536):
                        pass
        assert trio.current_time() < 100  # the edge ended it: nothing was left open but by its own limits
        assert room.live == set()

    simulate(main)
    assert [fact for fact in facts if isinstance(fact, AppFailed)] == []


def frame(kind: int, flags: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + b"\x00\x00\x00\x01" + payload


@pytest.mark.parametrize(
    ("owes", "data"),
    [
        (False, PREFACE),
        (False, PREFACE + frame(4, 0)),
        (True, PREFACE + frame(4, 0)[:5]),
        (True, PREFACE + frame(1, 0, b"abc")),
        (False, PREFACE + frame(1, 4, b"abc")),
        (True, PREFACE + frame(1, 0, b"abc") + frame(9, 0, b"abc")),
        (False, PREFACE + frame(1, 0, b"abc") + frame(9, 4, b"abc")),
        (True, PREFACE + frame(1, 4, b"abc")[:-1]),
        (False, PREFACE + frame(0, 0, b"abc")[:-1]),
    ],
)
def test_a_head_under_way_is_seen_in_the_frames_however_they_are_cut(owes: bool, data: bytes) -> None:
    whole, byte_by_byte = FrameWatch(), FrameWatch()
    assert whole.feed(data) is owes
    assert [byte_by_byte.feed(data[i : i + 1]) for i in range(len(data))][-1] is owes
