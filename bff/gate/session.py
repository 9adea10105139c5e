"""Signing in, renewing, signing out: the routes in front of the ladder.

    sign in    password ──► tenant ──► kept ──► 201     iam is asked first, so that a stranger hears "wrong password"
                                                        and never that there is such a tenant, or how it stands (rung 5)
    renew      iam ──► still alive? ──► kept ──► 200    no rung 5: iam's refresh token has rotated already, and refusing
                                                        now would take the desk's only way back (the next read tells it)
    sign out   tier, then iam ──► 204                   either of them alone ends the session

What iam signed is read before it is handed on: a token for another tenant, session or key than its answer names is
drift (F-30), and the device that the session belongs to stands nowhere else. All that follows iam's answer has bounds
of its own below the deadline, and what is not there in time is done without.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import trio

from bff.facts import RungRefused, SchemaDrifted
from bff.gate.bodies import InHandBody, PropertyInScope, SessionBody
from bff.gate.token import BadToken, Token
from bff.model import Answer, Claims, DeviceId, Down, OperatorId, PropertyId, SessionId, TenantId
from bff.outside import fraction, rfc3339
from bff.problem import Code, Problem
from bff.stores.tier import SessionBlob, Standing
from bff.upstreams.client import Call, Got, Journey, Missed, Reason
from bff.upstreams.services import REFRESH, REVOKE, SIGN_IN
from bff.wire.trace import ServerTiming, Trace
from nurseries import Backoff, Full, detached, required, tell, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bff.gate.bodies import RefreshBody, SignInBody
    from bff.gate.ladder import Gate, Knocked, Pass
    from bff.upstreams.client import Upstreams
    from bff.upstreams.schemas.identity import SignedIn
    from bff.upstreams.services import Operation
    from nurseries import Owner

AFTER_PART: Final = 0.2  # of the deadline: for all that follows iam's answer
STEP_PART: Final = 0.3  # of what is left then, for each step at the most; and in seconds
STEP_SECONDS: Final = 0.2
AGAIN: Final = 5.0  # seconds after which a desk asks again when iam is down (F-1); its session holds meanwhile
ENDED_SECONDS: Final = 24 * 3600.0  # how long the tier knows that a session has ended; no access token lives longer
GRACE: Final = 60.0  # seconds that a blob outlives its access token
REVOKED_AT_ONCE: Final = 8  # sessions at iam, of those that end together
INSIST_SECONDS: Final = 60.0  # how long ending a session is tried on behind the answer
GATHERED: Final = 0.5  # seconds in which those come together who are told that their sessions are over
LOOKED_AT: Final = 256  # of them, in one question
BACKOFF: Final = Backoff(first=0.5, most=10.0)
LAST_YEAR: Final = 253_402_300_799.0  # 9999-12-31T23:59:59Z in POSIX seconds: no date goes further


EndHeard: TypeAlias = "Callable[[TenantId, SessionId], Awaitable[Down | None]]"


@dataclass(frozen=True, slots=True)
class Sessions:
    """The room of the session's routes. `owner` holds what goes on behind an answer."""

    gate: Gate
    upstreams: Upstreams
    owner: Owner
    _ears: list[EndHeard] = field(default_factory=list)
    _over: list[tuple[TenantId, SessionId]] = field(default_factory=list)  # of whom the tier may not know

    async def sign_in(self, who: Knocked, body: SignInBody, journey: Journey) -> Answer | Problem:
        """A new session on `body`'s device for the key that was proved.

        Wrong passwords are counted per operator, before iam is asked and again when it has answered: guesses that are
        sent all at once are worth no more than guesses sent one after the other.
        """
        guesses, name = self.gate.admission.passwords, (body.tenant, body.operator)
        if wait := guesses.wait(name):
            return _too_many(wait)
        tenant = TenantId(body.tenant)
        journey = replace(journey, tenant=tenant, operator=OperatorId(body.operator))
        said = await ask_iam(self.upstreams, SIGN_IN, {**_fields(body), "jkt": who.jkt}, journey)
        if isinstance(said, Missed) and said.status != 401:
            return unavailable(said)
        right = isinstance(said, Got)
        if not (right or guesses.take(name)) or (right and guesses.wait(name)):
            return _too_many(guesses.wait(name))
        if isinstance(said, Missed):
            return Problem(Code.SESSION_REQUIRED, "tenant, operator or password is wrong")
        claims = await self._vouched(SIGN_IN, said.value, who, DeviceId(body.device_id))
        if isinstance(claims, Problem):
            return claims
        if await self._suspended(who, said.value, journey):
            tell(RungRefused(5, Code.TENANT_SUSPENDED.word, "suspended"))
            return Problem(Code.TENANT_SUSPENDED, "the tenant is suspended")
        await self._keep(who, said.value, DeviceId(body.device_id), None)
        return _session(said.value, 201)

    async def refresh(self, who: Knocked, body: RefreshBody, journey: Journey) -> Answer | Problem:
        """A new pair of tokens for a session that lives. One that was ended here ends at iam too (F-31)."""
        said = await ask_iam(self.upstreams, REFRESH, {"refreshToken": body.refresh_token, "jkt": who.jkt}, journey)
        if isinstance(said, Missed):
            return over() if said.status == 401 else unavailable(said)
        signed: SignedIn = said.value
        claims = await self._vouched(REFRESH, signed, who, None)
        if isinstance(claims, Problem):
            return claims
        tenant, session = TenantId(signed.tenant_id), SessionId(signed.session_id)
        standing = await self._standing(who, tenant, session)
        if self.gate.ended.holds(tenant, session) or (isinstance(standing, Standing) and standing.revoked):
            journey = replace(journey, tenant=tenant, operator=OperatorId(signed.operator_id), timing=ServerTiming())
            self._insist("revoke at iam", partial(self._revoked, session, journey))
            return over()
        if claims is not None:
            self.gate.tenants.look(claims, standing)
            blob = standing.blob if isinstance(standing, Standing) else None
            await self._keep(who, signed, claims.device, blob.cursor if blob is not None else None)
        return _session(signed, 200)

    async def sign_out(self, who: Pass, journey: Journey) -> Answer | Problem:
        """End the session: 204 as soon as it can do nothing more.

        The tier's mark ends it at its next request, wherever that comes, and renewing asks for it too; iam's revocation
        ends the renewing. Either alone is enough to answer, and the other one is tried on behind the answer; this
        instance refuses the session from now on in any case. When neither could be done nothing has changed: 502.
        """
        claims = who.claims
        marked = await self._marked(claims.tenant, claims.session)
        revoked = await self._revoked(claims.session, journey)
        if not (marked or revoked):
            return Problem(
                Code.UPSTREAM_UNAVAILABLE, "the session could not be ended", upstream="iam", retry_after=AGAIN
            )
        self.gate.ended.add(claims.tenant, claims.session)
        heard = [await self._heard(ear, claims) for ear in self._ears]
        if not (marked and all(heard)):  # the tier has just gone away, and may have lost its mark with it (F-19)
            self._insist("revoke in the tier", partial(self._marked, claims.tenant, claims.session))
        if not revoked:
            journey = replace(journey, timing=ServerTiming())
            self._insist("revoke at iam", partial(self._revoked, claims.session, journey))
        return Answer(204, b"")

    def hear_of_ends(self, ear: EndHeard) -> None:
        """Have `ear` called when somebody signs out: his stream may be anywhere."""
        self._ears.append(ear)

    def over(self, claims: Claims) -> None:
        """This desk was told that its session is over: it is, here at once, and in the tier behind that.

        The tier knows of most of them, since they were ended there first; of a session that began in between it does
        not. So it is asked, once for all who are told within a moment: thousands may be, and wait for their last word.
        """
        self.gate.ended.add(claims.tenant, claims.session)
        self._over.append((claims.tenant, claims.session))
        if len(self._over) == 1:
            with suppress(Full):
                detached("look whether the tier knows", self.owner, self._look_whether_known, seconds=INSIST_SECONDS)

    async def _look_whether_known(self) -> None:
        await trio.sleep(GATHERED)
        over = self._over.copy()
        self._over.clear()
        for at in range(0, len(over), LOOKED_AT):
            some = over[at : at + LOOKED_AT]
            known: tuple[bool, ...] | Down = Down("not in time")
            with step():
                known = await self.gate.tier.ended(some)
            for whose, marked in zip(some, (False,) * len(some) if isinstance(known, Down) else known, strict=True):
                if not marked:
                    self._insist("revoke in the tier", partial(self._marked, *whose))

    def revoke_all(self, tenant: TenantId, sessions: tuple[SessionId, ...]) -> None:
        """Sessions that were ended in the tier end at iam too, so many at a time, behind the answer; and here."""
        for session in sessions:
            self.gate.ended.add(tenant, session)
        trace = Trace.parse(None, self.gate.outside.entropy)
        journey = Journey(trace, ServerTiming(), tenant)
        left = list(sessions)

        async def one_after_the_other() -> None:
            while left:
                with within(INSIST_SECONDS / 10):
                    await self._revoked(left.pop(), journey)

        for _ in range(min(len(left), REVOKED_AT_ONCE)):
            try:
                detached("revoke at iam", self.owner, one_after_the_other, seconds=INSIST_SECONDS)
            except Full:
                return

    def in_hand(self, who: Pass) -> Answer:
        """The session as its token has it: nobody is asked."""
        claims = who.claims
        body = InHandBody(
            session_id=claims.session,
            tenant_id=claims.tenant,
            operator_id=claims.operator,
            device_id=claims.device,
            properties=tuple(PropertyInScope(pid) for pid in claims.properties),
            expires_at=rfc3339(min(claims.expires_at, LAST_YEAR)),
        )
        return Answer(200, msgspec.json.encode(body))

    async def _vouched(
        self, operation: Operation, signed: SignedIn, who: Knocked, device: DeviceId | None
    ) -> Claims | Problem | None:
        """What the new token says, if it says what iam's answer does; None where iam's keys are not there to tell."""
        verdict: Token | BadToken | Missed | None = None
        with step():
            verdict = await self.gate.tokens.judge((b"DPoP " + signed.access_token.encode(),))
        if isinstance(verdict, Token):
            claims = verdict.claims
            told = (signed.tenant_id, signed.session_id, who.jkt, device or claims.device)
            if (claims.tenant, claims.session, claims.jkt, claims.device) == told:
                return claims
        elif not isinstance(verdict, BadToken):
            return None
        why = verdict.why if isinstance(verdict, BadToken) else "it is another session's"
        tell(SchemaDrifted(operation.service, operation.name, "$.accessToken", why))
        return Problem(Code.SCHEMA_DRIFT, "iam: $.accessToken: not a token for this session", upstream="iam")

    async def _suspended(self, who: Knocked, signed: SignedIn, journey: Journey) -> bool:
        """Rung 5, with what tenant-service says if it answers in time."""
        tenant = TenantId(signed.tenant_id)
        standing = await self._standing(who, tenant, SessionId(signed.session_id))
        return await self.gate.tenants.ask(tenant, standing, journey, seconds=_step_seconds())

    async def _standing(self, who: Knocked, tenant: TenantId, session: SessionId) -> Standing | Down:
        """What the tier knows of a session that came to light only after the proof was shown."""
        standing: Standing | Down = Down("not asked")
        if not who.tier_down:
            with step():
                standing = await self.gate.tier.present(replace(who.presented, tenant=tenant, session=session))
        return standing

    async def _keep(self, who: Knocked, signed: SignedIn, device: DeviceId, cursor: str | None) -> None:
        """Write the session's blob; without it a read lives on its token alone."""
        if who.tier_down:
            return
        life = min(max(0, signed.expires_in), ENDED_SECONDS)
        blob = SessionBlob(
            tenant=TenantId(signed.tenant_id),
            operator=OperatorId(signed.operator_id),
            device=device,
            session=SessionId(signed.session_id),
            jkt=who.jkt,
            cursor=cursor,
            expires_at=self.gate.outside.now() + life,
            properties=tuple(PropertyId(one.id) for one in signed.properties),
        )
        with step():
            await self.gate.tier.keep(blob, life + GRACE)

    async def _marked(self, tenant: TenantId, session: SessionId) -> bool:
        done: Down | None = Down("not in time")
        with step():
            done = await self.gate.tier.revoke(tenant, session, ENDED_SECONDS)
        return done is None

    async def _heard(self, ear: EndHeard, claims: Claims) -> bool:
        said: Down | None = Down("not in time")
        with step():
            said = await ear(claims.tenant, claims.session)
        return said is None

    async def _revoked(self, session: SessionId, journey: Journey) -> bool:
        said = await ask_iam(self.upstreams, REVOKE, None, journey, sid=session)
        return isinstance(said, Got) or said.status == 404  # iam has forgotten it: it is over

    def _insist(self, what: str, work: Callable[[], Awaitable[bool]]) -> None:
        """Go on with `work` behind the answer, until it is done or its time is over."""

        async def until_done() -> None:
            for pause in BACKOFF.pauses(self._jitter):
                await trio.sleep(pause)
                if await work():
                    return

        try:
            detached(what, self.owner, until_done, seconds=INSIST_SECONDS)
        except Full:
            return  # what was done already ends the session: this is the second lock on the same door

    def _jitter(self) -> float:
        return fraction(self.gate.outside.entropy)


async def ask_iam(
    upstreams: Upstreams, operation: Operation, body: Any, journey: Journey, **fields: str
) -> Got | Missed:
    """One call that leaves time for what follows it. Needs a finite deadline above it, or raises `Unbounded`."""
    until = trio.current_time() + min(operation.seconds, required("iam") * (1 - AFTER_PART))
    call = Call(operation, fields, body=b"" if body is None else msgspec.json.encode(body))
    return (await upstreams.gather({"iam": call}, journey, until=until))["iam"]


def _fields(body: SignInBody) -> dict[str, str]:
    return {
        "tenant": body.tenant,
        "operator": body.operator,
        "password": body.password,
        "deviceId": body.device_id,
    }


def _step_seconds() -> float:
    return min(STEP_SECONDS, STEP_PART * required("a step after iam's answer"))


def step() -> trio.CancelScope:
    """The time that one step after iam's answer may take."""
    return within(_step_seconds())


def _session(signed: SignedIn, status: int) -> Answer:
    body = SessionBody(
        token_type="DPoP",  # noqa: S106 -- a scheme's name
        access_token=signed.access_token,
        refresh_token=signed.refresh_token,
        expires_in=signed.expires_in,
        session_id=signed.session_id,
        tenant_id=signed.tenant_id,
        operator_id=signed.operator_id,
        properties=signed.properties,
    )
    return Answer(status, msgspec.json.encode(body))


def _too_many(wait: float) -> Problem:
    tell(RungRefused(0, Code.RATE_LIMITED.word, "passwords"))
    return Problem(Code.RATE_LIMITED, "too many wrong passwords for this operator", retry_after=wait)


def over() -> Problem:
    """What iam, or the tier, says of a session that is no more."""
    return Problem(Code.SESSION_EXPIRED, "the session was ended: sign in again")


def unavailable(missed: Missed) -> Problem:
    """There is nothing from iam to go on with: 502 whatever the reason, since nothing here depends on anybody else."""
    code = Code.SCHEMA_DRIFT if missed.reason is Reason.SCHEMA_DRIFT else Code.UPSTREAM_UNAVAILABLE
    return Problem(code, f"iam: {missed.detail}", upstream="iam", retry_after=missed.retry_after or AGAIN)
