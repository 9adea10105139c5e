"""iam: who someone is. Signs operators in, renews their tokens, ends sessions, attests a second factor.

Nobody is signed in when asking here, so no tenant is known but the one that is named in the body; what is asked about a
session names its owner in the answer. Access tokens are JWTs as RFC 9068 has them, bound to the desk's key (RFC 9449,
section 6); attestations are, too, each for one action on one resource.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chaos.hotel.estate.grounds import Grounds, absent, rfc3339, sees
from chaos.hotel.estate.hotel import Property
from chaos.hotel.estate.service import Call, Operation, Refusal, Reply, changes, reads
from chaos.hotel.estate.sessions import Grant, Session, Sessions
from chaos.hotel.estate.signing import Entropy, Json, make_signer, unverified, without_nulls

ISSUER = "https://iam.melmastoon.example"
AUDIENCE = "bff-backoffice"
ATTESTATION_SECONDS = 120


class Credentials(msgspec.Struct, rename="camel"):
    """What signing in needs. `jkt` is the thumbprint of the desk's key."""

    tenant: str
    operator: str
    password: str
    device_id: str
    jkt: str


class Renewal(msgspec.Struct, rename="camel"):
    """What renewing needs."""

    refresh_token: str
    jkt: str


class StepUp(msgspec.Struct, rename="camel"):
    """What a second factor is asked for; a lock's key is named `lockId/keyId`."""

    session_id: str
    jkt: str
    action: str
    resource: str
    code: str


class Iam:
    """`ttl` is the life of an access token, in seconds. The signing key comes out of `entropy`, before all else."""

    def __init__(self, grounds: Grounds, entropy: Entropy, *, ttl: int) -> None:
        self._grounds = grounds
        self._entropy = entropy
        self._ttl = ttl
        self._signer = make_signer(entropy)
        self._sessions = Sessions(grounds.now, entropy, self._access)
        self._locks = {room.lock_id: house for house in grounds.hotel.properties for room in house.rooms}
        self._folios = {stay.folio_id: house for house in grounds.hotel.properties for stay in house.stays}

    def operations(self) -> list[Operation]:
        return [
            changes("signIn", path="/sessions", handler=self._sign_in),
            changes("refresh", path="/sessions/refresh", handler=self._refresh),
            changes("revoke", method="DELETE", path="/sessions/{id}", handler=self._revoke),
            changes("attestStepUp", path="/attestations", handler=self._attest),
            reads("jwks", path="/jwks", handler=lambda _: Reply(200, {"keys": [self._signer.jwk]})),
        ]

    def mint(self, base: str, claims: Json, header: Json) -> str:
        """`base` signed again with other claims and another header; a null takes away. Raises `ValueError`."""
        head, said = unverified(base)
        return self._signer.token(without_nulls({**said, **claims}), {**head, **header})

    def revoke(self, session_id: str) -> bool:
        """End a session; False where there is none."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.revoked = True
        return session is not None

    def _sign_in(self, call: Call) -> Reply:
        asked = call.asked(Credentials)
        operator = self._grounds.hotel.by_operator.get((asked.tenant, asked.operator))
        if operator is None or operator.password != asked.password:
            raise Refusal(401, "INVALID_CREDENTIALS", "no such operator with this password")
        return Reply(201, self._shown(self._sessions.open(operator, asked.device_id, asked.jkt)), effect=True)

    def _refresh(self, call: Call) -> Reply:
        asked = call.asked(Renewal)
        grant, fresh = self._sessions.refresh(asked.refresh_token, asked.jkt)
        return Reply(200, self._shown(grant), effect=fresh)

    def _revoke(self, call: Call) -> Reply:
        session = self._sessions.get(call.fields["id"])
        if session is None or session.operator.tenant_id != call.tenant:
            raise absent("session")
        effect = not session.revoked
        session.revoked = True
        return Reply(200, {"tenantId": call.tenant, "sessionId": session.id, "revoked": True}, effect)

    def _attest(self, call: Call) -> Reply:
        asked = call.asked(StepUp)
        session = self._sessions.get(asked.session_id)
        if session is None or session.revoked or session.operator.tenant_id != call.tenant:
            raise Refusal(401, "SESSION_REVOKED", "the session has ended")
        if session.jkt != asked.jkt:
            raise Refusal(401, "INVALID_TOKEN", "the session is bound to another key")
        house = self._house(asked.action, asked.resource)
        if house is None or not sees(call, house):
            raise absent("resource")
        if asked.code != session.operator.mfa_code:
            raise Refusal(401, "INVALID_CODE", "the code is wrong")
        expires_at, attestation = self._attestation(session, asked)
        body = {"tenantId": call.tenant, "attestation": attestation, "action": asked.action, "resource": asked.resource}
        return Reply(201, {**body, "expiresAt": rfc3339(expires_at)}, effect=True)

    def _house(self, action: str, resource: str) -> Property | None:
        """Where the resource is, if anywhere. Raises `Refusal` (422) for an action that needs no attestation."""
        match action:
            case "lock.revoke":
                lock, _, key = resource.partition("/")
                return self._locks.get(lock) if key else None
            case "folio.refund":
                return self._folios.get(resource)
        raise Refusal(422, "INVALID", "action should be lock.revoke or folio.refund")

    def _access(self, session: Session) -> tuple[str, int]:
        claims = self._claims(session, self._ttl)
        claims |= {"did": session.device, "props": session.operator.properties}
        return self._signer.token(claims, {"typ": "at+jwt"}), claims["exp"]

    def _attestation(self, session: Session, asked: StepUp) -> tuple[int, str]:
        claims = self._claims(session, ATTESTATION_SECONDS) | {"act": asked.action, "res": asked.resource}
        return claims["exp"], self._signer.token(claims, {"typ": "mfa+jwt"})

    def _claims(self, session: Session, seconds: int) -> dict[str, Any]:
        """What both kinds of token say."""
        now = int(self._grounds.now())
        return {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "jti": self._entropy(16).hex(),
            "sub": session.operator.operator_id,
            "tid": session.operator.tenant_id,
            "sid": session.id,
            "cnf": {"jkt": session.jkt},
        }

    def _shown(self, grant: Grant) -> Json:
        operator = grant.session.operator
        names = {house.id: house.name for house in self._grounds.hotel.properties}
        return {
            "tenantId": operator.tenant_id,
            "operatorId": operator.operator_id,
            "sessionId": grant.session.id,
            "accessToken": grant.access_token,
            "refreshToken": grant.refresh_token,
            "expiresIn": max(0, grant.expires_at - int(self._grounds.now())),
            "properties": [{"id": pid, "name": names[pid]} for pid in operator.properties],
        }
