"""Hosts with names: who can be cut off from whom, and what a toxic does to their lines."""

import gc
from contextlib import ExitStack

import pytest
import trio
import trio.testing

from chaos.sim.hosts import Line
from chaos.sim.link import FEW_LINES, Network
from chaos.sim.rules import Injected
from chaos.toxics import BadToxic, Down, Drip, Hang, Latency, Reset, Status

FOR_EVER = 600.0


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def said(stream, data=b"hi"):
    await stream.send_all(data)
    return await stream.receive_some()


class Seen:
    """A listener that keeps the streams it took, and does nothing with them."""

    def __init__(self):
        self.streams = []

    async def __call__(self, stream):
        self.streams.append(stream)
        await trio.sleep_forever()


async def opened(network, nursery, *, one="desk-1", host="rooms"):
    """A line from `one` to `host`: the dialler's end, the host's end."""
    seen = Seen()
    network.listen(host, 80, seen, nursery)
    near = await network.host(one).connect(host, 80, None)
    await trio.testing.wait_all_tasks_blocked()
    return near, seen.streams[0]


async def silent(stream, seconds=FOR_EVER):
    with trio.move_on_after(seconds) as scope:
        await stream.receive_some()
    return scope.cancelled_caught


@pytest.fixture
def network():
    return Network(latency=0.1)


# -- names --------------------------------------------------------------------------------------------------------


async def test_both_ends_of_a_line_know_who_holds_them_and_who_holds_the_other(autojump_clock, network, nursery):
    near, far = await opened(network, nursery)
    assert (near.host, near.peer) == (far.peer, far.host) == ("desk-1", "rooms")
    nobody = await network.connect("rooms", 80, None)
    assert (nobody.host, nobody.peer) == ("", "rooms")


async def test_a_host_is_a_value_whose_name_cannot_change(network):
    host = network.host("desk-1")
    assert (host, host.name) == (network.host("desk-1"), "desk-1")
    with pytest.raises(AttributeError):
        host.name = "desk-2"


# -- partitions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "host"), [("desk-1", "rooms"), ("rooms", "desk-1")])
async def test_a_dial_across_a_partition_is_never_answered_and_one_beside_it_is(
    autojump_clock, network, nursery, one, host
):
    for name in ("rooms", "desk-1"):
        network.listen(name, 80, echo, nursery)
    with network.partition({"desk-1", "desk-2"}, "rooms"):
        with trio.move_on_after(5) as scope:
            await network.host(one).connect(host, 80, None)
        assert scope.cancelled_caught
        assert await said(await network.host("desk-3").connect(host, 80, None)) == b"hi"
        assert await said(await network.connect(host, 80, None)) == b"hi"
    assert await said(await network.host(one).connect(host, 80, None)) == b"hi"


async def test_no_rule_has_a_say_where_a_partition_is(autojump_clock, network):
    with network.partition("desk-1", "rooms"), network.refuse("rooms"), trio.move_on_after(5) as scope:
        await network.host("desk-1").connect("rooms", 80, None)
    assert scope.cancelled_caught


async def test_a_dial_that_is_under_way_when_a_partition_begins_does_not_arrive(autojump_clock, network, nursery):
    rooms = network.listen("rooms", 80, echo, nursery)
    nursery.start_soon(network.host("desk-1").connect, "rooms", 80, None)
    await trio.sleep(0.15)
    with network.partition("desk-1", "rooms"):
        await trio.sleep(5)
    await trio.sleep(5)
    assert rooms.accepted == 0
    nursery.cancel_scope.cancel()


async def test_what_is_sent_into_a_partition_arrives_a_latency_after_it_heals(autojump_clock, network, nursery):
    near, far = await opened(network, nursery)
    await near.send_all(b"under way, ")
    with network.partition("desk-1", "rooms"):
        await near.send_all(b"sent within")
        await far.send_all(b"back")
        assert await silent(far)
        assert await silent(near)
    healed = trio.current_time()
    assert await far.receive_some() == b"under way, sent within"
    assert await near.receive_some() == b"back"
    assert trio.current_time() == pytest.approx(healed + 0.1, abs=1e-9)


@pytest.mark.parametrize("how", ["aclose", "reset"])
async def test_the_news_of_a_closing_waits_for_the_partition_to_heal_too(autojump_clock, network, nursery, how):
    near, far = await opened(network, nursery)
    with network.partition("desk-1", "rooms"):
        if how == "reset":
            near.reset()
        else:
            await near.aclose()
        assert await silent(far)
        await far.send_all(b"not yet known to be in vain")
    await trio.sleep(0.1)
    with pytest.raises(trio.BrokenResourceError):
        await far.send_all(b"x")


async def test_a_sender_into_a_partition_waits_when_the_window_is_full_and_goes_on_when_it_heals(
    autojump_clock, nursery
):
    network = Network(window=8)
    near, far = await opened(network, nursery)
    with network.partition("desk-1", "rooms"):
        with trio.move_on_after(1) as full:
            await near.send_all(bytes(9))
        assert full.cancelled_caught
        assert near.sent == 8
    assert await far.receive_some() == bytes(8)
    await near.send_all(b"more")
    assert await far.receive_some() == b"more"


async def test_partitions_that_overlap_heal_when_the_last_one_does(autojump_clock, network, nursery):
    near, far = await opened(network, nursery)
    with ExitStack() as last:
        with network.partition("desk-1", "rooms"):
            last.enter_context(network.partition("rooms", {"desk-2", "desk-1"}))
            await near.send_all(b"x")
        assert await silent(far)
    assert await far.receive_some() == b"x"


@pytest.mark.parametrize("lost", ["there", "back"])
async def test_a_lost_side_is_silent_one_way_and_stops_the_other_when_its_window_is_full(autojump_clock, nursery, lost):
    network = Network(window=8)
    near, far = await opened(network, nursery)
    mute, heard = (near, far) if lost == "there" else (far, near)
    with network.lose(mute.host, heard.host):
        await mute.send_all(b"lost")
        await heard.send_all(b"12345678")
        assert await mute.receive_some() == b"12345678"
        assert await silent(heard)
        with trio.move_on_after(1) as unacknowledged:
            await heard.send_all(b"9")
        assert unacknowledged.cancelled_caught
        for one, host in (("desk-1", "rooms"), ("rooms", "desk-1")):
            with trio.move_on_after(1) as scope:
                await network.host(one).connect(host, 80, None)
            assert scope.cancelled_caught
    assert await heard.receive_some() == b"lost"
    await heard.send_all(b"0")
    assert await mute.receive_some() == b"0"


async def test_nobody_can_be_cut_off_from_themselves(network):
    with pytest.raises(ValueError, match=r"rooms"), network.partition({"desk-1", "rooms"}, "rooms"):
        pass


# -- pace ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["desk-1", "rooms"])
async def test_a_throttle_of_either_host_bites_both_directions_of_an_open_line_until_it_heals(
    autojump_clock, nursery, host
):
    network = Network()
    near, far = await opened(network, nursery)
    with network.throttle(host, 10):
        for sender, receiver in ((near, far), (far, near)):
            began = trio.current_time()
            await sender.send_all(b"abc")
            assert [await receiver.receive_some() for _ in range(3)] == [b"a", b"b", b"c"]
            assert trio.current_time() == pytest.approx(began + 0.3, abs=1e-9)
        await near.send_all(bytes(1000))
    assert await far.receive_some() == bytes(1000)
    assert trio.current_time() == pytest.approx(0.6, abs=1e-9)


async def test_a_network_has_a_pace_of_its_own_and_a_delay_keeps_it(autojump_clock, nursery):
    network = Network(bytes_per_second=10)
    with network.delay("rooms", lambda: 1.0):
        near, far = await opened(network, nursery)
    assert trio.current_time() == 2.0
    await near.send_all(b"x")
    await far.receive_some()
    assert trio.current_time() == pytest.approx(3.1, abs=1e-9)


async def test_a_link_that_carries_nothing_is_no_throttle(network):
    with pytest.raises(ValueError, match="partition"):
        network.throttle("rooms", 0)


# -- toxics -------------------------------------------------------------------------------------------------------


async def test_down_refuses_dials_and_breaks_what_is_open(autojump_clock, network, nursery):
    near, far = await opened(network, nursery)
    await far.send_all(b"half an ans")
    with network.inject("rooms", Down()):
        with pytest.raises(ConnectionRefusedError):
            await network.host("desk-1").connect("rooms", 80, None)
        with pytest.raises(trio.BrokenResourceError):
            await far.receive_some()
        assert await near.receive_some() == b"half an ans"
        with pytest.raises(trio.BrokenResourceError):
            await near.receive_some()
    await network.host("desk-1").connect("rooms", 80, None)


async def test_a_dial_that_is_under_way_when_its_host_goes_down_is_refused(autojump_clock, network, nursery):
    rooms = network.listen("rooms", 80, echo, nursery)
    with ExitStack() as faults:
        nursery.start_soon(_after, 0.05, faults.enter_context, network.inject("rooms", Down()))
        with pytest.raises(ConnectionRefusedError):
            await network.host("desk-1").connect("rooms", 80, None)
    assert rooms.accepted == 0


async def _after(seconds, do, *args):
    await trio.sleep(seconds)
    do(*args)


async def test_hang_answers_no_dial_and_holds_both_directions_of_what_is_open(autojump_clock, network, nursery):
    near, far = await opened(network, nursery)
    with network.inject("rooms", Hang()):
        with trio.move_on_after(5) as scope:
            await network.host("desk-1").connect("rooms", 80, None)
        assert scope.cancelled_caught
        await near.send_all(b"question")
        await far.send_all(b"answer")
        assert await silent(far)
        assert await silent(near)
    assert await far.receive_some() == b"question"
    assert await near.receive_some() == b"answer"


async def test_latency_makes_what_comes_from_its_host_late_and_nothing_else(autojump_clock, network, nursery):
    near, far = await opened(network, nursery)
    with network.inject("rooms", Latency(ms=500)):
        began = trio.current_time()
        await near.send_all(b"question")
        await far.receive_some()
        assert trio.current_time() == pytest.approx(began + 0.1, abs=1e-9)
        await far.send_all(b"answer")
        await near.receive_some()
        assert trio.current_time() == pytest.approx(began + 0.7, abs=1e-9)
        await network.host("desk-1").connect("rooms", 80, None)
        assert trio.current_time() == pytest.approx(began + 0.9, abs=1e-9)
    await far.send_all(b"answer")
    await near.receive_some()
    assert trio.current_time() == pytest.approx(began + 1.0, abs=1e-9)


async def test_jitter_spreads_a_latency_to_either_side_and_is_drawn_from_the_seed(autojump_clock, nursery):
    async def took(seed):
        network = Network(seed=seed)
        network.listen("rooms", 80, echo, nursery)
        stream = await network.connect("rooms", 80, None)
        times = []
        with network.inject("rooms", Latency(ms=100, jitter=100)):
            for _ in range(50):
                began = trio.current_time()
                await said(stream)
                times.append(round(trio.current_time() - began, 6))
        return times

    one, again, other = await took(1), await took(1), await took(2)
    assert one == again != other
    assert 0 <= min(one) < 0.02
    assert 0.18 < max(one) <= 0.2


async def test_a_drip_comes_a_byte_at_a_time_on_lines_old_and_new_and_flows_once_it_heals(
    autojump_clock, network, nursery
):
    network.listen("rooms", 80, echo, nursery)
    old = await network.connect("rooms", 80, None)
    with network.inject("rooms", Drip(bytes_per_second=2)):
        new = await network.connect("rooms", 80, None)
        for stream in (old, new):
            began = trio.current_time()
            assert await said(stream, b"answer") == b"a"
            assert trio.current_time() == pytest.approx(began + 0.7, abs=1e-9)
    assert await new.receive_some() == b"nswer"
    assert trio.current_time() == pytest.approx(began + 0.8, abs=1e-9)


@pytest.mark.parametrize("after", [0, 3])
async def test_reset_breaks_a_line_after_so_many_bytes_of_the_answer(autojump_clock, network, nursery, after):
    network.listen("rooms", 80, echo, nursery)
    stream = await network.connect("rooms", 80, None)
    assert await said(stream) == b"hi"
    with network.inject("rooms", Reset(after=after)):
        for one in (stream, await network.connect("rooms", 80, None)):
            await one.send_all(b"answer")
            if after:
                assert await one.receive_some() == b"ans"
            with pytest.raises(trio.BrokenResourceError):
                await one.receive_some()
        exact = await network.connect("rooms", 80, None)
        if after:
            assert await said(exact, b"ans") == b"ans"
    assert await said(await network.connect("rooms", 80, None), b"answer") == b"answer"


@pytest.mark.parametrize("toxic", [Down(rate=0.3), Hang(rate=0.3), Reset(rate=0.3), Drip(rate=0.3), Latency(rate=0.3)])
async def test_a_rate_is_drawn_for_each_dial_or_line_from_the_seed(autojump_clock, nursery, toxic):
    async def hit(seed):
        network = Network(seed=seed)
        network.listen("rooms", 80, echo, nursery)
        with network.inject("rooms", toxic):
            return [await _spoiled(network) for _ in range(100)]

    one, again, other = await hit(1), await hit(1), await hit(2)
    assert one == again != other
    assert 15 <= sum(one) <= 45


async def _spoiled(network):
    try:
        with trio.move_on_after(0.9):
            stream = await network.connect("rooms", 80, None)
            return await said(stream) != b"hi"
    except (OSError, trio.BrokenResourceError):
        return True
    return True


@pytest.mark.parametrize("kind", [Down, Hang])
async def test_a_part_of_the_open_lines_is_struck_and_no_line_whose_dial_was_spared(autojump_clock, nursery, kind):
    network = Network(seed=3)
    network.listen("rooms", 80, echo, nursery)
    lines = [await network.connect("rooms", 80, None) for _ in range(40)]
    with network.inject("rooms", kind(rate=0.5)):
        old = [await _answers(line) for line in lines]
        spared = [line for _ in range(20) if (line := await _dialled(network)) is not None]
        assert all([await _answers(line) for line in spared])
    assert 10 <= sum(old) <= 30
    assert 5 <= len(spared) <= 15


async def _answers(stream):
    try:
        with trio.move_on_after(1):
            return await said(stream) == b"hi"
    except trio.BrokenResourceError:
        return False
    return False


async def _dialled(network):
    try:
        with trio.move_on_after(1):
            return await network.connect("rooms", 80, None)
    except OSError:
        return None
    return None


async def test_two_toxics_of_one_host_are_both_in_force(autojump_clock, nursery):
    network = Network()
    near, far = await opened(network, nursery)
    with network.inject("rooms", Latency(ms=1000)), network.inject("rooms", Drip(bytes_per_second=2)):
        await far.send_all(b"ab")
        assert await near.receive_some() == b"a"
        assert trio.current_time() == pytest.approx(1.5, abs=1e-9)


async def test_a_toxic_that_no_link_can_have_is_refused_by_name(network):
    with pytest.raises(BadToxic, match="status: a link can only do down, hang, latency, drip, reset"):
        network.inject("rooms", Status())


# -- memory -------------------------------------------------------------------------------------------------------


def _living(kind):
    gc.collect()
    return sum(isinstance(one, kind) for one in gc.get_objects())


async def test_a_network_does_not_remember_lines_that_are_over(autojump_clock, network, nursery):
    network.listen("rooms", 80, echo, nursery)
    before = _living(Line)
    for _ in range(3 * FEW_LINES):
        await (await network.connect("rooms", 80, None)).aclose()
        await trio.sleep(1)
    assert _living(Line) - before <= FEW_LINES


async def test_a_line_does_not_remember_faults_that_have_healed(autojump_clock, network, nursery):
    near, _ = await opened(network, nursery)
    before = _living(Injected)
    for _ in range(5):
        with network.inject("rooms", Latency(ms=1)):
            assert _living(Injected) == before + 1
    assert _living(Injected) == before
    assert not near.closed
