"""Simulated byte streams keep what real ones promise, and are hard in the same places."""

import pytest
import trio
import trio.testing

from chaos.sim.pipe import Way
from chaos.sim.stream import stream_pair
from chaos.sim.trace import Trace, keeping


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


async def test_a_slow_link_carries_its_bytes_one_after_the_other_and_the_last_when_all_have_left(autojump_clock):
    left, right = stream_pair(latency=lambda: 0.5, bytes_per_second=2)
    await left.send_all(b"abcd")
    seen = []
    while len(seen) < 4:
        seen.append((await right.receive_some(), trio.current_time()))
    assert seen == [(b"a", 1.0), (b"b", 1.5), (b"c", 2.0), (b"d", 2.5)]


async def test_a_piece_behind_another_waits_until_the_link_is_free(autojump_clock):
    left, right = stream_pair(bytes_per_second=1000)
    await left.send_all(bytes(500))
    await left.send_all(b"x")
    await left.send_eof()
    while await right.receive_some() != b"":
        pass
    assert trio.current_time() == pytest.approx(0.501, abs=1e-9)


async def test_a_fast_link_carries_a_piece_whole(autojump_clock):
    left, right = stream_pair(bytes_per_second=1_000_000)
    await left.send_all(bytes(20_000))
    assert await right.receive_some() == bytes(20_000)
    assert trio.current_time() == pytest.approx(0.02, abs=1e-9)


async def test_a_silence_holds_what_is_under_way_and_leaves_what_has_arrived(autojump_clock):
    left, right = stream_pair(latency=lambda: 0.1)
    await left.send_all(b"there")
    await trio.sleep(0.1)
    await left.send_all(b"under way")
    left.reroute(Way(lambda: 0.1, silent=True))
    await left.send_all(b" and after")
    await left.send_eof()
    assert await right.receive_some() == b"there"
    with trio.move_on_after(60) as silent:
        await right.receive_some()
    assert silent.cancelled_caught
    left.reroute(Way(lambda: 0.1))
    healed = trio.current_time()
    assert await right.receive_some() == b"under way and after"
    assert await right.receive_some() == b""
    assert trio.current_time() == healed + 0.1


async def test_a_new_pace_bites_what_has_not_left_and_lets_arrive_what_has(autojump_clock):
    left, right = stream_pair(latency=lambda: 1.0, bytes_per_second=10)
    await left.send_all(b"0123456789")
    await trio.sleep(0.55)
    left.reroute(Way(lambda: 1.0))
    seen = {}
    while len(seen) < 6:
        data = await right.receive_some()
        seen[round(trio.current_time(), 9)] = data
    assert seen == {1.1: b"0", 1.2: b"1", 1.3: b"2", 1.4: b"3", 1.5: b"4", 1.55: b"56789"}


async def test_the_end_of_a_silence_lets_a_new_end_follow_and_nothing_comes_twice(autojump_clock):
    left, right = stream_pair(latency=lambda: 0.1)
    await left.send_all(b"x")
    await left.send_eof()
    await trio.sleep(0.1)
    for silent in (True, False, True, False):
        left.reroute(Way(lambda: 0.1, silent=silent))
    assert await right.receive_some() == b"x"
    assert await right.receive_some() == b""
    assert trio.current_time() == pytest.approx(0.1, abs=1e-9)


async def test_what_is_read_makes_no_room_while_nobody_can_acknowledge_it(autojump_clock):
    left, right = stream_pair(window=4)
    left.reroute(Way(unanswered=True))
    await left.send_all(b"1234")
    assert await right.receive_some() == b"1234"
    with trio.move_on_after(1) as full:
        await left.send_all(b"5")
    assert full.cancelled_caught
    left.reroute(Way())
    await left.send_all(b"6")
    assert await right.receive_some() == b"6"


async def test_a_link_breaks_after_so_many_bytes_here_at_once_and_there_when_the_news_comes(autojump_clock):
    left, right = stream_pair(latency=lambda: 0.1)
    left.reroute(Way(lambda: 0.1, breaks_after=4))
    await left.send_all(b"1234")
    await right.send_all(b"never read")
    with pytest.raises(trio.BrokenResourceError):
        await left.send_all(b"5")
    with pytest.raises(trio.BrokenResourceError):
        await left.send_all(b"6")
    with pytest.raises(trio.BrokenResourceError):
        await left.receive_some()
    assert trio.current_time() == 0
    await right.send_all(b"into the void")
    assert await right.receive_some() == b"1234"
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    assert trio.current_time() == pytest.approx(0.1, abs=1e-9)
    with pytest.raises(trio.BrokenResourceError):
        await right.send_all(b"more")


async def test_what_has_arrived_when_a_fault_breaks_the_connection_can_still_be_read(autojump_clock):
    left, right = stream_pair(latency=lambda: 0.1)
    await right.send_all(b"there")
    await trio.sleep(0.1)
    await right.send_all(b"under way")
    left.snap()
    assert await left.receive_some() == b"there"
    with pytest.raises(trio.BrokenResourceError):
        await left.receive_some()
    await trio.sleep(0.1)
    with pytest.raises(trio.BrokenResourceError):
        await left.receive_some()


async def test_no_news_overtakes_the_news_ahead_of_it_when_the_way_gets_shorter(autojump_clock):
    left, right = stream_pair(latency=lambda: 1.0)
    await left.send_eof()
    left.reroute(Way(bytes_per_second=10))
    left.reset()
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    assert trio.current_time() == 1.0


async def test_the_news_of_a_closing_comes_behind_what_was_sent_before_it(autojump_clock):
    left, right = stream_pair(bytes_per_second=10)
    await left.send_all(b"ten bytes!")
    await left.aclose()
    await trio.sleep(0.95)
    await right.send_all(b"not yet known to be in vain")
    await trio.sleep(0.1)
    with pytest.raises(trio.BrokenResourceError):
        await right.send_all(b"x")


async def test_the_trace_of_a_run_is_told_what_is_sent_ended_and_broken(autojump_clock):
    trace = Trace(keep=9)
    with keeping(trace):
        left, right = stream_pair(window=2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, b"abc")
            await trio.sleep(1)
            await right.receive_some()
        await left.send_eof()
        await left.aclose()
        right.reset()
    assert [line.split()[:3] for line in trace.lines] == [
        ["0.000000000", "send", "2"],
        ["1.000000000", "send", "1"],
        ["1.000000000", "end"],
        ["1.000000000", "reset"],
    ]
