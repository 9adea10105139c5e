"""Port of the idempotency keys: who may do a mutation now, and what became of it.

    (nothing) ──claim──► in flight ──record──► recorded      an answer there is: replayed, byte for byte
                          │  ▲  ▲ └──record──► open          not done: whoever comes with the key tries again
                          │  │  └──claim────── open
                          │  └─────claim────── uncertain     nobody knows: sent again, and absorbed by the service
                          └────────record────► uncertain
                   its lease runs out: whoever comes takes it over, with a higher fence

A claim is a lease. Its fence grows by one with each owner, and a record by an older one changes nothing: a first owner
that wakes up late cannot overwrite what a second one found out. What belongs to a change (the row of the audit trail
before it; its answer, the rows after it, and what others must hear) is committed with the claim or with the record, in
one transaction each, or not at all.

Of one operator's mutations of one aggregate one is in flight at a time, on all instances together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from bff.model import Down, Headers, OperatorId, TenantId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bff.stores.mirrors import Mirror
    from bff.stores.outbox import Letter

State: TypeAlias = Literal["recorded", "uncertain", "open"]
Before: TypeAlias = Literal["new", "open", "uncertain", "abandoned"]

PROBES: Final = TenantId("bff.probe")  # whose keys nobody but this server's own probes claims; so of its twin
TWIN: Final = TenantId(f"{PROBES}.twin")


@dataclass(frozen=True, slots=True)
class KeyId:
    """An idempotency key belongs to an operator of a tenant."""

    tenant: TenantId
    operator: OperatorId
    key: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered, as it is replayed: `body` to the byte."""

    status: int
    body: bytes
    content_type: str
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Claiming:
    """What is claimed.

    `fingerprint` is a hash of method, path and body. `aggregates` is what the mutation changes, at least one; `request`
    is what it takes to send it again; `lease` is in seconds. `attestation` is the id of a second factor that is spent
    with a key that is new. `intent` is a row of the audit trail, written if the claim is given; before it `abandoned`
    is written where an earlier owner's lease ran out and he said nothing.
    """

    id: KeyId
    fingerprint: bytes
    aggregates: tuple[str, ...]
    request: bytes
    lease: float
    attestation: str | None = None
    intent: str | None = None
    abandoned: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """It is the caller's, until its lease ends. `before` says what the key was when he came."""

    fence: int
    before: Before


@dataclass(frozen=True, slots=True)
class Recorded:
    """There is an answer."""

    answer: KeptAnswer


@dataclass(frozen=True, slots=True)
class InFlight:
    """Somebody is at it with this very key, for `seconds` more at the longest."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reused:
    """The key was used for something else."""


@dataclass(frozen=True, slots=True)
class Spent:
    """The second factor was spent on another key."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another mutation of one of the aggregates is in flight, for `seconds` more at most: nothing was claimed."""

    seconds: float


Verdict: TypeAlias = Claimed | Recorded | InFlight | Reused | Spent | Busy


@dataclass(frozen=True, slots=True)
class Recording:
    """What became of a claim. `answer` is there exactly when `state` is `recorded`.

    `trail` are rows of the audit trail, `letters` those of the outbox, `mirror` the copy of what an authority holds:
    all written with the record, or none.
    """

    id: KeyId
    fence: int
    state: State
    answer: KeptAnswer | None = None
    trail: tuple[str, ...] = ()
    letters: tuple[Letter, ...] = ()
    mirror: Mirror | None = None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A key whose outcome nobody knows: `uncertain`, or in flight with a lease that has run out (`abandoned`).

    `age` is in seconds since its last owner claimed it, `attempts` how many there were.
    """

    id: KeyId
    fingerprint: bytes
    aggregates: tuple[str, ...]
    request: bytes
    before: Literal["uncertain", "abandoned"]
    age: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of one action's keys, how many were `refused` (an answer of 400 to 499), and how many others there are."""

    refused: int = 0
    others: int = 0


@dataclass(frozen=True, slots=True)
class KeysSince:
    """By action, what became of keys until `moment`, which is POSIX time as the ledger has it."""

    moment: float
    actions: Mapping[str, Outcomes]

    def of(self, action: str) -> Outcomes:
        """Of that one."""
        return self.actions.get(action, Outcomes())


class Keys(Protocol):
    """Every verb needs a finite deadline above it and raises `nurseries.Unbounded` without one.

    `Down` leaves open whether a write was done.
    """

    async def claim(self, asked: Claiming) -> Verdict | Down:
        """Claim a key, in one commit.

        Judged in this order: another fingerprint; an answer; in flight; busy aggregates; a spent attestation. An
        attestation is spent when a new key is claimed with it, and only then; for the key that it was spent on it is
        as good as new.
        """
        ...

    async def record(self, what: Recording) -> bool | Down:
        """Record what became of a claim, in one commit; False, and nothing done, when the fence is not the newest.

        Recording the same once more is True, and writes nothing: who did not hear the answer asks again. Something else
        under the same fence is False.
        """
        ...

    async def spent_on(self, attestation: str) -> KeyId | Down | None:
        """The key that a second factor was spent on; None while it is not."""
        ...

    async def unsettled(self, *, older_than: float, limit: int) -> tuple[Unsettled, ...] | Down:
        """Keys whose outcome nobody knows, claimed last more than `older_than` seconds ago, eldest first.

        A key in flight is among them once its lease has run out, however old it is.
        """
        ...

    async def trim_keys(self, *, older_than: float, limit: int) -> int | Down:
        """Forget keys, and second factors, claimed first more than `older_than` seconds ago: at most `limit` of each.

        Only what has an answer, or is open, is forgotten; how many keys were.
        """
        ...

    async def keys_since(self, moment: float | None) -> KeysSince | Down:
        """What became of keys that were claimed first after `moment`, a `KeysSince`'s; None gives the moment alone."""
        ...
