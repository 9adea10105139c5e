"""Comes to this server as a desk does, from outside, by the name that desks know (F-23 to F-25).

    name ──► address ──► TLS ──► a request without a token ──► 401, as the gate has it: somebody is there, and it is us
      dns      connect     tls     blocked: 403 of somebody before us; status: any other answer than the gate's

The certificate is looked at apart from that, without asking whether it is good: one that has ended says since when. The
other name, where there is one, is what desks try next when the first cannot be resolved; it is looked at as well, since
nobody would notice otherwise that it has gone.
"""

from __future__ import annotations

import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx
import trio
from cryptography.x509 import load_der_x509_certificate

from bff.facts.probes import CertificateSeen, EdgeProbed
from bff.jobs.asking import in_time
from bff.jobs.probing import Finding
from bff.problem import PROBLEM_JSON
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from nurseries import described, tell, within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bff.outside import Connect, Outside
    from bff.stores.ledger import Ledger

JOB: Final = "probe-edge"
EVERY: Final = 60.0  # seconds
SURE: Final = 5.0  # seconds after which a look that found nobody is made once more: so short a gap calls nobody
PATIENCE: Final = 3.0  # seconds for one name
DAY: Final = 86_400.0
SOON: Final = 30 * DAY  # before its end, from which on a certificate is worth a word (F-23)
PATH: Final = "/v1/session"


class EdgeProbe:
    """`names` are the origins that desks know, by what each is: `public`, `fallback`."""

    def __init__(self, names: Mapping[str, str], ledger: Ledger, outside: Outside) -> None:
        self._names = names
        self._ledger = ledger
        self._outside = outside

    async def serve(self) -> None:
        """For ever; a service for an owner. One instance at a time, and nothing to do where desks know no name."""
        again = False
        while True:
            await trio.sleep(SURE if again else EVERY)
            missed = False
            if self._names and isinstance(await in_time(partial(self._ledger.lead, JOB)), int):
                missed = any(one.what in self._names and not one.good for one in await self.look())
            again = missed and not again

    async def look(self) -> tuple[Finding, ...]:
        """Every name, once."""
        found: dict[str, Finding] = {}
        async with trio.open_nursery() as nursery:
            for name, origin in self._names.items():
                nursery.start_soon(self._answers, name, origin, found)
                if urlsplit(origin).scheme == "https":
                    nursery.start_soon(self._certificate, name, origin, found)
        return tuple(found[what] for what in sorted(found))

    async def _answers(self, name: str, origin: str, found: dict[str, Finding]) -> None:
        why, said = await self._asked(origin)
        tell(EdgeProbed(name, why))
        found[name] = Finding(name, why == "ok", f"{origin}: {said}")

    async def _asked(self, origin: str) -> tuple[str, str]:
        transport = TrioTransport(Pool(self._outside.connect))
        try:
            with within(PATIENCE):
                async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
                    return _judged(await client.get(f"{origin}{PATH}"))
        except httpx.HTTPError as error:
            return _reason(error), described(error)
        return "timeout", f"no answer within {PATIENCE:.0f} s"

    async def _certificate(self, name: str, origin: str, found: dict[str, Finding]) -> None:
        what = f"{name} certificate"
        left, said = await self._left(origin)
        if left is not None:
            tell(CertificateSeen(name, left))
        found[what] = Finding(what, None if left is None else left > SOON, said)

    async def _left(self, origin: str) -> tuple[float | None, str]:
        """Seconds until the certificate ends that is shown there, or why nobody knows."""
        where = urlsplit(origin)
        try:
            with within(PATIENCE):
                left = await _ends(self._outside.connect, where.hostname or "", where.port or 443) - self._outside.now()
                return left, f"ends in {left / DAY:.1f} days" if left > 0 else "has ended"
        except (OSError, ValueError, trio.BrokenResourceError) as error:
            return None, described(error)
        return None, f"no handshake within {PATIENCE:.0f} s"


async def _ends(connect: Connect, host: str, port: int) -> float:
    """When the certificate that is shown there ends, in POSIX seconds, whoever has signed it. Raises `OSError`."""
    stream = await connect(host, port, _any())
    try:
        shown = stream.getpeercert(binary_form=True) if isinstance(stream, trio.SSLStream) else None
        if shown is None:
            raise ConnectionError("no certificate was shown")
        return load_der_x509_certificate(shown).not_valid_after_utc.timestamp()
    finally:
        await trio.aclose_forcefully(stream)


def _any() -> ssl.SSLContext:
    """Nothing is said to whoever is there, so he may be anybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _judged(answer: httpx.Response) -> tuple[str, str]:
    ours = answer.headers.get("content-type", "").startswith(PROBLEM_JSON)
    if answer.status_code == 401 and ours:
        return "ok", "it answers"
    if answer.status_code == 403 and not ours:
        return "blocked", "somebody before this server refuses (403)"
    return "status", f"status {answer.status_code}{'' if ours else ', not of this server'}"


def _reason(error: BaseException) -> str:
    """Which step it was: what an error came from says more than the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "dns"
        if isinstance(cause, ssl.SSLError):
            return "tls"
        cause = cause.__cause__ or cause.__context__
    return "connect"
