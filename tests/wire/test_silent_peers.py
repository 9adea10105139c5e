"""A peer that is gone without a word: no write waits for it, since the kernel takes what is written for hours."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace

import pytest
import trio

from bff.events.stream import HEARTBEAT
from bff.outside import Outside
from bff.wire.asgi import ClientLeft, Receive, Scope, Send
from bff.wire.edge import serve_edge
from bff.wire.limits import EdgeConfig, Limits

pytestmark = pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
GET = b"GET / HTTP/1.1\r\nHost: desk\r\n\r\n"


async def nowhere(host: str, port: int, tls: object) -> trio.abc.Stream:
    raise OSError(host, port, tls)


CONFIG = EdgeConfig(Outside(now=time.time, entropy=os.urandom, connect=nowhere))


class Watched(trio.abc.Listener[trio.SocketStream]):
    """A listener that keeps what it has accepted."""

    def __init__(self, listens: trio.SocketListener) -> None:
        self._listens = listens
        self.accepted: list[trio.SocketStream] = []

    async def accept(self) -> trio.SocketStream:
        stream = await self._listens.accept()
        self.accepted.append(stream)
        return stream

    async def aclose(self) -> None:
        await self._listens.aclose()


class Endless:
    """Says more and more, as long as somebody takes it."""

    def __init__(self) -> None:
        self.began, self.over = trio.Event(), trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, out: Send) -> None:
        await out({"type": "http.response.start", "status": 200, "headers": []})
        self.began.set()
        try:
            while True:
                await out({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        except ClientLeft:
            self.over.set()


@pytest.mark.parametrize("seconds", [30.0, 0.25])
async def test_every_connection_that_is_accepted_is_lost_when_it_is_not_heard_of_for_so_long_f26(
    seconds: float,
) -> None:
    (listens,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    watched, app = Watched(listens), Endless()
    config = replace(CONFIG, limits=Limits(unheard_seconds=seconds))
    serve = trio.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve_edge(app, config, listeners=[watched], shutdown=serve))
            async with await trio.open_tcp_stream("127.0.0.1", listens.socket.getsockname()[1]) as desk:
                await desk.send_all(GET)
                await app.began.wait()
                (stream,) = watched.accepted
                told = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert told == round(seconds * 1000)
            await app.over.wait()
            nursery.cancel_scope.cancel()


def test_unless_told_otherwise_it_is_two_heartbeats_of_a_stream_and_longer_than_a_write_may_wait() -> None:
    assert Limits().unheard_seconds == 2 * HEARTBEAT > Limits().write_seconds


async def test_a_peer_that_takes_nothing_any_more_is_lost_though_no_write_of_ours_has_a_bound_f26() -> None:
    (listens,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    app = Endless()
    config = replace(CONFIG, limits=Limits(unheard_seconds=0.25, write_seconds=3600.0))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            never = trio.Event()
            nursery.start_soon(lambda: serve_edge(app, config, listeners=[listens], shutdown=never))
            async with await trio.open_tcp_stream("127.0.0.1", listens.socket.getsockname()[1]) as desk:
                await desk.send_all(GET)
                await app.over.wait()  # without a byte of it read
            nursery.cancel_scope.cancel()
