import errno

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.hotel.estate.service import Operation, Reply, Service
from chaos.hotel.estate.serving import Door
from chaos.hotel.estate.sockets import Tcp
from chaos.sim.link import Network
from chaos.toxics import split

ANSWER = {"tenantId": "resort", "id": "r1", "rates": [{"id": "a", "amountMinor": 7}], "count": 3}


def a_service():
    charged = []

    def charge(call):
        charged.append(call.body)
        return Reply(201, {"tenantId": call.tenant, "charges": len(charged)}, effect=True)

    return Service(
        "pricing",
        [
            Operation("rates", "GET", "/properties/{pid}/rates", lambda call: Reply(200, ANSWER)),
            Operation("charge", "POST", "/folios/{id}/charges", charge),
        ],
        tenants=["resort", "city"],
    )


async def ask(stream, path="/properties/p1/rates", method="GET", headers="", body=b""):
    """One request; what came back till the end of the answer, or of the connection."""
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nx-tenant-id: resort\r\n{headers}content-length: {len(body)}\r\n\r\n"
    await stream.send_all(head.encode() + body)
    return await answer(stream)


async def answer(stream):
    got = b""
    while True:
        piece = await stream.receive_some(65536)
        got += piece
        if not piece:
            return got
        head, blank, body = got.partition(b"\r\n\r\n")
        if blank and b"content-length: %d\r\n" % len(body) in head + b"\r\n":
            return got


def json_of(raw):
    return msgspec.json.decode(raw.partition(b"\r\n\r\n")[2])


@pytest.fixture
async def door(nursery):
    network = Network()
    there = Door(a_service(), network.listen, nursery, host="pricing", port=80)
    there.connect = lambda: network.connect("pricing", 80, None)
    return there


async def test_it_answers_and_keeps_the_connection(autojump_clock, door):
    stream = await door.connect()
    for _ in range(3):
        assert json_of(await ask(stream)) == ANSWER
    assert door.service.counts["rates"].calls == 3


async def test_a_change_repeated_with_its_key_gives_its_first_answer_and_no_second_effect(autojump_clock, door):
    stream = await door.connect()
    first = await ask(stream, "/folios/f1/charges", "POST", "idempotency-key: k1\r\n", b'{"amountMinor": 5}')
    again = await ask(stream, "/folios/f1/charges", "POST", "idempotency-key: k1\r\n", b'{"amountMinor": 5}')
    other = await ask(stream, "/folios/f1/charges", "POST", "idempotency-key: k2\r\n", b'{"amountMinor": 5}')
    assert first == again != other
    assert door.service.counts["charge"].shown() == {"calls": 3, "distinctKeys": 2, "effects": 2}


@pytest.mark.parametrize(
    ("toxic", "begins", "holds"),
    [
        ("status code=500", b"HTTP/1.1 500", b"broken on purpose"),
        ("redirect", b"HTTP/1.1 302", b"location: /properties/p1/rates"),
        ("garbage", b"HTTP/1.1 200", b"<!doctype html>"),
        ("drift", b"HTTP/1.1 200", b'"count":"drifted"'),
        ("drift field=id", b"HTTP/1.1 200", b'"id":7'),
        ("drift field=rates.0.amountMinor", b"HTTP/1.1 200", b'"amountMinor":"drifted"'),
        ("drift missing=true", b"HTTP/1.1 200", b'"amountMinor":7}]}'),
        ("wrong-tenant", b"HTTP/1.1 200", b'"tenantId":"city"'),
    ],
)
async def test_an_answer_is_bent_as_the_toxic_says_and_whole_again_when_it_is_cleared(
    autojump_clock, door, toxic, begins, holds
):
    stream = await door.connect()
    door.inject(split(toxic))
    bent = await ask(stream)
    assert bent.startswith(begins)
    assert holds in bent
    door.clear()
    assert json_of(await ask(await door.connect())) == ANSWER


async def test_down_refuses_who_comes_and_cuts_who_is_there_until_it_is_cleared(autojump_clock, door):
    stream = await door.connect()
    await ask(stream)
    door.inject(split("down"))
    with pytest.raises(OSError) as refused:
        await door.connect()
    assert refused.value.errno == errno.ECONNREFUSED
    with pytest.raises(trio.BrokenResourceError):
        await ask(stream)
    door.clear()
    assert json_of(await ask(await door.connect())) == ANSWER


async def test_a_hanging_request_is_answered_in_the_moment_the_fault_is_cleared(autojump_clock, door, nursery):
    door.inject(split("hang"))
    stream = await door.connect()

    async def heal():
        await trio.sleep(30)
        door.clear()

    nursery.start_soon(heal)
    assert json_of(await ask(stream)) == ANSWER
    assert trio.current_time() == 30


async def test_nothing_hangs_for_somebody_who_has_left(autojump_clock, door):
    door.inject(split("hang"))
    before = trio.lowlevel.current_statistics().tasks_living
    stream = await door.connect()
    with trio.move_on_after(1):
        await ask(stream)
    await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_latency_and_its_jitter_are_on_the_clock(autojump_clock, door):
    door.inject(split("latency ms=200 jitter=50"))
    await ask(await door.connect())
    assert 0.15 <= trio.current_time() <= 0.25


async def test_a_drip_is_a_byte_a_second(autojump_clock, door):
    door.inject(split("drip bytes-per-second=1"))
    whole = await ask(await door.connect())
    assert trio.current_time() == pytest.approx(len(whole) - 1, abs=1.01)


async def test_a_reset_breaks_after_so_many_bytes(autojump_clock, door):
    door.inject(split("reset after=20"))
    stream = await door.connect()
    with pytest.raises(trio.BrokenResourceError):
        while True:
            await ask(stream)


async def test_a_giant_answer_is_as_large_as_asked_for(autojump_clock, door):
    door.inject(split("giant bytes=300000"))
    stream = await door.connect()
    await stream.send_all(b"GET /properties/p1/rates HTTP/1.1\r\nhost: x\r\n\r\n")
    got = 0
    while got < 300_000:
        piece = await stream.receive_some(65536)
        assert piece
        got += len(piece)


async def test_a_lost_answer_was_worked_on(autojump_clock, door):
    door.inject(split("lose-answer"))
    lost = await ask(await door.connect(), "/folios/f1/charges", "POST", "idempotency-key: k\r\n", b"{}")
    assert lost == b""
    assert door.service.counts["charge"].shown() == {"calls": 1, "distinctKeys": 1, "effects": 1}


async def test_a_rate_falls_on_a_part_of_the_answers_the_same_ones_each_time(autojump_clock, nursery):
    async def run(port):
        network = Network()
        door = Door(a_service(), network.listen, nursery, host="pricing", port=port)
        door.inject(split("status code=503 rate=0.3"))
        stream = await network.connect("pricing", port, None)
        return [(await ask(stream)).startswith(b"HTTP/1.1 503") for _ in range(100)]

    first, second = await run(80), await run(81)
    assert first == second
    assert 15 < sum(first) < 45


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=12))
def test_a_request_may_be_cut_anywhere(cuts):
    raw = (
        b"POST /folios/f1/charges HTTP/1.1\r\nhost: x\r\nx-tenant-id: resort\r\nidempotency-key: k\r\n"
        b'transfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n3\r\n 1}\r\n0\r\n\r\n'
    )

    async def main():
        network = Network()
        async with trio.open_nursery() as nursery:
            Door(a_service(), network.listen, nursery, host="pricing", port=80)
            stream = await network.connect("pricing", 80, None)
            rest = raw
            for cut in cuts:
                if rest[:cut]:
                    await stream.send_all(rest[:cut])
                rest = rest[cut:]
                await trio.testing.wait_all_tasks_blocked()
            if rest:
                await stream.send_all(rest)
            assert json_of(await answer(stream)) == {"tenantId": "resort", "charges": 1}
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_on_real_sockets_it_is_the_same_and_down_gives_the_port_back(nursery):
    door = Door(a_service(), Tcp().listen, nursery, host="127.0.0.1", port=0)

    async def once():
        async with await trio.open_tcp_stream("127.0.0.1", door.port) as fresh:
            return json_of(await ask(fresh))

    async with await trio.open_tcp_stream("127.0.0.1", door.port) as stream:
        assert json_of(await ask(stream)) == ANSWER
        door.inject(split("down"))
        with pytest.raises(trio.BrokenResourceError):
            await ask(stream)
    with pytest.raises(OSError, match="connect"):
        await once()
    door.clear()
    assert await once() == ANSWER
    door.inject(split("reset after=10"))
    with pytest.raises((trio.BrokenResourceError, msgspec.DecodeError)):
        await once()
    nursery.cancel_scope.cancel()
