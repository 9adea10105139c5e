"""The tier's marks of sessions that have ended, made again at a primary that has not got them (F-19).

A mark that was acknowledged and had not reached the standby is lost when that takes over, and the session's blob is
back. Whoever ended it, or heard the word, remembers so (`standing.Ended`); a server that starts later does not, and
would let its token in until that ends. So who remembers makes the mark again: of all that ended here since shortly
before the old primary was last known to live. Several do so at once; the mark is the same.

Where nobody is left who remembers, nothing is to be done: iam has revoked the session, its token ends within minutes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from bff.facts.events import MarksMadeAgain
from bff.gate.standing import ENDED_SECONDS
from bff.model import Down
from nurseries import tell, within

if TYPE_CHECKING:
    from bff.gate.standing import Ended
    from bff.model import SessionId, TenantId
    from bff.stores.tier import SessionTier

LOOK: Final = 2.0  # seconds between two looks whether the line is still the same
PATIENCE: Final = 0.5  # for one question
TAIL: Final = 10.0  # seconds that a standby may be behind


class Marks:
    """Those of the sessions in `ended`, in `tier`."""

    def __init__(self, tier: SessionTier, ended: Ended) -> None:
        self._tier = tier
        self._ended = ended
        self._line = tier.connections
        self._sound = -math.inf  # when its primary was last known to live

    async def serve(self) -> None:
        """Look after them for ever; a service for an owner."""
        while True:
            await trio.sleep(LOOK)
            await self.turn()

    async def turn(self) -> None:
        """Look once. What could not be made again now is by the next turn."""
        asked = trio.current_time()
        answer: Down | None = Down("not in time")
        with within(PATIENCE):
            answer = await self._tier.ping()
        line = self._tier.connections
        if answer is not None or (line != self._line and not await self._made_again()):
            return
        self._line, self._sound = line, asked

    async def _made_again(self) -> bool:
        lost = self._ended.since(self._sound - TAIL)
        for tenant, session in lost:
            if not await self._marked(tenant, session):
                return False
        if lost:
            tell(MarksMadeAgain(len(lost)))
        return True

    async def _marked(self, tenant: TenantId, session: SessionId) -> bool:
        with within(PATIENCE):
            return await self._tier.revoke(tenant, session, ENDED_SECONDS) is None
        return False
