"""Whose session is over, asked of the session tier now and then, in case nobody has heard the word (F-31).

    who listens here ──every 5 s──► which of their sessions are over? ──► their streams end, their polls are answered

`Ended` goes by once, on a bus that may be down in that moment, or may lose it when it fails over. The mark that the
session bears in the tier stays, and where it could not be made it is insisted on: so this finds it soon, wherever the
stream is. With the tier down nobody is judged; a stream ends with its token at the latest.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

import trio

from bff.model import Down
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bff.model import SessionId, TenantId
    from bff.stores.tier import SessionTier

ASK_SECONDS: Final = 5.0  # between two turns
BATCH: Final = 256  # sessions asked for together
STORE_SECONDS: Final = 0.5  # for one batch


class Audience(Protocol):
    """Desks that listen here."""

    def sessions(self) -> Iterable[tuple[TenantId, SessionId]]:
        """Theirs."""
        ...

    def end_session(self, tenant: TenantId, session: SessionId) -> None:
        """That one is over. Nothing happens where nobody listens by it."""
        ...


class Backstop:
    """Of all `audiences` of this instance."""

    def __init__(self, tier: SessionTier, *audiences: Audience) -> None:
        self._tier = tier
        self._audiences = audiences

    def end_session(self, tenant: TenantId, session: SessionId) -> None:
        """That one is over, and whoever listens by it here need not wait until that comes back over the bus."""
        for audience in self._audiences:
            audience.end_session(tenant, session)

    async def serve(self) -> None:
        """Ask for ever; a service for an owner."""
        while True:
            await trio.sleep(ASK_SECONDS)
            await self.turn()

    async def turn(self) -> None:
        """Ask for all who listen now. Those for whom the tier cannot be asked are asked for by the next turn."""
        listening = list(dict.fromkeys(chain.from_iterable(one.sessions() for one in self._audiences)))
        for at in range(0, len(listening), BATCH):
            batch = listening[at : at + BATCH]
            ended = await self._ask(batch)
            if isinstance(ended, Down):
                return
            for (tenant, session), over in zip(batch, ended, strict=True):
                if over:
                    self.end_session(tenant, session)

    async def _ask(self, batch: Sequence[tuple[TenantId, SessionId]]) -> tuple[bool, ...] | Down:
        with within(STORE_SECONDS):
            return await self._tier.ended(batch)
        return Down(f"no answer within {STORE_SECONDS} s")
