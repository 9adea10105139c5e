"""Going on with a mutation whose desk has left it, or whose server has died: what nobody knows becomes known.

    of a lock       its service is asked what came of the key; nothing is sent again
    of all others   sent again with the same key: a service that has done it answers what it answered, one that has not
                    does it now, which is what the desk wanted and will ask for again

Whoever turns mutations off wants no more of them sent, by anybody: nothing is sent again then (F-32). Asking what came
of a lock action goes on.

A lock action of which its service has never heard, though there was time for it to arrive, was not done: the key is
open, the trail says `failure`, and a desk that still wants it tries again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from bff.facts import ClaimSettled, MutationConcluded
from bff.problem import Code, Problem
from bff.stores.keys import Claimed
from bff.upstreams.client import Call, Got, Journey
from bff.upstreams.drift import UNREADABLE
from bff.upstreams.services import LOCK_OUTCOME
from bff.wire.trace import ServerTiming, Trace
from bff.writes.actions import ACTIONS, Request
from bff.writes.conclusion import ANSWERS, Conclusion, done, refused
from bff.writes.mutation import Work
from nurseries import required, tell

if TYPE_CHECKING:
    from bff.model import PropertyId
    from bff.outside import Outside
    from bff.stores.keys import Unsettled
    from bff.upstreams.client import Upstreams
    from bff.writes.mutation import Mutations

NEVER_CAME: Final = 20.0  # seconds after which what a service has not heard of will not arrive any more
SPARE_PART: Final = 0.3  # of the time there is, kept for the record


@dataclass(frozen=True, slots=True)
class Settling:
    """Settles one key at a time. Each needs a finite deadline above it and raises `nurseries.Unbounded` without one."""

    mutations: Mutations
    upstreams: Upstreams
    outside: Outside

    def asks(self, row: Unsettled) -> bool:
        """Whether its service is asked, and nothing is sent again."""
        action = ACTIONS.get(Request.decoded(row.request).action)
        return action is not None and action.audited

    async def settle(self, row: Unsettled) -> bool:
        """Whether it is known now what came of it. An action of another version of the server is left to that one."""
        work, began = self._work(row), trio.current_time()
        if work is None:
            return False
        journey = self._journey(work)
        leave = trio.current_time() + (1 - SPARE_PART) * required("settling")
        if not work.action.audited:
            return not self.mutations.halted(work.action) and await self._again(work, journey, leave)
        conclusion = await self._came_of(work, row, journey)
        if conclusion is None and row.before == "uncertain":
            return False  # the trail says already that nobody knows
        if not await self._written_down(work, row, conclusion, leave):
            return False
        assert conclusion is not None
        tell(MutationConcluded(work.action.name, conclusion.state, conclusion.outcome, trio.current_time() - began))
        tell(ClaimSettled(work.action.name, conclusion.state))
        return True

    async def _again(self, work: Work, journey: Journey, leave: float) -> bool:
        claimed = await self.mutations.claim(work, None, leave)
        if not isinstance(claimed, Claimed):
            return False
        conclusion = await self.mutations.carry_out(work, claimed, journey, leave)
        await self.mutations.record(work, claimed, conclusion)
        if conclusion.state != "recorded":
            return False
        tell(ClaimSettled(work.action.name, conclusion.state))
        return True

    async def _came_of(self, work: Work, row: Unsettled, journey: Journey) -> Conclusion | None:
        """What its service says of a lock action; None where it does not, or not yet."""
        said = await self.upstreams.one(Call(LOCK_OUTCOME, {"key": work.id.key}), journey)
        if not isinstance(said, Got):
            return _not_done("it never arrived") if said.status == 404 and row.age >= NEVER_CAME else None
        found = said.value
        if found.outcome == "failure":
            if found.status in ANSWERS:
                return refused(work.action, found.status, _code(found.answer))
            return _not_done(f"status {found.status}")
        try:
            return done(work.action, work.action.operation.decoder.decode(found.answer))
        except UNREADABLE:
            return None  # drift: the next turn may understand it

    async def _written_down(self, work: Work, row: Unsettled, conclusion: Conclusion | None, leave: float) -> bool:
        claimed = await self.mutations.claim(work, None, leave, sends=False)
        if not isinstance(claimed, Claimed):
            return False
        if conclusion is None or claimed.fence != row.attempts + 1:  # somebody has sent it again since it was looked at
            unknown = Problem(Code.UPSTREAM_TIMEOUT, "its outcome is not known")
            await self.mutations.record(work, claimed, Conclusion("uncertain", unknown, "uncertain"), told=True)
            return False
        await self.mutations.record(work, claimed, conclusion)
        return True

    def _work(self, row: Unsettled) -> Work | None:
        request = Request.decoded(row.request)
        action = ACTIONS.get(request.action)
        if action is None:
            return None
        return Work(action, row.id, request, row.fingerprint, row.aggregates, self.outside.identifier())

    def _journey(self, work: Work) -> Journey:
        properties: tuple[PropertyId, ...] = work.request.properties  # type: ignore[assignment]
        trace = Trace.parse(None, self.outside.entropy)
        return Journey(trace, ServerTiming(), work.id.tenant, work.id.operator, properties)


def _not_done(why: str) -> Conclusion:
    """It was not done, and may be tried again."""
    problem = Problem(Code.UPSTREAM_UNAVAILABLE, why, upstream=LOCK_OUTCOME.service)
    return Conclusion("open", problem, "failure", why)


class _Refusal(msgspec.Struct):
    """What is read of a service's refusal: its code, never its words."""

    code: str | None = None


def _code(answer: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(answer, type=_Refusal).code
    except UNREADABLE:
        return None
