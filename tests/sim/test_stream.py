"""Simulated byte streams keep what real ones promise, and are hard in the same places."""

import pytest
import trio
import trio.testing

from chaos.sim.stream import stream_pair


async def test_the_stream_keeps_every_promise_trio_makes_of_a_half_closeable_stream(autojump_clock):
    async def make():
        await trio.lowlevel.checkpoint()
        return stream_pair()

    async def clogged():
        left, right = stream_pair(window=16)
        await left.send_all(bytes(16))
        await right.send_all(bytes(16))
        return left, right

    await trio.testing.check_half_closeable_stream(make, clogged)


async def test_the_stream_keeps_them_under_latency_too(autojump_clock):
    async def make():
        await trio.lowlevel.checkpoint()
        return stream_pair(latency=lambda: 0.003)

    await trio.testing.check_half_closeable_stream(make, None)


async def test_a_byte_arrives_exactly_its_latency_later(autojump_clock):
    left, right = stream_pair(latency=lambda: 0.25)
    start = trio.current_time()
    await left.send_all(b"x")
    assert trio.current_time() == start
    assert not right.readable()
    assert await right.receive_some() == b"x"
    assert trio.current_time() == start + 0.25


@pytest.mark.parametrize("last", ["send_eof", "aclose", "reset"])
async def test_neither_a_piece_nor_the_end_overtakes_the_piece_ahead_of_it(autojump_clock, last):
    latencies = iter([0.5, 0.1, 0.05, 0.05])
    left, right = stream_pair(latency=lambda: next(latencies))
    await left.send_all(b"slow")
    await left.send_all(b"fast")
    if last == "reset":
        left.reset()
    else:
        await getattr(left, last)()
    assert await right.receive_some() == b"slowfast"
    assert trio.current_time() == pytest.approx(0.5, abs=1e-9)
    if last == "reset":
        with pytest.raises(trio.BrokenResourceError):
            await right.receive_some()
    else:
        assert await right.receive_some() == b""


async def test_a_writer_waits_while_the_window_is_full_and_goes_on_as_it_is_read(autojump_clock):
    left, right = stream_pair(window=4)
    with trio.move_on_after(1) as full:
        await left.send_all(b"12345")
    assert full.cancelled_caught
    assert await right.receive_some(2) == b"12"
    await left.send_all(b"67")
    assert await right.receive_some() == b"3467"


async def test_what_was_sent_before_a_reset_still_arrives_and_then_the_reader_is_broken(autojump_clock):
    left, right = stream_pair(latency=lambda: 0.1)
    await left.send_all(b"half an ans")
    left.reset()
    assert await right.receive_some() == b"half an ans"
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await right.send_all(b"more")
    with pytest.raises(trio.ClosedResourceError):
        await left.send_all(b"more")


async def test_the_writer_to_a_peer_that_has_closed_learns_it_a_latency_later(autojump_clock):
    left, right = stream_pair(latency=lambda: 0.1)
    await right.aclose()
    await left.send_all(b"lost")
    await trio.sleep(0.1)
    with pytest.raises(trio.BrokenResourceError):
        await left.send_all(b"refused")


async def test_a_writer_that_waits_for_room_learns_of_the_closing(autojump_clock):
    left, right = stream_pair(window=1, latency=lambda: 0.1)
    await left.send_all(b"1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.aclose)
        with pytest.raises(trio.BrokenResourceError):
            await left.send_all(b"2")
    assert trio.current_time() == pytest.approx(0.1, abs=1e-9)


async def test_one_direction_ends_while_the_other_goes_on(autojump_clock):
    left, right = stream_pair(latency=lambda: 0.1)
    await left.send_eof()
    assert await right.receive_some() == b""
    await right.send_all(b"still here")
    assert await left.receive_some() == b"still here"


async def test_readable_says_what_a_receive_would_not_wait_for(autojump_clock):
    left, right = stream_pair()
    assert not right.readable()
    await left.send_all(b"x")
    assert right.readable()
    await right.receive_some()
    assert not right.readable()
    await left.aclose()
    assert right.readable()


async def test_who_sends_for_ever_into_the_void_comes_to_wait_until_the_news_is_back(autojump_clock):
    left, right = stream_pair(window=8, latency=lambda: 0.1)
    await right.aclose()
    with pytest.raises(trio.BrokenResourceError):
        while True:
            await left.send_all(b"x")
    assert trio.current_time() == pytest.approx(0.1, abs=1e-9)
