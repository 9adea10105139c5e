"""The proxy in front of stores, on real sockets: a store here is a listener of the test's own."""

import contextlib
import os
import select
import signal
import socket
import struct
import threading
import time

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.live.address import address
from chaos.live.process import LiveError
from chaos.live.proxy import ProxyEnded, begun_proxy
from chaos.live.rounds import Rounds
from chaos.live.way import Way
from chaos.toxics import BadToxic, split

PATIENCE = 5.0  # seconds; only a failure waits that long
LONG = 60_000  # milliseconds that no test waits for


class Store:
    """A listener that hands over who comes."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.settimeout(PATIENCE)
        self.url = f"redis://:secret@127.0.0.1:{self.listener.getsockname()[1]}/0"

    def comes(self):
        """Who has dialled; it fails where nobody does."""
        one, _ = self.listener.accept()
        one.settimeout(PATIENCE)
        return one


class Door:
    """The proxy in front of a store, as its clients and who breaks it have it."""

    def __init__(self, store, proxy):
        self.store = store
        self.proxy = proxy
        there = address(proxy.urls["store"])
        self.place = there.host, there.port

    async def tell(self, line):
        return (await self.proxy.inject("store", split(line))).get("store", [])

    async def heal(self, line=None):
        return (await self.proxy.clear("store", None if line is None else split(line))).get("store", [])

    def dial(self):
        return socket.create_connection(self.place, PATIENCE)

    @contextlib.contextmanager
    def line(self):
        """Both ends of a line that is there."""
        with self.dial() as client, self.store.comes() as far:
            client.sendall(b"hello")
            assert read(far, 5) == b"hello"
            yield client, far


def read(end, size):
    """So many bytes, or what comes before the end."""
    data = bytearray()
    while len(data) < size and (piece := end.recv(size - len(data))):
        data += piece
    return bytes(data)


def broken(end):
    """It was reset."""
    with pytest.raises(ConnectionResetError):
        end.recv(1)
    return True


def silent(end):
    """Nothing is there for it, neither bytes nor an end."""
    return not select.select([end], [], [], 0.05)[0]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("proxy") / "proxy.log"


@pytest.fixture(scope="module")
def begun(log):
    """One process for all tests."""
    store = Store()
    with store.listener, begun_proxy({"store": store.url}, log, pytest.fail) as proxy:
        trio.run(proxy.ready)
        yield Door(store, proxy)


@pytest.fixture
async def door(begun):
    """With no fault in force, before and afterwards."""
    yield begun
    assert await begun.heal() == []


async def test_each_way_passes_what_is_said_and_ends_by_itself(door):
    with door.line() as (client, far):
        far.sendall(b"answer")
        client.shutdown(socket.SHUT_WR)
        assert (read(client, 6), read(far, 1)) == (b"answer", b"")
        far.sendall(b"and more")
        far.close()
        assert read(client, 99) == b"and more"


@pytest.mark.parametrize("who", ["client", "store"])
async def test_who_breaks_the_line_has_it_broken_at_the_other_end(door, who):
    with door.line() as (client, far):
        one, other = (client, far) if who == "client" else (far, client)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        assert broken(other)


async def test_the_client_of_a_store_that_refuses_is_reset_at_once(log):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"redis://127.0.0.1:{gone.getsockname()[1]}/0"
    with begun_proxy({"store": url}, log, pytest.fail) as proxy:
        await proxy.ready()
        began = time.monotonic()
        with pytest.raises(ConnectionResetError), Door(None, proxy).dial() as client:
            client.recv(1)
        assert time.monotonic() - began < 1


async def test_what_nobody_takes_waits_at_its_source_and_nothing_is_lost(door):
    sent = os.urandom(1 << 16) * 768  # 48 MiB: more than the kernel keeps and the proxy may
    with door.line() as (client, far):
        view, done = memoryview(sent), 0
        while done < len(sent) and select.select([], [client], [], 0.2)[1]:
            done += client.send(view[done : done + 65_536])
        assert done < len(sent)
        rest = threading.Thread(target=client.sendall, args=(view[done:],))
        rest.start()
        assert read(far, len(sent)) == sent
        rest.join()


async def test_a_hang_keeps_what_is_said_both_ways_and_dials_nobody_and_then_all_goes_on(door):
    with door.line() as (client, far), door.dial() as early:
        held = door.store.comes()
        assert await door.tell("hang") == ["hang"]
        client.sendall(b"question")
        far.sendall(b"answer")
        early.close()
        with door.dial() as late, door.dial() as impatient:
            late.sendall(b"late")
            impatient.sendall(b"no patience")
            impatient.close()
            assert silent(client) and silent(far) and silent(held) and silent(door.store.listener)
            assert await door.heal("hang") == []
            assert (read(far, 8), read(client, 6), read(held, 1)) == (b"question", b"answer", b"")
            with door.store.comes() as new, held:
                assert read(new, 4) == b"late"
            assert silent(door.store.listener)


async def test_an_answer_is_late_by_what_is_said_and_what_is_cleared_comes_at_once(door):
    with door.line() as (client, far):
        await door.tell("latency ms=80")
        began = time.monotonic()
        client.sendall(b"q")
        assert read(far, 1) == b"q"
        far.sendall(b"one")
        assert read(client, 3) == b"one"
        assert time.monotonic() - began >= 0.08
        assert await door.tell(f"latency ms={LONG}") == [f"latency ms={LONG}"]  # in the place of the other
        far.sendall(b"two")
        assert silent(client)
        assert await door.heal("latency ms=1") == [f"latency ms={LONG}"]  # another than the one in force
        assert silent(client)
        await door.heal(f"latency ms={LONG}")
        assert read(client, 3) == b"two"


async def test_a_drip_lets_out_a_piece_and_then_waits_and_healed_it_flows(door):
    with door.line() as (client, far):
        await door.tell("drip bytes-per-second=5")
        far.sendall(b"0123456789")
        began = time.monotonic()
        assert read(client, 2) == b"01"
        assert time.monotonic() - began >= 0.19
        assert silent(client)
        await door.heal()
        assert read(client, 8) == b"23456789"


async def test_a_reset_breaks_both_ends_after_so_many_bytes_of_answers(door):
    with door.line() as (client, far):
        await door.tell("reset after=4")
        client.sendall(b"a long question counts for nothing")
        far.sendall(b"0123")
        assert read(client, 4) == b"0123"
        far.sendall(b"4")
        assert broken(client)
        assert read(far, 34) and broken(far)
    with door.line() as (client, far):
        far.sendall(b"012345")
        assert read(client, 4) == b"0123"
        assert broken(client)


async def test_down_cuts_who_is_there_and_refuses_who_comes_and_ends_at_the_same_port(door):
    with door.line() as (client, far):
        await door.tell("down")
        assert broken(client) and broken(far)
        with pytest.raises(ConnectionRefusedError):
            door.dial()
        await door.heal()
        with door.line():
            pass


async def test_a_fault_with_a_rate_falls_on_a_part_of_the_lines(door):
    with contextlib.ExitStack() as lines:
        open_ = [lines.enter_context(door.line()) for _ in range(40)]
        await door.tell("hang rate=0.5")
        for _, far in open_:
            far.sendall(b"?")
        through = len(select.select([client for client, _ in open_], [], [], 0.05)[0])
        assert 0 < through < 40
        await door.heal()
        assert [read(client, 1) for client, _ in open_] == [b"?"] * 40


async def test_several_faults_hold_at_once_and_one_is_cleared_alone(door):
    with door.line() as (client, far):
        await door.tell("hang")
        assert await door.tell("reset after=2") == ["hang", "reset after=2"]
        far.sendall(b"012")
        assert silent(client)
        assert await door.heal("hang") == ["reset after=2"]
        assert read(client, 2) == b"01"
        assert broken(client)


def test_what_comes_while_something_is_held_stays_behind_it_also_when_there_is_room_again():
    ends = [*socket.socketpair(), *socket.socketpair()]
    for end in ends:
        end.setblocking(False)
    said, source, sink, heard = ends
    rounds, sent = Rounds(), 0
    way = Way(source, sink, rounds, lambda: None)
    whole = True
    while whole:  # until the sink takes no more, and something is held
        piece = bytes([sent % 251]) * 8192
        said.sendall(piece)
        sent += 1
        whole = way.take()
    got = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            got += heard.recv(1 << 16)
    said.sendall(b"last")
    way.take()
    got += heard.recv(1 << 16)
    assert got == b"".join(bytes([number % 251]) * 8192 for number in range(sent)) + b"last"
    rounds.close()
    for end in ends:
        end.close()


FAULT = st.sampled_from(["hang", "latency ms=4 jitter=4", "latency ms=20", "drip bytes-per-second=40000", "drip"])
STEP = st.one_of(
    st.tuples(st.sampled_from(["there", "back"]), st.binary(min_size=1, max_size=64), st.integers(1, 500)),
    st.tuples(st.just("tell"), FAULT),
    st.tuples(st.just("heal"), st.one_of(st.none(), FAULT)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=12))
def test_whatever_falls_on_a_line_both_ends_get_what_was_said_in_order(begun, steps):
    async def main():
        said = {"there": b"", "back": b""}
        with begun.line() as (client, far):
            for what, *how in steps:
                if what in said:
                    data, times = how
                    said[what] += data * times
                    (client if what == "there" else far).sendall(data * times)
                else:
                    await getattr(begun, what)(*how)
            client.shutdown(socket.SHUT_WR)
            far.shutdown(socket.SHUT_WR)
            assert await begun.heal() == []
            assert (read(far, 1 << 20), read(client, 1 << 20)) == (said["there"], said["back"])

    trio.run(main)


async def _kill(pid):
    os.kill(pid, signal.SIGKILL)


async def test_a_proxy_that_is_killed_is_begun_again_at_its_ports(log):
    store, warned = Store(), []
    with store.listener, begun_proxy({"store": store.url}, log, warned.append) as proxy:
        await proxy.ready()
        door = Door(store, proxy)
        with door.line() as (client, _):
            await door.tell("hang")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_kill, proxy.pid)
                with pytest.raises(ProxyEnded):
                    await proxy.stay()
            assert read(client, 1) == b""
        with pytest.raises(LiveError, match="the proxy in front of the stores ended"):
            await proxy.in_force()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.stay)
            await trio.testing.wait_all_tasks_blocked()
            assert await proxy.in_force() == {}
            with door.line():
                nursery.cancel_scope.cancel()
    assert warned == ["the proxy in front of the stores ended (-9), and is started again with no faults in force"]


@pytest.mark.parametrize(
    ("url", "elsewhere"),
    [
        ("postgresql://u:p%40s@db:6432/bff?sslmode=prefer", "postgresql://u:p%40s@127.0.0.1:7/bff?sslmode=prefer"),
        ("postgres://[::1]/bff", "postgres://127.0.0.1:7/bff"),
        ("redis://:s@cache/1", "redis://:s@127.0.0.1:7/1"),
    ],
)
def test_a_url_through_the_proxy_is_the_same_but_for_its_host_and_port(url, elsewhere):
    assert address(url).at("127.0.0.1", 7) == elsewhere


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://u:hush@one,two/bff", "its URL is not of one host and port"),
        ("postgresql://u:hush@one:5432,two:5433/bff", "its URL is not of one host and port"),
        ("postgresql://u:hush@/bff?host=/run/postgresql", "its URL is not of one host and port"),
        ("postgresql://u:hush@one/bff?sslmode=verify-full", "its URL asks for TLS"),
        ("rediss://:hush@one/0", "its URL asks for TLS"),
        ("unix:///run/redis.sock", "its URL is not of one host and port"),
        ("mysql://u:hush@one/x", "its URL is not of one host and port"),
    ],
)
async def test_a_store_that_no_proxy_can_stand_in_for_is_reached_directly_and_an_injection_says_so(log, url, why):
    with begun_proxy({"store": url}, log, pytest.fail) as proxy:
        assert proxy.urls == {"store": url}
        with pytest.raises(BadToxic, match=f"^hang: no proxy stands in front of store: {why}$"):
            await proxy.inject("store", split("hang"))
