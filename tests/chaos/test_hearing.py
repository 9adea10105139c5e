"""What a device of a crowd reads, however it is cut: as the reader that takes nothing for granted reads it."""

import socket
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bff.wire.sse import Event, Reader, comment, encode
from chaos.hotel.fleet.desk import Session
from chaos.hotel.fleet.hearing import Device, Stream

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WORDS = st.sampled_from(["hello", "alert", "superseded", "drain"])
PIECES = st.one_of(
    st.builds(
        encode, WORDS, st.just(b'{"n": 1}'), st.none() | st.from_regex(r"[0-9a-f]{4}-[0-9]{1,3}", fullmatch=True)
    ),
    st.just(comment("")),
    st.just(b"id: abcd-77\n" + comment("")),
)


def cut(raw, places):
    at = [0, *sorted({place % len(raw) for place in places}), len(raw)]
    return [raw[one:other] for one, other in pairwise(at) if one < other]


@given(st.lists(PIECES, max_size=8), st.lists(st.integers(0, 2_000), max_size=12), st.booleans())
async def test_however_it_is_cut_it_is_read_as_by_the_strict_reader(said, places, whole):
    device = Device("d", None, Session("", "", 0, "", "", "", []))
    with socket.socket() as unconnected:
        stream = Stream(device, unconnected)
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in said)
        for piece in cut(HEAD + chunks + (b"0\r\n\r\n" if whole else b""), places):
            stream.feed(piece)
        stream.feed(b"")
    reader = Reader()
    read = [one for piece in said for one in reader.feed(piece)]
    events = [one for one in read if isinstance(one, Event)]
    assert [(one.word, one.data.decode()) for one in stream.heard] == [(one.event, one.data) for one in events]
    assert device.last == reader.last_id
    assert stream.whole is whole
    assert stream.word == (events[-1].event if whole and events else "cut")
