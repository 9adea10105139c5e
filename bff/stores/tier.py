"""Port of the session tier: who is signed in, which proofs were seen, how a tenant stands.

A call answers with a value or with `Down`, never with an exception for what the network can do, and never later than
the deadline around it. The tier is asked once per request: `present` reads the session and records the proof in one
atomic step (F-28), because a check followed by a write lets two equal proofs pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from bff.model import DeviceId, Down, Jkt, OperatorId, PropertyId, SessionId, TenantId
from bff.stores.jti import JtiMemory, JtiMode
from bff.stores.size import Size

if TYPE_CHECKING:
    from collections.abc import Sequence

TenantStatus = Literal["active", "suspended"]
DAY_KEPT: Final = 2 * 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class SessionBlob:
    """What is kept of a session. `cursor` is the device's sync cursor; `expires_at` POSIX seconds.

    `properties` are those of its scope.
    """

    tenant: TenantId
    operator: OperatorId
    device: DeviceId
    session: SessionId
    jkt: Jkt
    cursor: str | None
    expires_at: float
    properties: tuple[PropertyId, ...] = ()


@dataclass(frozen=True, slots=True)
class Presented:
    """A proof at the door: its `jti` under its key's `jkt`, remembered for `ttl` seconds.

    `nonce` is unique per presentation, so that a retry by the store's own client is recognised and is no replay.
    `session` is None where a proof comes without a token (sign-in, refresh). `holds` is for how many seconds this very
    proof can still be valid anywhere, where that is known: a tier short of memory keeps it for no longer (F-41).
    """

    tenant: TenantId | None
    session: SessionId | None
    jkt: Jkt
    jti: str
    nonce: str
    ttl: float
    holds: float | None = None

    @property
    def trimmed(self) -> float:
        """For how many seconds it is kept where memory is short."""
        return self.ttl if self.holds is None else min(self.ttl, self.holds)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the tier knew in that one step: `fresh` is False for a proof seen before.

    `mode` is how it remembers proofs; `filtered`: its filter alone says that this one was seen, by whomever, which is
    wrong once in a million times (F-41).
    """

    fresh: bool
    revoked: bool
    tenant_status: TenantStatus | None
    blob: SessionBlob | None
    mode: JtiMode = "exact"
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class Attendance:
    """How many processes are here, and how many bytes all of them have sent today."""

    processes: int
    sent: int


class SessionTier(Protocol):
    """Every verb needs a finite deadline above it and raises `nurseries.Unbounded` without one."""

    @property
    def connections(self) -> int:
        """How often the line to the store was (re)made; when it has changed, what was acknowledged before may be gone.

        0 until the first. It has changed by the time anything is answered over a new line, so that who reads it before
        he asks never takes an older line's answer for a newer one's. A break that lost nothing changes it as well:
        what a standby did not get cannot be seen from here (F-19).
        """
        ...

    async def present(self, proof: Presented) -> Standing | Down:
        """Record the proof and read the session and tenant, in one atomic step."""
        ...

    async def keep(self, blob: SessionBlob, ttl: float) -> Down | None:
        """Write the blob of a session at sign-in and refresh, for `ttl` seconds."""
        ...

    async def revoke(self, tenant: TenantId, session: SessionId, ttl: float) -> Down | None:
        """Mark a session revoked for `ttl` seconds, and drop its blob."""
        ...

    async def ended(self, sessions: Sequence[tuple[TenantId, SessionId]]) -> tuple[bool, ...] | Down:
        """Which of those are marked revoked, in their order, in one round trip. One at least."""
        ...

    async def log_out(
        self,
        tenant: TenantId,
        *,
        operator: OperatorId | None = None,
        device: DeviceId | None = None,
        property: PropertyId | None = None,
        ttl: float,
    ) -> tuple[SessionId, ...] | Down:
        """End every session kept of that tenant which all ids given match, as `revoke` does, in one step (F-31).

        Gives which they were.
        """
        ...

    async def set_tenant_status(self, tenant: TenantId, status: TenantStatus) -> Down | None:
        """Keep the last known state of a tenant (rung 5)."""
        ...

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        ...

    async def jti_memory(self) -> JtiMemory | Down:
        """How proofs are remembered now."""
        ...

    async def remember_jtis(self, mode: JtiMode, *, instead_of: JtiMode) -> bool | Down:
        """Remember them otherwise from now on; False where it was not `instead_of`. What is known stays known."""
        ...

    async def size(self) -> Size | Down:
        """How much of what it may have the store has."""
        ...

    async def attend(self, process: str, ttl: float, *, day: int, sent: int) -> Attendance | Down:
        """That process is here for `ttl` seconds more, and has sent so many bytes since it last said so (F-39, F-40).

        `day` is their number since 1970. After a break of the line some bytes may count twice.
        """
        ...
