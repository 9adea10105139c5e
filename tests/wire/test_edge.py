"""The edge's HTTP/1.1 in virtual time: limits, deadlines, what an app sees, what a peer gets."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.facts import AppFailed, RequestRefused
from bff.model import Answer
from bff.outside import Outside
from bff.problem import Problem, render
from bff.wire.asgi import ASGI3, ClientLeft, Message, Receive, Request, Scope, Send, read_body, request_of, send
from bff.wire.edge import Room, serve_stream
from bff.wire.limits import EdgeConfig, Limits
from chaos.sim import clock
from chaos.sim.stream import SimStream, stream_pair
from nurseries import listening, within

GET = b"GET /v1/x?y=1 HTTP/1.1\r\nHost: desk\r\n\r\n"


async def nowhere(host: str, port: int, tls: object) -> trio.abc.Stream:
    raise OSError(host, port, tls)


OUTSIDE = Outside(now=lambda: 1_439_624_400.0, entropy=lambda n: b"\x0e" * n, connect=nowhere)
CONFIG = EdgeConfig(OUTSIDE)


@dataclass
class Echo:
    """An app that remembers requests and answers how long their bodies were."""

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
class Got:
    status: int
    headers: dict[str, str]
    body: bytes


class Peer:
    """The desk's end of a connection: writes raw bytes, reads whole answers."""

    def __init__(self, stream: SimStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def write(self, raw: bytes) -> None:
        await self.stream.send_all(raw)

    async def drip(self, raw: bytes, every: float) -> None:
        for byte in raw:
            await self.stream.send_all(bytes([byte]))
            await trio.sleep(every)

    async def answer(self) -> Got:
        while b"\r\n\r\n" not in self.buffer:
            await self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            await self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Got(int(start.split()[1]), headers, body)

    async def _more(self) -> None:
        data = await self.stream.receive_some(65_536)
        assert data, f"closed after {self.buffer!r}"
        self.buffer += data

    async def closed(self) -> float:
        """When the edge closed, on the virtual clock; anything it still said is a failure."""
        assert self.buffer == b""
        assert await self.stream.receive_some(65_536) == b""
        return trio.current_time()


@asynccontextmanager
async def connected(app: ASGI3, config: EdgeConfig = CONFIG, room: Room | None = None) -> AsyncIterator[Peer]:
    """A desk connected to an edge that serves `app`; the edge must be done once the desk has closed."""
    near, far = stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_stream(app, far, config, client=("192.0.2.7", 5), room=room))
        yield Peer(near)
        await near.aclose()


def bounded(**limits: float) -> EdgeConfig:
    return replace(CONFIG, limits=Limits(**limits))  # type: ignore[arg-type]


# -- requests and answers ------------------------------------------------------------------------------------------


async def test_an_answer_carries_date_length_and_the_contracts_headers(autojump_clock: trio.testing.MockClock) -> None:
    app = Echo()
    async with connected(app) as peer:
        await peer.write(GET)
        got = await peer.answer()
    assert (got.status, got.body) == (200, b'{"read":0}')
    assert got.headers == {
        "date": "Sat, 15 Aug 2015 07:40:00 GMT",
        "content-type": "application/json",
        "content-length": "10",
        "x-request-id": "rid",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }
    request, _ = app.seen[0]
    assert request == Request("GET", "/v1/x", "y=1", ((b"host", b"desk"),), "http", "192.0.2.7", arrived=1)


async def test_one_connection_serves_many_requests_pipelined_or_not(autojump_clock: trio.testing.MockClock) -> None:
    post = b"POST /p HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\nabc"
    async with connected(app := Echo()) as peer:
        await peer.write(GET + post + GET)
        bodies = [(await peer.answer()).body for _ in range(3)]
        await peer.write(post)
        bodies.append((await peer.answer()).body)
    assert bodies == [b'{"read":0}', b'{"read":3}', b'{"read":0}', b'{"read":3}']
    assert [body for _, body in app.seen] == [b"", b"abc", b"", b"abc"]


async def test_a_connection_ends_when_its_peer_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer:
        await peer.write(b"GET / HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        assert (await peer.answer()).headers["connection"] == "close"
        assert await peer.closed() == trio.current_time()
    async with connected(Echo()) as peer:
        await peer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await peer.answer()).headers["connection"] == "close"
        await peer.closed()
    async with connected(Echo()) as peer:
        await peer.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
        assert (await peer.answer()).headers["connection"] == "keep-alive"
        assert (await peer.answer()).status == 200


async def test_a_head_request_gets_the_head_alone(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer:
        await peer.write(b"HEAD / HTTP/1.1\r\nHost: d\r\n\r\n")
        raw = b""
        while not raw.endswith(b"\r\n\r\n"):
            raw += await peer.stream.receive_some(65_536)
        assert b"content-length: 10\r\n" in raw
        await peer.write(GET)
        assert (await peer.answer()).body == b'{"read":0}'


async def test_an_upgrade_to_h2c_is_ignored_and_the_request_is_served(autojump_clock: trio.testing.MockClock) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    async with connected(app := Echo()) as peer:
        await peer.write(b"POST / HTTP/1.1\r\nHost: d\r\n" + upgrade + b"Content-Length: 3\r\n\r\nabc" + GET)
        assert (await peer.answer()).body == b'{"read":3}'
        assert (await peer.answer()).body == b'{"read":0}'
    assert [request.http_version for request, _ in app.seen] == ["1.1", "1.1"]


async def test_a_streamed_answer_is_chunked_and_to_http_1_0_ends_with_its_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def drops(scope: Scope, receive: Receive, out: Send) -> None:
        await out({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"", b"two"):
            await out({"type": "http.response.body", "body": piece, "more_body": True})
            await trio.sleep(100)  # longer than any limit of the edge: the app's time is the app's
        await out({"type": "http.response.body", "body": b"", "more_body": False})

    async with connected(drops) as peer:
        await peer.write(GET)
        got = await peer.answer()
        assert got.headers["transfer-encoding"] == "chunked"
        while not peer.buffer.endswith(b"0\r\n\r\n"):
            peer.buffer += await peer.stream.receive_some(100)
        assert peer.buffer == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    async with connected(drops) as peer:
        await peer.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await peer.answer()).headers["connection"] == "close"
        while piece := await peer.stream.receive_some(100):
            peer.buffer += piece
        assert peer.buffer == b"onetwo"


async def test_a_body_is_asked_for_only_when_it_is_wanted(autojump_clock: trio.testing.MockClock) -> None:
    head = b"POST / HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    async with connected(Echo()) as peer:
        await peer.write(head)
        assert (await peer.answer()).status == 100
        await peer.write(b"abc" + GET)
        assert (await peer.answer()).body == b'{"read":3}'
        assert (await peer.answer()).body == b'{"read":0}'
    async with connected(Echo(reads=False)) as peer:
        await peer.write(head)
        got = await peer.answer()
        assert (got.status, got.headers["connection"]) == (200, "close")


async def test_a_small_body_nobody_read_is_skipped_and_the_connection_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(Echo(reads=False)) as peer:
        await peer.write(b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\n")
        assert "connection" not in (await peer.answer()).headers
        await peer.write(b"abc" + GET)
        assert (await peer.answer()).status == 200


async def test_a_body_that_was_not_wanted_and_does_not_come_is_waited_for_ten_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(Echo(reads=False)) as peer:
        await peer.write(b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\n")
        await peer.answer()
        answered = trio.current_time()
        assert await peer.closed() == answered + 10


async def test_a_large_body_nobody_read_closes_the_connection_after_the_answer_was_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(Echo(reads=False)) as peer:
        await peer.write(b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 262145\r\n\r\n" + b"a" * 10_000)
        assert (await peer.answer()).headers["connection"] == "close"
        await peer.write(b"a" * 50_000)  # still on its way when the answer came: taken and dropped, not reset
        await peer.closed()


# -- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        pytest.param(400, b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", id="two"),
        pytest.param(
            400, b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", id="both"
        ),
        pytest.param(431, b"GET / HTTP/1.1\r\nHost: d\r\n" + b"A: b\r\n" * 100 + b"\r\n", id="101 fields"),
        pytest.param(431, b"GET / HTTP/1.1\r\nHost: d\r\nA: " + b"a" * 32_768, id="over 32 KiB"),
        pytest.param(431, b"GET /" + b"a" * 32_768 + b" HTTP/1.1\r\nHost: d\r\n\r\n", id="a long request line"),
        pytest.param(400, b"GET / HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(501, b"BREW / HTTP/1.1\r\nHost: d\r\n\r\n", id="unknown method"),
    ],
)
async def test_a_refused_head_gets_a_problem_and_nothing_behind_it_is_served(
    autojump_clock: trio.testing.MockClock, status: int, raw: bytes
) -> None:
    facts: list[object] = []
    with listening(facts.append):
        async with connected(app := Echo()) as peer:
            await peer.write(raw + GET)
            got = await peer.answer()
            await peer.closed()
    assert (got.status, got.headers["connection"]) == (status, "close")
    assert got.headers["content-type"] == "application/problem+json"
    problem = json.loads(got.body)
    assert (problem["status"], problem["requestId"]) == (status, got.headers["x-request-id"]) == (status, "0e" * 16)
    assert app.seen == []
    assert [fact.status for fact in facts if isinstance(fact, RequestRefused)] == [status]


async def test_a_head_that_drips_is_refused_ten_seconds_after_its_first_byte(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(app := Echo()) as peer, trio.open_nursery() as nursery:
        await peer.write(GET)
        await peer.answer()
        await trio.sleep(70)
        began = trio.current_time()
        nursery.start_soon(peer.drip, b"GET / HTTP/1.1\r\nHost: d\r\nA: " + b"a" * 500, 0.5)
        assert (await peer.answer()).status == 400
        assert trio.current_time() == began + 10
        nursery.cancel_scope.cancel()
    assert len(app.seen) == 1


async def test_a_head_that_drips_but_in_time_is_served(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(app := Echo()) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.drip, GET, 0.25)
        assert (await peer.answer()).status == 200
        assert 9 < trio.current_time() < 10
    assert len(app.seen) == 1


async def test_a_connection_that_says_nothing_is_closed_in_silence(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    async with connected(Echo()) as peer:
        assert await peer.closed() == began + 10


async def test_an_idle_connection_is_closed_after_75_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer:
        await peer.write(GET)
        await peer.answer()
        await trio.sleep(74)
        await peer.write(GET)
        await peer.answer()
        answered = trio.current_time()
        assert await peer.closed() == answered + 75


async def test_empty_lines_do_not_keep_an_idle_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer, trio.open_nursery() as nursery:
        await peer.write(GET)
        await peer.answer()
        answered = trio.current_time()

        async def lines() -> None:
            while True:
                await peer.write(b"\r\n")
                await trio.sleep(2)

        nursery.start_soon(lines)
        assert await peer.closed() == answered + 75
        nursery.cancel_scope.cancel()


async def test_a_body_slower_than_its_deadline_is_408(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(app := Echo()) as peer, trio.open_nursery() as nursery:
        began = trio.current_time()
        await peer.write(b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 500\r\n\r\n")
        nursery.start_soon(peer.drip, b"a" * 500, 0.5)
        got = await peer.answer()
        assert trio.current_time() == pytest.approx(began + 1.95)
        assert (got.status, json.loads(got.body)["code"]) == (408, "REQUEST_TIMEOUT")
        nursery.cancel_scope.cancel()
    assert app.seen == []


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_262144_bytes_of_body_pass_and_one_more_is_413(
    autojump_clock: trio.testing.MockClock, framing: str
) -> None:
    def post(size: int) -> bytes:
        head = b"POST / HTTP/1.1\r\nHost: d\r\n"
        if framing == "length":
            return head + b"Content-Length: %d\r\n\r\n" % size + b"a" * size
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + b"a" * size + b"\r\n0\r\n\r\n"

    async def put(peer: Peer, raw: bytes) -> None:
        try:
            await peer.write(raw)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    for size, status in ((262_144, 200), (262_145, 413)):
        async with connected(Echo()) as peer, trio.open_nursery() as nursery:
            nursery.start_soon(put, peer, post(size))
            got = await peer.answer()
            assert got.status == status
    assert json.loads(got.body)["code"] == "PAYLOAD_TOO_LARGE"


async def test_a_broken_chunk_is_400_and_the_end_of_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Echo()) as peer:
        await peer.write(b"POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n" + GET)
        got = await peer.answer()
        assert (got.status, got.headers["connection"]) == (400, "close")
        await peer.closed()


async def test_a_request_behind_a_chunked_body_in_the_same_breath_is_not_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(app := Echo()) as peer:
        await peer.write(b"POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + GET)
        assert (await peer.answer()).headers["connection"] == "close"
        await peer.closed()
    assert [body for _, body in app.seen] == [b"a"]


async def test_a_peer_that_does_not_read_is_left_after_twenty_seconds(autojump_clock: trio.testing.MockClock) -> None:
    ended = trio.Event()

    async def floods(scope: Scope, receive: Receive, out: Send) -> None:
        try:
            await send(out, Answer(200, b"a" * 1_000_000), "rid")
        finally:
            ended.set()

    async with connected(floods) as peer:
        await peer.write(GET)
        began = trio.current_time()
        await ended.wait()
        assert trio.current_time() == began + 20


async def test_pipelined_bytes_are_bounded_while_an_app_watches_for_the_peers_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def watches(scope: Scope, receive: Receive, out: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with connected(watches) as peer:
        with pytest.raises(trio.BrokenResourceError):
            await peer.write(GET)
            while True:
                await peer.write(b"a" * 10_000)
    assert trio.current_time() < 1


# -- apps that go wrong, peers that leave --------------------------------------------------------------------------


async def test_an_app_that_fails_gives_500_and_a_fact(autojump_clock: trio.testing.MockClock) -> None:
    async def fails(scope: Scope, receive: Receive, out: Send) -> None:
        raise KeyError("a secret")

    facts: list[object] = []
    with listening(facts.append):
        async with connected(fails) as peer:
            await peer.write(GET)
            got = await peer.answer()
            await peer.closed()
    assert (got.status, json.loads(got.body)["code"]) == (500, "INTERNAL")
    assert b"secret" not in got.body
    (failed,) = (fact for fact in facts if isinstance(fact, AppFailed))
    assert (failed.error, "test_edge.py:" in failed.where) == ("KeyError", True)


async def test_an_app_that_fails_in_the_middle_of_its_answer_cuts_it_visibly(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def fails(scope: Scope, receive: Receive, out: Send) -> None:
        await out({"type": "http.response.start", "status": 200, "headers": []})
        await out({"type": "http.response.body", "body": b"half", "more_body": True})
        raise KeyError

    async with connected(fails) as peer:
        await peer.write(GET)
        raw = b""
        while piece := await peer.stream.receive_some(1000):
            raw += piece
    assert raw.endswith(b"\r\n4\r\nhalf\r\n")  # and no last chunk


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
async def test_a_header_with_a_line_break_never_leaves(autojump_clock: trio.testing.MockClock, value: bytes) -> None:
    async def splits(scope: Scope, receive: Receive, out: Send) -> None:
        await out({"type": "http.response.start", "status": 200, "headers": [(b"x", value)]})
        await out({"type": "http.response.body", "body": b""})

    async with connected(splits) as peer:
        await peer.write(GET)
        got = await peer.answer()
    assert got.status == 500
    assert "x" not in got.headers


async def test_an_app_learns_that_its_peer_left(autojump_clock: trio.testing.MockClock) -> None:
    messages: list[Message] = []
    outcome: list[str] = []

    async def waits(scope: Scope, receive: Receive, out: Send) -> None:
        messages.extend([await receive(), await receive()])
        try:
            await send(out, Answer(200, b"{}"), "rid")
            await trio.sleep(1)
            await send(out, Answer(200, b"{}"), "rid")
        except (ClientLeft, RuntimeError) as error:
            outcome.append(type(error).__name__)

    facts: list[object] = []
    with listening(facts.append):
        async with connected(waits) as peer:
            await peer.write(GET)
            await trio.sleep(1)
            await peer.stream.aclose()
    assert [message["type"] for message in messages] == ["http.request", "http.disconnect"]
    assert len(outcome) == 1
    assert facts == []


async def test_a_reset_connection_is_nobody_elses_trouble(autojump_clock: trio.testing.MockClock) -> None:
    facts: list[object] = []
    with listening(facts.append):
        async with connected(Echo(takes=1.0)) as peer:
            await peer.write(GET)
            await trio.sleep(0.5)
            peer.stream.reset()
    assert facts == []


# -- drain ---------------------------------------------------------------------------------------------------------


async def test_a_drain_closes_idle_connections_at_once_and_lets_a_request_finish(
    autojump_clock: trio.testing.MockClock,
) -> None:
    room = Room(Echo(takes=1.0), CONFIG)
    async with connected(room.app, room=room) as idle, connected(room.app, room=room) as busy:
        await idle.write(GET)
        await idle.answer()
        await busy.write(GET)
        await trio.sleep(0.5)
        began = trio.current_time()
        room.drain()
        assert await idle.closed() == began
        got = await busy.answer()
        assert (got.status, got.headers["connection"]) == (200, "close")
        assert await busy.closed() == began + 0.5
    async with connected(room.app, room=room) as late:
        got = await late.answer()
        assert (got.status, json.loads(got.body)["code"]) == (503, "DRAINING")


async def test_a_request_half_written_when_the_drain_begins_is_still_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    room = Room(Echo(), CONFIG)
    async with connected(room.app, room=room) as peer:
        await peer.write(GET[:20])
        await trio.sleep(0.1)
        room.drain()
        await peer.write(GET[20:])
        got = await peer.answer()
        assert (got.status, got.headers["connection"]) == (200, "close")
        await peer.closed()


async def test_connections_over_the_bound_are_told_so_and_closed(autojump_clock: trio.testing.MockClock) -> None:
    config = bounded(connections=2)
    room = Room(Echo(), config)
    async with connected(room.app, config, room) as one, connected(room.app, config, room):
        await trio.testing.wait_all_tasks_blocked()
        async with connected(room.app, config, room) as three:
            got = await three.answer()
            assert (got.status, json.loads(got.body)["code"]) == (503, "OVERLOADED")
            await three.closed()
        await one.write(GET)
        assert (await one.answer()).status == 200
    async with connected(room.app, config, room) as again:
        await again.write(GET)
        assert (await again.answer()).status == 200


Runs = Callable[..., Any]  # the fixture `simulate`, or what it is made of

# -- any cut -------------------------------------------------------------------------------------------------------

RAW = (
    b"POST /a%20b?c=d HTTP/1.1\r\nHost: desk\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello"
    b"PUT /e HTTP/1.1\r\nHost: desk\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
)


def serve_cut(simulate: Runs, pieces: list[bytes]) -> list[tuple[Request, bytes]]:
    async def main() -> list[tuple[Request, bytes]]:
        app = Echo()
        async with connected(app) as peer, trio.open_nursery() as nursery:

            async def write() -> None:
                for piece in pieces:
                    await peer.write(piece)
                    await trio.sleep(0.001)

            nursery.start_soon(write)
            assert [(await peer.answer()).status for _ in range(2)] == [200, 200]
        return app.seen

    return simulate(main)


WHOLE = serve_cut(clock.simulate, [RAW])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, len(RAW) - 1), max_size=8, unique=True))
def test_requests_cut_anywhere_are_the_same_requests_at_the_app(simulate: Runs, at: list[int]) -> None:
    edges = [0, *sorted(at), len(RAW)]
    assert serve_cut(simulate, [RAW[a:b] for a, b in itertools.pairwise(edges)]) == WHOLE


def test_the_cut_requests_are_what_was_written() -> None:
    assert [(request.method, request.path, body) for request, body in WHOLE] == [
        ("POST", "/a%20b", b"hello"),
        ("PUT", "/e", b"abcde"),
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(RAW) - 1), st.binary(max_size=3)), max_size=4), st.integers(1, 60))
def test_whatever_bytes_come_only_their_own_connection_can_end(
    simulate: Runs, changes: list[tuple[int, bytes]], step: int
) -> None:
    raw = bytearray(RAW)
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


@pytest.mark.parametrize("after", [0.0, 0.1, 0.6, 1.1])
async def test_a_cancelled_edge_closes_its_connection_and_leaves_nothing(
    autojump_clock: trio.testing.MockClock, after: float
) -> None:
    room = Room(Echo(takes=0.5), CONFIG)
    near, far = stream_pair()
    with within(after) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve_stream(room.app, far, CONFIG, room=room))
            await near.send_all(GET + GET + GET[:9])
    assert scope.cancelled_caught
    assert (room.live, room.cut) == (set(), 1)
    with suppress(trio.BrokenResourceError):
        while await near.receive_some(1000):
            pass
    await near.aclose()
