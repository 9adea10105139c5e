"""The network in one process: who is reached, who is refused, and what leaving a rule heals."""

import math

import pytest
import trio

from chaos.sim.link import Network, Refuse


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def said(stream, data=b"hi"):
    await stream.send_all(data)
    return await stream.receive_some()


@pytest.fixture
def network():
    return Network()


async def test_a_dial_reaches_who_listens(autojump_clock, network, nursery):
    network.listen("rooms", 80, echo, nursery)
    async with await network.connect("rooms", 80, None) as stream:
        assert await said(stream) == b"hi"
    assert network.dialled == {("rooms", 80): 1}


async def test_a_dial_to_nobody_is_refused_as_a_real_one_is(autojump_clock, network):
    with pytest.raises(ConnectionRefusedError):
        await network.connect("rooms", 80, None)


async def test_a_closed_listener_refuses_and_leaves_who_is_connected(autojump_clock, network, nursery):
    listening = network.listen("rooms", 80, echo, nursery)
    stream = await network.connect("rooms", 80, None)
    listening.close()
    listening.close()
    assert await said(stream) == b"hi"
    with pytest.raises(OSError):
        await network.connect("rooms", 80, None)
    network.listen("rooms", 80, echo, nursery)
    assert await said(await network.connect("rooms", 80, None)) == b"hi"


async def test_a_cut_resets_every_open_connection(autojump_clock, network, nursery):
    listening = network.listen("rooms", 80, echo, nursery)
    stream = await network.connect("rooms", 80, None)
    listening.cut()
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()


async def test_two_cannot_listen_at_one_address_and_port_zero_is_a_free_one(autojump_clock, network, nursery):
    network.listen("rooms", 80, echo, nursery)
    with pytest.raises(OSError):
        network.listen("rooms", 80, echo, nursery)
    first, second = (network.listen("rooms", 0, echo, nursery) for _ in range(2))
    assert first.port != second.port
    assert await said(await network.connect("rooms", second.port, None)) == b"hi"


async def test_a_rule_refuses_only_its_host_and_leaving_it_heals(autojump_clock, network, nursery):
    network.listen("rooms", 80, echo, nursery)
    network.listen("rates", 80, echo, nursery)
    with network.refuse("rooms"):
        with pytest.raises(ConnectionRefusedError):
            await network.connect("rooms", 80, None)
        await network.connect("rates", 80, None)
    assert await said(await network.connect("rooms", 80, None)) == b"hi"


async def test_a_black_hole_lasts_until_the_dialler_gives_up(autojump_clock, network, nursery):
    network.listen("rooms", 80, echo, nursery)
    with network.black_hole("rooms", 80), trio.move_on_after(0.8) as scope:
        await network.connect("rooms", 80, None)
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(0.8, abs=1e-9)


async def test_a_dial_costs_a_round_trip_and_each_byte_half_of_one(autojump_clock, network, nursery):
    network.listen("rooms", 80, echo, nursery)
    with network.delay("rooms", lambda: 0.05):
        stream = await network.connect("rooms", 80, None)
    assert trio.current_time() == pytest.approx(0.1, abs=1e-9)
    assert await said(stream) == b"hi"
    assert trio.current_time() == pytest.approx(0.2, abs=1e-9)


async def test_the_youngest_rule_is_asked_first_and_none_passes_the_question_on(autojump_clock, network, nursery):
    network.listen("rooms", 80, echo, nursery)
    with network.rule(lambda host, port: Refuse()), network.rule(lambda host, port: None):
        with pytest.raises(OSError):
            await network.connect("rooms", 80, None)
        with network.delay("rooms", lambda: 0.0):
            await network.connect("rooms", 80, None)


async def test_a_session_that_breaks_does_not_take_the_listener_down(autojump_clock, network, nursery):
    async def rude(stream):
        await stream.receive_some()
        raise trio.BrokenResourceError

    network.listen("rooms", 80, rude, nursery)
    for _ in range(2):
        stream = await network.connect("rooms", 80, None)
        await stream.send_all(b"x")
        assert await stream.receive_some() == b""


async def test_the_clock_is_at_zero_cost_for_a_thousand_round_trips_of_a_minute(autojump_clock, network, nursery):
    network.listen("rooms", 80, echo, nursery)
    with network.delay("rooms", lambda: 30.0):
        stream = await network.connect("rooms", 80, None)
    for _ in range(100):
        await said(stream)
    assert math.isclose(trio.current_time(), 6060.0)
