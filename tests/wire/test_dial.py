"""Real sockets and real TLS on loopback: who is reached, who is believed, and what waits on a wire."""

import datetime
import ipaddress
import socket
import ssl
from contextlib import aclosing

import httpx
import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bff.wire.dial import connect, loopback, trusted, wired
from bff.wire.exchange import Origin, Prepared
from bff.wire.pool import Pool
from nurseries import Unbounded, within

BEGUN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
ENDS = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-made certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the estate")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, BEGUN, ENDS)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "estate.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return str(path)


@pytest.fixture
def ours(certificate):
    return ssl.create_default_context(cafile=certificate)


@pytest.fixture
def theirs(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def listen(nursery, serve):
    """The port of a real listener whose connections `serve` gets; what breaks there is their own affair."""

    async def handler(stream):
        try:
            await serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.aclose_forcefully(stream)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, handler, [listener])
    return listener.socket.getsockname()[1]


def answering(body, *, seen=None):
    async def serve(stream):
        while await stream.receive_some():
            if seen is not None:
                seen.append(stream)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    return serve


def tls_serving(context, serve):
    async def secured(stream):
        await serve(trio.SSLStream(stream, context, server_side=True))

    return secured


def get(port, scheme="http", **more):
    return Prepared(Origin(scheme, "127.0.0.1", port), target=b"/", **{"method": b"GET", "repeatable": True} | more)


async def test_a_dial_without_a_deadline_raises():
    with pytest.raises(Unbounded):
        await connect("127.0.0.1", 1, None)


async def test_a_dial_reaches_a_listener_and_is_refused_where_nobody_listens(nursery):
    port = await listen(nursery, answering(b"ok"))
    with within(10):
        async with await connect("127.0.0.1", port, None) as stream:
            assert isinstance(stream, trio.SocketStream)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(OSError):
                await connect("127.0.0.1", taken.getsockname()[1], None)
    nursery.cancel_scope.cancel()


async def test_a_name_with_several_addresses_is_reached_by_the_one_that_answers(nursery):
    port = await listen(nursery, answering(b"ok"))

    class Names(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
            await trio.lowlevel.checkpoint()
            nobody = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.77", port))
            return [nobody, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        async def getnameinfo(self, sockaddr, flags):
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Names())
    with within(10):
        async with aclosing(Pool(connect)) as pool:
            reply = await pool.fetch(Prepared(Origin("http", "rooms.example", port), b"GET", b"/"))
    assert reply.body == b"ok"
    nursery.cancel_scope.cancel()


async def test_answers_come_over_tls_and_the_connection_is_used_again(nursery, ours, theirs):
    seen = []
    port = await listen(nursery, tls_serving(theirs, answering(b"secret", seen=seen)))
    pool = Pool(connect, tls=ours)
    with within(10):
        for _ in range(3):
            assert (await pool.fetch(get(port, "https"))).body == b"secret"
    assert len(set(seen)) == 1
    await pool.aclose()
    nursery.cancel_scope.cancel()


async def test_a_certificate_nobody_vouches_for_is_a_connect_error(nursery, theirs):
    port = await listen(nursery, tls_serving(theirs, answering(b"secret")))
    with within(10):
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect("127.0.0.1", port, trusted())
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await Pool(connect).fetch(get(port, "https"))
    nursery.cancel_scope.cancel()


async def test_a_certificate_for_another_name_is_refused(nursery, ours, theirs):
    port = await listen(nursery, tls_serving(theirs, answering(b"secret")))
    with within(10), pytest.raises(ssl.SSLCertVerificationError):
        await connect("localhost", port, ours)
    nursery.cancel_scope.cancel()


async def test_a_peer_that_does_not_speak_tls_is_an_os_error(nursery, ours):
    port = await listen(nursery, answering(b"plain"))
    with within(10), pytest.raises(OSError):
        await connect("127.0.0.1", port, ours)
    nursery.cancel_scope.cancel()


async def test_a_peer_that_hangs_up_in_the_handshake_is_an_os_error(nursery, ours):
    async def rude(stream):
        await stream.receive_some()
        await stream.aclose()

    port = await listen(nursery, rude)
    with within(10), pytest.raises(OSError):
        await connect("127.0.0.1", port, ours)
    nursery.cancel_scope.cancel()


async def test_a_dial_cancelled_in_the_handshake_leaves_no_socket_behind(nursery, ours):
    gone = trio.Event()

    async def silent(stream):
        while await stream.receive_some():
            reached.set()
        gone.set()

    reached = trio.Event()
    port = await listen(nursery, silent)
    with within(10) as limit:
        async with trio.open_nursery() as dialling:
            dialling.start_soon(connect, "127.0.0.1", port, ours)
            await reached.wait()
            dialling.cancel_scope.cancel()
        await gone.wait()
    assert not limit.cancelled_caught
    nursery.cancel_scope.cancel()


class Cork(trio.abc.Stream):
    """Sends nothing until it is pulled, and then everything at once."""

    def __init__(self, stream):
        self.stream, self.held, self.corked = stream, b"", False

    async def send_all(self, data):
        self.held += data
        if not self.corked:
            self.held, sent = b"", self.held
            await self.stream.send_all(sent)
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self):
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        return await self.stream.receive_some(max_bytes)

    async def aclose(self):
        await self.stream.aclose()


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


@pytest.mark.parametrize("where", ["plain", "a second read", "the same read"])
async def test_what_nobody_asked_for_is_heard_on_an_idle_connection_plain_or_in_tls(nursery, ours, theirs, where):
    # In TLS two records in one read leave the second undecrypted, where no poll of a socket sees it.
    seen = []

    async def serve(stream):
        cork = Cork(stream)
        secured = cork if where == "plain" else trio.SSLStream(cork, theirs, server_side=True)
        while await secured.receive_some():
            seen.append(stream)
            cork.corked = where == "the same read"
            await secured.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            cork.corked = False
            await secured.send_all(POISON)

    port = await listen(nursery, serve)
    with within(10) as limit:
        async with aclosing(Pool(connect, tls=ours)) as pool:
            for _ in range(4):
                asked = get(port, "http" if where == "plain" else "https", repeatable=False)
                assert (await pool.fetch(asked)).body == b"ok"
                wire = next(iter(pool._free)).wire
                if not wire.speaks():  # the network decides when it is there
                    await trio.lowlevel.wait_readable(getattr(wire.stream, "transport_stream", wire.stream).socket)
                assert wire.speaks()
    assert not limit.cancelled_caught
    assert len(set(seen)) == 4
    nursery.cancel_scope.cancel()


async def test_a_body_framed_by_the_end_cannot_be_cut_short_in_tls(nursery, ours, theirs):
    async def cut(stream):
        secured = trio.SSLStream(stream, theirs, server_side=True)
        await secured.receive_some()
        await secured.send_all(b"HTTP/1.1 200 OK\r\n\r\nhalf of an ans")
        await stream.aclose()  # an attacker's FIN: no goodbye inside TLS

    port = await listen(nursery, cut)
    with within(10), pytest.raises(httpx.ReadError):
        await Pool(connect, tls=ours).fetch(get(port, "https"))
    nursery.cancel_scope.cancel()


async def test_more_than_the_kernel_takes_at_once_is_sent_whole_over_a_plain_socket(nursery):
    async def measure(stream):
        await trio.testing.wait_all_tasks_blocked(0.01)
        size = 0
        while size < 8 << 20:
            size += len(await stream.receive_some(1 << 20))
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    port = await listen(nursery, measure)
    with within(10) as scope:
        async with aclosing(Pool(connect)) as pool:
            assert (await pool.fetch(get(port, method=b"POST", body=bytes(8 << 20)))).status == 200
    assert not scope.cancelled_caught
    nursery.cancel_scope.cancel()


async def test_a_reset_socket_is_broken_for_whoever_sends_or_receives(nursery):
    async def reset(stream):
        await stream.receive_some()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await stream.aclose()

    port = await listen(nursery, reset)
    with within(10):
        wire = wired(await connect("127.0.0.1", port, None))
        assert not wire.speaks()
        assert not wire.offer(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await wire.receive()
        assert wire.speaks()
        with pytest.raises(trio.BrokenResourceError):
            wire.offer(b"x")
        await wire.stream.aclose()
    nursery.cancel_scope.cancel()


def test_loopback_is_what_is_literally_so():
    assert all(map(loopback, ["127.0.0.1", "127.1.2.3", "::1", "localhost", "a.localhost"]))
    assert not any(map(loopback, ["rooms", "10.0.0.1", "localhost.example", "fe80::1", "1270.0.0.1"]))


def test_what_is_trusted_checks_names_and_speaks_nothing_old():
    assert trusted() is trusted()
    assert trusted().check_hostname
    assert trusted().verify_mode is ssl.CERT_REQUIRED
    assert trusted().minimum_version >= ssl.TLSVersion.TLSv1_2
