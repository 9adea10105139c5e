"""The session tier in memory, in virtual time: what `bff.stores.redis_tier` does, by the same port."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bff.model import Down
from bff.stores.tier import Presented, SessionBlob, Standing, TenantStatus
from chaos.hotel.stores.bus import SimBus
from chaos.hotel.stores.expiring import Expiring
from chaos.hotel.stores.faulty import Faulty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bff.model import DeviceId, Jkt, OperatorId, PropertyId, SessionId, TenantId


class SimTier(Faulty):
    """`bff.stores.tier.SessionTier`; what is kept expires on the Trio clock."""

    def __init__(self) -> None:
        super().__init__("redis-session")
        self._proofs: Expiring[tuple[Jkt, str], str] = Expiring(self._journal)
        self._blobs: Expiring[tuple[TenantId, SessionId], SessionBlob] = Expiring(self._journal)
        self._revoked: Expiring[tuple[TenantId, SessionId], bool] = Expiring(self._journal)
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
        name = (proof.jkt, proof.jti)
        if self._proofs.get(name) is None:
            self._proofs.put(name, proof.nonce, proof.ttl)
        fresh = self._proofs.get(name) == proof.nonce
        status = self._status.get(proof.tenant) if proof.tenant else None
        if not (proof.tenant and proof.session):
            return Standing(fresh, False, status, None)
        whose = (proof.tenant, proof.session)
        return Standing(fresh, self._revoked.get(whose) is not None, status, self._blobs.get(whose))

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

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        return await self.asked(lambda: None)
