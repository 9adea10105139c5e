"""The way out of the process: one place opens sockets, and it is the seam where the virtual network enters.

Trio's `open_tcp_stream` races IPv6 and IPv4 (RFC 8305, happy eyeballs); TLS is finished before the stream is handed
on, so that whoever gets it gets a peer that has proved its name. There is no timeout here: the scope around it is the
timeout, and there must be one.

A `Wire` is what the pool needs of a stream, and no more: send, receive, and a question that Trio's streams do not
answer, whether something waits to be read. On a plain socket it goes by the file descriptor: `SocketStream` passes a
checkpoint for every send and a lock for every call, which here, where one task owns the stream and waits for the
answer right after the send, cost as much as the parsing does.
"""

from __future__ import annotations

import os
import select
import ssl
from functools import cache
from typing import Protocol

import trio

from nurseries import required

READ = 65_536  # bytes asked for at once
LOOPBACK_NAMES = frozenset(("localhost", "::1"))


async def connect(host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """A connected byte stream to `host:port`, inside TLS where a context is given.

    Raises `OSError` when nobody can be reached or the peer's certificate is not good for `host`
    (`ssl.SSLCertVerificationError` is one), and `nurseries.Unbounded` without a deadline around it.
    """
    required(f"a dial to {host}:{port}")
    stream = await trio.open_tcp_stream(host, port)
    return stream if tls is None else await _secured(stream, host, tls)


async def _secured(stream: trio.abc.Stream, host: str, tls: ssl.SSLContext) -> trio.abc.Stream:
    """Shake hands. A stream cut without a goodbye is broken, not ended: nobody can cut a body that its end frames."""
    secured = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=False)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error.__cause__, ssl.SSLError):
            raise error.__cause__ from None
        raise ConnectionError(f"{host} broke off the TLS handshake") from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


@cache
def trusted() -> ssl.SSLContext:
    """The system's authorities, names checked, TLS 1.2 at least, HTTP/1.1 by ALPN. Made once: it reads files."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def loopback(host: str) -> bool:
    """The host is this machine, by its literal name: what is compressed for it is compressed for nothing."""
    return host in LOOPBACK_NAMES or host.startswith("127.") or host.endswith(".localhost")


class Wire(Protocol):
    """A stream that one task has to itself. `offer` and `receive` raise `trio.BrokenResourceError`."""

    @property
    def stream(self) -> trio.abc.Stream: ...

    def offer(self, data: bytes) -> memoryview:
        """Send what can be sent without waiting; what is left is for `stream.send_all`."""

    async def receive(self) -> bytes | bytearray:
        """Some bytes; none: the peer will send no more. Always a checkpoint."""

    def speaks(self) -> bool:
        """A receive would not wait: a byte, the end or an error is there already."""


def wired(stream: trio.abc.Stream) -> Wire:
    """The wire of a stream: by its descriptor where it is a plain socket, by Trio's own calls where it is not."""
    return SocketWire(stream) if isinstance(stream, trio.SocketStream) else StreamWire(stream)


class SocketWire:
    """A connected TCP socket, non-blocking as Trio made it."""

    __slots__ = ("_fd", "_poll", "stream")

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream: trio.abc.Stream = stream
        self._fd = stream.socket.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN | select.POLLRDHUP)

    def offer(self, data: bytes) -> memoryview:
        try:
            return memoryview(data)[os.write(self._fd, data) :]
        except BlockingIOError:
            return memoryview(data)
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                return os.read(self._fd, READ)
            except BlockingIOError:
                continue  # woken for nothing, as the kernel may
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    def speaks(self) -> bool:
        return bool(self._poll.poll(0))


class StreamWire:
    """Any other stream. Of a simulated one `readable()` is asked where it has it."""

    __slots__ = ("_below", "stream")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._below = wired(stream.transport_stream) if isinstance(stream, trio.SSLStream) else None

    def offer(self, data: bytes) -> memoryview:
        return memoryview(data)

    async def receive(self) -> bytes | bytearray:
        return await self.stream.receive_some(READ)

    def speaks(self) -> bool:
        stream = self.stream
        if isinstance(stream, trio.SSLStream) and self._below is not None:
            # Records that came in one read with the answer's last lie in the BIO, for which Trio has no public name.
            waiting = stream.pending() > 0 or stream._incoming.pending > 0
            return waiting or self._below.speaks()
        readable = getattr(stream, "readable", None)
        return readable is not None and readable()
