import socket
from contextlib import AsyncExitStack
from functools import partial
from urllib.parse import urlsplit

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from bff.facts import StoreChanged, StoreTakenOver
from bff.model import Down
from bff.stores import PATIENCE, redis_line
from bff.stores.redis_line import open_line
from bff.stores.redis_tier import open_tier
from bff.stores.tier import Presented, Standing
from nurseries import Unbounded, listening, within


@pytest.fixture
async def line(border, running):
    async with open_line(border, "redis-session", running.redis_session_url) as opened:
        yield opened


@pytest.fixture
async def tier(border, running):
    async with open_tier(border, running.redis_session_url) as opened:
        yield opened


@pytest.fixture
def mute():
    """The address of somebody who takes every connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


def proof(jti, nonce="n1"):
    return Presented(None, None, "k" * 43, jti, nonce, 60.0)


async def ask(line, *calls):
    with trio.fail_after(5):
        return await line.ask(*calls)


async def asked_ping(tier):
    with trio.fail_after(5):
        return await tier.ping()


class Relay:
    """Between a client and a Redis, on a port of its own; `swallow` connections lose every answer and break."""

    def __init__(self, url, nursery):
        self._target = urlsplit(url)
        self._nursery = nursery
        self.swallow = 0
        self.connections = 0

    async def listen(self):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        self._nursery.start_soon(trio.serve_listeners, self._meet, [listener])
        return self._target._replace(netloc=f"{self._target.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()

    async def _meet(self, client):
        self.connections += 1
        server = await trio.open_tcp_stream("127.0.0.1", self._target.port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._forward, client, server, nursery.cancel_scope)
            async for piece in server:
                if self.swallow and b"+PONG" not in piece:
                    self.swallow -= 1
                    break
                await client.send_all(piece)
            nursery.cancel_scope.cancel()

    async def _forward(self, client, server, scope):
        try:
            async for piece in client:
                await server.send_all(piece)
        except trio.BrokenResourceError:
            pass
        scope.cancel()


@pytest.fixture
async def relay(running, nursery):
    return Relay(running.redis_session_url, nursery)


async def test_replies_come_in_the_order_of_the_calls(line):
    calls = [("SET", "order", b"\r\n\x00"), ("GET", "order"), ("DEL", "order"), ("GET", "order")]
    assert await ask(line, *calls) == [b"OK", b"\r\n\x00", 1, None]


async def test_what_is_asked_in_one_moment_travels_in_one_batch(line, running):
    async def reads():
        (info,) = await ask(line, ("INFO", "stats"))
        return int(info.partition(b"total_reads_processed:")[2].split()[0])

    before = await reads()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask, line, ("PING",))
    assert await reads() - before < 10


async def test_a_proof_whose_answer_was_lost_is_no_replay_of_itself_f28(border, relay, fresh):
    """The script was done and the connection broke: the second time finds the proof there, by this very nonce."""
    async with open_tier(border, await relay.listen()) as tier:
        with trio.fail_after(5):
            assert await tier.ping() is None
            relay.swallow = 1
            assert await tier.present(proof(fresh("jti"))) == Standing(True, False, None, None)
            assert relay.connections == tier.connections == 2


async def test_a_server_that_takes_connections_and_does_not_greet_is_no_connection_yet(border, mute):
    async with open_tier(border, mute) as tier:
        assert isinstance(await asked_ping(tier), Down)
        assert tier.connections == 0


async def test_what_breaks_twice_is_down_and_others_are_served_again_soon(border, relay, fresh):
    async with open_tier(border, await relay.listen()) as tier:
        with trio.fail_after(5):
            assert await tier.ping() is None
            up = trio.Event()
            with listening(lambda fact: up.set() if fact == StoreChanged("redis-session", True, "") else None):
                relay.swallow = 2
                assert isinstance(await tier.present(proof(fresh("jti"))), Down)
                await up.wait()
            assert (await tier.present(proof(fresh("jti")))).fresh


async def test_a_restart_between_two_calls_is_not_noticed_by_who_asks_and_is_told_f19(tier, running, fresh):
    store, jti, told = running.stores["redis-session"], fresh("jti"), []
    with trio.fail_after(5):
        assert (await tier.present(proof(jti, "n1"))).fresh
        with listening(told.append):
            store.kill()
            store.start()
            assert await tier.present(proof(jti, "n2")) == Standing(False, False, None, None)
    assert told == [StoreTakenOver("redis-session")]


async def test_a_server_that_lost_our_script_gets_it_again(tier, line, fresh):
    await ask(line, ("SCRIPT FLUSH",))
    with trio.fail_after(5):
        assert (await tier.present(proof(fresh("jti")))).fresh


async def test_a_demoted_primary_is_left_and_reads_on_it_do_not_hide_it_f19(tier, line, fresh):
    told = []
    with trio.fail_after(5):
        await tier.ping()
        async with AsyncExitStack() as healed:
            healed.push_async_callback(ask, line, ("REPLICAOF", "NO", "ONE"))
            await ask(line, ("REPLICAOF", "127.0.0.1", "1"))
            healed.enter_context(listening(told.append))
            answer = await tier.present(proof(fresh("jti")))
    assert isinstance(answer, Down) and "READONLY" in answer.why
    assert told[0] == StoreChanged("redis-session", False, answer.why)


async def test_who_may_not_ask_who_answers_is_served_all_the_same_and_tells_of_nobody(border, running, line):
    target = urlsplit(running.redis_session_url)
    url = target._replace(netloc=f"shy:s3cret@127.0.0.1:{target.port}").geturl()
    async with AsyncExitStack() as gone:
        await ask(line, ("ACL", "SETUSER", "shy", "on", ">s3cret", "~*", "+@all", "-info"))
        gone.push_async_callback(ask, line, ("ACL", "DELUSER", "shy"))
        async with open_line(border, "redis-cache", url) as shy:
            assert await ask(shy, ("PING",)) == [b"PONG"]
            assert isinstance(await ask(shy, ("INFO",)), Down)


async def test_a_full_memory_refuses_one_call_and_takes_nothing_down_f41(tier, line, fresh):
    told = []
    with trio.fail_after(5):
        assert (await tier.ping(), await line.ask(("PING",))) == (None, [b"PONG"])
        async with AsyncExitStack() as healed:
            healed.enter_context(listening(told.append))
            healed.push_async_callback(ask, line, ("CONFIG SET", "maxmemory", 0))
            await ask(line, ("CONFIG SET", "maxmemory", 1), ("CONFIG SET", "maxmemory-policy", "noeviction"))
            answer = await tier.present(proof(fresh("jti")))
            assert await tier.ping() is None
    assert isinstance(answer, Down) and "OOM" in answer.why
    assert told == []


async def test_one_refused_call_leaves_its_neighbours_their_replies(line):
    answers = {}

    async def neighbour(name, *calls):
        answers[name] = await ask(line, *calls)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(neighbour, "wrong", ("PING",), ("NOSUCHCALL",), ("PING",))
        nursery.start_soon(neighbour, "right", ("ECHO", "x"))
    assert isinstance(answers["wrong"], Down) and "\n" not in answers["wrong"].why
    assert answers["right"] == [b"x"]


async def test_opening_does_not_fail_where_nobody_is_and_says_down_at_once(border):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"redis://:s3cret@127.0.0.1:{taken.getsockname()[1]}"
        told = []
        with listening(told.append), trio.fail_after(5):
            async with open_line(border, "redis-cache", url) as line:
                answers = [await line.ask(("PING",)) for _ in range(3)]
    assert all(isinstance(answer, Down) and "s3cret" not in answer.why for answer in answers)
    assert [(fact.store, fact.up) for fact in told] == [("redis-cache", False)]


async def test_who_accepts_and_says_nothing_is_down_after_its_patience(border, mute):
    async with open_line(border, "redis-cache", mute) as line:
        began = trio.current_time()
        answer = await ask(line, ("PING",))
        assert PATIENCE - 0.01 < trio.current_time() - began < PATIENCE + 0.2
    assert answer == Down("no answer within 500 ms")


async def test_a_wrong_password_is_down_and_is_not_shown(border, running):
    target = urlsplit(running.redis_session_url)
    url = target._replace(netloc=f":s3cret@127.0.0.1:{target.port}").geturl()
    async with open_line(border, "redis-cache", url) as line:
        answer = await ask(line, ("PING",))
    assert isinstance(answer, Down) and "s3cret" not in answer.why


@pytest.mark.parametrize(("bound", "value"), [("WAITING", 8), ("HELD", 8 * len(b"*1\r\n$4\r\nPING\r\n"))])
async def test_the_line_is_bounded_in_callers_and_in_bytes(border, mute, monkeypatch, bound, value):
    monkeypatch.setattr(redis_line, bound, value)
    answers = []

    async def wait(line):
        with within(60):
            answers.append(await line.ask(("PING",)))

    with trio.fail_after(5):
        async with open_line(border, "redis-cache", mute) as line, trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(wait, line)
            await trio.testing.wait_all_tasks_blocked()
            assert await line.ask(("PING",)) == Down("too many wait")
            assert answers == []
            nursery.cancel_scope.cancel()


async def greets_once(stream):
    async with stream:
        await stream.receive_some()
        await stream.send_all(b"+PONG\r\n")
        await trio.sleep_forever()


async def test_leaving_the_line_tells_those_who_still_wait(border, nursery):
    """Those who are under way, and those behind them."""
    answers = []

    async def wait(line):
        with within(60):
            answers.append(await line.ask(("PING",)))

    (listener,) = await nursery.start(partial(trio.serve_tcp, greets_once, 0, host="127.0.0.1"))
    url = f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"
    with trio.fail_after(5):
        async with open_line(border, "redis-cache", url) as line:
            for _ in range(2):
                nursery.start_soon(wait, line)
                await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [Down("closed"), Down("closed")]
        assert await line.ask(("PING",)) == Down("closed")


async def test_room_in_the_line_comes_back_however_callers_leave(border, relay, monkeypatch):
    monkeypatch.setattr(redis_line, "WAITING", 8)
    monkeypatch.setattr(redis_line, "HELD", 8 * len(b"*1\r\n$4\r\nPING\r\n"))
    async with open_line(border, "redis-session", await relay.listen()) as line:
        for number in range(60):
            relay.swallow = number % 20 == 19
            with within(0 if number % 3 else 5):
                assert await line.ask(("PING",) if number % 20 != 19 else ("GET", "k")) != Down("too many wait")
        await ask(line, ("PING",))  # answered: whoever left before it has been passed by
        assert await ask(line, *[("PING",)] * 8) == [b"PONG"] * 8
        assert line._held == 0


async def test_what_cannot_be_said_to_redis_is_its_caller_s_error_alone(line):
    with trio.fail_after(5):
        with pytest.raises(UnicodeEncodeError):
            await line.ask(("ECHO", "\ud800"))
    assert await ask(line, ("PING",)) == [b"PONG"]


async def test_no_call_waits_without_a_deadline_f33(line):
    with pytest.raises(Unbounded):
        await line.ask(("PING",))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:6379",
        "redis://:se/cret@127.0.0.1:6379",
        "redis://:secret@127.0.0.1:99999",
        "redis://:secret@127.0.0.1:6379/resort",
        "redis://:secret@/0",
        "redis://:secret@127.0.0.1?no_such_option=1",
        "redis://:secret@127.0.0.1?db=many",
        "rediss://:secret@127.0.0.1?ssl_cert_reqs=perhaps",
    ],
)
async def test_an_address_of_no_use_is_one_line_without_the_password(border, url):
    with pytest.raises(ValueError, match=r"^the URL of redis-session should be redis://") as refused:
        async with open_tier(border, url):
            pass
    assert "cret" not in str(refused.value) and "\n" not in str(refused.value)


@given(st.text(), st.sampled_from(["", "redis://", "redis://:", "rediss://:pw@h", "unix://"]))
def test_whatever_is_no_address_says_nothing_of_itself(text, start):
    said = ""
    try:
        redis_line._connections("redis-cache", start + text)
    except ValueError as error:
        said = str(error)
    shape = "redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER]"
    assert said in {"", f"the URL of redis-cache should be {shape}, special characters percent-encoded"}
