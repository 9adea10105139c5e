"""Uses what is this server's own twice, and expects that the second time does nothing (F-28, F-29, F-32).

    a proof          made and signed here, shown twice at the doorstep of this very instance: rungs 0 and 2
    a second factor  spent in the ledger on one key, then on another
    a key            claimed in the ledger and answered, then claimed once more: the answer is what there is to be had

So the counters of refused and of replayed ones go up once a minute whatever desks do, and one that stands still means
something. A second time that counts is beyond doubt, and is not waited out: `traffic`, `sensitive` or `mutations` is
halted in that step.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from bff.facts import AttestationReplayed, KeyReplayed
from bff.facts.probes import ReplayProbed
from bff.gate.ladder import Knocked, knock
from bff.jobs.asking import in_time
from bff.jobs.probing import Finding, halt
from bff.model import Down, OperatorId
from bff.problem import Code, Problem
from bff.stores.keys import PROBES, Claimed, Claiming, KeptAnswer, KeyId, Recorded, Recording, Spent
from bff.wire.asgi import Request
from bff.wire.jose import to_base64url
from bff.wire.trace import ServerTiming
from bff.writes.actions import Request as Asked
from nurseries import tell, within

if TYPE_CHECKING:
    from bff.gate.ladder import Gate
    from bff.outside import Outside
    from bff.stores.ledger import Ledger
    from bff.stores.switches import Switches

JOB: Final = "probe-replays"
EVERY: Final = 60.0  # seconds
KNOCKS_WITHIN: Final = 2.0  # seconds
OPERATOR: Final = OperatorId(JOB)
ASKED: Final = Asked(JOB, {}, msgspec.Raw(b"{}"), (), "", "").encoded()
LEASE: Final = 5.0  # seconds
ANSWER: Final = KeptAnswer(200, b"{}", "application/json")
PATH: Final = "/v1/session"
CURVE: Final = ec.SECP256R1()
SIGNED: Final = ec.ECDSA(SHA256(), deterministic_signing=True)
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SEC 2, 2.4.2)


class ReplayProbe:
    """Of one instance."""

    def __init__(self, gate: Gate, ledger: Ledger, switches: Switches, outside: Outside) -> None:
        self._gate = gate
        self._ledger = ledger
        self._switches = switches
        self._outside = outside
        secret = 1 + int.from_bytes(outside.entropy(40), "big") % (ORDER - 1)  # FIPS 186-5, A.2.1: eight bytes more
        self._key = ec.derive_private_key(secret, CURVE)

    async def serve(self) -> None:
        """For ever; a service for an owner. The first look comes after a while: a server that begins has other work."""
        while True:
            await trio.sleep(EVERY)
            await self.look()

    async def look(self) -> tuple[Finding, ...]:
        """All of them, once."""
        proof = await self._proof()
        factor = await self._second_factor()
        key = await self._key_twice()
        if proof.good is False:
            await halt(self._switches, "traffic", JOB, f"F-28: {proof.said}")
        if factor.good is False:
            await halt(self._switches, "sensitive", JOB, f"F-29: {factor.said}")
        if key.good is False:
            await halt(self._switches, "mutations", JOB, f"F-32: {key.said}")
        return proof, factor, key

    # -- a proof --------------------------------------------------------------------------------------------------

    async def _proof(self) -> Finding:
        """Not while the tier is away: what is let in then is in doubt, and doubts are counted (`bff.gate.recount`)."""
        if down := await in_time(self._gate.tier.ping):
            return Finding("proof", None, f"nobody could say: {down.why}")
        request = self._request()
        first = await self._knock(request)
        if not isinstance(first, Knocked):
            return Finding("proof", None, f"not let in at all: {_why(first)}")
        second = await self._knock(request)
        if isinstance(second, Knocked):
            tell(ReplayProbed("proof", passed=True))
            return Finding("proof", False, "a proof of this server's own was let in twice")
        if second is None or second.code is not Code.DPOP_INVALID:
            return Finding("proof", None, f"nobody could say: {_why(second)}")
        tell(ReplayProbed("proof", passed=False))
        return Finding("proof", True, "a used proof is refused")

    async def _knock(self, request: Request) -> Knocked | Problem | None:
        with within(KNOCKS_WITHIN), ExitStack() as stay:
            return await knock(self._gate, request, stay=stay, timing=ServerTiming())
        return None

    def _request(self) -> Request:
        """A sign-in as far as its head goes, with a proof for it (RFC 9449, 4.2)."""
        bare = Request("POST", PATH, "", ((b"host", b"localhost"),), "http", "127.0.0.1")
        numbers = self._key.public_key().public_numbers()
        x, y = (to_base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": {"kty": "EC", "crv": "P-256", "x": x, "y": y}}
        said = {
            "jti": self._outside.identifier(),
            "htm": "POST",
            "htu": f"{self._gate.front.origin(bare)}{PATH}",
            "iat": self._outside.now(),
        }
        proof = f"{to_base64url(msgspec.json.encode(head))}.{to_base64url(msgspec.json.encode(said))}"
        r, s = decode_dss_signature(self._key.sign(proof.encode(), SIGNED))
        signature = to_base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return replace(bare, headers=(*bare.headers, (b"dpop", f"{proof}.{signature}".encode())))

    # -- a second factor --------------------------------------------------------------------------------------------

    async def _second_factor(self) -> Finding:
        attestation = f"{JOB} {self._outside.identifier()}"
        first, second = (self._claiming(f"{attestation} {number}", attestation) for number in (1, 2))
        claimed = await self._claim(first)
        if not isinstance(claimed, Claimed):
            return Finding("attestation", None, f"not claimed at all: {_why(claimed)}")
        again = await self._claim(second)
        for one, verdict in ((first, claimed), (second, again)):
            if isinstance(verdict, Claimed):
                await in_time(partial(self._ledger.record, Recording(one.id, verdict.fence, "open")))
        if isinstance(again, Claimed):
            tell(ReplayProbed("attestation", passed=True))
            tell(AttestationReplayed(1))
            return Finding("attestation", False, "a second factor of this server's own was spent twice")
        if not isinstance(again, Spent):
            return Finding("attestation", None, f"nobody could say: {_why(again)}")
        tell(ReplayProbed("attestation", passed=False))
        return Finding("attestation", True, "a spent second factor is refused")

    # -- a key ----------------------------------------------------------------------------------------------------

    async def _key_twice(self) -> Finding:
        asked = self._claiming(f"{JOB} {self._outside.identifier()}", None)
        first = await self._claim(asked)
        if not isinstance(first, Claimed):
            return Finding("key", None, f"not claimed at all: {_why(first)}")
        recording = Recording(asked.id, first.fence, "recorded", ANSWER)
        if await in_time(partial(self._ledger.record, recording)) is not True:
            return Finding("key", None, "nobody could say: its answer was not recorded")
        again = await self._claim(asked)
        if isinstance(again, Claimed):
            await in_time(partial(self._ledger.record, Recording(asked.id, again.fence, "open")))
            tell(ReplayProbed("key", passed=True))
            return Finding("key", False, "a key of this server's own, answered already, was to be worked on again")
        if not isinstance(again, Recorded):
            return Finding("key", None, f"nobody could say: {_why(again)}")
        tell(ReplayProbed("key", passed=False))
        tell(KeyReplayed(JOB))
        return Finding("key", True, "a key that was answered is answered again")

    # -- both ask the ledger --------------------------------------------------------------------------------------

    async def _claim(self, asked: Claiming) -> object:
        return await in_time(partial(self._ledger.claim, asked))

    def _claiming(self, key: str, attestation: str | None) -> Claiming:
        return Claiming(KeyId(PROBES, OPERATOR, key), JOB.encode(), (key,), ASKED, LEASE, attestation)


def _why(said: object) -> str:
    match said:
        case Problem(code=code, detail=detail):
            return f"{code.word}: {detail}"
        case Down(why=why):
            return why
        case None:
            return "no answer in time"
    return type(said).__name__
