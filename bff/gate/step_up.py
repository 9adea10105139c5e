"""Stepping up: a code of the operator's second factor for an attestation, which is good once and for one action.

    guessed too often? ──► iam ──► wrong: counted ──► for this very action, session and key? ──► 201

What iam signed is read before it is handed on, as at signing in: one for another action, session or key is drift
(F-15). Nothing but this depends on it, and with iam gone everything that needs no second factor goes on (F-2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from bff.facts import RungRefused, SchemaDrifted
from bff.gate.attestation import Attestation, BadAttestation
from bff.gate.bodies import AttestationBody
from bff.gate.ladder import Attests
from bff.gate.session import LAST_YEAR, ask_iam, over, step, unavailable
from bff.model import Answer
from bff.outside import rfc3339
from bff.problem import Code, Problem
from bff.upstreams.client import Missed, Reason
from bff.upstreams.services import ATTEST_STEP_UP
from nurseries import tell

if TYPE_CHECKING:
    from bff.gate.bodies import StepUpBody
    from bff.gate.ladder import Gate, Pass
    from bff.upstreams.client import Journey, Upstreams
    from bff.upstreams.schemas.identity import Attested

WRONG_CODE: Final = "INVALID_CODE"  # what iam calls it
OVER: Final = frozenset(("SESSION_REVOKED", "INVALID_TOKEN"))  # and a session that is no more, or another key's
UNREAD: Final = Missed(Reason.UPSTREAM_UNAVAILABLE, "its keys cannot be read: not in time")


@dataclass(frozen=True, slots=True)
class StepUp:
    """The room of stepping up."""

    gate: Gate
    upstreams: Upstreams

    async def attest(self, who: Pass, body: StepUpBody, journey: Journey) -> Answer | Problem:
        """A second factor for `body`'s action on its resource, by this session and its key.

        Wrong codes are counted per operator, before iam is asked and again when it has answered: guesses that are sent
        all at once are worth no more than guesses sent one after the other, and none of them learns that it was right.
        """
        guesses, name = self.gate.admission.codes, (who.claims.tenant, who.claims.operator)
        if wait := guesses.wait(name):
            return _too_many(wait)
        asked = {
            "sessionId": who.claims.session,
            "jkt": who.jkt,
            "action": body.action,
            "resource": body.resource,
            "code": body.code,
        }
        said = await ask_iam(self.upstreams, ATTEST_STEP_UP, asked, journey)
        if isinstance(said, Missed):
            if said.status == 401 and said.code == WRONG_CODE:
                return _wrong() if guesses.take(name) else _too_many(guesses.wait(name))
            return _refused(said)
        if wait := guesses.wait(name):
            return _too_many(wait)
        return await self._vouched(who, body, said.value)

    async def _vouched(self, who: Pass, body: StepUpBody, said: Attested) -> Answer | Problem:
        """What iam gave, if its answer, and what it signed, are for what was asked.

        Unlike the tokens of a session, one that cannot be read now is not handed on: a desk can step up again.
        """
        wanted = Attests(body.action, body.resource)
        if (said.action, said.resource) != (wanted.action, wanted.resource):
            return _drifted("$.action" if said.action != wanted.action else "$.resource", "of something else")
        verdict: Attestation | BadAttestation | Missed = UNREAD
        with step():
            verdict = await self.gate.attestations.judge((said.attestation.encode(),), who.claims, wanted)
        if isinstance(verdict, Missed):
            return unavailable(verdict)
        if isinstance(verdict, BadAttestation):
            return _drifted("$.attestation", verdict.why)
        ends = rfc3339(min(verdict.expires_at, LAST_YEAR))
        return Answer(201, msgspec.json.encode(AttestationBody(said.attestation, said.action, said.resource, ends)))


def _refused(missed: Missed) -> Problem:
    if missed.status == 401 and missed.code in OVER:
        return over()
    if missed.status == 404:
        return Problem(Code.NOT_FOUND, "iam knows no such resource", upstream="iam")
    return unavailable(missed)


def _wrong() -> Problem:
    return Problem(Code.MFA_INVALID_OR_USED, "the code is wrong")


def _too_many(wait: float) -> Problem:
    tell(RungRefused(0, Code.RATE_LIMITED.word, "codes"))
    return Problem(Code.RATE_LIMITED, "too many wrong codes for this operator", retry_after=wait)


def _drifted(path: str, why: str) -> Problem:
    tell(SchemaDrifted(ATTEST_STEP_UP.service, ATTEST_STEP_UP.name, path, why))
    return Problem(Code.SCHEMA_DRIFT, f"iam: {path}: not for this action of this session", upstream="iam")
