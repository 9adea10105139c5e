"""What became of a mutation, out of what its service said: pure, and the one place where that is decided.

    the service said           the key is      the desk hears                   of a lock             of preferences
    yes                        recorded        200, 201
    no (4xx)                   recorded        its status, `upstreamCode`
    nothing was sent           open            504, safe to retry               502, `failure`        503
    it failed (5xx)            uncertain       504, safe to retry               open, 502, `failure`  open, 503
    nothing, or rubbish        uncertain       504, safe to retry               `uncertain`

An earlier owner of the key may have had it done: where he did not know, that nothing was sent now does not make it
known (the key stays uncertain). Where he did, the service answers what it answered him, since it knows the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from bff.model import Answer
from bff.problem import Code, Problem, render
from bff.stores.keys import KeptAnswer
from bff.upstreams.client import Fate, Got, Missed, Reason

if TYPE_CHECKING:
    from bff.stores.keys import Before, State
    from bff.writes.actions import Action
    from bff.writes.audit import Outcome

# A service's 4xx that are no answer to what was asked, but to who asked or how often: the next try may fare better.
NO_ANSWERS: Final = frozenset({401, 407, 408, 421, 425, 429})
ANSWERS: Final = frozenset(range(400, 500)) - NO_ANSWERS
NEVER_SENT: Final = frozenset({"new", "open"})  # what a key was, when no earlier owner can have had it done
TRY_AGAIN: Final = 1.0  # seconds, where nobody can know better


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`reply` goes to the desk and, where the key is recorded, to whoever comes with it again.

    `outcome` is for the trail, with `detail`; `value` is the service's answer, where it said yes.
    """

    state: State
    reply: Answer | Problem
    outcome: Outcome
    detail: str = ""
    value: object = None

    @property
    def status(self) -> int:
        """Of the answer to the desk."""
        return self.reply.status


def concluded(action: Action, result: Got | Missed, before: Before) -> Conclusion:
    """What became of it. `before` is what the key was when this owner came."""
    if isinstance(result, Got):
        return done(action, result.value)
    if result.fate is Fate.REFUSED and result.status in ANSWERS:
        return refused(action, result.status, result.code)
    failed = result.fate is Fate.FAILED
    sure = result.fate in {Fate.NOT_SENT, Fate.REFUSED} or (failed and (action.audited or action.mirrored))
    problem = _problem(action, result, sure)
    state: State = "open" if sure and before in NEVER_SENT else "uncertain"
    return Conclusion(state, problem, "failure" if sure else "uncertain", result.detail)


def done(action: Action, value: object) -> Conclusion:
    """The service did it."""
    return Conclusion(
        "recorded", Answer(action.status, msgspec.json.encode(action.answer(value))), "success", "", value
    )


def refused(action: Action, status: int, code: str | None) -> Conclusion:
    """The service will not, and that is the answer."""
    service = action.operation.service
    if status == 404:
        problem = Problem(Code.NOT_FOUND, f"{service} knows no such thing", upstream=service, upstream_code=code)
    else:
        detail = f"{service} will not: {code or f'status {status}'}"
        problem = Problem(Code.UPSTREAM_REFUSED, detail, upstream=service, upstream_status=status, upstream_code=code)
    return Conclusion("recorded", problem, "failure", code or f"status {status}")


def _problem(action: Action, missed: Missed, sure: bool) -> Problem:
    service, wait = action.operation.service, missed.retry_after or TRY_AGAIN
    code = Code.UPSTREAM_TIMEOUT
    if missed.reason is Reason.OVERLOADED:
        code = Code.OVERLOADED
    elif sure and action.audited:
        code = Code.UPSTREAM_UNAVAILABLE
    elif sure and action.mirrored:
        code = Code.PREFERENCES_UNAVAILABLE
    return Problem(code, f"{service}: {missed.detail}", upstream=service, retry_after=wait)


def kept(reply: Answer | Problem, request_id: str) -> KeptAnswer:
    """An answer as it is replayed: a problem with the id of the request to which it was the answer."""
    answer = render(reply, request_id) if isinstance(reply, Problem) else reply
    return KeptAnswer(answer.status, answer.body, answer.content_type, answer.headers)


def replayed(answer: KeptAnswer) -> Answer:
    """An answer that was given before (draft-ietf-httpapi-idempotency-key-header)."""
    marked = (*answer.headers, ("idempotent-replayed", "true"))
    return Answer(answer.status, answer.body, answer.content_type, marked)
