"""Claim, call, record: the only way a mutation goes, and why each is committed before the next.

    turn      one operator's mutations of one aggregate, in the order in which they came
    switches  asked last before anything is written: who is refused has used nothing up
    claim     one commit: the key, the second factor, and for a lock the intent
    call      the service, with the key: what was done before is not done again
    record    one commit: the answer, the outcome for the trail, and what the other desks must hear

A key whose answer is recorded is answered from the record, byte for byte. Who dies in between leaves a claim that ends
with its lease; whoever comes with the key then, or the settling job, goes on from there (`stores/keys.py`).

Time is kept for the record: the call ends before the deadline, so that what is not known can be written down as such.
If even that is not possible in time, it is tried on behind the answer, for as long as the claim lasts; its fence keeps
it from overwriting what somebody else has found out since.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from bff.facts import AttestationReplayBlocked, KeyReplayed, KeyTakenOver, MutationConcluded
from bff.model import Answer, Down
from bff.outside import fraction
from bff.problem import Code, Problem
from bff.stores.keys import Busy, Claimed, Claiming, InFlight, KeyId, Recorded, Recording, Reused, Spent
from bff.stores.mirrors import Mirror
from bff.stores.outbox import Letter
from bff.upstreams.client import Call
from bff.upstreams.schemas.changes import PreferencesSaved
from bff.upstreams.schemas.preferences import as_copy
from bff.writes import locks
from bff.writes.actions import Request, canonical, changed_by, fingerprint
from bff.writes.conclusion import TRY_AGAIN, concluded, kept, replayed
from nurseries import Backoff, Full, detached, required, tell, until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bff.model import Claims
    from bff.outside import Outside
    from bff.stores.keys import Keys, Verdict
    from bff.stores.switches import Switches
    from bff.upstreams.client import Journey, Upstreams
    from bff.writes.actions import Action
    from bff.writes.conclusion import Conclusion
    from bff.writes.order import Place
    from nurseries import Owner

LEASE: Final = 10.0  # seconds that a claim lasts: CONTRACT section 3
SPARE: Final = 0.6  # seconds of the deadline kept for the record, and
SPARE_PART: Final = 0.25  # at most so much of one that is short
RECORD_PART: Final = 0.9  # of what is left then: the longest that the record is waited for
STORE_SECONDS: Final = 1.5  # the longest that the ledger is waited for, each time
LEAST_SECONDS: Final = 0.02  # with less than this left nothing is sent: it could only become uncertain
BUSY: Final = Backoff(first=0.02, most=0.25)  # while another instance is at the same aggregate
INSIST: Final = Backoff(first=0.1, most=2.0)
DOMAIN_EVENTS: Final = "bff-domain-events"
DESKS: Final = "bff-desks"  # the topic of what goes to the desks' own bus, and never to Pub/Sub


@dataclass(frozen=True, slots=True)
class Asked:
    """One mutation at the room's door. `fields` are the path's, `place` where it stands in line.

    `attestation` is the id of the second factor that the gate found good, `request_id` the id of this try.
    """

    action: Action
    claims: Claims
    key: str
    attestation: str | None
    method: str
    pattern: str
    fields: Mapping[str, str]
    body: msgspec.Struct
    place: Place
    request_id: str


@dataclass(frozen=True, slots=True)
class Work:
    """A mutation as it is claimed, sent and recorded, whether by a desk or by the settling job."""

    action: Action
    id: KeyId
    request: Request
    fingerprint: bytes
    aggregates: tuple[str, ...]
    request_id: str


class Mutations:
    """The room. `owner` holds what goes on behind an answer; `written` is called when letters were written."""

    def __init__(
        self,
        upstreams: Upstreams,
        ledger: Keys,
        switches: Switches,
        outside: Outside,
        owner: Owner,
        written: Callable[[], None],
    ) -> None:
        self._upstreams = upstreams
        self._ledger = ledger
        self._switches = switches
        self._outside = outside
        self._owner = owner
        self._written = written
        self._at_it: set[KeyId] = set()
        self._in_line: dict[KeyId, list[Place]] = {}

    async def answer(self, asked: Asked, journey: Journey) -> Answer | Problem:
        """What became of it. Needs a finite deadline above it and raises `nurseries.Unbounded` without one."""
        left = required(asked.action.name)
        leave = trio.current_time() + left - min(SPARE, SPARE_PART * left)
        work = _work(asked)
        if not await self._has_turn(asked.place, work, leave):
            return _still_waiting()
        if halted := self.halted(asked.action):
            return halted
        verdict = await self._claim_in_time(work, asked.attestation, leave)
        if not isinstance(verdict, Claimed):
            return _refusal(asked.action, verdict)
        with self._being_at(work.id):
            conclusion = await self.carry_out(work, verdict, journey, leave)
            return await self.record(work, verdict, conclusion)

    @contextmanager
    def _being_at(self, key: KeyId) -> Iterator[None]:
        """Whoever else has the key is told so by the ledger, and does not stand in line to hear it."""
        self._at_it.add(key)
        for place in self._in_line.get(key, ()):
            place.look()
        try:
            yield
        finally:
            self._at_it.discard(key)

    def halted(self, action: Action) -> Problem | None:
        """What a switch has to say against it."""
        if action.audited and self._switches.frozen:
            return Problem(
                Code.LOCK_PROXY_FROZEN, "lock actions are frozen until a person has looked", retry_after=60.0
            )
        names = ("mutations", *(("locks",) if action.audited else ()), *(("sensitive",) if action.attests else ()))
        off = next((name for name in names if self._switches.off(name)), None)
        return Problem(Code.HALTED, f"the switch {off} is off", retry_after=60.0) if off else None

    async def _has_turn(self, place: Place, work: Work, leave: float) -> bool:
        """First in line by what is known from the head, then by all that it changes; or its key is being worked on."""
        twins = self._in_line.setdefault(work.id, [])
        twins.append(place)
        try:
            with until(leave):
                await place.turn(unless=lambda: work.id in self._at_it)
                place.move((work.id.tenant, work.id.operator, name) for name in work.aggregates)
                await place.turn(unless=lambda: work.id in self._at_it)
                return True
        finally:
            twins.remove(place)
            if not twins:
                self._in_line.pop(work.id, None)
        return False

    async def _claim_in_time(self, work: Work, attestation: str | None, leave: float) -> Verdict | Down:
        """Claim the key, however often another instance has to be waited for till `leave`."""
        pauses = BUSY.pauses(lambda: fraction(self._outside.entropy))
        while True:
            verdict = await self.claim(work, attestation, leave)
            if not isinstance(verdict, Busy):
                return verdict
            pause = min(next(pauses), verdict.seconds)
            if trio.current_time() + pause >= leave:
                return verdict
            await trio.sleep(pause)

    async def claim(self, work: Work, attestation: str | None, leave: float, *, sends: bool = True) -> Verdict | Down:
        """One try to claim the key, for not longer than till `leave`; for a lock with an intent, if it `sends`."""
        audited, now = work.action.audited, self._outside.now()
        claiming = Claiming(
            id=work.id,
            fingerprint=work.fingerprint,
            aggregates=work.aggregates,
            request=work.request.encoded(),
            lease=LEASE,
            attestation=attestation,
            intent=locks.intent(work.action, work.id, work.request, now) if audited and sends else None,
            abandoned=locks.abandoned(work.action, work.id, work.request, now) if audited else None,
        )
        verdict: Verdict | Down = Down("it did not answer in time")
        with within(min(STORE_SECONDS, leave - trio.current_time())):
            verdict = await self._ledger.claim(claiming)
        if isinstance(verdict, Recorded):
            tell(KeyReplayed(work.action.name))
        elif isinstance(verdict, Spent):
            tell(AttestationReplayBlocked())
        elif isinstance(verdict, Claimed) and verdict.before != "new":
            tell(KeyTakenOver(work.action.name, verdict.before))
        return verdict

    async def carry_out(self, work: Work, claimed: Claimed, journey: Journey, leave: float) -> Conclusion:
        """Have the service do it, for not longer than till `leave`."""
        action, began = work.action, trio.current_time()
        call = Call(action.operation, work.request.fields, body=bytes(work.request.body), key=work.id.key)
        end = leave if leave - began >= LEAST_SECONDS else began
        name = f"{action.operation.service}.{action.operation.name}"
        result = (await self._upstreams.gather({name: call}, journey, until=end))[name]
        conclusion = concluded(action, result, claimed.before)
        tell(MutationConcluded(action.name, conclusion.state, conclusion.outcome, trio.current_time() - began))
        return conclusion

    async def record(
        self, work: Work, claimed: Claimed, conclusion: Conclusion, *, told: bool = False
    ) -> Answer | Problem:
        """Commit what became of it; what goes to the desk then. `told` says that the trail knows of it already."""
        recording = self._recording(work, claimed, conclusion, audited=work.action.audited and not told)
        done: bool | Down = Down("it did not answer in time")
        with within(min(STORE_SECONDS, RECORD_PART * required("record"))):
            done = await self._ledger.record(recording)
        if isinstance(done, Down):
            self._insist(recording)
            done = conclusion.state != "recorded"  # what is said of a failure is true, whether it is written yet or not
            if not done:
                return Problem(Code.STORE_UNAVAILABLE, "what came of it could not be recorded yet", retry_after=LEASE)
        if not done:
            return Problem(Code.UPSTREAM_TIMEOUT, "another server has gone on with this key", retry_after=TRY_AGAIN)
        if recording.letters:
            self._written()
        if recording.answer is None:
            return conclusion.reply
        answer = recording.answer
        return Answer(answer.status, answer.body, answer.content_type, answer.headers)

    def _recording(self, work: Work, claimed: Claimed, conclusion: Conclusion, *, audited: bool) -> Recording:
        action, now = work.action, self._outside.now()
        settled = conclusion.state == "recorded"
        return Recording(
            id=work.id,
            fence=claimed.fence,
            state=conclusion.state,
            answer=kept(conclusion.reply, work.request_id) if settled else None,
            trail=(locks.outcome(action, work.id, work.request, now, conclusion),) if audited else (),
            letters=_letters(work, conclusion) if conclusion.outcome == "success" else (),
            mirror=_mirror(work, conclusion, now) if action.mirrored and conclusion.outcome == "success" else None,
        )

    def _insist(self, recording: Recording) -> None:
        """Go on trying to record it behind the answer, till the lease is over and somebody else does."""

        async def until_recorded() -> None:
            for pause in INSIST.pauses(lambda: fraction(self._outside.entropy)):
                await trio.sleep(pause)
                with within(STORE_SECONDS):
                    if not isinstance(await self._ledger.record(recording), Down):
                        self._written()
                        return

        try:
            detached("record", self._owner, until_recorded, seconds=LEASE)
        except Full:
            return  # the claim's lease ends without it, and the key is settled then


def _work(asked: Asked) -> Work:
    claims, action = asked.claims, asked.action
    fields = {**asked.fields, "operator": claims.operator}
    body = canonical(asked.body)
    return Work(
        action=action,
        id=KeyId(claims.tenant, claims.operator, asked.key),
        request=Request(action.name, fields, msgspec.Raw(body), claims.properties, claims.device, claims.session),
        fingerprint=fingerprint(asked.method, asked.pattern, fields, body),
        aggregates=changed_by(action, fields, asked.body),
        request_id=asked.request_id,
    )


def _refusal(action: Action, verdict: Verdict | Down) -> Answer | Problem:
    """What whoever did not get the key is told."""
    match verdict:
        case Recorded(answer):
            return replayed(answer)
        case InFlight(seconds):
            return Problem(Code.IDEMPOTENCY_IN_PROGRESS, "this key's first request is still at it", retry_after=seconds)
        case Reused():
            return Problem(Code.IDEMPOTENCY_KEY_REUSED, "this key was used for another request")
        case Spent():
            return Problem(Code.MFA_INVALID_OR_USED, f"the second factor for {action.attests} was used already")
        case Busy():
            return _still_waiting()
        case _:
            return Problem(Code.STORE_UNAVAILABLE, "the ledger does not answer", retry_after=TRY_AGAIN)


def _still_waiting() -> Problem:
    return Problem(Code.UPSTREAM_TIMEOUT, "it still waited for what came before it", retry_after=TRY_AGAIN)


def _letters(work: Work, conclusion: Conclusion) -> tuple[Letter, ...]:
    """What the other desks of its property must hear, and the platform, under ids that a second record would have too.

    To each a letter of its own: neither waits for what is wrong with the other's way.
    """
    tenant, aggregate = work.id.tenant, work.aggregates[0]
    property_id = getattr(conclusion.value, "property_id", None)
    said = {
        "type": work.action.event,
        "tenantId": tenant,
        **({"propertyId": property_id} if property_id else {}),
        **({"operatorId": work.id.operator} if work.action.mirrored else {}),  # nobody else's affair
        "exceptDeviceId": work.request.device,
        "data": {"action": work.action.name, "changed": list(work.aggregates)},
    }
    payload = msgspec.json.encode(said)

    def letter(topic: str, *names: str) -> Letter:
        named = msgspec.json.encode([tenant, work.id.operator, work.id.key, work.action.event, *names])
        message_id = hashlib.sha256(named).hexdigest()[:40]
        return Letter(topic, f"{tenant}/{aggregate}", work.action.event, payload, message_id)

    return (letter(DOMAIN_EVENTS), letter(DESKS, DESKS))


def _mirror(work: Work, conclusion: Conclusion, now: float) -> Mirror:
    saved = conclusion.value
    assert isinstance(saved, PreferencesSaved), "the action's row says so"
    return Mirror(work.id.tenant, work.id.operator, saved.version, as_copy(saved.values), now)
