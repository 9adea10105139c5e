"""The edge on real loopback sockets: TLS and ALPN, addresses, shutdown and its grace, a flood of connections."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import h2.connection
import h2.events
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bff.model import Answer
from bff.outside import Outside
from bff.wire.asgi import Receive, Request, Scope, Send, request_of, send
from bff.wire.certificate import Certificate
from bff.wire.edge import serve_edge
from bff.wire.limits import EdgeConfig, Limits

GET = b"GET / HTTP/1.1\r\nHost: desk\r\n\r\n"


async def nowhere(host: str, port: int, tls: object) -> trio.abc.Stream:
    raise OSError(host, port, tls)


CONFIG = EdgeConfig(Outside(now=time.time, entropy=os.urandom, connect=nowhere))


class App:
    """Answers at once, but for `/held`, which waits to be let go."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.arrived = trio.Event()
        self.release = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, out: Send) -> None:
        request = request_of(scope)
        self.seen.append(request)
        if request.path == "/held":
            self.arrived.set()
            await self.release.wait()
        await send(out, Answer(200, b"{}"), "rid")


class Edge:
    def __init__(self, port: int, shutdown: trio.Event) -> None:
        self.port = port
        self.shutdown = shutdown
        self.cut: int | None = None
        self.over = trio.Event()
        self.dialled: list[trio.SocketStream] = []

    async def dial(self) -> trio.SocketStream:
        """A connection, closed at the end of the test at the latest."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.dialled.append(stream)
        return stream


@asynccontextmanager
async def serving(app: App, config: EdgeConfig = CONFIG) -> AsyncIterator[Edge]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    edge = Edge(listeners[0].socket.getsockname()[1], trio.Event())

    async def serve(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        edge.cut = await serve_edge(app, config, listeners=listeners, shutdown=edge.shutdown)
        edge.over.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            yield edge
            edge.shutdown.set()
            for stream in edge.dialled:
                await stream.aclose()


async def answer(stream: trio.abc.ReceiveStream) -> bytes:
    raw = b""
    while not raw.endswith(b"\r\n\r\n{}"):
        data = await stream.receive_some(65_536)
        if not data:
            break
        raw += data
    return raw


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


async def secured(
    edge: Edge, certificate: tuple[Path, Path], *alpn: str, **most: ssl.TLSVersion
) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.set_alpn_protocols(list(alpn))
    for name, version in most.items():
        setattr(context, name, version)
    stream = trio.SSLStream(await edge.dial(), context, server_hostname="127.0.0.1", https_compatible=True)
    await stream.do_handshake()
    return stream


async def test_a_request_over_a_socket_carries_its_peers_address() -> None:
    async with serving(app := App()) as edge, await edge.dial() as stream:
        await stream.send_all(GET)
        assert (await answer(stream)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert (app.seen[0].client, app.seen[0].scheme) == ("127.0.0.1", "http")


async def test_over_tls_the_peers_choose_between_http_1_and_2(certificate: tuple[Path, Path]) -> None:
    config = replace(CONFIG, tls=Certificate(*certificate).context)
    async with serving(app := App(), config) as edge:
        async with await secured(edge, certificate, "http/1.1") as stream:
            await stream.send_all(GET)
            assert (await answer(stream)).startswith(b"HTTP/1.1 200 OK\r\n")
        async with await secured(edge, certificate, "h2", "http/1.1") as stream:
            assert stream.selected_alpn_protocol() == "h2"
            peer = h2.connection.H2Connection()
            peer.initiate_connection()
            block = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "127.0.0.1")]
            peer.send_headers(1, block, end_stream=True)
            ended = False
            while not ended:
                await stream.send_all(peer.data_to_send())
                events = peer.receive_data(await stream.receive_some(65_536))
                ended = any(isinstance(event, h2.events.StreamEnded) for event in events)
    assert [(request.scheme, request.http_version) for request in app.seen] == [("https", "1.1"), ("https", "2")]


async def test_tls_below_1_2_and_clear_text_are_no_way_in(certificate: tuple[Path, Path]) -> None:
    config = replace(CONFIG, tls=Certificate(*certificate).context)
    assert Certificate(*certificate).context.minimum_version == ssl.TLSVersion.TLSv1_2
    async with serving(app := App(), config) as edge:
        async with await edge.dial() as stream:
            await stream.send_all(GET)
            assert not (await stream.receive_some(65_536)).startswith(b"HTTP")
        async with await secured(edge, certificate, "http/1.1") as stream:
            await stream.send_all(GET)
            assert await answer(stream)
    assert len(app.seen) == 1


def test_a_certificate_that_cannot_be_used_is_one_clear_line(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    for pair in ((tmp_path / "none.pem", certificate[1]), (certificate[0], certificate[0])):
        with pytest.raises(ValueError, match=r"TLS needs a certificate and its key") as caught:
            Certificate(*pair)
        assert "\n" not in str(caught.value)


async def test_shutdown_stops_accepting_lets_a_request_finish_and_ends() -> None:
    async with serving(app := App()) as edge:
        busy, idle = await edge.dial(), await edge.dial()
        await idle.send_all(GET)
        await answer(idle)
        await busy.send_all(GET.replace(b"/ ", b"/held ", 1))
        await app.arrived.wait()
        edge.shutdown.set()
        assert await idle.receive_some(10) == b""
        with pytest.raises(OSError, match="connect"):
            await edge.dial()
        assert not edge.over.is_set()
        app.release.set()
        raw = await answer(busy)
        assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nconnection: close\r\n" in raw
        await edge.over.wait()
        assert edge.cut == 0


def held_http2() -> bytes:
    peer = h2.connection.H2Connection()
    peer.initiate_connection()
    block = [(":method", "GET"), (":scheme", "http"), (":path", "/held"), (":authority", "desk")]
    peer.send_headers(1, block, end_stream=True)
    return peer.data_to_send()


@pytest.mark.parametrize("held", [GET.replace(b"/ ", b"/held ", 1), held_http2()], ids=["http/1.1", "h2"])
async def test_what_is_not_done_within_the_grace_is_cut_and_counted(held: bytes) -> None:
    async with serving(app := App(), replace(CONFIG, grace=0.05)) as edge:
        busy = await edge.dial()
        await busy.send_all(held)
        await app.arrived.wait()
        edge.shutdown.set()
        await edge.over.wait()
        assert edge.cut == 1
        with suppress(trio.BrokenResourceError):
            while await busy.receive_some(1000):
                pass


async def test_a_refusal_reaches_a_peer_that_is_still_sending() -> None:
    async with serving(App()) as edge:
        for _ in range(5):
            async with await edge.dial() as stream, trio.open_nursery() as nursery:

                async def flood(stream: trio.SocketStream) -> None:
                    with suppress(trio.BrokenResourceError):
                        await stream.send_all(b"GET / HTTP/1.1\r\nHost: d\r\nA: " + b"a" * 500_000)

                nursery.start_soon(flood, stream)
                raw = b""
                while data := await stream.receive_some(65_536):
                    raw += data
                assert raw.startswith(b"HTTP/1.1 431 ")


async def test_connections_over_the_bound_are_told_so() -> None:
    async with serving(App(), replace(CONFIG, limits=Limits(connections=5))) as edge:
        held = [await edge.dial() for _ in range(5)]
        for stream in held:
            await stream.send_all(GET)
            await answer(stream)
        async with await edge.dial() as late:
            assert (await late.receive_some(65_536)).startswith(b"HTTP/1.1 503 ")
        await held[0].aclose()
        while True:  # the edge hears of the close when it hears of it
            async with await edge.dial() as again:
                await again.send_all(GET)
                if (await answer(again)).startswith(b"HTTP/1.1 200 "):
                    break


async def test_a_peer_that_resets_at_once_is_nobody_elses_trouble() -> None:
    async with serving(App()) as edge:
        for _ in range(20):
            stream = await edge.dial()
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.send_all(GET[:10])
            stream.socket.close()
        async with await edge.dial() as stream:
            await stream.send_all(GET)
            assert (await answer(stream)).startswith(b"HTTP/1.1 200 OK\r\n")
