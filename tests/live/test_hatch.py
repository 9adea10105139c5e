import json
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio_websocket import open_websocket_url

from chaos.hotel.estate.sockets import broken
from chaos.live.hatch import Hatch, tell_hatch
from chaos.live.ports import hold, number
from chaos.live.process import LiveError
from chaos.toxics import BadToxic
from nurseries import open_owner, within

HELLO = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LIST = b"\x81\x8e\x00\x00\x00\x00" + b'{"do": "list"}'  # a masked text frame


class Faults:
    """Faults of two targets, as the estate has them: of each kind at most one, and clearing names a whole toxic.

    `slow` is what one change takes; `overlap` whether two were ever under way at once.
    """

    def __init__(self, slow=0.0):
        self.now = {"pricing": [], "billing": []}
        self.slow = slow
        self.overlap = False
        self._busy = False

    async def _change(self):
        self.overlap |= self._busy
        self._busy = True
        try:
            await trio.sleep(self.slow)
        finally:
            self._busy = False

    async def inject(self, target, toxic):
        await self._change()
        if target not in self.now:
            raise BadToxic(f"no service is called {target!r}")
        self.now[target] = [one for one in self.now[target] if one.word != toxic.word] + [toxic]
        return await self.in_force()

    async def clear(self, target, toxic=None):
        await self._change()
        for name in self.now if target is None else [target]:
            self.now[name] = [one for one in self.now[name] if toxic is not None and one != toxic]
        return await self.in_force()

    async def in_force(self):
        return {name: list(map(str, toxics)) for name, toxics in self.now.items() if toxics}


@asynccontextmanager
async def a_hatch(bound=10, **how):
    async with open_owner("test", bound=bound) as owner:
        yield Hatch(Faults(**how), owner)


async def ask(hatch, **message):
    return await hatch.answer(json.dumps(message))


async def inject(hatch, toxic, target="pricing", **more):
    return await ask(hatch, do="inject", target=target, toxic=toxic, **more)


async def test_a_fault_is_in_force_when_it_is_answered_until_it_is_cleared(autojump_clock):
    async with a_hatch() as hatch:
        assert await inject(hatch, "latency ms=200") == {"ok": {"pricing": ["latency ms=200"]}}
        assert await inject(hatch, "hang", "billing") == {"ok": {"pricing": ["latency ms=200"], "billing": ["hang"]}}
        assert await ask(hatch, do="clear", target="pricing") == {"ok": {"billing": ["hang"]}}
        assert await ask(hatch, do="clear") == {"ok": {}}
        assert await ask(hatch, do="list") == {"ok": {}}


async def test_a_fault_with_a_time_heals_by_itself_and_only_itself(autojump_clock):
    async with a_hatch() as hatch:
        await inject(hatch, "hang", **{"for": 30})
        await inject(hatch, "drip")
        await trio.sleep(29.9)
        assert await ask(hatch, do="list") == {"ok": {"pricing": ["hang", "drip"]}}
        await trio.sleep(0.2)
        assert await ask(hatch, do="list") == {"ok": {"pricing": ["drip"]}}


@pytest.mark.parametrize("second", [{}, {"for": 60}])
async def test_a_newer_injection_of_the_same_fault_takes_the_timers_place(autojump_clock, second):
    async with a_hatch() as hatch:
        await inject(hatch, "hang", **{"for": 30})
        await trio.sleep(15)
        await inject(hatch, "hang", **second)
        await trio.sleep(20)
        assert await ask(hatch, do="list") == {"ok": {"pricing": ["hang"]}}
        await trio.sleep(50)
        assert await ask(hatch, do="list") == ({"ok": {}} if second else {"ok": {"pricing": ["hang"]}})


@pytest.mark.parametrize("apart", [0.0, 0.4, 0.5, 0.6, 0.9, 1.0, 1.1])
async def test_a_timer_that_has_begun_to_heal_never_heals_the_injection_that_comes_meanwhile(autojump_clock, apart):
    async with a_hatch(slow=0.5) as hatch:
        await inject(hatch, "hang", **{"for": 1})
        await trio.sleep(apart)
        assert await inject(hatch, "hang") == {"ok": {"pricing": ["hang"]}}
        await trio.sleep(10)
        assert await ask(hatch, do="list") == {"ok": {"pricing": ["hang"]}}
        assert not hatch._faults.overlap


async def test_two_injections_at_once_are_done_one_after_the_other_and_the_last_ones_timer_counts(autojump_clock):
    async with a_hatch(slow=0.5) as hatch, trio.open_nursery() as nursery:
        for seconds in (5, 500):
            nursery.start_soon(lambda seconds=seconds: inject(hatch, f"latency ms={seconds}", **{"for": seconds}))
        await trio.sleep(2)
        [last] = (await ask(hatch, do="list"))["ok"]["pricing"]
        await trio.sleep(10)
        assert await ask(hatch, do="list") == ({"ok": {"pricing": [last]}} if last == "latency ms=500" else {"ok": {}})
        assert not hatch._faults.overlap


async def test_a_fault_that_nobody_could_heal_is_not_left_in_force(autojump_clock):
    async with a_hatch(bound=1) as hatch:
        await inject(hatch, "hang", **{"for": 30})
        assert await inject(hatch, "drip", **{"for": 30}) == {"error": "test holds 1 tasks already"}
        assert await ask(hatch, do="list") == {"ok": {"pricing": ["hang"]}}


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("{", "a message is JSON"),
        ("[" * 60_000, "a message is JSON"),
        (b"\xff", "a message is JSON"),
        ("[]", "a message is an object"),
        ("{}", "it should be inject (target, toxic, for), clear (target, toxic) or list"),
        ('{"do": "inject", "target": 7, "toxic": "hang"}', "it should be inject"),
        ('{"do": "clear", "target": 7}', "it should be inject"),
        ('{"do": "clear", "toxic": "hang"}', "it should be inject"),
        ('{"do": "inject", "target": "pricing", "toxic": "hand"}', "no toxic is called 'hand'"),
        ('{"do": "inject", "target": "price", "toxic": "hang"}', "no service is called 'price'"),
        ('{"do": "inject", "target": "pricing", "toxic": "hang", "for": 0}', "for should be a number of seconds"),
        ('{"do": "inject", "target": "pricing", "toxic": "hang", "for": true}', "for should be a number of seconds"),
        ('{"do": "inject", "target": "pricing", "toxic": "hang", "for": NaN}', "for should be a number of seconds"),
    ],
)
async def test_what_cannot_be_done_is_one_line_and_changes_nothing(autojump_clock, message, line):
    async with a_hatch() as hatch:
        answer = await hatch.answer(message)
        assert answer.keys() == {"error"}
        assert answer["error"].startswith(line)
        assert await ask(hatch, do="list") == {"ok": {}}


async def test_one_fault_of_a_target_is_cleared_and_the_other_stays(autojump_clock):
    async with a_hatch() as hatch:
        await inject(hatch, "hang")
        await inject(hatch, "drip")
        left = await ask(hatch, do="clear", target="pricing", toxic="hang")
        assert left == await ask(hatch, do="list") == {"ok": {"pricing": ["drip"]}}


async def test_a_bug_is_said_to_whoever_met_it(autojump_clock):
    async with a_hatch() as hatch:
        assert await ask(hatch, do="clear", target="price") == {"error": "this is a bug: KeyError: 'price'"}


async def test_a_change_that_takes_too_long_is_said_to(autojump_clock):
    async with a_hatch(slow=100) as hatch:
        began = trio.current_time()
        assert await inject(hatch, "hang") == {"error": "not done within 10 s"}
        assert trio.current_time() - began == pytest.approx(10)


@pytest.fixture
async def url(nursery):
    async with open_owner("test", bound=10) as owner:
        port = await nursery.start(Hatch(Faults(), owner).serve, "127.0.0.1", 0)
        yield f"ws://127.0.0.1:{port}"


@asynccontextmanager
async def dialled(url):
    """A connection that the hatch knows nothing of yet."""
    host, port = url.removeprefix("ws://").split(":")
    with within(5):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            yield stream


async def test_over_a_socket_it_says_the_same(url):
    told = {"do": "inject", "target": "pricing", "toxic": "hang"}
    assert await tell_hatch(url, told) == {"pricing": ["hang"]}
    with pytest.raises(BadToxic, match="no service is called 'price'"):
        await tell_hatch(url, {**told, "target": "price"})
    assert await tell_hatch(url, {"do": "clear"}) == {}


async def test_one_connection_asks_as_often_as_it_likes_and_is_answered_in_order(url):
    with within(5):
        async with open_websocket_url(url) as socket:
            for word in ("hang", "drip", "reset"):
                await socket.send_message(json.dumps({"do": "inject", "target": "pricing", "toxic": word}))
            answers = [json.loads(await socket.get_message()) for _ in range(3)]
    assert [answer["ok"]["pricing"][-1] for answer in answers] == ["hang", "drip", "reset"]


async def test_a_web_page_is_refused(url):
    async with dialled(url) as stream:
        await stream.send_all(HELLO.replace(b"Host: x", b"Host: x\r\nOrigin: https://evil.example"))
        assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("odd", [b"", b"\x00" * 50, b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-odd\r\n"])
async def test_an_odd_visitor_ends_its_own_connection_alone(url, odd):
    async with dialled(url) as stream:
        await stream.send_all(odd)
    assert await tell_hatch(url, {"do": "list"}) == {}


@pytest.mark.parametrize("frames", [0, 1, 500])
async def test_a_visitor_who_vanishes_in_the_middle_is_nobody_elses_trouble(url, frames):
    async with dialled(url) as stream:
        await stream.send_all(HELLO)
        assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 101")
        await stream.send_all(LIST * frames)
        broken(stream)
    assert await tell_hatch(url, {"do": "list"}) == {}


@pytest.mark.parametrize("said", [HELLO, b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_visitor_who_left_before_the_answer_is_remembered_and_no_more(autojump_clock, said):
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(said)
    await theirs.aclose()
    async with a_hatch() as hatch:
        with within(60):
            await hatch._visited(ours)
        assert hatch.last_error.startswith("ConnectionClosed")


async def test_where_nobody_answers_it_says_so_in_one_line():
    with hold() as held, pytest.raises(LiveError, match=r"^nobody answers at ws://127\.0\.0\.1:\d+: is `bff up`"):
        await tell_hatch(f"ws://127.0.0.1:{number(held)}", {"do": "list"})
