"""When a connection may be used again, and what a pool refuses to be: unbounded, late, or somebody else's answer."""

import random

import httpx
import pytest
import trio
import trio.testing

from bff.facts import ConnectionClosed
from bff.wire.exchange import Bounds, Origin, Prepared, TooLarge
from bff.wire.pool import Crowded, Pool, PoolLimits
from chaos.sim.link import Network
from nurseries import Unbounded, listening, within

ROOMS = Origin("http", "rooms", 80)
RATES = Origin("http", "rates", 80)


def get(target=b"/", origin=ROOMS, **more):
    return Prepared(origin, b"GET", target, **{"repeatable": True} | more)


def answer(body, *fields):
    return (
        b"HTTP/1.1 200 OK\r\n"
        + b"".join(f + b"\r\n" for f in fields)
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


class heads:  # noqa: N801 -- reads like the loop it is in; no async generator, which a cut loop would leave open
    """The head of each request on a stream, in order."""

    def __init__(self, stream):
        self.stream, self.head = stream, b""

    def __aiter__(self):
        return self

    async def __anext__(self):
        while b"\r\n\r\n" not in self.head:
            piece = await self.stream.receive_some()
            if not piece:
                raise StopAsyncIteration
            self.head += piece
        one, _, self.head = self.head.partition(b"\r\n\r\n")
        return one


async def echo(stream):
    """Answer each request with its own target, so that a mixed-up answer shows."""
    async for head in heads(stream):
        await stream.send_all(answer(head.split()[1]))


def once(*pieces, then="close"):
    """Serve one request with `pieces`; then close, hold the connection open, or reset it."""

    async def serve(stream):
        async for _ in heads(stream):
            for piece in pieces:
                await stream.send_all(piece)
            if then == "reset":
                stream.reset()
            if then != "hold":
                return

    return serve


@pytest.fixture
def network():
    return Network(latency=0.001)


@pytest.fixture
def pool(network):
    return Pool(network.connect)


async def test_an_await_without_a_deadline_raises_the_first_time_it_runs(autojump_clock, network, pool, nursery):
    network.listen("rooms", 80, echo, nursery)
    with pytest.raises(Unbounded, match="rooms:80"):
        await pool.fetch(get())
    assert network.dialled == {}


async def test_a_connection_is_used_again_after_a_whole_answer(autojump_clock, network, pool, nursery):
    rooms = network.listen("rooms", 80, echo, nursery)
    with within(1):
        assert [(await pool.fetch(get(b"/%d" % n))).body for n in range(5)] == [b"/%d" % n for n in range(5)]
    assert rooms.accepted == 1
    assert pool.free == 1


async def test_origins_never_share_a_connection(autojump_clock, network, pool, nursery):
    for host in ("rooms", "rates"):
        network.listen(host, 80, once(answer(host.encode()), then="hold"), nursery)
    with within(1):
        assert [(await pool.fetch(get(origin=origin))).body for origin in (ROOMS, RATES, ROOMS)] == [
            b"rooms",
            b"rates",
            b"rooms",
        ]
    assert pool.free == 2


async def test_exchanges_at_once_have_a_connection_each_and_the_youngest_is_used_again(
    autojump_clock, network, pool, nursery
):
    rooms = network.listen("rooms", 80, echo, nursery)
    with within(1):
        async with trio.open_nursery() as asking:
            for n in range(3):
                asking.start_soon(pool.fetch, get(b"/%d" % n))
        await pool.fetch(get())
    assert rooms.accepted == 3
    assert pool.free == 3


@pytest.mark.parametrize("limit", [1, 3])
async def test_more_exchanges_than_connections_wait_their_turn(autojump_clock, network, nursery, limit):
    open_now, most = 0, 0

    async def slow(stream):
        nonlocal open_now, most
        async for head in heads(stream):
            open_now += 1
            most = max(most, open_now)
            await trio.sleep(0.1)
            open_now -= 1
            await stream.send_all(answer(head.split()[1]))

    rooms = network.listen("rooms", 80, slow, nursery)
    pool = Pool(network.connect, limits=PoolLimits(per_origin=limit))
    order = []

    async def ask(n):
        order.append((await pool.fetch(get(b"/%d" % n))).body)

    with within(5) as scope:
        async with trio.open_nursery() as asking:
            for n in range(6):
                asking.start_soon(ask, n)
                await trio.sleep(0.01)
    assert not scope.cancelled_caught
    assert most == rooms.accepted == limit
    assert order == [b"/%d" % n for n in range(6)], "first come, first served"


async def test_those_who_wait_are_bounded_and_the_next_is_refused_at_once(autojump_clock, network, nursery):
    network.listen("rooms", 80, once(), nursery)
    with network.black_hole("rooms"):
        pool = Pool(network.connect, limits=PoolLimits(per_origin=1, waiting=2))
        with within(1):
            async with trio.open_nursery() as asking:
                for _ in range(3):
                    asking.start_soon(pool.fetch, get())
                await trio.testing.wait_all_tasks_blocked()
                start = trio.current_time()
                with pytest.raises(Crowded):
                    await pool.fetch(get())
                assert trio.current_time() == start
                with pytest.raises(httpx.ConnectError):
                    await pool.fetch(get(origin=RATES))
                asking.cancel_scope.cancel()
    with within(1), pytest.raises(httpx.RemoteProtocolError):  # the permits are all back: it dials
        await pool.fetch(get())


async def test_who_is_cancelled_while_waiting_leaves_the_queue(autojump_clock, network, nursery):
    network.listen("rooms", 80, echo, nursery)
    pool = Pool(network.connect, limits=PoolLimits(per_origin=1, waiting=1))
    with within(1):
        async with trio.open_nursery() as asking:
            with network.black_hole("rooms"):
                asking.start_soon(pool.fetch, get())
                await trio.testing.wait_all_tasks_blocked()
                with within(0.1) as scope:
                    await pool.fetch(get())
            assert scope.cancelled_caught
            asking.cancel_scope.cancel()
        assert (await pool.fetch(get(b"/x"))).body == b"/x"


@pytest.mark.parametrize("fields", [(b"Connection: close",), ()])
async def test_a_connection_that_ends_is_not_used_again(autojump_clock, network, pool, nursery, fields):
    last = answer(b"ok", *fields) if fields else b"HTTP/1.0 200 OK\r\n\r\nok"
    rooms = network.listen("rooms", 80, once(last), nursery)
    with within(1):
        for n in range(1, 4):
            assert (await pool.fetch(get())).body == b"ok"
            assert (pool.free, rooms.accepted) == (0, n)


async def test_bytes_that_nobody_asked_for_are_never_the_answer_to_the_next_question(
    autojump_clock, network, pool, nursery
):
    poison = answer(b"poison")

    async def serve(stream):
        async for head in heads(stream):
            await stream.send_all(answer(head.split()[1]))
            await trio.sleep(0.05)  # when the exchange is over and the connection lies in the pool
            await stream.send_all(poison)

    rooms = network.listen("rooms", 80, serve, nursery)
    with within(1):
        assert (await pool.fetch(get(b"/1"))).body == b"/1"
        assert pool.free == 1
        await trio.sleep(0.1)
        assert (await pool.fetch(get(b"/2"))).body == b"/2"
    assert rooms.accepted == 2


async def test_a_connection_closed_while_idle_is_noticed_before_it_is_used(autojump_clock, network, pool, nursery):
    rooms = network.listen("rooms", 80, once(answer(b"ok")), nursery)
    with within(1):
        for _ in range(3):
            assert (await pool.fetch(get(repeatable=False))).body == b"ok"
            await trio.sleep(0.05)
    assert rooms.accepted == 3


def stale(requests, *, then):
    """Answer the first request of the first connection, close it at the sight of the second; later ones echo."""

    async def serve(stream):
        first = not requests
        async for head in heads(stream):
            requests.append(head.split(b"\r\n")[0])
            if first and len(requests) == 2:
                if then == "reset":
                    stream.reset()
                elif then != "close":
                    await stream.send_all(then)
                return
            await stream.send_all(answer(head.split()[1]))

    return serve


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_stale_connection_is_retried_once_on_a_new_one_where_that_is_safe(
    autojump_clock, network, pool, nursery, then
):
    requests = []
    rooms = network.listen("rooms", 80, stale(requests, then=then), nursery)
    with within(1):
        await pool.fetch(get(b"/1"))
        assert (await pool.fetch(get(b"/2"))).body == b"/2"
    assert requests == [b"GET /1 HTTP/1.1", b"GET /2 HTTP/1.1", b"GET /2 HTTP/1.1"]
    assert rooms.accepted == 2


@pytest.mark.parametrize(("then", "error"), [("close", httpx.RemoteProtocolError), ("reset", httpx.ReadError)])
async def test_a_stale_connection_is_not_retried_where_twice_does_more_than_once(
    autojump_clock, network, pool, nursery, then, error
):
    requests = []
    network.listen("rooms", 80, stale(requests, then=then), nursery)
    with within(1):
        await pool.fetch(get(b"/1"))
        with pytest.raises(error):
            await pool.fetch(get(b"/2", repeatable=False))
    assert len(requests) == 2


@pytest.mark.parametrize(
    "begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]
)
async def test_once_a_byte_of_the_answer_has_come_nothing_is_sent_again(autojump_clock, network, pool, nursery, begun):
    requests = []
    network.listen("rooms", 80, stale(requests, then=begun), nursery)
    with within(1):
        await pool.fetch(get(b"/1"))
        with pytest.raises(httpx.RemoteProtocolError):
            await pool.fetch(get(b"/2"))
    assert len(requests) == 2


async def test_a_new_connection_that_breaks_is_not_retried(autojump_clock, network, pool, nursery):
    rooms = network.listen("rooms", 80, once(then="reset"), nursery)
    with within(1), pytest.raises(httpx.ReadError):
        await pool.fetch(get())
    assert rooms.accepted == 1


async def test_the_second_try_is_the_last(autojump_clock, network, pool, nursery):
    requests = []

    async def serve(stream):
        async for head in heads(stream):
            requests.append(head)
            if len(requests) > 1:
                return
            await stream.send_all(answer(b"ok"))

    rooms = network.listen("rooms", 80, serve, nursery)
    with within(1):
        await pool.fetch(get())
        with pytest.raises(httpx.RemoteProtocolError):
            await pool.fetch(get())
    assert (len(requests), rooms.accepted) == (3, 2)


async def test_a_refused_dial_is_a_connect_error_and_gives_its_permit_back(autojump_clock, network, nursery):
    pool = Pool(network.connect, limits=PoolLimits(per_origin=1))
    with within(1):
        for _ in range(3):
            with pytest.raises(httpx.ConnectError, match="rooms:80"):
                await pool.fetch(get())


async def test_a_reset_in_the_answer_is_a_read_error(autojump_clock, network, pool, nursery):
    network.listen("rooms", 80, once(b"HTTP/1.1 200 OK\r\n\r\nhalf", then="reset"), nursery)
    with within(1), pytest.raises(httpx.ReadError):
        await pool.fetch(get())
    assert pool.free == 0


async def test_an_answer_before_the_request_was_read_counts_though_sending_broke(
    autojump_clock, network, pool, nursery
):
    async def serve(stream):
        await stream.receive_some(10)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    network.listen("rooms", 80, serve, nursery)
    with within(5) as scope:
        reply = await pool.fetch(Prepared(ROOMS, b"POST", b"/", body=bytes(1 << 20)))
        assert reply.status == 413
    assert not scope.cancelled_caught
    assert pool.free == 0


async def test_a_peer_that_will_not_read_the_request_is_a_write_error(autojump_clock, network, pool, nursery):
    async def serve(stream):
        await stream.receive_some(10)
        stream.reset()

    network.listen("rooms", 80, serve, nursery)
    with within(5), pytest.raises(httpx.WriteError):
        await pool.fetch(Prepared(ROOMS, b"POST", b"/", body=bytes(1 << 20)))


async def test_a_byte_a_second_does_not_outlive_the_scope(autojump_clock, network, pool, nursery):
    async def drip(stream):
        await stream.receive_some()
        for byte in answer(bytes(1000)):
            await stream.send_all(bytes([byte]))
            await trio.sleep(1)

    network.listen("rooms", 80, drip, nursery)
    start = trio.current_time()
    with within(0.8) as scope:
        await pool.fetch(get())
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(start + 0.8, abs=1e-9)
    assert pool.free == 0
    nursery.cancel_scope.cancel()


async def test_a_gigabyte_is_refused_at_the_bound(autojump_clock, network, nursery):
    sent = 0

    async def giant(stream):
        nonlocal sent
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            sent += 0x10000

    network.listen("rooms", 80, giant, nursery)
    pool = Pool(network.connect, limits=PoolLimits(answer=Bounds(body=200_000)))
    with within(5), pytest.raises(TooLarge):
        await pool.fetch(get())
    assert sent < 400_000


class _Steps(trio.abc.Instrument):
    """Cancels `scope` just before the `at`-th step of the task that made it."""

    def __init__(self, scope, at):
        self.task, self.scope, self.left = trio.lowlevel.current_task(), scope, at

    def task_scheduled(self, task):
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_fetch_cancelled_at_any_checkpoint_leaves_no_connection_to_use_again(autojump_clock, nursery, fresh):
    async def serve(stream):
        async for head in heads(stream):
            for byte in answer(head.split()[1]):
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.001)

    caught = 0
    for at in range(1, 1000):
        network = Network(latency=0.001)
        network.listen("rooms", 80, serve, nursery)
        pool = Pool(network.connect, limits=PoolLimits(per_origin=1))
        with within(60):
            if not fresh:
                await pool.fetch(get(b"/before"))
            with trio.CancelScope() as scope:
                steps = _Steps(scope, at)
                trio.lowlevel.add_instrument(steps)
                try:
                    await pool.fetch(get(b"/cancelled"))
                finally:
                    trio.lowlevel.remove_instrument(steps)
            if scope.cancelled_caught:
                caught += 1
                assert pool.free == 0
            assert (await pool.fetch(get(b"/after"))).body == b"/after"
            await pool.aclose()
        if not scope.cancel_called:
            break
    else:
        pytest.fail("a fetch with a thousand checkpoints")
    assert caught >= 40, "an answer of forty bytes, a checkpoint each"


@pytest.mark.parametrize("seed", range(10))
async def test_whoever_is_cancelled_whenever_every_right_comes_back_and_every_answer_is_its_own(
    autojump_clock, network, nursery, seed
):
    chance = random.Random(seed)
    wrong = []

    async def jittery(stream):
        async for head in heads(stream):
            await trio.sleep(chance.random() * 0.02)
            await stream.send_all(answer(head.split()[1]))

    rooms = network.listen("rooms", 80, jittery, nursery)
    pool = Pool(network.connect, limits=PoolLimits(per_origin=3))

    async def ask(n):
        await trio.sleep(chance.random() * 0.1)
        with within(chance.random() * 0.06):
            reply = await pool.fetch(get(b"/%d" % n))
            if reply.body != b"/%d" % n:
                wrong.append((n, reply.body))

    with within(10) as scope:
        async with trio.open_nursery() as asking:
            for n in range(60):
                asking.start_soon(ask, n)
        assert not wrong
        before = trio.current_time()
        async with trio.open_nursery() as asking:
            for n in range(3):
                asking.start_soon(pool.fetch, get(b"/%d" % n))
        assert trio.current_time() < before + 0.03, "three at once, as before"
        assert len(rooms.sessions) <= 3
    assert not scope.cancelled_caught


async def test_idle_connections_are_bounded_over_all_origins_and_the_longest_idle_goes(
    autojump_clock, network, nursery
):
    hosts = [f"h{n}" for n in range(5)]
    for host in hosts:
        network.listen(host, 80, echo, nursery)
    pool = Pool(network.connect, limits=PoolLimits(idle=3))
    told = []
    with within(1), listening(told.append):
        for host in hosts:
            await pool.fetch(get(origin=Origin("http", host, 80)))
            assert pool.free <= 3
    assert told == [ConnectionClosed("h0", 80, "crowded out"), ConnectionClosed("h1", 80, "crowded out")]


async def test_a_connection_too_long_idle_is_not_used_and_the_reaper_closes_it(autojump_clock, network, nursery):
    rooms = network.listen("rooms", 80, echo, nursery)
    pool = Pool(network.connect, limits=PoolLimits(idle_seconds=10))
    told = []
    with within(1000), listening(told.append):
        await pool.fetch(get())
        await trio.sleep(10.5)
        await pool.fetch(get())
        assert rooms.accepted == 2
        nursery.start_soon(pool.serve)
        await trio.sleep(30)
        assert pool.free == 0
        assert not rooms.sessions
        assert told == [ConnectionClosed("rooms", 80, "idle")] * 2
        assert (await pool.fetch(get(b"/x"))).body == b"/x"
    nursery.cancel_scope.cancel()


async def test_a_closed_pool_closes_what_is_free_now_and_what_is_lent_when_it_is_back(
    autojump_clock, network, pool, nursery
):
    async def slow(stream):
        async for head in heads(stream):
            await trio.sleep(0.2)
            await stream.send_all(answer(head.split()[1]))

    rooms = network.listen("rooms", 80, slow, nursery)
    network.listen("rates", 80, echo, nursery)
    with within(1):
        await pool.fetch(get(origin=RATES))
        async with trio.open_nursery() as asking:
            asking.start_soon(pool.fetch, get())
            await trio.sleep(0.1)
            await pool.aclose()
            await pool.aclose()
            assert pool.free == 0
        assert pool.free == 0
        await trio.sleep(0.1)
        assert not rooms.sessions
        with pytest.raises(trio.ClosedResourceError):
            await pool.fetch(get())


async def test_who_is_cancelled_while_he_closes_a_pool_has_closed_it(autojump_clock, network, pool, nursery):
    rooms = network.listen("rooms", 80, echo, nursery)
    rates = network.listen("rates", 80, echo, nursery)
    with within(1):
        await pool.fetch(get())
        await pool.fetch(get(origin=RATES))
        assert pool.free == 2
        with trio.CancelScope() as leaving:
            leaving.cancel()
            await pool.aclose()
        assert leaving.cancelled_caught and pool.free == 0
        await trio.sleep(0.1)
        assert not rooms.sessions and not rates.sessions


async def test_a_scheme_that_is_not_http_is_refused(pool):
    with within(1), pytest.raises(httpx.UnsupportedProtocol):
        await pool.fetch(get(origin=Origin("ftp", "rooms", 21)))


@pytest.mark.parametrize(
    ("host", "coding"),
    [("rooms", b"gzip"), ("127.0.0.1", b"identity"), ("::1", b"identity"), ("localhost", b"identity")],
)
async def test_gzip_is_asked_for_only_above_loopback(autojump_clock, network, pool, nursery, host, coding):
    seen = []

    async def serve(stream):
        async for head in heads(stream):
            seen.append(head)
            await stream.send_all(answer(b"ok"))

    network.listen(host, 80, serve, nursery)
    with within(1):
        await pool.fetch(get(origin=Origin("http", host, 80)))
    assert b"\r\naccept-encoding: " + coding in seen[0]
