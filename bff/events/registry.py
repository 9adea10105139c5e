"""One stream per device, on whichever instance (F-26): who holds it is known in the session tier.

    take    a token greater than any before; the word goes round, and whoever holds a smaller one ends its stream
    renew   all that this instance holds, every few seconds: what somebody else has taken meanwhile is lost, in case the
            word was; what the tier has lost is put back
    leave   with the next turn

So of two instances that accept at once both hold a token, and one of them the smaller; it hears the word, or is told
when it renews. A tier that fails over may have forgotten the greater one: tokens grow with the clock, so that the next
is greater still, and the first to renew puts its own back unless a greater one is there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from bff.model import Down
from bff.stores.bus import Held
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.model import DeviceId, TenantId
    from bff.outside import Outside
    from bff.stores.bus import Bus

RENEW_SECONDS: Final = 5.0  # between two turns: less than one heartbeat, and so is what follows
HOLD_SECONDS: Final = 45.0  # that a token is known after its last turn
BATCH: Final = 256  # renewed together
STORE_SECONDS: Final = 0.5
LEFT: Final = 4_096  # that wait to be forgotten; those beyond go by their time

Key: TypeAlias = "tuple[TenantId, DeviceId]"


class Registry:
    """What this instance holds. `lost` is called for a stream that is somebody else's by now."""

    def __init__(self, bus: Bus, outside: Outside) -> None:
        self._bus = bus
        self._outside = outside
        self._held: dict[Key, Held] = {}
        self._left: deque[Held] = deque(maxlen=LEFT)
        self.lost: Callable[[Held], None] = _nobody

    async def take(self, tenant: TenantId, device: DeviceId) -> Held | Down:
        """Be the one who holds this device's stream. Raises `nurseries.Unbounded` without a deadline above it."""
        token = await self._bus.take(tenant, device, now=self._outside.now(), ttl=HOLD_SECONDS)
        if isinstance(token, Down):
            return token
        held = Held(tenant, device, token)
        known = self._held.get((tenant, device))
        if known is None or known.token < token:
            self._held[tenant, device] = held
        return held

    def leave(self, held: Held) -> None:
        """It is not held any more."""
        if self._held.get((held.tenant, held.device)) == held:
            del self._held[held.tenant, held.device]
            self._left.append(held)

    async def serve(self) -> None:
        """Renew for ever; a service for an owner."""
        while True:
            await trio.sleep(RENEW_SECONDS)
            await self.turn()

    async def turn(self) -> None:
        """Renew all, and forget those that were left. What the tier cannot be asked now, the next turn asks."""
        left, self._left = self._left, deque(maxlen=LEFT)
        held = list(self._held.values())
        for at in range(0, len(held), BATCH):
            with within(STORE_SECONDS):
                await self._renew(held[at : at + BATCH])
        if left:
            with within(STORE_SECONDS):
                await self._bus.leave(tuple(left))

    async def _renew(self, held: list[Held]) -> None:
        answer = await self._bus.renew(held, ttl=HOLD_SECONDS)
        if isinstance(answer, Down):
            return
        for mine, kept in zip(held, answer, strict=True):
            if not kept and self._held.get((mine.tenant, mine.device)) == mine:
                del self._held[mine.tenant, mine.device]
                self.lost(mine)


def _nobody(_: Held) -> None:
    """Nobody wants to know."""
