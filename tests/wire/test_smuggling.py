"""Requests that two readers could read as different ones, at the edge: nothing is served that hides in another's body.

Every trial has `GET /smuggled` behind the first request's end, as one of the two readers would see it.
"""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
import trio

from bff.facts import AppFailed
from bff.model import Answer
from bff.outside import Outside
from bff.problem import Problem, render
from bff.wire.asgi import read_body, request_of, send
from bff.wire.edge import Room, serve_stream
from bff.wire.limits import EdgeConfig
from chaos.sim.stream import stream_pair
from nurseries import listening, within

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: d\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: d\r\n"


async def nowhere(host, port, tls):
    raise OSError(host, port, tls)


CONFIG = EdgeConfig(Outside(now=lambda: 1_439_624_400.0, entropy=lambda n: b"\x0e" * n, connect=nowhere))


@dataclass
class App:
    """Reads the body, as a mutation does; remembers what it was asked, and which body it got whole."""

    seen: list = field(default_factory=list)

    async def __call__(self, scope, receive, out):
        request = request_of(scope)
        with within(2.0):
            body = await read_body(receive, request=request)
            whole = None if isinstance(body, Problem) else body
            self.seen.append((request.path, dict(request.headers)[b"host"], whole))
            answer = render(body, "rid") if isinstance(body, Problem) else Answer(200, b"{}")
            await send(out, answer, "rid")


@asynccontextmanager
async def edge(app):
    """The near end of a connection to an edge; it is one of two, and the other one is served throughout."""
    facts = []
    room = Room(app, CONFIG)
    near, far = stream_pair()
    beside, behind = stream_pair()
    with listening(facts.append):
        async with trio.open_nursery() as nursery:
            for end in (far, behind):
                nursery.start_soon(lambda end: serve_stream(app, end, CONFIG, room=room), end)
            yield near
            await beside.send_all(b"GET /beside HTTP/1.1\r\nHost: d\r\n\r\n")
            assert bytes(await beside.receive_some(65_536)).startswith(b"HTTP/1.1 200 OK\r\n")
            await beside.aclose()
            await near.aclose()
    assert not any(isinstance(fact, AppFailed) for fact in facts)


async def said(near):
    """All that the edge says until it closes."""
    raw = b""
    while data := await near.receive_some(65_536):
        raw += data
    return raw


TE = b"Transfer-Encoding: chunked\r\n"
CL = b"Content-Length: %d\r\n"
ENDED = b"0\r\n\r\n"

AMBIGUOUS = {
    "CL.TE": POST + CL % (len(ENDED + HIDDEN)) + TE + b"\r\n" + ENDED + HIDDEN,
    "TE.CL": POST + TE + CL % 4 + b"\r\n" + b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n" + ENDED,
    "two lengths": POST + CL % 0 + CL % len(HIDDEN) + b"\r\n" + HIDDEN,
    "two equal lengths": POST + CL % 0 * 2 + b"\r\n" + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 0, %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + HIDDEN,
    "a length in octets of another base": POST + b"Content-Length: 0x0\r\n\r\n" + HIDDEN,
    "a length with a space in it": POST + b"Content-Length: 0 0\r\n\r\n" + HIDDEN,
    "a length that is folded": POST + b"Content-Length:\r\n 0\r\n\r\n" + HIDDEN,
    "a space before the colon of a length": POST + b"Content-Length : 0\r\n\r\n" + HIDDEN,
    "a space before the colon of a coding": POST + b"Transfer-Encoding : chunked\r\n\r\n" + ENDED + HIDDEN,
    "a tab before a coding": POST + CL % 0 + b"Transfer-Encoding:\tchunked\r\n\r\n" + ENDED + HIDDEN,
    "a vertical tab before a coding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + ENDED + HIDDEN,
    "a NUL behind a coding": POST + b"Transfer-Encoding: chunked\x00\r\n\r\n" + ENDED + HIDDEN,
    "a quoted coding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + ENDED + HIDDEN,
    "a coding with a parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n" + ENDED + HIDDEN,
    "a coding twice": POST + TE * 2 + b"\r\n" + ENDED + HIDDEN,
    "a coding and identity": POST + TE + b"Transfer-Encoding: identity\r\n\r\n" + ENDED + HIDDEN,
    "an unknown coding": POST + b"Transfer-Encoding: cow\r\n\r\n" + HIDDEN,
    "a coding that is folded": POST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n" + ENDED + HIDDEN,
    "a coding behind a bare LF": POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n" + ENDED + HIDDEN,
    "a coding behind a bare CR": POST + b"X: y\rTransfer-Encoding: chunked\r\n\r\n" + ENDED + HIDDEN,
    "a coding in HTTP/1.0": POST.replace(b"1.1", b"1.0") + TE + b"\r\n" + ENDED + HIDDEN,
    "a head of bare LFs": (POST + CL % len(HIDDEN)).replace(b"\r\n", b"\n") + b"\n" + HIDDEN,
    "two hosts": POST + b"Host: e\r\n" + CL % 0 + b"\r\n" + HIDDEN,
    "a name with a space": POST + b"Content Length: 5\r\n\r\n" + HIDDEN,
    "an authority with a user": POST.replace(b"/v1/x", b"http://d@e/v1/x") + b"\r\n" + HIDDEN,
    "a target with a fragment": POST.replace(b"/v1/x", b"/v1/x#") + b"\r\n" + HIDDEN,
}
MISCHUNKED = {
    "a size with a sign": b"-0\r\n\r\n",
    "a size with its base": b"0x0\r\n\r\n",
    "a size that overflows": b"10000000000000000\r\n\r\n",
    "a size with a space before it": b" 0\r\n\r\n",
    "a size behind a bare LF": b"1\na\r\n0\r\n\r\n",
    "a size that ends with a bare LF": b"0\n\n",
    "a chunk longer than its size": b"1\r\nab\r\n0\r\n\r\n",
    "a chunk without its CRLF": b"1\r\na0\r\n\r\n",
    "an extension with a bare LF": b"0;a\n\r\n",
    "an extension with a bare CR": b"0;a\rb\r\n\r\n",
}


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_head_that_can_be_read_in_two_ways_is_answered_once_and_ends_its_connection(autojump_clock, raw):
    app = App()
    async with edge(app) as near:
        await near.send_all(raw)
        answer = await said(near)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
        assert b"\r\nconnection: close\r\n" in answer
        assert trio.current_time() < 10
    assert app.seen == [("/beside", b"d", b"")]


@pytest.mark.parametrize("chunks", MISCHUNKED.values(), ids=MISCHUNKED)
async def test_a_body_that_can_end_in_two_places_is_no_body_and_ends_its_connection(autojump_clock, chunks):
    app = App()
    async with edge(app) as near:
        await near.send_all(POST + TE + b"\r\n" + chunks + HIDDEN)
        answer = await said(near)
        assert answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nconnection: close\r\n" in answer
    assert app.seen == [("/v1/x", b"d", None), ("/beside", b"d", b"")]


@pytest.mark.parametrize(
    "chunks", [b"000000000005\r\nhello\r\n0\r\n\r\n", b"5;a=b;c\r\nhello\r\n0;d\r\n\r\n"], ids=["zeros", "extensions"]
)
async def test_an_odd_but_only_reading_of_a_body_is_read_so_and_its_connection_not_used_again(autojump_clock, chunks):
    app = App()
    async with edge(app) as near:
        await near.send_all(POST + TE + b"\r\n" + chunks + HIDDEN)
        answer = await said(near)
        assert answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 200 ")
    assert app.seen == [("/v1/x", b"d", b"hello"), ("/beside", b"d", b"")]


async def test_of_a_target_and_a_host_that_disagree_the_target_counts_and_nobody_sees_the_other(autojump_clock):
    app = App()
    async with edge(app) as near:
        await near.send_all(b"GET http://d/v1/x HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n")
        assert (await said(near)).startswith(b"HTTP/1.1 200 ")
    assert app.seen == [("/v1/x", b"d", b""), ("/beside", b"d", b"")]


# -- HTTP/2 --------------------------------------------------------------------------------------------------------

FIELDS = ((":method", "POST"), (":scheme", "http"), (":path", "/v1/x"), (":authority", "d"))
ENDING = {
    "connection": (("connection", "close"),),
    "a coding": (("transfer-encoding", "chunked"),),
    "an upgrade": (("upgrade", "h2c"),),
    "keep-alive": (("keep-alive", "timeout=5"),),
    "proxy-connection": (("proxy-connection", "keep-alive"),),
    "TE that is no trailers": (("te", "gzip"),),
    "a name in capitals": (("X-A", "1"),),
    "a pseudo-field behind a field": (("x-a", "1"), (":path", "/smuggled")),
    "a second path": ((":path", "/smuggled"),),
    "a pseudo-field that is none": ((":smuggled", "1"),),
    "another Host": (("host", "evil"),),
}
REFUSED = {
    "a line break in a value": (("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1"),),
    "a bare LF in a value": (("x-a", "b\ntransfer-encoding: chunked"),),
    "a NUL in a value": (("x-a", "b\x00"),),
    "a colon in a name": (("x-a: b", "c"),),
    "a space in a name": (("content-length ", "0"),),
    "two lengths": (("content-length", "0"), ("content-length", "0")),
    "a length that is none": (("content-length", "+0"),),
    "a length without its body": (("content-length", "3"),),
}


def unguarded():
    """h2's client as it would not be: it sends what it is told."""
    config = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="utf-8"
    )
    peer = h2.connection.H2Connection(config)
    peer.initiate_connection()
    return peer


async def heard(near, peer):
    """What the edge says on the connection until it closes it, or answers: events."""
    events = []
    while data := await near.receive_some(65_536):
        events += peer.receive_data(bytes(data))
        await near.send_all(peer.data_to_send())
        if any(isinstance(event, h2.events.StreamEnded | h2.events.ConnectionTerminated) for event in events):
            break
    return events


@pytest.mark.parametrize("fields", [*ENDING.values(), *REFUSED.values()], ids=[*ENDING, *REFUSED])
async def test_what_http_1_would_read_otherwise_is_no_request_of_http_2_either(autojump_clock, fields):
    app, peer = App(), unguarded()
    async with edge(app) as near:
        peer.send_headers(1, [*FIELDS, *fields], end_stream=True)
        await near.send_all(peer.data_to_send())
        events = await heard(near, peer)
        goodbyes = [event.error_code for event in events if isinstance(event, h2.events.ConnectionTerminated)]
        answers = [dict(event.headers)[":status"] for event in events if isinstance(event, h2.events.ResponseReceived)]
        assert (goodbyes, answers) in (([h2.errors.ErrorCodes.PROTOCOL_ERROR], []), ([], ["400"]))
    assert app.seen == [("/beside", b"d", b"")]


@pytest.mark.parametrize("length", [2, 5], ids=["long", "short"])
async def test_a_length_that_the_frames_belie_is_no_body_of_a_request(autojump_clock, length):
    app, peer = App(), unguarded()
    async with edge(app) as near:
        peer.send_headers(1, [*FIELDS, ("content-length", str(length))])
        peer.send_data(1, b"abc", end_stream=True)
        await near.send_all(peer.data_to_send())
        events = await heard(near, peer)
        goodbye = next(event for event in events if isinstance(event, h2.events.ConnectionTerminated))
        assert goodbye.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert [whole for path, _, whole in app.seen if path == "/v1/x"] in ([], [None])


async def test_trailers_change_nothing_of_a_request_that_is_under_way(autojump_clock):
    app, peer = App(), unguarded()
    async with edge(app) as near:
        peer.send_headers(1, FIELDS)
        peer.send_data(1, b"abc")
        peer.send_headers(1, [("host", "evil"), ("x-a", "1")], end_stream=True)
        await near.send_all(peer.data_to_send())
        events = await heard(near, peer)
        answers = [dict(event.headers)[":status"] for event in events if isinstance(event, h2.events.ResponseReceived)]
        assert answers == ["200"]
    assert app.seen == [("/v1/x", b"d", b"abc"), ("/beside", b"d", b"")]


async def test_a_refusal_says_what_is_wrong_and_repeats_nothing_of_what_came(autojump_clock):
    app = App()
    async with edge(app) as near:
        await near.send_all(b"GET /<script> HTTP/1.1\r\nHost: d<script>\r\n\r\n")
        head, _, body = (await said(near)).partition(b"\r\n\r\n")
        assert b"script" not in head + body
        assert json.loads(body)["code"] == "VALIDATION_FAILED"
        assert b"\r\nserver:" not in head.lower()
