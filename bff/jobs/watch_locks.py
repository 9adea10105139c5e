"""Looks whether every lock action is in the audit trail, and freezes the lock proxy when one is not (F-27).

    every instance    counts, for its own metric
    the leader        trips the switch `locks` when more is missing than a person knew when he lifted it last, and signs
                      where the trails end

What was frozen stays so until a person has looked and says why it may go on: a job cannot know what became of a row
that is not there. Gaps that he knew of do not freeze it again; a new one does.

A signature is made for each trail that has grown, once a minute: rows taken off its end after that can be told.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.facts import LockAuditMeasured
from bff.jobs.asking import in_time
from bff.model import Down
from bff.writes.audit import signed
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from bff.stores.ledger import Ledger
    from bff.stores.switches import Switches
    from bff.stores.trail import Completeness

JOB: Final = "lock-audit"
EVERY: Final = 15.0  # seconds: an eighth of the two minutes in which a gap has to be noticed
GRACE: Final = 30.0  # seconds that an outcome has: its claim's lease, and the job that settles what is left of it
SIGN_EVERY: Final = 60.0  # seconds
SHOWN: Final = 3  # gaps named in the reason


class LockWatch:
    """Watches the trail. `now` gives POSIX seconds; without a `key` nothing is signed."""

    def __init__(
        self, ledger: Ledger, switches: Switches, now: Callable[[], float], key: Ed25519PrivateKey | None
    ) -> None:
        self._ledger = ledger
        self._switches = switches
        self._now = now
        self._key = key
        self._signed: dict[str, int] = {}
        self._sign_at = 0.0

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            began = trio.current_time()
            await self.turn()
            await trio.sleep_until(began + EVERY)

    async def turn(self) -> None:
        """Count; trip and sign where this process leads. With the ledger down the last figure stands."""
        counted = await in_time(partial(self._ledger.lock_completeness, grace=GRACE))
        if isinstance(counted, Down):
            return
        tell(LockAuditMeasured(counted.expected, counted.present))
        if not isinstance(await in_time(partial(self._ledger.lead, JOB)), int):
            return
        await self._freeze(counted)
        if self._key is not None and trio.current_time() >= self._sign_at:
            await self._sign(self._key)

    async def _freeze(self, counted: Completeness) -> None:
        missing = counted.expected - counted.present
        if missing <= self._switches.switch("locks").mark or self._switches.frozen:
            return
        why = f"{missing} of {counted.expected} are missing: {'; '.join(counted.gaps[:SHOWN])}"[:500]
        await in_time(partial(self._trip, why, missing))

    async def _trip(self, why: str, missing: int) -> Down | None:
        turned = await self._switches.trip("locks", by=JOB, why=why, mark=missing)
        return turned if isinstance(turned, Down) else None

    async def _sign(self, key: Ed25519PrivateKey) -> None:
        ends = await in_time(self._ledger.ends_of_trails)
        if isinstance(ends, Down):
            return
        for end in ends:
            if self._signed.get(end.tenant, 0) >= end.seq:
                continue
            if isinstance(await in_time(partial(self._ledger.sign, signed(end, self._now(), key))), Down):
                return
            self._signed[end.tenant] = end.seq
        self._sign_at = trio.current_time() + SIGN_EVERY
