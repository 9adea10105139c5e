"""The way out of the process: one place opens sockets, and it is the seam where the virtual network enters.

Trio's `open_tcp_stream` races IPv6 and IPv4 (RFC 8305, happy eyeballs); TLS is finished before the stream is handed
on, so that whoever gets it gets a peer that has proved its name. There is no timeout here: the scope around it is the
timeout, and there must be one.
"""

from __future__ import annotations

import ssl
from functools import cache

import trio

from nurseries import required

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
