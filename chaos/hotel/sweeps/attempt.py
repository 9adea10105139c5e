"""A request to a gate that is in order, until something is done to it (wrongs.py); and the way back from that."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from bff.gate.ladder import Attests
from bff.model import OperatorId, SessionId, TenantId
from bff.stores.keys import Claimed, Claiming, KeptAnswer, KeyId, Recording
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.instance import DESK_SIDE
from nurseries import BulkheadPermit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bff.gate.admission import Admission
    from bff.gate.ladder import Gate
    from bff.problem import Problem
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.fleet.proof import Key
    from chaos.hotel.world import World

PATH: Final = "/v1/dashboard"
ORIGIN: Final = "http://bff"
FOR: Final = Attests("folio.refund", "f-00870")
TTL: Final = 900  # seconds
LEASE: Final = 10.0
FULL_AGAIN: Final = 2.5  # seconds after which a device that asked too fast may ask again


@dataclass(slots=True)
class Attempt:
    """What goes into one request; `extra` goes over its headers, and None leaves one out."""

    world: World
    desk: Desk
    number: int = 0
    claims: dict[str, Any] = field(default_factory=dict)
    method: str = "GET"
    path: str = PATH
    origin: str = ORIGIN
    for_token: str | None = None
    key: Key | None = None
    older: float = 0.0  # seconds before now that the proof says it was made
    extra: dict[str, str | None] = field(default_factory=dict)
    query: str = ""
    attested: dict[str, Any] = field(default_factory=dict)
    spent: bool = False  # the second factor, on another key
    hasty: bool = False
    undo: ExitStack = field(default_factory=ExitStack)

    @classmethod
    async def of(cls, world: World) -> Attempt:
        """Of a desk that is signed in."""
        desk = await world.desk()
        attempt = cls(world, desk)
        attempt.query = f"propertyId={attempt.mine}"
        return attempt

    def next(self, number: int) -> Attempt:
        """Another one in order, in a session of its own."""
        fresh: dict[str, Any] = {"claims": {}, "extra": {}, "attested": {}, "undo": ExitStack()}
        return replace(self, number=number, **fresh)

    @property
    def rest(self) -> float:
        """Seconds after which the next one comes as if this one never had."""
        return FULL_AGAIN if self.hasty else 0.1

    @property
    def gate(self) -> Gate:
        return self.world.servers["bff"].house.gate

    @property
    def admission(self) -> Admission:
        return self.gate.admission

    @property
    def mine(self) -> str:
        """The one that is asked for."""
        assert self.desk.session is not None, "signed in"
        return self.desk.session.properties[0]["id"]

    @property
    def tenant(self) -> TenantId:
        assert self.desk.session is not None, "signed in"
        return TenantId(self.desk.session.tenant_id)

    @property
    def session(self) -> SessionId:
        return SessionId(f"session-{self.number}")

    @property
    def jti(self) -> str:
        return f"proof-{self.number}"

    @property
    def factor(self) -> str:
        """The id of its second factor."""
        return f"factor-{self.number}"

    def attestation(self, **claims: Any) -> str:
        """A second factor for `FOR`, that iam attested now in this desk's session; what `claims` say is so."""
        usual = {"jti": self.factor, "act": FOR.action, "res": FOR.resource, "did": None, "props": None}
        return self._minted({**usual, **claims}, {"typ": "mfa+jwt"})

    def token(self, **claims: Any) -> str:
        """An access token of this desk's, that iam signed now; what `claims` say is so."""
        return self._minted(claims, {})

    def _minted(self, claims: dict[str, Any], header: dict[str, Any]) -> str:
        assert self.desk.session is not None, "signed in"
        now = self.world.now()
        usual = {"sid": self.session, "iat": now, "nbf": now, "exp": now + TTL}
        return self.world.authority.mint(self.desk.session.access_token, {**usual, **claims}, header)

    async def prepare(self) -> None:
        """What somebody else did before it comes."""
        if not self.spent:
            return
        whose = KeyId(self.tenant, OperatorId(self.desk.session.operator_id if self.desk.session else ""), self.factor)
        claiming = Claiming(whose, b"", (self.factor,), b"", LEASE, attestation=self.factor)
        ledger = self.world.stores.ledger.session()
        said = await ledger.claim(claiming)
        assert isinstance(said, Claimed), f"a key of its own, and {said}"
        answer = KeptAnswer(201, b"{}", "application/json")
        assert await ledger.record(Recording(whose, said.fence, "recorded", answer)) is True

    def headers(self) -> Mapping[str, str]:
        """All of them, as they go out now."""
        token = self.token(**self.claims)
        proof = make_proof(
            self.key or self.desk.key,
            self.method,
            f"{self.origin}{self.path}",
            token=self.for_token or token,
            now=self.world.now() - self.older,
            jti=self.jti,
        )
        usual = {
            "authorization": f"DPoP {token}",
            "dpop": proof,
            "x-device-id": self.desk.device,
            "x-mfa-attestation": self.attestation(**self.attested),
            "idempotency-key": f"key-{self.number}",
        }
        return {name: value for name, value in {**usual, **self.extra}.items() if value is not None}

    def begin(self, headers: Mapping[str, str]) -> None:
        """What must be so in the very moment in which it is sent."""
        if self.hasty:
            while isinstance(place := self._place(headers.get("x-device-id", "")), BulkheadPermit):
                place.leave()

    def _place(self, device: str) -> BulkheadPermit | Problem:
        return self.admission.enter(DESK_SIDE[0], device.encode())
