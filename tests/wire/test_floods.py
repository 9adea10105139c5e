"""Peers that want to keep the edge busy, full or waiting: what each costs it, when it ends, and that others are served.

Each trial runs beside a bystander on a connection of its own. What the edge holds meanwhile is measured by Python's own
allocator: a bound on memory, and never one on time.
"""

import tracemalloc
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import h2.config
import h2.connection
import h2.errors
import h2.events
import hpack
import pytest
import trio

from bff.facts import AppFailed, RequestRefused
from bff.model import Answer
from bff.outside import Outside
from bff.wire.asgi import read_body, send
from bff.wire.edge import Room, serve_stream
from bff.wire.head import PREFACE
from bff.wire.limits import EdgeConfig, Limits
from chaos.sim.stream import stream_pair
from nurseries import listening, within

MiB = 1 << 20
GET = [(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), (":authority", "d")]
CALM = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


async def nowhere(host, port, tls):
    raise OSError(host, port, tls)


CONFIG = EdgeConfig(Outside(now=lambda: 1_439_624_400.0, entropy=lambda n: b"\x0e" * n, connect=nowhere))


async def app(scope, receive, out):
    with within(2.0):
        await read_body(receive)
    await send(out, Answer(200, b"{}"), "rid")


class Edge:
    """An edge with whoever dials it; `refused` is why, in the order in which it was said."""

    def __init__(self, nursery, config):
        self.room = Room(app, config)
        self.refused = []
        self._nursery = nursery
        self._dialled = []

    def dial(self):
        near, far = stream_pair()
        self._dialled.append(near)
        self._nursery.start_soon(lambda: serve_stream(app, far, self.room.config, room=self.room))
        return near

    def hear(self, fact):
        assert not isinstance(fact, AppFailed), fact
        if isinstance(fact, RequestRefused):
            self.refused.append((fact.status, fact.why))

    async def serves(self, stream):
        """The bystander, who has an answer before anything else can happen."""
        began = trio.current_time()
        await stream.send_all(b"GET /beside HTTP/1.1\r\nHost: d\r\n\r\n")
        assert bytes(await stream.receive_some(65_536)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert trio.current_time() - began < 0.1

    async def over(self):
        for stream in self._dialled:
            await stream.aclose()


@asynccontextmanager
async def standing(config=CONFIG):
    async with trio.open_nursery() as nursery:
        edge = Edge(nursery, config)
        with listening(edge.hear):
            yield edge
            await edge.over()
            nursery.cancel_scope.deadline = trio.current_time() + 100
    assert not nursery.cancel_scope.cancelled_caught
    assert edge.room.live == set()


async def everything(stream):
    """All that is said until the edge closes; when it did."""
    said = bytearray()
    with suppress(trio.BrokenResourceError):
        while data := await stream.receive_some(65_536):
            said += data
    return bytes(said), trio.current_time()


async def pour(stream, *pieces):
    """As much of `pieces` as the edge takes."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        for piece in pieces:
            await stream.send_all(piece)


# -- slowly (slowloris) --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"GET / HTTP/1.1\r\nHost: d\r\n", b"X-A: b\r\n"),
        (PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x08\x06", b"\0"),
        (PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\0\0\0\0\1\x82", b"\0\0\0\x09\0\0\0\0\1"),
    ],
    ids=["heads", "frames", "header blocks of continuations"],
)
async def test_many_who_drip_are_gone_after_ten_seconds_and_whoever_comes_meanwhile_is_served(
    autojump_clock, begin, drop
):
    async def drip(stream):
        with suppress(trio.BrokenResourceError):
            await stream.send_all(begin)
            while True:
                await trio.sleep(0.9)
                await stream.send_all(drop)

    async with standing() as edge, trio.open_nursery() as nursery:
        slow = [edge.dial() for _ in range(50)]
        for stream in slow:
            nursery.start_soon(drip, stream)
        await trio.sleep(5)
        assert len(edge.room.live) == 50
        await edge.serves(edge.dial())
        for stream in slow:
            _, ended = await everything(stream)
            assert ended <= 10.5
        nursery.cancel_scope.cancel()
    assert {status for status, _ in edge.refused} <= {400, 408}
    assert len(edge.refused) == 50


async def test_many_whose_bodies_drip_are_answered_at_the_deadline_and_gone_ten_seconds_later(autojump_clock):
    async def drip(stream):
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 200000\r\n\r\n")
            while True:
                await trio.sleep(0.5)
                await stream.send_all(b"a")

    async with standing() as edge, trio.open_nursery() as nursery:
        slow = [edge.dial() for _ in range(50)]
        for stream in slow:
            nursery.start_soon(drip, stream)
        await trio.sleep(1)
        await edge.serves(edge.dial())
        for stream in slow:
            said, ended = await everything(stream)
            assert said.startswith(b"HTTP/1.1 ") and ended < 13
        nursery.cancel_scope.cancel()


async def test_those_who_say_nothing_take_no_more_than_the_places_there_are_and_only_for_ten_seconds(autojump_clock):
    async with standing(replace(CONFIG, limits=Limits(connections=20))) as edge:
        held = [edge.dial() for _ in range(20)]
        await trio.sleep(1)
        said, _ = await everything(edge.dial())
        assert said.startswith(b"HTTP/1.1 503 ")
        for stream in held:
            assert await everything(stream) == (b"", 10.0)
        await edge.serves(edge.dial())


# -- frames (HTTP/2) -----------------------------------------------------------------------------------------------


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


OPEN = PREFACE + frame(4)
ASKED = hpack.Encoder().encode([(name.encode(), value.encode()) for name, value in GET])
FLOODS = {
    "pings (CVE-2019-9512)": frame(6, payload=b"12345678"),
    "settings (CVE-2019-9515)": frame(4),
    "settings that set something": frame(4, payload=b"\0\4\0\1\0\0"),
    "priorities (CVE-2019-9513)": frame(2, stream=1, payload=b"\0\0\0\0\0"),
    "frames of a kind that there is not": frame(0xEE),
    "windows that open by a byte": frame(8, payload=b"\0\0\0\1"),
    "resets of a stream that is over (CVE-2019-9514)": frame(3, stream=1, payload=b"\0\0\0\0"),
    "data of no bytes (CVE-2019-9518)": frame(0, stream=3),
}


async def measured(work):
    """What `work()` gives, and the most that Python held meanwhile beyond what it held before, in bytes."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        got = await work()
        return got, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", FLOODS.values(), ids=FLOODS)
async def test_frames_without_end_that_ask_for_nothing_end_their_connection_and_hold_nothing(autojump_clock, piece):
    async with standing() as edge, trio.open_nursery() as nursery:
        beside, flood = edge.dial(), edge.dial()
        await flood.send_all(OPEN + frame(1, 5, 1, ASKED) + frame(1, 4, 3, ASKED))
        flooding = [piece * (65_536 // len(piece))] * 20

        async def both():
            nursery.start_soon(lambda: pour(flood, *flooding))
            await edge.serves(beside)
            return await everything(flood)

        (said, ended), held = await measured(both)
        assert ended < 3 and held < 2 * MiB
        assert goodbye(said) == CALM
        await edge.serves(beside)
    assert edge.refused and {status for status, _ in edge.refused} == {503}


async def test_pings_whose_answers_nobody_reads_do_not_pile_up(autojump_clock):
    """Few enough of them to be answered, and for as long as the connection lives."""
    async with standing() as edge:
        flood = edge.dial()
        await flood.send_all(OPEN)

        async def drip():
            with suppress(trio.BrokenResourceError):
                while True:
                    await flood.send_all(frame(6, payload=b"12345678") * 15)
                    await trio.sleep(1)

        _, held = await measured(drip)
        assert held < MiB and trio.current_time() < 80
        await edge.serves(edge.dial())


async def test_requests_taken_back_at_once_end_their_connection_however_few_come_together(autojump_clock):
    """CVE-2023-44487: a request and its reset in one write, and the next pair only when the edge has had its turn."""
    async with standing() as edge, trio.open_nursery() as nursery:
        beside, flood = edge.dial(), edge.dial()
        await flood.send_all(OPEN)

        async def resets():
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                for number in range(1, 20_000, 2):
                    await flood.send_all(frame(1, 5, number, ASKED) + frame(3, 0, number, b"\0\0\0\x08"))
                    await trio.lowlevel.checkpoint()

        nursery.start_soon(resets)
        (said, _), held = await measured(lambda: everything(flood))
        assert goodbye(said) == CALM and held < 2 * MiB
        await edge.serves(beside)
    assert edge.refused == [(503, "many more streams reset than answered")]


async def test_heads_that_are_refused_one_after_the_other_end_their_connection_too(autojump_clock):
    block = hpack.Encoder().encode([(name.encode(), b"u@x" if name == ":authority" else v.encode()) for name, v in GET])
    async with standing() as edge, trio.open_nursery() as nursery:
        beside, flood = edge.dial(), edge.dial()
        await flood.send_all(OPEN)
        nursery.start_soon(lambda: pour(flood, *[frame(1, 5, number, block) for number in range(1, 1000, 2)]))
        said, _ = await everything(flood)
        assert goodbye(said) == CALM
        await edge.serves(beside)
    assert 128 <= edge.refused.count((400, "a request has exactly one authority")) <= 150


@pytest.mark.parametrize("size", [0, 1, 16_384])
async def test_a_header_block_of_continuations_without_end_ends_its_connection(autojump_clock, size):
    """CERT VU#421644: neither many small ones nor a few large ones are collected."""
    async with standing() as edge, trio.open_nursery() as nursery:
        beside, flood = edge.dial(), edge.dial()
        more = frame(9, 0, 1, b"\0" * size)

        async def both():
            nursery.start_soon(lambda: pour(flood, OPEN, frame(1, 1, 1, b"\x82"), *[more * (65_536 // len(more))] * 40))
            return await everything(flood)

        (said, ended), held = await measured(both)
        assert goodbye(said) is not None
        assert ended < 3 and held < 4 * MiB
        await edge.serves(beside)


@pytest.mark.parametrize("named", [12, 12_000], ids=["beyond our bound", "beyond h2's"])
async def test_a_field_that_is_named_a_thousand_times_by_one_byte_each_is_never_written_out(autojump_clock, named):
    """An HPACK bomb (CVE-2016-6581): 4 KB in the table, and a head that refers to it again and again."""
    encoder = hpack.Encoder()
    bomb = encoder.encode([*[(name.encode(), value.encode()) for name, value in GET], (b"x-a", b"a" * 3_900)])
    again = b"\xbe"  # the newest entry of the dynamic table (RFC 7541, 6.1)
    async with standing() as edge, trio.open_nursery() as nursery:
        beside, flood = edge.dial(), edge.dial()
        block = bomb + again * named
        await flood.send_all(OPEN)

        async def both():
            nursery.start_soon(lambda: pour(flood, frame(1, 5, 1, block)))
            return await answered(flood)

        (status, end), held = await measured(both)
        assert (status, end) in ((431, None), (None, CALM))
        assert held < 2 * MiB
        await edge.serves(beside)


def goodbye(said):
    """The code of the GOAWAY in what the edge said, or None."""
    return _read(said)[1]


async def answered(stream):
    """The status of an answer, or the code of a GOAWAY, whichever comes first."""
    said = bytearray()
    while data := await stream.receive_some(65_536):
        said += data
        found = _read(bytes(said))
        if found != (None, None):
            return found
    raise AssertionError("closed without a word")


def _read(said):
    """By hand: a client's own state machine would stop at what no client has asked for."""
    at, status, code = 0, None, None
    decoder = hpack.Decoder()
    while at + 9 <= len(said):
        size, kind = int.from_bytes(said[at : at + 3], "big"), said[at + 3]
        payload, at = said[at + 9 : at + 9 + size], at + 9 + size
        if kind == 1 and len(payload) == size:
            fields = dict(decoder.decode(payload))
            status = int(fields[":status"])
        elif kind == 7:
            code = int.from_bytes(payload[4:8], "big")
    return status, code
