"""CPU per request of this transport and of httpx's default one (httpcore on Trio), in one run.

`measure()` is synchronous: it starts a lean server in a process of its own, so that the server's work is not counted,
and a Trio run of its own. Each way is timed in rounds that take turns, by the CPU time of this process, over one
keep-alive connection; a way's figure is its best round, since what disturbs a round only ever adds. What is compared:

    direct    `Pool.fetch` with a request prepared once: the hot path
    under     `httpx.AsyncClient` over `TrioTransport`
    default   `httpx.AsyncClient` as it comes
"""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading
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
REQUESTS = {"direct": 1500, "under": 400, "default": 200}
BODY = b'{"tenantId":"resort","propertyId":"resort-praia","items":[' + b",".join([b'{"id":"r-000001"}'] * 24) + b"]}"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
HEADERS = ((b"x-tenant-id", b"resort"), (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"))

Ask = Callable[[], Awaitable[object]]


def answer(connection: socket.socket) -> None:
    """Give `ANSWER` to every head that comes; requests here have no body and are not pipelined."""
    head = b""
    with connection:
        while piece := connection.recv(65_536):
            head += piece
            if head.endswith(b"\r\n\r\n"):
                connection.sendall(ANSWER)
                head = b""


def serve() -> None:
    """Say the port on standard output, then answer until standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    sys.stdin.read()


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


@contextmanager
def serving() -> Iterator[int]:
    """The port of a server in another process, which ends with the block, or with this process."""
    command = [sys.executable, "-m", "chaos.hotel.bench.transport", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.communicate()


async def _cost(ask: Ask, times: int) -> float:
    """CPU seconds of this process per call."""
    await trio.lowlevel.checkpoint()
    begun = time.process_time()
    for _ in range(times):
        await ask()
    return (time.process_time() - begun) / times


async def _rounds(ways: dict[str, Ask]) -> dict[str, float]:
    best: dict[str, float] = {}
    for way, ask in ways.items():
        await _cost(ask, 50)  # connections open, caches warm
        best[way] = float("inf")
    for _ in range(ROUNDS):
        for way, ask in ways.items():
            gc.collect()
            best[way] = min(best[way], await _cost(ask, REQUESTS[way]))
    return best


async def _measure(port: int) -> dict[str, float]:
    url = f"http://127.0.0.1:{port}/properties/resort-praia/arrivals?date=2015-08-15"
    prepared = Prepared(Origin("http", "127.0.0.1", port), b"GET", url.split(str(port))[1].encode(), HEADERS)
    pool = Pool(connect)
    with within(300):
        async with (
            httpx.AsyncClient(transport=TrioTransport(pool), headers=list(HEADERS)) as under,
            httpx.AsyncClient(trust_env=False, headers=list(HEADERS)) as default,
        ):
            assert (await pool.fetch(prepared)).body == (await default.get(url)).content == BODY
            return await _rounds(
                {
                    "direct": lambda: pool.fetch(prepared),
                    "under": lambda: under.get(url),
                    "default": lambda: default.get(url),
                }
            )
    raise TimeoutError("the transport's bench took over 300 s")


def measure() -> list[Figure]:
    """CPU per request of the three ways, and how many times cheaper ours is. Takes about three seconds."""
    with serving() as port:
        best = trio.run(_measure, port)
    default = best["default"]
    return [
        Figure("transport, called directly", best["direct"] * 1e6, "us CPU/request"),
        Figure("transport, under httpx's client", best["under"] * 1e6, "us CPU/request"),
        Figure("httpx's default transport", default * 1e6, "us CPU/request", "httpx.AsyncClient, httpcore on Trio"),
        Figure("directly, times cheaper", default / best["direct"], "x", "goal: at least 8"),
        Figure("under httpx's client, times cheaper", default / best["under"], "x", "goal: at least 5"),
    ]


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve()
    else:
        for figure in measure():
            print(f"{figure.name:40} {figure.value:8.1f} {figure.unit}  {figure.note}")
