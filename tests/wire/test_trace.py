"""Trace context in and out (W3C Trace Context, section 3.2), and what an answer says it cost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.wire.trace import ServerTiming, Trace, timeout_field

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def entropy(size):
    return b"\xab" * size


def test_the_trace_is_kept_and_the_span_is_new():
    trace = Trace.parse(f"00-{TRACE}-{PARENT}-01".encode(), entropy)
    assert trace == Trace(TRACE, "ab" * 8, sampled=True, parent=PARENT)
    assert trace.header() == f"00-{TRACE}-{'ab' * 8}-01".encode()


def test_a_call_on_the_way_is_a_span_of_its_own_in_the_same_trace():
    child = Trace(TRACE, PARENT, sampled=False).child(entropy)
    assert child.header() == f"00-{TRACE}-{'ab' * 8}-00".encode()


def test_whose_call_it_is_a_span_knows():
    child = Trace.parse(f"00-{TRACE}-{PARENT}-01".encode(), entropy).child(lambda size: b"\xcd" * size)
    assert (child.trace_id, child.parent, child.span_id) == (TRACE, "ab" * 8, "cd" * 8)


@pytest.mark.parametrize(
    ("share", "digits", "sampled"),
    [(0.0, 0, False), (0.25, 0x3F, True), (0.25, 0x40, False), (1.0, 0xFF, True), (0.0, 0xFF, False)],
)
def test_of_traces_that_begin_here_a_share_is_kept_and_it_goes_by_their_id(share, digits, sampled):
    def drawn(size):
        return bytes([1] * 9 + [digits] * 7)[-size:] if size == 16 else bytes([1] * size)

    assert Trace.parse(None, drawn, share).sampled is sampled
    assert Trace.parse(f"00-{TRACE}-{PARENT}-00".encode(), drawn, share).sampled is False


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"garbage",
        f"00-{TRACE}-{PARENT}".encode(),
        f"00-{TRACE.upper()}-{PARENT}-01".encode(),
        f"00-{'0' * 32}-{PARENT}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"ff-{TRACE}-{PARENT}-01".encode(),
        f"00-{TRACE}-{PARENT}-01-more".encode(),
        f"00-{TRACE}-{PARENT}-01-".encode(),
        f"00-{TRACE}-{PARENT}-01\n".encode(),
        f" 00-{TRACE}-{PARENT}-01".encode(),
        f"00-{TRACE}-{PARENT}-1".encode(),
        f"00-{TRACE[1:]}-{PARENT}-01".encode(),
        f"01-{TRACE}-{PARENT}-01-{'x' * 500}".encode(),
        f"01-{TRACE}-{PARENT}-01.x".encode(),
    ],
)
def test_a_header_that_does_not_parse_begins_a_new_trace(header):
    assert Trace.parse(header, entropy) == Trace("ab" * 16, "ab" * 8, sampled=False)


def test_of_a_later_version_the_known_part_is_read():
    assert Trace.parse(f"cc-{TRACE}-{PARENT}-09-what-comes".encode(), entropy).trace_id == TRACE


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_of_the_flags_only_sampled_is_read_and_only_it_goes_on(flags, sampled):
    trace = Trace.parse(f"00-{TRACE}-{PARENT}-{flags}".encode(), entropy)
    assert trace.sampled is sampled
    assert trace.header()[-2:] == (b"01" if sampled else b"00")


def test_an_identifier_of_zeros_means_invalid_and_is_never_made():
    trace = Trace.parse(None, bytes)
    assert trace == Trace("0" * 31 + "1", "0" * 15 + "1", sampled=False)


@given(st.binary(max_size=100))
def test_whatever_comes_in_what_goes_out_is_valid(header):
    out = Trace.parse(header, entropy).header()
    assert re.fullmatch(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]", out)


def test_one_entry_per_name_in_the_order_of_the_first_and_the_sum_of_all():
    timing = ServerTiming()
    assert timing.header() == b""
    timing.add("reservation", 0.0123)
    timing.add("redis-session", 0.001)
    timing.add("reservation", 0.02)
    assert timing.header() == b"reservation;dur=32.3, redis-session;dur=1"


def test_a_name_cannot_write_a_header_of_its_own_and_names_are_bounded():
    timing = ServerTiming(bound=2)
    for name in ("a, b;dur=1\r\nX: y", "c", "d"):
        timing.add(name, 1.5)
    assert timing.header() == b"a__b_dur_1__X__y;dur=1500, c;dur=1500"


@pytest.mark.parametrize(("left", "value"), [(0.8, b"800"), (0.0519, b"51"), (0.0, b"0"), (-3.0, b"0"), (5, b"5000")])
def test_the_callee_is_told_whole_milliseconds_and_never_more_than_is_left(left, value):
    assert timeout_field(left) == (b"x-request-timeout-ms", value)
