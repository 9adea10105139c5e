import errno
import socket

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.hotel.estate.faults import drifted
from chaos.hotel.estate.pubsub import LARGEST_BODY, PubSub
from chaos.hotel.estate.service import Operation, Reply, Service
from chaos.hotel.estate.serving import Door
from chaos.hotel.estate.sockets import Tcp, broken
from chaos.sim.link import Network
from chaos.toxics import Drift, split

LONG = 1_000  # seconds after which a connection that should have ended has not
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
    with trio.fail_after(LONG):
        while True:
            piece = await stream.receive_some(65536)
            got += piece
            if not piece:
                return got
            head, blank, body = got.partition(b"\r\n\r\n")
            if blank and b"content-length: %d\r\n" % len(body) in head + b"\r\n":
                return got


async def rest(stream):
    """Everything up to the end of the connection."""
    got = b""
    with trio.fail_after(LONG):
        while piece := await stream.receive_some(65536):
            got += piece
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


async def test_latency_is_on_the_clock_to_the_microsecond_and_over_when_it_is_cleared(autojump_clock, door, nursery):
    stream = await door.connect()
    door.inject(split("latency ms=200"))
    await ask(stream)
    assert trio.current_time() == pytest.approx(0.2, abs=1e-6)
    door.inject(split("latency ms=60000"))

    async def heal():
        await trio.sleep(1)
        door.clear()

    nursery.start_soon(heal)
    await ask(stream)
    assert trio.current_time() == pytest.approx(1.2, abs=1e-6)


async def test_jitter_is_drawn_from_the_seed_and_stays_in_its_span(autojump_clock, nursery):
    async def run(port):
        network = Network()
        door = Door(a_service(), network.listen, nursery, host="pricing", port=port)
        door.inject(split("latency ms=200 jitter=50"))
        stream = await network.connect("pricing", port, None)
        took = []
        for _ in range(50):
            began = trio.current_time()
            await ask(stream)
            took.append(trio.current_time() - began)
        return took

    first, second = await run(80), await run(81)
    assert first == pytest.approx(second)
    assert 0.15 <= min(first) < 0.17
    assert 0.23 < max(first) <= 0.25


async def drops(stream):
    """When each piece of an answer came, and what it was."""
    came = []
    await stream.send_all(b"GET /properties/p1/rates HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    with trio.fail_after(LONG):
        while piece := await stream.receive_some(65536):
            came.append((trio.current_time(), piece))
    return came


@pytest.mark.parametrize(("rate", "size"), [("1", 1), ("4", 1), ("0.5", 1), ("40", 4), ("1000", 100)])
async def test_a_drip_is_so_many_bytes_a_second_from_the_first_to_the_last(autojump_clock, door, rate, size):
    door.inject(split(f"drip bytes-per-second={rate}"))
    came = await drops(await door.connect())
    for number, (at, piece) in enumerate(came):
        assert at == pytest.approx(number * size / float(rate), abs=1e-6)
        assert len(piece) == size or number == len(came) - 1
    assert json_of(b"".join(piece for _, piece in came)) == ANSWER


async def test_a_drip_that_is_cleared_flows(autojump_clock, door, nursery):
    door.inject(split("drip bytes-per-second=1"))

    async def heal():
        await trio.sleep(9.5)
        door.clear()

    nursery.start_soon(heal)
    came = await drops(await door.connect())
    assert [at for at, _ in came] == [*range(10), 9.5]
    assert json_of(b"".join(piece for _, piece in came)) == ANSWER


@pytest.mark.parametrize("after", [0, 1, 20, 148])
async def test_a_reset_breaks_after_exactly_so_many_bytes(autojump_clock, door, after):
    door.inject(split(f"reset after={after}"))
    stream = await door.connect()
    await stream.send_all(b"GET /properties/p1/rates HTTP/1.1\r\nhost: x\r\n\r\n")
    got = b""
    with pytest.raises(trio.BrokenResourceError):
        while True:
            piece = await stream.receive_some(65536)
            assert piece, "an end is no break"
            got += piece
    assert len(got) == after


async def test_a_reset_that_is_cleared_in_the_middle_of_an_answer_does_not_happen(autojump_clock, door):
    door.inject(split("giant bytes=1000000"))
    door.inject(split("reset after=900000"))
    stream = await door.connect()
    await stream.send_all(b"GET /properties/p1/rates HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    begun = await stream.receive_some(1000)
    door.clear()
    assert len(begun + await rest(stream)) > 1_000_000


async def test_an_answer_shorter_than_a_reset_is_not_touched(autojump_clock, door):
    door.inject(split("reset after=5000"))
    stream = await door.connect()
    assert [json_of(await ask(stream)) for _ in range(2)] == [ANSWER, ANSWER]


async def test_a_reset_with_a_rate_falls_on_whole_answers_and_not_on_each_piece_of_one(autojump_clock, door):
    door.inject(split("giant bytes=2000000"))  # 31 pieces
    door.inject(split("reset after=100 rate=0.3"))
    broke = 0
    for _ in range(40):
        stream = await door.connect()
        await stream.send_all(b"GET /properties/p1/rates HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        try:
            while await stream.receive_some(1 << 20):
                pass
        except trio.BrokenResourceError:
            broke += 1
    assert 4 <= broke <= 20  # a chance for each piece would break all of them


async def test_a_giant_answer_is_exactly_as_large_as_asked_for_and_is_json(autojump_clock, door):
    door.inject(split("giant bytes=300000"))
    came = await drops(await door.connect())
    _, _, chunks = b"".join(piece for _, piece in came).partition(b"\r\n\r\n")
    body = b""
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        body, chunks = body + chunks[: int(size, 16)], chunks[int(size, 16) + 2 :]
    assert len(body) == 300_000
    assert set(msgspec.json.decode(body)) == {"tenantId"}


async def test_a_giant_answer_that_nobody_reads_keeps_nobody_else_waiting(autojump_clock, door, nursery):
    door.inject(split("giant bytes=1073741824"))
    stream = await door.connect()
    await stream.send_all(b"GET /properties/p1/rates HTTP/1.1\r\nhost: x\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    door.clear()
    assert json_of(await ask(await door.connect())) == ANSWER
    assert trio.current_time() == 0
    await stream.aclose()


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
def test_a_request_may_be_cut_anywhere(simulate, cuts):
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

    simulate(main)


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


async def test_two_requests_at_once_are_answered_in_turn(autojump_clock, door):
    stream = await door.connect()
    one = b"GET /properties/p1/rates HTTP/1.1\r\nhost: x\r\n\r\n"
    await stream.send_all(one + one.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + one)
    got = await rest(stream)
    assert got.count(b"HTTP/1.1 200") == 2  # the third came after its sender had said that it was the last
    assert door.service.counts["rates"].calls == 2


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # a TLS hello
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 201 + b"\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 4194305\r\n\r\n" + b"x" * 4_194_305,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_the_next_connection_served(autojump_clock, door, head):
    stream = await door.connect()
    with trio.move_on_after(5):
        await stream.send_all(head)
    got = await rest(stream)
    assert got.startswith(b"HTTP/1.1 400")
    assert json_of(await ask(await door.connect())) == ANSWER


async def test_who_sends_more_than_a_service_takes_is_told_so_and_the_connection_goes_on(autojump_clock, door):
    stream = await door.connect()
    for size, status in ((1 << 20, b"201"), ((1 << 20) + 1, b"413"), (2, b"201")):
        got = await ask(stream, "/folios/f1/charges", "POST", body=b"7".ljust(size))
        assert got.startswith(b"HTTP/1.1 " + status)
        assert status == b"201" or json_of(got)["code"] == "TOO_LONG"
    assert door.service.counts["charge"].shown() == {"calls": 3, "distinctKeys": 0, "effects": 2}


async def test_pubsub_takes_ten_mebibytes_and_says_what_google_says_of_more(autojump_clock, nursery):
    network, topics = Network(), PubSub(trio.current_time)
    Door(Service("pubsub", topics.operations(), tenants=()), network.listen, nursery, host="pubsub", port=80)
    stream = await network.connect("pubsub", 80, None)
    answers = []
    for size in (LARGEST_BODY, LARGEST_BODY + 1):
        body = b'{"messages": [{"data": "%b"}]}' % (b"QUJD" * 2_500_000)
        path = "/v1/projects/melmastoon/topics/bff-domain-events:publish"
        answers.append(await ask(stream, path, "POST", body=body.ljust(size)))
    assert json_of(answers[0]) == {"messageIds": ["1"]}
    assert answers[1].startswith(b"HTTP/1.1 400")
    error = {"code": 400, "message": "Request payload size exceeds the limit: 10485760 bytes."}
    assert json_of(answers[1]) == {"error": error | {"status": "INVALID_ARGUMENT"}}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /properties/p1/rates HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", b"200"),
        (b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", b"404"),
    ],
)
async def test_another_protocol_is_not_taken_up(autojump_clock, door, head, status):
    stream = await door.connect()
    await stream.send_all(head + b"whatever is spoken next")
    got = await rest(stream)
    assert got.startswith(b"HTTP/1.1 " + status)
    assert got.count(b"HTTP/1.1") == 1


async def test_nobody_sends_requests_without_end_into_one_that_hangs(autojump_clock, door):
    door.inject(split("hang"))
    stream = await door.connect()
    with trio.move_on_after(5) as sending:
        for _ in range(100):
            await stream.send_all(b"GET /properties/p1/rates HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
        await trio.lowlevel.checkpoint()
    assert sending.cancelled_caught  # back-pressure: the window is full, and nobody reads on


async def test_a_port_is_nobody_else_s_while_its_service_is_down(nursery):
    door = Door(a_service(), Tcp().listen, nursery, host="127.0.0.1", port=0)
    door.inject(split("down"))
    await trio.testing.wait_all_tasks_blocked()
    tasks = trio.lowlevel.current_statistics().tasks_living
    with socket.socket() as stranger, pytest.raises(OSError) as taken:
        stranger.bind(("127.0.0.1", door.port))  # as any outgoing connection might, by chance
    assert taken.value.errno == errno.EADDRINUSE
    for _ in range(3):
        door.clear()
        stream = await trio.open_tcp_stream("127.0.0.1", door.port)
        assert json_of(await ask(stream)) == ANSWER
        door.inject(split("down"))
        with pytest.raises(trio.BrokenResourceError):
            await ask(stream)
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    nursery.cancel_scope.cancel()


async def test_a_connection_that_is_broken_already_may_be_cut(nursery):
    tcp = Tcp()
    taken = trio.Event()

    async def serve(stream):
        broken(stream)
        broken(stream)
        taken.set()
        await trio.sleep_forever()

    listening = tcp.listen("127.0.0.1", 0, serve, nursery)
    stream = await trio.open_tcp_stream("127.0.0.1", listening.port)
    await taken.wait()
    listening.cut()
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await stream.aclose()
    nursery.cancel_scope.cancel()


PATHS = st.lists(st.sampled_from(["tenantId", "rates", "0", "7", "x", "id", "amountMinor", ""]), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(PATHS.map(".".join), st.booleans())
def test_drift_changes_the_field_it_names_and_nothing_else_wherever_it_points(path, missing):
    before = msgspec.json.encode(ANSWER)
    bent = drifted(ANSWER, Drift(field=path, missing=missing))
    assert msgspec.json.encode(ANSWER) == before
    there = {
        *("tenantId", "rates", "id", "rates.0", "rates.0.id", "rates.0.amountMinor", ""),
    }
    assert (bent != ANSWER) == (path in there)
