"""The edge's certificate: TLS 1.2 and up, HTTP/2 and HTTP/1.1 by ALPN, and how it is renewed (F-23).

Who renews certificates writes files; nobody has to restart a server for it. Every minute the two files are looked at,
and where they are others than they were, the next handshake is done with what they hold. What cannot be used is told,
and the old certificate stays: it may be good for days, and half of a renewal may not have been written yet.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import trio

from bff.facts import CertificateLooked
from nurseries import tell

if TYPE_CHECKING:
    from pathlib import Path

EVERY: Final = 60.0  # seconds
# Of TLS 1.2 what has forward secrecy and is authenticated as a whole: the rest is what RFC 9113, appendix A, forbids.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Certificate:
    """A certificate and its key in files. `context` is what handshakes are done with, now and after a renewal.

    Raises `ValueError` with one line when the files cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._seen = self._stamp()
        self.context = self._made()

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            await trio.sleep(EVERY)
            self.look()

    def look(self) -> None:
        """Take what the files hold, where they have changed."""
        found = self._stamp()
        if found == self._seen:
            return
        self._seen = found
        try:
            self._made()  # in a context of its own first: a certificate without its key would be in the way of the old
            self.context.load_cert_chain(*self._files, password=_none_is_known)
        except (ValueError, OSError) as error:
            tell(CertificateLooked("unusable", str(error)))
        else:
            tell(CertificateLooked("renewed", ""))

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["h2", "http/1.1"])
        try:
            context.load_cert_chain(*self._files, password=_none_is_known)
        except OSError as error:  # ssl.SSLError is one too
            certificate, key = self._files
            raise ValueError(f"TLS needs a certificate and its key: {certificate}, {key}: {error}") from None
        return context

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file does, also where another one took its place, behind a link or not; zeros without one."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size


def _none_is_known() -> str:
    """For a key that is encrypted: without this the library would ask a terminal, and wait."""
    return ""
