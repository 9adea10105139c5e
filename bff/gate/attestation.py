"""Rung 8: is this a second factor for this very action? A JWT of iam's, read as strictly as an access token (`token`).

It says that the operator gave his second factor in this session, with this key, for one action on one thing. Whatever
of that is otherwise makes it worth nothing here, and a token of another kind never is one (RFC 8725, 3.11 and 3.12).

Two things are not judged here. Whether it was spent is the ledger's to say, by its `jti` and by nothing else of it:
a signature has two forms, so the same attestation can be written in two ways. Whether it has ended depends on that:
to the key that it was spent on it is good for ever, or a desk could not ask again what became of its mutation.

Renewing a session keeps its id and its key, so an attestation outlives the access token it was asked for with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from bff.gate import token
from bff.gate.token import LEEWAY, an_id, members, one_of, seconds, signed_by_iam, text
from bff.upstreams.client import Missed
from bff.wire.jose import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.gate.ladder import Attests
    from bff.model import Claims
    from bff.upstreams.jwks import Keys

TYPES: Final = frozenset(("mfa+jwt",))
# The ledger keeps it as text, in which PostgreSQL has no NUL.
_JTI = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


class Why(StrEnum):
    """Which rule an attestation broke, in the order in which they are judged; the last two are the rung's own."""

    ABSENT = "absent"
    SEVERAL = "several"
    SIZE = "size"  # over 8 KiB
    MALFORMED = "malformed"
    TYP = "typ"
    ALG = "alg"
    EXTENSION = "extension"
    KEY = "key"  # a kid that iam does not know
    SIGNATURE = "signature"
    CLAIMS = "claims"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EARLY = "early"
    TENANT = "tenant"
    OPERATOR = "operator"
    SESSION = "session"
    HOLDER = "holder"  # bound to another key
    ACTION = "action"
    RESOURCE = "resource"
    SPENT = "spent"  # on another idempotency key
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Attestation:
    """One that holds, whether or not it was spent or has ended: its `jti`, and its end in POSIX seconds."""

    id: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class BadAttestation:
    """None for this action by this session."""

    why: Why


@dataclass(frozen=True, slots=True)
class _Said:
    """What one says. Times are POSIX seconds."""

    id: str
    issuer: str
    audience: str
    not_before: float
    expires_at: float
    tenant: str
    operator: str
    session: str
    jkt: str
    action: str
    resource: str


class AttestationJudge:
    """Judges attestations of `issuer` for `audience` by iam's `keys`. Nothing is remembered; `now` in POSIX seconds."""

    def __init__(self, keys: Keys, *, issuer: str, now: Callable[[], float], audience: str = "bff-backoffice") -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._now = now

    async def judge(
        self, presented: tuple[bytes, ...], whose: Claims, wanted: Attests
    ) -> Attestation | BadAttestation | Missed:
        """Judge the values of a request's `X-MFA-Attestation`, whose access token says `whose` it is.

        `Missed` when iam's keys were never read; it may wait for them, and needs a finite deadline for that.
        """
        raw = _presented(presented)
        if isinstance(raw, Why):
            return BadAttestation(raw)
        payload = await signed_by_iam(raw, self._keys, TYPES)
        if isinstance(payload, Missed):
            return payload
        if isinstance(payload, token.Why):
            return BadAttestation(Why(payload.value))
        said = _read(payload, self._audience)
        if said is None:
            return BadAttestation(Why.CLAIMS)
        why = self._unfit(said) or _bound_otherwise(said, whose, wanted)
        return BadAttestation(why) if why else Attestation(said.id, said.expires_at)

    def _unfit(self, said: _Said) -> Why | None:
        """Was it made by somebody else, for somebody else, or for later?"""
        if said.issuer != self._issuer:
            return Why.ISSUER
        if said.audience != self._audience:
            return Why.AUDIENCE
        return Why.EARLY if said.not_before > self._now() + LEEWAY else None


def _presented(values: tuple[bytes, ...]) -> bytes | Why:
    if not values:
        return Why.ABSENT
    if len(values) > 1:
        return Why.SEVERAL
    return values[0] if len(values[0]) <= LONGEST else Why.SIZE


def _bound_otherwise(said: _Said, whose: Claims, wanted: Attests) -> Why | None:
    """The first of its bonds that is to something else."""
    bonds = (
        (Why.TENANT, said.tenant, whose.tenant),
        (Why.OPERATOR, said.operator, whose.operator),
        (Why.SESSION, said.session, whose.session),
        (Why.HOLDER, said.jkt, whose.jkt),
        (Why.ACTION, said.action, wanted.action),
        (Why.RESOURCE, said.resource, wanted.resource),
    )
    return next((why for why, to, should in bonds if to != should), None)


def _read(payload: dict[str, Any], audience: str) -> _Said | None:
    """All that is needed, or None where a claim is missing or not of its type."""
    try:
        return _Said(
            id=_jti(payload["jti"]),
            issuer=text(payload["iss"]),
            audience=one_of(payload["aud"], audience),
            not_before=seconds(payload["nbf"]),
            expires_at=seconds(payload["exp"]),
            tenant=an_id(payload["tid"]),
            operator=an_id(payload["sub"]),
            session=an_id(payload["sid"]),
            jkt=text(members(payload["cnf"])["jkt"]),
            action=text(payload["act"]),
            resource=text(payload["res"]),
        )
    except (KeyError, TypeError):
        return None


def _jti(value: object) -> str:
    if not isinstance(value, str) or not _JTI.fullmatch(value):
        raise TypeError("not an id of an attestation")
    return value
