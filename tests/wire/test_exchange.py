"""One exchange without a socket: what is sent, where an answer ends, and when the connection may go on."""

import gzip
import zlib

import httpx
import pytest

from bff.wire.exchange import Bounds, Exchange, Origin, Prepared, Reply, TooLarge, inflated, standing, written

ORIGIN = Origin("http", "rooms", 8080)


def read(data: bytes, *, method: bytes = b"GET", gzip: bool = False) -> Exchange:
    """An exchange that was fed all of `data` at once, and the end after it where it is still waiting."""
    exchange = Exchange(method, Bounds(), gzip=gzip)
    if not exchange.feed(data):
        exchange.end()
    return exchange


def asked(**changes: object) -> bytes:
    fields = {"origin": ORIGIN, "method": b"GET", "target": b"/board?x=1"} | changes
    return written(Prepared(**fields), standing(fields["origin"], gzip=False))


def test_a_request_is_its_line_its_host_its_fields_and_its_body():
    assert asked(method=b"POST", headers=((b"x-tenant-id", b"resort"),), body=b"{}") == (
        b"POST /board?x=1 HTTP/1.1\r\nhost: rooms:8080\r\naccept-encoding: identity\r\n"
        b"x-tenant-id: resort\r\ncontent-length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(("method", "said"), [(b"GET", 0), (b"DELETE", 0), (b"POST", 1), (b"PUT", 1), (b"PATCH", 1)])
def test_an_empty_body_is_said_to_be_empty_where_the_method_expects_one(method, said):
    assert asked(method=method).count(b"content-length: 0\r\n") == said


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (Origin("http", "rooms", 80), b"rooms"),
        (Origin("https", "rooms", 443), b"rooms"),
        (Origin("https", "rooms", 80), b"rooms:80"),
        (Origin("http", "::1", 8080), b"[::1]:8080"),
    ],
)
def test_the_host_has_its_port_only_where_it_is_not_the_schemes_own(origin, host):
    assert b"\r\nhost: " + host + b"\r\n" in asked(origin=origin)


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": ((b"x", b"a\r\nHost: evil"),)},
        {"headers": ((b"x", b"a\nb"),)},
        {"headers": ((b"x", b"a\rb"),)},
        {"headers": ((b"x", b"a\0b"),)},
        {"headers": ((b"x y", b"a"),)},
        {"headers": ((b"x:", b"a"),)},
        {"headers": ((b"", b"a"),)},
        {"headers": ((b"x\r\ny", b"a"),)},
        {"target": b"/a b"},
        {"target": b"/a\r\nHost: evil"},
        {"target": b"/\xe9"},
        {"target": b""},
        {"target": b"board"},
        {"method": b"GET /"},
        {"method": b""},
        {"method": b"CONNECT"},
        {"origin": Origin("http", "rooms\r\nx: y", 80)},
        {"origin": Origin("http", "user@rooms", 80)},
        {"origin": Origin("http", "", 80)},
    ],
)
def test_nothing_that_a_caller_hands_in_can_split_a_request(changes):
    with pytest.raises(httpx.LocalProtocolError):
        asked(**changes)


@pytest.mark.parametrize(
    "name", [b"Host", b"content-length", b"Transfer-Encoding", b"connection", b"Expect", b"upgrade", b"accept-encoding"]
)
def test_what_the_transport_says_itself_a_caller_may_not_say(name):
    with pytest.raises(httpx.LocalProtocolError, match="says"):
        asked(headers=((name, b"x"),))


def test_an_answer_framed_by_its_length_ends_with_its_last_byte():
    exchange = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: \t b \r\nx-a: c\r\n\r\nhello")
    assert exchange.reply() == Reply(200, ((b"content-length", b"5"), (b"x-a", b"b"), (b"x-a", b"c")), b"hello")
    assert exchange.reusable


def test_an_answer_in_chunks_is_joined_and_its_trailer_dropped():
    exchange = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 1\r\n\r\n"
    )
    assert exchange.reply() == Reply(200, ((b"transfer-encoding", b"Chunked"),), b"abcde")
    assert exchange.reusable


def test_an_answer_framed_by_the_end_of_the_stream_is_whole_then_and_the_connection_is_over():
    exchange = Exchange(b"GET", Bounds())
    assert not exchange.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert not exchange.feed(b"lo")
    exchange.end()
    assert exchange.reply().body == b"hello"
    assert not exchange.reusable


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9999999999\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n", False),
    ],
)
def test_204_and_304_have_no_body_whatever_their_fields_say(head, reusable):
    exchange = Exchange(b"GET", Bounds())
    assert exchange.feed(head)
    assert exchange.reply().body == b""
    assert exchange.reusable is reusable


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: br\r\n", b""]
)
def test_the_answer_to_a_head_has_no_body_and_its_connection_ends(fields):
    exchange = Exchange(b"HEAD", Bounds())
    assert exchange.feed(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
    assert exchange.reply().body == b""
    assert not exchange.reusable


def test_interim_heads_are_dropped_and_the_final_one_counts():
    exchange = read(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    assert exchange.reply() == Reply(200, ((b"content-length", b"2"),), b"ok")
    assert exchange.reusable


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, Close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
    ],
)
def test_a_peer_that_will_close_is_taken_at_its_word(head):
    exchange = read(head + b"ok")
    assert exchange.reply().body == b"ok"
    assert not exchange.reusable


@pytest.mark.parametrize("more", [b"x", b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"\0" * 40_000])
@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_bytes_after_the_answer_end_the_connection_and_not_the_answer(more, close):
    exchange = read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + close + b"\r\nok" + more)
    assert exchange.reply().body == b"ok"
    # Blank lines are nothing to llhttp: they are seen by whoever lends the connection next, as any byte is.
    assert not exchange.reusable or (more == b"\r\n" and not close)


def test_a_status_line_may_have_no_reason():
    assert read(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n").reply().status == 200


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1])
@pytest.mark.parametrize("form", ["length", "chunked", "end"])
def test_a_body_may_have_exactly_its_bound(form, size):
    body = bytes(size)
    answer = {
        "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, body),
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body),
        "end": b"HTTP/1.1 200 OK\r\n\r\n" + body,
    }[form]
    if size == 1 << 20:
        assert len(read(answer).reply().body) == size
    else:
        with pytest.raises(TooLarge):
            read(answer)


def test_a_declared_length_over_the_bound_is_refused_before_a_byte_of_it_came():
    with pytest.raises(TooLarge):
        Exchange(b"GET", Bounds()).feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n")


@pytest.mark.parametrize(("fields", "fits"), [(100, True), (101, False)])
def test_a_head_may_have_exactly_its_number_of_fields(fields, fits):
    answer = b"HTTP/1.1 204 No\r\n" + b"x: y\r\n" * fields + b"\r\n"
    if fits:
        assert len(read(answer).reply().headers) == fields
    else:
        with pytest.raises(TooLarge):
            read(answer)


@pytest.mark.parametrize("filler", [b"x: %b\r\n", b"x:" + b" " * 10_000 + b"%b\r\n"])
@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("step", [1 << 20, 1000])
def test_a_head_may_have_exactly_its_bytes_in_however_many_reads(filler, over, step):
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"\r\n"
    room = 32 * 1024 + over - len(start) - len(end) - len(filler % b"")
    answer = start + filler % (b"y" * room) + end + b"ok"
    exchange = Exchange(b"GET", Bounds())
    pieces = [answer[at : at + step] for at in range(0, len(answer), step)]
    if over:
        with pytest.raises(TooLarge):
            [exchange.feed(piece) for piece in pieces]
    else:
        assert [exchange.feed(piece) for piece in pieces][-1]
        assert exchange.reply().body == b"ok"


def test_gzip_that_was_asked_for_is_decoded_and_no_longer_named():
    body = gzip.compress(b"hello" * 100, mtime=0)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: GZIP\r\nContent-Length: %d\r\nX: y\r\n\r\n" % len(body)
    exchange = read(head + body, gzip=True)
    assert exchange.reply() == Reply(200, ((b"x", b"y"),), b"hello" * 100)
    assert exchange.reusable


def test_identity_is_no_coding():
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"
    assert read(head, gzip=True).reply().body == read(head).reply().body == b"ok"


def test_a_bomb_is_refused_when_it_passes_the_bound_and_not_after_it_was_inflated():
    bomb = zlib_bomb(16 << 20)
    assert len(bomb) < 1 << 20
    with pytest.raises(TooLarge):
        inflated(bomb, 1 << 20)


def zlib_bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


def test_inflating_has_exactly_its_bound_and_joins_members():
    two = gzip.compress(b"a" * 50, mtime=0) + gzip.compress(b"b" * 50, mtime=0)
    assert inflated(two, 100) == b"a" * 50 + b"b" * 50
    with pytest.raises(TooLarge):
        inflated(two, 99)
    assert inflated(b"", 1) == b""


@pytest.mark.parametrize(
    "body", [b"garbage", gzip.compress(b"x" * 99, mtime=0)[:-1], gzip.compress(b"x", mtime=0) + b"more"]
)
def test_a_broken_coding_is_a_decoding_error(body):
    with pytest.raises(httpx.DecodingError):
        inflated(body, 1000)
