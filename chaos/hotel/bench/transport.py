"""CPU per request of this transport and of httpx's default one (httpcore on Trio), in one run.

`measure()` is synchronous: it starts a lean server in a process of its own, so that the server's work is not counted,
and a Trio run of its own. What is compared:

    direct    `Pool.fetch` with a request prepared once: the hot path
    under     `httpx.AsyncClient` over `TrioTransport`
    default   `httpx.AsyncClient` as it comes
    nothing   `httpx.AsyncClient` over a transport that answers at once: what the client alone costs, and so the floor

Each way is timed by the CPU time of this process, in rounds that take turns, over keep-alive connections, with 32
requests under way (as under load) and with one (then going to sleep and being woken for every answer is in the price:
on a virtual machine that is much of it). A figure is the best of its rounds, since what disturbs a round only ever
adds; a ratio is made of figures of the same run. The server asks for work without ever sleeping: otherwise whoever
sends pays for waking it.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import httpx
import trio

from bff.wire.dial import connect
from bff.wire.exchange import Origin, Prepared
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.hotel.bench import Figure
from nurseries import within

ROUNDS = 5
CONCURRENCY = (32, 1)
REQUESTS = {"direct": 1600, "under": 480, "default": 192, "nothing": 480}
BODY = b'{"tenantId":"resort","propertyId":"resort-praia","items":[' + b",".join([b'{"id":"r-000001"}'] * 24) + b"]}"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
TARGET = "/properties/resort-praia/arrivals?date=2015-08-15"
HEADERS = ((b"x-tenant-id", b"resort"), (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"))

Ask = Callable[[], Awaitable[object]]


def serve() -> None:
    """Say the port on standard output, then give `ANSWER` to every head that comes, until the parent is gone."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    waiting = select.epoll()
    waiting.register(listener.fileno(), select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    parent = os.getppid()
    while os.getppid() == parent:
        for fd, _ in waiting.poll(0):
            if fd == listener.fileno():
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                waiting.register(connection.fileno(), select.EPOLLIN)
            elif head := connections[fd].recv(65_536):
                assert head.endswith(b"\r\n\r\n"), "requests here have no body and come in one piece"
                connections[fd].sendall(ANSWER)
            else:
                waiting.unregister(fd)
                connections.pop(fd).close()


@contextmanager
def serving() -> Iterator[int]:
    """The port of a server in another process, which ends with the block, or with this process."""
    command = [sys.executable, "-m", "chaos.hotel.bench.transport", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


class Nothing(httpx.AsyncBaseTransport):
    """Answers at once, as any transport would."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002 -- httpx's name
        await trio.lowlevel.checkpoint()
        fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
        return httpx.Response(200, headers=fields, stream=httpx.ByteStream(BODY))


async def _cost(ask: Ask, times: int, concurrency: int) -> float:
    """CPU seconds of this process per call, with `concurrency` of them under way."""

    async def repeat() -> None:
        for _ in range(times // concurrency):
            await ask()

    gc.collect()
    begun = time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(concurrency):
            nursery.start_soon(repeat)
    return (time.process_time() - begun) / (times // concurrency * concurrency)


async def _rounds(ways: dict[str, Ask], concurrency: int) -> dict[str, float]:
    best = dict.fromkeys(ways, float("inf"))
    for ask in ways.values():
        await _cost(ask, 2 * concurrency, concurrency)  # connections open, caches warm
    for _ in range(ROUNDS):
        for way, ask in ways.items():
            best[way] = min(best[way], await _cost(ask, REQUESTS[way], concurrency))
    return best


async def _measure(port: int) -> dict[int, dict[str, float]]:
    url = f"http://127.0.0.1:{port}{TARGET}"
    prepared = Prepared(Origin("http", "127.0.0.1", port), b"GET", TARGET.encode(), HEADERS)
    pool = Pool(connect)
    with within(300):
        async with (
            httpx.AsyncClient(transport=TrioTransport(pool), headers=list(HEADERS)) as under,
            httpx.AsyncClient(trust_env=False, headers=list(HEADERS)) as default,
            httpx.AsyncClient(transport=Nothing(), headers=list(HEADERS)) as nothing,
        ):
            ways: dict[str, Ask] = {
                "direct": lambda: pool.fetch(prepared),
                "under": lambda: under.get(url),
                "default": lambda: default.get(url),
                "nothing": lambda: nothing.get(url),
            }
            assert (await pool.fetch(prepared)).body == (await default.get(url)).content == BODY
            return {concurrency: await _rounds(ways, concurrency) for concurrency in CONCURRENCY}
    raise TimeoutError("the transport's bench took over 300 s")


def measure() -> list[Figure]:
    """CPU per request of each way, and how many times cheaper ours is. Takes about ten seconds."""
    with serving() as port:
        found = trio.run(_measure, port)
    return [figure for concurrency, best in found.items() for figure in _figures(concurrency, best)]


def _figures(concurrency: int, best: dict[str, float]) -> Iterator[Figure]:
    at = f"{concurrency} at once" if concurrency > 1 else "one at a time"
    default = best["default"]
    yield Figure(f"transport directly, {at}", best["direct"] * 1e6, "us CPU/request")
    yield Figure(f"transport under httpx's client, {at}", best["under"] * 1e6, "us CPU/request")
    yield Figure(f"httpx's default transport, {at}", default * 1e6, "us CPU/request", "AsyncClient, httpcore on Trio")
    yield Figure(f"httpx's client over nothing, {at}", best["nothing"] * 1e6, "us CPU/request", "the floor under it")
    yield Figure(f"directly, times cheaper, {at}", default / best["direct"], "x", "goal: at least 8")
    floor = f"goal: at least 5; a transport that costs nothing: {default / best['nothing']:.1f}"
    yield Figure(f"under httpx's client, times cheaper, {at}", default / best["under"], "x", floor)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve()
    else:
        for figure in measure():
            print(f"{figure.name:52} {figure.value:8.1f} {figure.unit}  {figure.note}")
