"""The session tier in memory, in virtual time: what `bff.stores.redis_tier` does, by the same port."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from bff.model import Down
from bff.stores.jti import FILTER
from bff.stores.size import Size
from bff.stores.tier import DAY_KEPT, Attendance, Presented, SessionBlob, Standing, TenantStatus
from chaos.hotel.stores.bus import SimBus
from chaos.hotel.stores.expiring import Expiring
from chaos.hotel.stores.faulty import Faulty
from chaos.hotel.stores.jti import Proofs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bff.model import DeviceId, OperatorId, PropertyId, SessionId, TenantId
    from bff.stores.jti import Filter, JtiMemory, JtiMode

BLOB_BYTES: Final = 512  # what a session costs a Redis, about


class SimTier(Faulty):
    """`bff.stores.tier.SessionTier`; what is kept expires on the Trio clock.

    `most` is how many bytes it may hold, as far as it says of itself; 0 where nobody bounds it.
    """

    def __init__(self, filter: Filter = FILTER) -> None:
        super().__init__("redis-session")
        self.most = 0
        self._proofs = Proofs(self._journal, filter)
        self._blobs: Expiring[tuple[TenantId, SessionId], SessionBlob] = Expiring(self._journal)
        self._revoked: Expiring[tuple[TenantId, SessionId], bool] = Expiring(self._journal)
        self._processes: Expiring[str, bool] = Expiring(self._journal)
        self._sent: Expiring[int, int] = Expiring(self._journal)
        self._status: dict[TenantId, TenantStatus] = {}
        self.bus = SimBus(self)  # on the same server

    @property
    def blobs(self) -> tuple[SessionBlob, ...]:
        """Every session that is kept, for whoever looks whether it is whole."""
        return self._blobs.values()

    async def present(self, proof: Presented) -> Standing | Down:
        """Record the proof and read the session and tenant, in one step: nothing runs between."""
        return await self.asked(lambda: self._present(proof))

    def _present(self, proof: Presented) -> Standing:
        mode = self._proofs.mode
        fresh, filtered = self._proofs.shown(proof)
        status = self._status.get(proof.tenant) if proof.tenant else None
        if not (proof.tenant and proof.session):
            return Standing(fresh, False, status, None, mode, filtered)
        whose = (proof.tenant, proof.session)
        revoked = self._revoked.get(whose) is not None
        return Standing(fresh, revoked, status, self._blobs.get(whose), mode, filtered)

    async def keep(self, blob: SessionBlob, ttl: float) -> Down | None:
        """Write the blob of a session for `ttl` seconds."""
        return await self.asked(lambda: self._blobs.put((blob.tenant, blob.session), blob, ttl))

    async def revoke(self, tenant: TenantId, session: SessionId, ttl: float) -> Down | None:
        """Mark the session revoked for `ttl` seconds, and drop its blob."""
        return await self.asked(lambda: self._revoke((tenant, session), ttl))

    def _revoke(self, whose: tuple[TenantId, SessionId], ttl: float) -> None:
        self._revoked.put(whose, True, ttl)
        self._blobs.drop(whose)

    async def ended(self, sessions: Sequence[tuple[TenantId, SessionId]]) -> tuple[bool, ...] | Down:
        """Which of those are marked revoked."""
        return await self.asked(lambda: tuple([self._revoked.get(whose) is not None for whose in sessions]))

    async def log_out(
        self,
        tenant: TenantId,
        *,
        operator: OperatorId | None = None,
        device: DeviceId | None = None,
        property: PropertyId | None = None,
        ttl: float,
    ) -> tuple[SessionId, ...] | Down:
        """Mark every session revoked that all ids given match, and drop its blob."""
        return await self.asked(
            lambda: tuple(
                [
                    self._logged_out(blob, ttl)
                    for blob in self._blobs.values()
                    if blob.tenant == tenant
                    and operator in {None, blob.operator}
                    and device in {None, blob.device}
                    and (property is None or property in blob.properties)
                ]
            )
        )

    def _logged_out(self, blob: SessionBlob, ttl: float) -> SessionId:
        self._revoke((blob.tenant, blob.session), ttl)
        return blob.session

    async def set_tenant_status(self, tenant: TenantId, status: TenantStatus) -> Down | None:
        """Keep the last known state of a tenant."""
        return await self.asked(lambda: self._set_status(tenant, status))

    def _set_status(self, tenant: TenantId, status: TenantStatus) -> None:
        self._journal.wrote(partial(setattr, self, "_status", self._status))
        self._status = {**self._status, tenant: status}

    async def jti_memory(self) -> JtiMemory | Down:
        """How proofs are remembered now."""
        return await self.asked(self._proofs.memory)

    async def remember_jtis(self, mode: JtiMode, *, instead_of: JtiMode) -> bool | Down:
        """Remember them otherwise from now on."""
        return await self.asked(lambda: self._proofs.turn(mode, instead_of))

    async def attend(self, process: str, ttl: float, *, day: int, sent: int) -> Attendance | Down:
        """That process is here, and has sent so much more."""
        return await self.asked(lambda: self._attend(process, ttl, day, sent))

    def _attend(self, process: str, ttl: float, day: int, sent: int) -> Attendance:
        self._processes.put(process, True, ttl)
        total = (self._sent.get(day) or 0) + sent
        self._sent.put(day, total, DAY_KEPT)
        return Attendance(len(self._processes.values()), total)

    async def size(self) -> Size | Down:
        """About what a Redis would hold."""
        return await self.asked(lambda: Size(self._proofs.used + BLOB_BYTES * len(self.blobs), self.most, 0, 0))

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        return await self.asked(lambda: None)
