"""Something that speaks TLS in front of a server of a world, and hands on what comes (F-23).

The certificate is made for the occasion and signed by itself. A handshake draws its randomness from the system: what it
sends is not the same in two runs from one seed, though what comes of it is.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chaos.hotel.instance import PORT

if TYPE_CHECKING:
    from chaos.hotel.world import World

HTTPS: Final = 443
BEFORE: Final = timedelta(days=90)  # that it began
CHUNK: Final = 65_536


@asynccontextmanager
async def behind_tls(world: World, name: str, server: str, *, days: float) -> AsyncIterator[ssl.SSLContext]:
    """`name` speaks TLS for `server`, with a certificate that ends in so many days of the world's time.

    Gives what a desk trusts that trusts whoever signed it. It judges by the time of day, which is later than the
    world's: for it a certificate must last a long time.
    """
    now = datetime.fromtimestamp(world.now(), UTC)
    shown, trusts = _certificate(name, now - BEFORE, now + timedelta(days=days))

    async def connection(stream: trio.abc.Stream) -> None:
        inner = await world.network.host(name).connect(server, PORT, None)
        outer = trio.SSLStream(stream, shown, server_side=True, https_compatible=True)
        async with inner, outer, trio.open_nursery() as both:
            both.start_soon(_pump, outer, inner)
            both.start_soon(_pump, inner, outer)

    async with trio.open_nursery() as nursery:
        listening = world.network.listen(name, HTTPS, connection, nursery)
        try:
            yield trusts
        finally:
            listening.close()
            nursery.cancel_scope.cancel(reason="nobody stands in front any more")


async def _pump(one: trio.abc.Stream, other: trio.abc.Stream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while piece := await one.receive_some(CHUNK):
            await other.send_all(piece)
    await trio.aclose_forcefully(other)


def _certificate(name: str, begins: datetime, ends: datetime) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What shows it, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(called, called, key.public_key(), x509.random_serial_number(), begins, ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    shows = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        both = Path(folder) / "edge.pem"
        both.write_bytes(secret + public)
        shows.load_cert_chain(both)
    return shows, ssl.create_default_context(cadata=public.decode())
