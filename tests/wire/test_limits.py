"""What a request may be: the reader of HTTP/1.1 heads and bodies, without a socket."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.wire.head import PREFACE, RequestReader, SpeaksHttp2
from bff.wire.limits import Limits, Refused, judge_http2

LIMITS = Limits()


@dataclass(frozen=True)
class Seen:
    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def read(*pieces: bytes, limits: Limits = LIMITS) -> list[Seen]:
    """Every request that came whole, as a connection would take them."""
    reader, seen = RequestReader(limits), []
    waiting = list(pieces)

    def more() -> bool:
        if not waiting:
            return False
        reader.feed(waiting.pop(0))
        return True

    while True:
        while not reader.next_head():
            if not more():
                return seen
        body = b""
        while not reader.complete:
            piece = reader.body()
            if not piece and not reader.complete and not more():
                return seen
            body += piece
        seen.append(Seen(reader.method, reader.path, reader.query, tuple(reader.headers), body))
        if reader.overrun:
            return seen


def refused(*pieces: bytes, limits: Limits = LIMITS) -> Refused:
    with pytest.raises(Refused) as caught:
        read(*pieces, limits=limits)
    return caught.value


def head(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


def test_a_head_is_read_with_its_names_lowered_and_its_values_trimmed() -> None:
    (seen,) = read(head(b"HoSt: desk:80  ", b"X-A:\t one ", b"X-A: two", start=b"GET /a%20b?c=%20 HTTP/1.1"))
    assert seen == Seen("GET", b"/a%20b", b"c=%20", ((b"host", b"desk:80"), (b"x-a", b"one"), (b"x-a", b"two")), b"")


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        pytest.param(400, head(b"Host: x", b"Content-Length: 3", b"Content-Length: 3"), id="two equal lengths"),
        pytest.param(400, head(b"Host: x", b"Content-Length: 3", b"Content-Length: 4"), id="two lengths"),
        pytest.param(400, head(b"Host: x", b"Content-Length: 3, 3"), id="a list of lengths"),
        pytest.param(400, head(b"Host: x", b"Content-Length: 3", b"Transfer-Encoding: chunked"), id="length, chunked"),
        pytest.param(400, head(b"Host: x", b"Transfer-Encoding: chunked", b"Content-Length: 3"), id="chunked, length"),
        pytest.param(400, head(b"Host: x", b"Content-Length: +3"), id="signed length"),
        pytest.param(400, head(b"Host: x", b"Content-Length: 0x3"), id="hexadecimal length"),
        pytest.param(400, head(b"Host: x", b"Content-Length:"), id="empty length"),
        pytest.param(400, head(b"Host: x", b"Content-Length: 99999999999999999999"), id="overflowing length"),
        pytest.param(400, head(b"Host: x", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), id="twice"),
        pytest.param(400, head(b"Host: x", b"Transfer-Encoding: chunked, identity"), id="chunked not last"),
        pytest.param(400, head(b"Host: x", b"Transfer-Encoding: xchunked"), id="nearly chunked"),
        pytest.param(501, head(b"Host: x", b"Transfer-Encoding: gzip, chunked"), id="another coding below chunked"),
        pytest.param(400, head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"), id="chunked in HTTP/1.0"),
        pytest.param(400, head(b"Host: x", b"A : b"), id="space before the colon"),
        pytest.param(400, head(b"Host: x", b" b: c"), id="folded field"),
        pytest.param(400, head(b"Host: x", b"A b: c"), id="space in a name"),
        pytest.param(400, head(b"Host: x", b": c"), id="no name"),
        pytest.param(400, head(b"Host: x", b"A: b\x00c"), id="NUL in a value"),
        pytest.param(400, head(b"Host: x", b"A: b\rc"), id="bare CR in a value"),
        pytest.param(400, b"GET / HTTP/1.1\nHost: x\n\n", id="bare LF"),
        pytest.param(400, b"GET / HTTP/1.1\r\nHost: x\n\r\n\r\n", id="bare LF in one line"),
        pytest.param(400, head(), id="no Host"),
        pytest.param(400, head(b"Host: x", b"Host: x"), id="two Hosts"),
        pytest.param(400, head(b"Host: x/y"), id="a path in Host"),
        pytest.param(400, head(b"Host: u@x"), id="a user in Host"),
        pytest.param(400, head(b"Host: x", start=b"GET a HTTP/1.1"), id="target without slash"),
        pytest.param(400, head(b"Host: x", start=b"GET /\xc3\xa9 HTTP/1.1"), id="target not ASCII"),
        pytest.param(400, head(b"Host: x", start=b"GET /a#b HTTP/1.1"), id="fragment"),
        pytest.param(400, head(b"Host: x", start=b"GET * HTTP/1.1"), id="asterisk for GET"),
        pytest.param(400, head(b"Host: x", start=b"GET ftp://x/ HTTP/1.1"), id="another scheme"),
        pytest.param(400, head(b"Host: x", start=b"CONNECT x:80 HTTP/1.1"), id="CONNECT"),
        pytest.param(400, head(b"Host: x", start=b"GET / HTTP/1.1 "), id="space after the version"),
        pytest.param(400, head(b"Host: x", start=b"GET /"), id="HTTP/0.9"),
        pytest.param(400, head(b"Host: x", start=b"GET  / HTTP/1.1"), id="two spaces"),
        pytest.param(505, head(b"Host: x", start=b"GET / HTTP/2.0"), id="HTTP/2 without its preface"),
        pytest.param(501, head(b"Host: x", start=b"FROBNICATE / HTTP/1.1"), id="unknown method"),
        pytest.param(501, head(b"Host: x", start=b"get / HTTP/1.1"), id="a method's case counts"),
        pytest.param(400, b"\x16\x03\x01\x02\x00\x01", id="a TLS hello in clear"),
    ],
)
def test_what_is_not_a_request_is_refused(status: int, raw: bytes) -> None:
    assert refused(raw).status == status


def test_absolute_form_replaces_the_host() -> None:
    (seen,) = read(head(b"Host: other", b"A: b", start=b"GET HTTP://desk:8080/a?b HTTP/1.1"))
    assert (seen.path, seen.query, seen.headers) == (b"/a", b"b", ((b"host", b"desk:8080"), (b"a", b"b")))
    (seen,) = read(head(b"Host: x", start=b"GET http://desk?b HTTP/1.1"))
    assert (seen.path, seen.query) == (b"/", b"b")
    assert refused(head(b"Host: x", start=b"GET http://u@desk/ HTTP/1.1")).status == 400


@pytest.mark.parametrize(
    ("kept", "raw"),
    [
        (True, head(b"Host: x")),
        (False, head(b"Host: x", b"Connection: close")),
        (False, head(b"Host: x", b"Connection: keep-alive, Close")),
        (False, head(start=b"GET / HTTP/1.0")),
        (True, head(b"Connection: keep-alive", start=b"GET / HTTP/1.0")),
        (False, head(b"Host: x", b"Content-Length: 3", b"Connection: close", start=b"POST / HTTP/1.1")),
    ],
)
def test_whether_a_connection_is_kept_is_the_heads_word(kept: bool, raw: bytes) -> None:
    reader = RequestReader(LIMITS)
    reader.feed(raw)
    assert reader.next_head()
    assert reader.keep_alive is kept


def test_options_may_ask_for_the_server_itself() -> None:
    (seen,) = read(head(b"Host: x", start=b"OPTIONS * HTTP/1.1"))
    assert seen.path == b"*"


def sized(size: int) -> bytes:
    """A head of exactly `size` bytes."""
    plain = len(head(b"Host: x", b"A: "))
    return head(b"Host: x", b"A: " + b"a" * (size - plain))


def test_a_head_of_exactly_the_limit_passes_and_one_byte_more_is_431() -> None:
    assert len(read(sized(32_768))) == 1
    assert refused(sized(32_769)).status == 431


def test_a_head_without_end_is_refused_as_soon_as_it_is_over_the_limit() -> None:
    endless = head(b"Host: x")[:-2] + b"A: " + b"a" * 32_768
    assert refused(*[endless[i : i + 1000] for i in range(0, len(endless), 1000)]).status == 431
    assert read(endless[:32_768]) == []


def test_a_hundred_fields_pass_and_one_more_is_431() -> None:
    assert len(read(head(b"Host: x", *[b"A: b"] * 99))) == 1
    assert refused(head(b"Host: x", *[b"A: b"] * 100)).status == 431


def test_a_request_that_asks_for_an_upgrade_keeps_its_own_body_and_the_request_behind_it() -> None:
    upgrade = (b"Host: x", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAAA")
    behind = head(b"Host: x", start=b"GET /next HTTP/1.1")
    first, second = read(head(*upgrade, b"Content-Length: 3", start=b"POST / HTTP/1.1") + b"abc" + behind)
    assert (first.body, second.path) == (b"abc", b"/next")
    (chunked,) = read(
        head(*upgrade, b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1") + b"3\r\nabc\r\n0\r\n\r\n"
    )
    assert chunked.body == b"abc"
    first, second = read(head(*upgrade) + behind)
    assert second.path == b"/next"


def test_what_follows_a_chunked_body_is_marked_and_never_served() -> None:
    reader = RequestReader(LIMITS)
    reader.feed(head(b"Host: x", b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1"))
    reader.feed(b"1\r\na\r\n0\r\n\r\n" + head(b"Host: x", start=b"GET /smuggled HTTP/1.1"))
    assert reader.next_head()
    assert reader.body() == b"a"
    assert reader.complete and reader.overrun
    assert reader.waiting == 0


@pytest.mark.parametrize(
    "body",
    [b"g\r\n", b"-1\r\n", b"0x1\r\na\r\n", b"1\r\nab\r\n", b"1\na\n", b"1\r\na0\r\n\r\n", b"1 \r\na\r\n", b"\r\n"],
)
def test_a_malformed_chunk_is_refused(body: bytes) -> None:
    assert refused(head(b"Host: x", b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1") + body).status == 400


def test_a_chunked_body_of_little_but_framing_is_refused() -> None:
    start = head(b"Host: x", b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1")
    assert refused(start, *[b"1;" + b"x" * 4000 + b"\r\na\r\n"] * 20).status == 400
    assert read(start, b"1\r\na\r\n" * 20_000, b"0\r\n\r\n")[0].body == b"a" * 20_000


def test_the_preface_of_http2_is_told_apart_from_a_request() -> None:
    with pytest.raises(SpeaksHttp2):
        read(PREFACE[:10], PREFACE[10:])


METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
TOKENS = st.text("abcdefXYZ-_0123456789", min_size=1, max_size=12).map(lambda name: b"x-" + name.encode())
VALUES = st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b >= 0x20 and b != 0x7F).strip())


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Seen]:
    method, path = draw(METHODS), b"/" + draw(st.text("abc/%~.-", max_size=10)).encode()
    query, body = draw(st.text("abc=&/?", max_size=8)).encode(), draw(st.binary(max_size=40))
    fields = [(b"Host", b"desk"), *draw(st.lists(st.tuples(TOKENS, VALUES), max_size=5))]
    if body:
        fields.append((b"Content-Length", b"%d" % len(body)))
    start = method.encode() + b" " + path + (b"?" + query if query else b"") + b" HTTP/1.1"
    raw = head(*[name + b": " + value for name, value in fields], start=start) + body
    lowered = tuple((name.lower(), value) for name, value in fields)
    return raw, Seen(method, path, query, lowered, body)


def cuts(raw: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(edges) if a < b]


@settings(max_examples=150, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=3), st.data())
def test_a_cut_anywhere_changes_no_request(several: list[tuple[bytes, Seen]], data: st.DataObject) -> None:
    raw = b"".join(piece for piece, _ in several)
    at = data.draw(st.lists(st.integers(0, len(raw)), max_size=8))
    assert read(*cuts(raw, at)) == [seen for _, seen in several]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.data())
def test_a_cut_anywhere_changes_no_chunked_body(chunks: list[bytes], data: st.DataObject) -> None:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    start = head(b"Host: x", b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1")
    raw = start + framed + b"0\r\nTrailer: t\r\n\r\n"
    at = data.draw(st.lists(st.integers(0, len(raw)), max_size=8))
    (seen,) = read(*cuts(raw, at))
    assert seen.body == b"".join(chunks)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.data())
def test_whatever_comes_is_a_request_a_refusal_or_not_yet_known(noise: bytes, data: st.DataObject) -> None:
    prefix = data.draw(st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\n"]))
    try:
        seen = read(prefix + noise)
    except (Refused, SpeaksHttp2):
        return
    assert all(sum(name == b"host" for name, _ in one.headers) <= 1 for one in seen)


# A second reading of RFC 9112: what h11 would refuse, or would read otherwise, must not get through here either.
LINES = st.sampled_from(
    [
        *(
            b"Host: x",
            b"Host: y",
            b"host:x",
            b"Host : x",
            b"A: b",
            b"A:",
            b"A:\tb ",
            b" A: b",
            b"\tA",
            b"A",
            b"",
            b"A: b\x0bc",
        ),
        *(
            b"Content-Length: 3",
            b"content-length:3",
            b"Content-Length: 03",
            b"Content-Length: 3,3",
            b"Content-Length: -3",
        ),
        *(b"Content-Length: 0", b"Content-Length: 3 3", b"Content-Length : 3", b"Content-Length\x00: 3"),
        *(b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED", b"Transfer-Encoding: chunked;q=1"),
        *(b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: identity", b"Transfer-Encoding : chunked"),
        *(
            b"Connection: close",
            b"Connection: Upgrade",
            b"Upgrade: h2c",
            b"Upgrade: websocket",
            b"Expect: 100-continue",
        ),
    ]
)
STARTS = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"POST /a?b HTTP/1.1",
        b"POST / HTTP/1.0",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"POST / HTTP/1.2",
    ]
)
TAILS = st.sampled_from(
    [
        b"",
        b"abc",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"3;x=y\r\nabc\r\n00\r\nT: t\r\n\r\n",
        b"0\r\n\r\n",
        b"abcGET /s HTTP/1.1\r\nHost: z\r\n\r\n",
    ]
)


def lowered(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """h11 lowers a value too where it is `chunked`."""
    return tuple((name, value.lower()) for name, value in headers)


def second_reading(raw: bytes) -> Seen | None:
    """What h11 makes of the first request in `raw`; None when it refuses, or waits for more."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=32_768)
    connection.receive_data(raw)
    try:
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return None
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.EndOfMessage):
        return None
    path, _, query = request.target.partition(b"?")
    return Seen(request.method.decode(), path, query, lowered(request.headers), body)


@settings(max_examples=400, deadline=None)
@given(STARTS, st.lists(LINES, max_size=3).map(lambda lines: [b"Host: x", *lines]), TAILS)
def test_no_request_gets_through_that_h11_would_refuse_or_read_otherwise(
    start: bytes, lines: list[bytes], tail: bytes
) -> None:
    raw = head(*lines, start=start) + tail
    try:
        seen = read(raw)
    except (Refused, SpeaksHttp2):
        return
    if seen:
        assert second_reading(raw) == replace(seen[0], headers=lowered(seen[0].headers))


# -- the same for a header block of HTTP/2 ---------------------------------------------------------------------------

BLOCK = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/a%20b?c"), (b":authority", b"desk")]


def test_a_header_block_becomes_the_same_request_as_a_head() -> None:
    scope = judge_http2([*BLOCK, (b"x-a", b"1")], LIMITS)
    assert (scope["method"], scope["raw_path"], scope["path"], scope["query_string"]) == (
        "GET",
        b"/a%20b",
        "/a b",
        b"c",
    )
    assert scope["headers"] == [(b"host", b"desk"), (b"x-a", b"1")]


def changed(name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    return [(key, value if key == name else old) for key, old in BLOCK]


@pytest.mark.parametrize(
    ("status", "block"),
    [
        pytest.param(431, [*BLOCK, *[(b"a", b"b")] * 101], id="101 fields"),
        pytest.param(431, [*BLOCK, (b"a", b"b" * 32_768)], id="over 32 KiB"),
        pytest.param(501, changed(b":method", b"CONNECT"), id="CONNECT"),
        pytest.param(501, changed(b":method", b"G T"), id="a method with a space"),
        pytest.param(400, changed(b":path", b"/\xff"), id="a path that is not ASCII"),
        pytest.param(400, changed(b":path", b"a"), id="a path without slash"),
        pytest.param(400, changed(b":path", b"*"), id="asterisk for GET"),
        pytest.param(400, changed(b":path", b"/a#b"), id="a fragment"),
        pytest.param(400, changed(b":authority", b"u@x"), id="a user in the authority"),
        pytest.param(400, BLOCK[:3], id="no authority"),
        pytest.param(400, [*BLOCK, (b"a b", b"c")], id="a space in a name"),
        pytest.param(400, [*BLOCK, (b"", b"c")], id="no name"),
        pytest.param(400, [*BLOCK, (b"a", b"b\r\nc: d")], id="a line break in a value"),
        pytest.param(400, [*BLOCK, (b"host", b"other")], id="a Host beside another authority"),
        pytest.param(400, [*BLOCK, (b"content-length", b"1"), (b"content-length", b"1")], id="two lengths"),
    ],
)
def test_a_header_block_that_is_no_request_is_refused(status: int, block: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Refused) as caught:
        judge_http2(block, LIMITS)
    assert caught.value.status == status
