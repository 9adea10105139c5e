"""The ladder: CONTRACT's rungs 0 to 9 as one flat list. The first rung that holds answers, however many others would.

    request ──► 0 admission ──► 1 token ──► 2 proof ──► 3 session ──► ... ──► 9 key ──► Pass
                   └─ Problem      └─ Problem   └─ Problem

Rungs 7 to 9 hold where a route demands it. The body is read by whoever has a `Pass`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from bff.facts import RungRefused
from bff.gate import rungs
from bff.gate.admission import Admission
from bff.gate.attestation import AttestationJudge
from bff.gate.forwarded import Front, make_front
from bff.gate.marks import Marks
from bff.gate.recount import Recount
from bff.gate.replay import ReplayWindow
from bff.gate.rungs import Way
from bff.gate.standing import Ended, TenantStates
from bff.gate.token import TokenJudge
from bff.model import Down
from bff.outside import fraction
from bff.stores.tier import Standing
from bff.upstreams.jwks import Keys
from nurseries import tell, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bff.config import Settings
    from bff.gate.rungs import Refused
    from bff.model import Claims, Jkt, PropertyId
    from bff.outside import Outside
    from bff.problem import Problem
    from bff.stores.keys import Keys as LedgerKeys
    from bff.stores.tier import Presented, SessionBlob, SessionTier
    from bff.upstreams.client import Upstreams
    from bff.wire.asgi import Request
    from bff.wire.trace import ServerTiming
    from nurseries import Owner


WARM_SECONDS: Final = 5.0
STRANGERS: Final = 100_000  # proofs without a token that are remembered at once


@dataclass(frozen=True, slots=True)
class Rung:
    """One row of CONTRACT's table: its number there, its name, why it stands at that place, and who judges it."""

    number: int
    name: str
    why: str
    judge: Callable[[Way], Awaitable[Refused | None]]


LADDER: Final = (
    Rung(
        0,
        "draining, overloaded, too fast",
        "cheap: who is turned away here has cost no signature",
        rungs.admission,
    ),
    Rung(
        1,
        "an access token of iam's",
        "without it nobody is known, and a proof has nothing to be bound to",
        rungs.token,
    ),
    Rung(
        2,
        "a proof of this request, for the first time",
        "before a word is said of the session: who stole a token learns nothing by it",
        rungs.proof,
    ),
    Rung(
        3,
        "the token's time, the session's end",
        "the key is the right one, its time is over: the desk renews, and all the rest can wait",
        rungs.session,
    ),
    Rung(
        4,
        "the session's device",
        "a session that lives, on a machine that is not its own: the tenant is none of its business",
        rungs.device,
    ),
    Rung(
        5,
        "the tenant's standing",
        "told to the tenant's own desks alone; while it is suspended no property is anybody's",
        rungs.tenant,
    ),
    Rung(
        6,
        "the property asked for",
        "what is asked is looked at once it is clear who asks, and that he may ask at all",
        rungs.property_asked,
    ),
    Rung(
        7,
        "the session tier",
        "the request is in order, and this house alone is what cannot serve it: a desk need not step up to hear that",
        rungs.tier,
    ),
    Rung(
        8,
        "a second factor for this very action",
        "of a session that is known to live: what was attested in one that was ended is worth nothing",
        rungs.second_factor,
    ),
    Rung(
        9,
        "the key of a mutation",
        "last: a mistake in the desk's program, which only he is told who might have done the thing",
        rungs.key,
    ),
)
DOORSTEP: Final = tuple(rung for rung in LADDER if rung.number in {0, 2})


@dataclass(frozen=True, slots=True)
class Gate:
    """Everything that the rungs judge by. Made by `make_gate`.

    Proofs without a token have a window of their own, `strangers`: anybody can make as many keys as he likes, and must
    not fill the memory on which everybody else's requests depend. No request can be judged by both, since a proof is
    bound to its method and URL.
    """

    admission: Admission
    front: Front
    keys: Keys
    tokens: TokenJudge
    window: ReplayWindow
    strangers: ReplayWindow
    recount: Recount
    tier: SessionTier
    tenants: TenantStates
    ended: Ended
    marks: Marks
    attestations: AttestationJudge
    ledger: LedgerKeys
    outside: Outside

    async def warm(self) -> None:
        """Read iam's keys before the first desk needs them, if iam is there already."""
        with within(WARM_SECONDS):
            await self.keys.warm()


def make_gate(
    settings: Settings, outside: Outside, tier: SessionTier, ledger: LedgerKeys, upstreams: Upstreams, owner: Owner
) -> Gate:
    """The gate of one process; `owner` holds what it asks for in the background."""
    keys, ended = Keys(upstreams, owner, entropy=outside.entropy), Ended()
    return Gate(
        admission=Admission(settings.rates, streams=settings.streams, lot=partial(fraction, outside.entropy)),
        front=make_front(settings.public_origin, settings.trusted_proxies),
        keys=keys,
        tokens=TokenJudge(keys, issuer=settings.token_issuer, now=outside.now),
        window=ReplayWindow(),
        strangers=ReplayWindow(bound=STRANGERS),
        recount=Recount(tier),
        tier=tier,
        tenants=TenantStates(upstreams, tier, owner, outside.entropy),
        ended=ended,
        marks=Marks(tier, ended),
        attestations=AttestationJudge(keys, issuer=settings.token_issuer, now=outside.now),
        ledger=ledger,
        outside=outside,
    )


@dataclass(frozen=True, slots=True)
class Attests:
    """What a second factor must be for: one `action` (CONTRACT section 6) on one `resource`."""

    action: str
    resource: str


@dataclass(frozen=True, slots=True)
class Demands:
    """What a route asks of who comes.

    `tier` is the session tier (rung 7), `attests` what a second factor must be for (rung 8), `keyed` an idempotency key
    (rung 9); who is `urgent` is let in while the house is full. A `stream` has a rule of its own at rung 0.
    """

    tier: bool = False
    urgent: bool = False
    stream: bool = False
    keyed: bool = False
    attests: Attests | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """Who came all the way up. `property` is the one in the query, None where there is none.

    `blob` is what the tier keeps of the session: None where it keeps nothing, or is down (`tier_down`). `key` is the
    idempotency key and `attestation` the id of the second factor, each where the route demands one.
    """

    claims: Claims
    jkt: Jkt
    property: PropertyId | None
    blob: SessionBlob | None
    tier_down: bool
    key: str | None = None
    attestation: str | None = None


@dataclass(frozen=True, slots=True)
class Knocked:
    """Who came to sign in or to renew: a key that was proved, and nobody yet.

    `presented` is the proof as the tier knows it: to show it once more under its nonce is no replay, and reads more
    once the tenant and the session are known.
    """

    jkt: Jkt
    presented: Presented
    tier_down: bool


async def climb(
    gate: Gate, request: Request, demands: Demands, *, stay: ExitStack, timing: ServerTiming
) -> Pass | Problem:
    """Rungs 0 to 9. The place that rung 0 gives is held in `stay`, until whoever called leaves that.

    Needs a finite deadline above it and raises `nurseries.Unbounded` without one.
    """
    with ExitStack() as turn:
        way = Way(gate, request, demands, stay, turn, timing)
        problem = await _up(LADDER, way)
    if problem is not None:
        return problem
    assert way.token is not None and way.presented is not None
    blob = way.standing.blob if isinstance(way.standing, Standing) else None
    return Pass(
        way.token.claims,
        way.presented.jkt,
        way.property,
        blob,
        isinstance(way.standing, Down),
        way.key,
        way.attestation,
    )


async def knock(gate: Gate, request: Request, *, stay: ExitStack, timing: ServerTiming) -> Knocked | Problem:
    """Rungs 0 and 2 for who has no token yet (a proof without `ath`); let in while the house is full. See `climb`."""
    with ExitStack() as turn:
        way = Way(gate, request, Demands(urgent=True), stay, turn, timing)
        problem = await _up(DOORSTEP, way)
    if problem is not None:
        return problem
    assert way.presented is not None
    return Knocked(way.presented.jkt, way.presented, isinstance(way.standing, Down))


async def _up(ladder: tuple[Rung, ...], way: Way) -> Problem | None:
    for rung in ladder:
        refused = await rung.judge(way)
        if refused is not None:
            tell(RungRefused(rung.number, refused.problem.code.word, refused.why))
            return refused.problem
    return None
