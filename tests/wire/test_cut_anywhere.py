"""However the bytes of an answer are cut into reads, it is the same answer, or the same refusal."""

import gzip
import itertools

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bff.wire.exchange import Bounds, Exchange, Reply

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-0123456789!#$%&'*+.^_`|~", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=30).map(lambda raw: bytes(c for c in raw if c >= 0x20 and c != 0x7F).strip(b" "))
OURS = {b"content-length", b"transfer-encoding", b"connection", b"content-encoding", b"upgrade", b"proxy-connection"}
FIELDS = st.lists(st.tuples(TOKEN.filter(lambda name: name not in OURS), VALUE), max_size=6)
BOUNDS = Bounds(head=2048, fields=20, body=4096)


def lines(fields):
    return b"".join(b"%b: %b\r\n" % field for field in fields)


@st.composite
def chunked(draw, body):
    """`body` in chunks of any sizes, in any spelling of them, with extensions and a trailer."""
    pieces, at = [], 0
    while at < len(body):
        size = draw(st.integers(1, len(body) - at))
        zeros = b"0" * draw(st.integers(0, 3))
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b c"']))
        pieces.append(zeros + b"%x" % size + extension + b"\r\n" + body[at : at + size] + b"\r\n")
        at += size
    trailer = lines(draw(FIELDS.map(lambda fields: fields[:2])))
    return b"".join(pieces) + b"0\r\n" + trailer + b"\r\n"


@st.composite
def answers(draw):
    """The bytes of an honest answer, what it says, and whether the end of the stream is part of it."""
    interim = b"".join(
        b"HTTP/1.1 10%d Wait\r\n%b\r\n" % (draw(st.sampled_from([0, 2, 3])), lines(draw(FIELDS)))
        for _ in range(draw(st.integers(0, 2)))
    )
    status = draw(st.sampled_from([200, 201, 204, 302, 304, 404, 409, 422, 500, 503, 599]))
    fields = draw(FIELDS)
    plain = draw(st.binary(max_size=300)) if status not in (204, 304) else b""
    packed = bool(plain) and draw(st.booleans())
    body = gzip.compress(plain, mtime=0) if packed else plain
    form = draw(st.sampled_from(["length", "chunked", "end"])) if status not in (204, 304) else "none"
    framing = {"length": [(b"content-length", b"%d" % len(body))], "chunked": [(b"transfer-encoding", b"chunked")]}
    head = [*fields, *([(b"content-encoding", b"gzip")] if packed else []), *framing.get(form, [])]
    sent = draw(chunked(body)) if form == "chunked" else body
    reason = draw(st.sampled_from([b"", b" OK", b" Not \xe4 Thing"]))
    whole = interim + b"HTTP/1.1 %d%b\r\n%b\r\n%b" % (status, reason, lines(head), sent)
    kept = [field for field in head if not (packed and field[0] in (b"content-encoding", b"content-length"))]
    return whole, Reply(status, tuple(kept), plain), form == "end"


def cut(whole, at):
    edges = [0, *sorted({edge % (len(whole) + 1) for edge in at} - {0, len(whole)}), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(edges) if end > start]


def outcome(pieces, *, ends=True):
    """What an exchange makes of `pieces`: the reply, and whether the connection goes on; or the refusal."""
    exchange = Exchange(b"GET", BOUNDS, gzip=True)
    try:
        for piece in pieces:
            if exchange.feed(piece):
                break
        else:
            if not ends:
                return "unfinished"
            exchange.end()
        return exchange.reply()
    except httpx.HTTPError as refusal:
        return type(refusal)


@given(answers(), st.lists(st.integers(0, 5000), max_size=12))
@settings(max_examples=250, deadline=None)
def test_an_honest_answer_is_the_same_reply_however_it_is_cut(answer, at):
    whole, reply, ends = answer
    exchange = Exchange(b"GET", BOUNDS, gzip=True)
    done = [exchange.feed(piece) for piece in cut(whole, at)]
    assert done[:-1] == [False] * (len(done) - 1), "complete before its last byte"
    assert done[-1] is not ends
    if ends:
        exchange.end()
    assert exchange.reply() == reply
    assert exchange.reusable is not ends


@given(answers())
@settings(max_examples=40, deadline=None)
def test_byte_by_byte_it_is_the_same_reply(answer):
    whole, reply, _ = answer
    assert outcome([whole[at : at + 1] for at in range(len(whole))]) == reply


@given(answers(), st.data())
@settings(max_examples=150, deadline=None)
def test_an_answer_that_ends_early_is_never_taken_for_a_whole_one(answer, data):
    whole, reply, ends = answer
    early = whole[: data.draw(st.integers(0, len(whole) - 1))]
    found = outcome([early] if early else [])
    if not ends:
        assert found is httpx.RemoteProtocolError
    else:  # only the end frames it: a shorter body is all that can be found, or a coding that ends early
        assert found in (httpx.RemoteProtocolError, httpx.DecodingError) or (
            found.headers == reply.headers and reply.body.startswith(found.body)
        )


@given(answers(), st.data(), st.lists(st.integers(0, 5000), max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_damaged_answer_has_one_verdict_however_it_is_cut(answer, data, at):
    whole, _, _ = answer
    where = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(
        st.sampled_from([b"\0", b"\r", b"\n", b" ", b":", b",", b"0", b"f", b"\xff", b"\r\n", b"\r\n\r\n"])
    )
    broken = whole[:where] + damage + whole[where + data.draw(st.integers(0, 2)) :]
    assert outcome(cut(broken, at)) == outcome([broken])


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(0, 300), max_size=5))
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", [])
@settings(max_examples=150, deadline=None)
def test_garbage_is_a_refusal_and_never_another_exception(garbage, at):
    for start in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        found = outcome(cut(start + garbage, at))
        assert isinstance(found, Reply) or issubclass(found, httpx.HTTPError)


@pytest.mark.parametrize("size", [2047, 2048, 2049])
@given(st.lists(st.integers(0, 3000), max_size=6))
@settings(max_examples=30, deadline=None)
def test_the_bound_of_a_head_is_the_same_byte_however_it_is_cut(size, at):
    start, end = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nx: ", b"\r\n\r\n"
    whole = start + b"y" * (size - len(start) - len(end)) + end + b"!"
    found = outcome(cut(whole, at))
    assert isinstance(found, Reply) is (size <= 2048)
