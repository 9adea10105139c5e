"""Looks whether every lock action is in the audit trail, and freezes the lock proxy when one is not (F-27).

    every instance    counts, for its own metric, and remembers for how long more has been missing than was known
    the leader        trips the switch `locks` when that has been so for long enough, and signs where the trails end

Long enough is as long as an outcome may take, without a break. While all servers or the ledger were away nobody could
write outcomes; what was left is settled in the first seconds after, and nobody should have to lift a freeze for that.
So it takes at most 75 s until an outcome that is missing has frozen the proxy, and 45 s for any other row.

What was frozen stays so until a person has looked and says why it may go on: a job cannot know what became of a row
that is not there. Gaps that were known when it froze do not freeze it again; a new one does.

A signature is made for each trail that has grown, once a minute: rows taken off its end after that can be told.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.facts import LockAuditMeasured, LockAuditUnseen
from bff.jobs.asking import in_time
from bff.model import Down
from bff.stores.switches import SAID_AT_MOST
from bff.writes.audit import signed
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from bff.stores.ledger import Ledger
    from bff.stores.switchboard import Switch
    from bff.stores.switches import Switches
    from bff.stores.trail import Completeness

JOB: Final = "lock-audit"
EVERY: Final = 15.0  # seconds: an eighth of the two minutes in which a gap has to be noticed
GRACE: Final = 30.0  # seconds that an outcome has: its claim's lease, and the job that settles what is left of it
STANDS: Final = GRACE  # seconds for which a gap is seen, at every look, before the proxy is frozen for it
SIGN_EVERY: Final = 60.0  # seconds
SHOWN: Final = 3  # gaps named in the reason


class Gaps:
    """Whether more is missing than was known, and has been for as long as it takes to count.

    Known is what was missing when the switch was tripped last (its `mark`), or the least that was missing since it was
    turned: what has been found in the meantime may not hide what is lost after it.
    """

    def __init__(self) -> None:
        self._switch: Switch | None = None
        self._known = 0
        self._named: frozenset[str] = frozenset()
        self._since = math.inf  # Trio time since when there is more

    def stand(self, counted: Completeness, switch: Switch, now: float) -> bool:
        """Whether it is so now, which is `now` in Trio time."""
        missing = counted.expected - counted.present
        self._known = min(missing, self._known if switch == self._switch else switch.mark)
        self._switch = switch
        if missing > self._known:
            self._since = min(self._since, now)
        else:
            self._named, self._since = frozenset(counted.gaps), math.inf
        return now - self._since >= STANDS

    def unseen(self) -> None:
        """Nobody could look: whoever settles what others have left could not either, and has all his time again."""
        self._since = math.inf

    def newest(self, counted: Completeness) -> list[str]:
        """The gaps there are, those first that were not known."""
        return sorted(counted.gaps, key=lambda gap: gap in self._named)


class LockWatch:
    """Watches the trail. `now` gives POSIX seconds; without a `key` nothing is signed."""

    def __init__(
        self, ledger: Ledger, switches: Switches, now: Callable[[], float], key: Ed25519PrivateKey | None
    ) -> None:
        self._ledger = ledger
        self._switches = switches
        self._now = now
        self._key = key
        self._gaps = Gaps()
        self._signed: dict[str, int] = {}
        self._sign_at = 0.0

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            began = trio.current_time()
            await self.turn()
            await trio.sleep_until(began + EVERY)

    async def turn(self) -> None:
        """Count; trip and sign where this process leads. With the ledger down the last figure stands: it is told."""
        counted = await in_time(partial(self._ledger.lock_completeness, grace=GRACE))
        if isinstance(counted, Down):
            self._gaps.unseen()
            tell(LockAuditUnseen())
            return
        tell(LockAuditMeasured(counted.expected, counted.present))
        stand = self._gaps.stand(counted, self._switches.switch("locks"), trio.current_time())
        if not isinstance(await in_time(partial(self._ledger.lead, JOB)), int):
            return
        if stand and not self._switches.frozen:
            await self._freeze(counted)
        if self._key is not None and trio.current_time() >= self._sign_at:
            await self._sign(self._key)

    async def _freeze(self, counted: Completeness) -> None:
        missing = counted.expected - counted.present
        why = f"{missing} of {counted.expected} are missing: {'; '.join(self._gaps.newest(counted)[:SHOWN])}"
        shown = "".join(letter if letter.isprintable() else "?" for letter in why)
        await in_time(partial(self._trip, shown[:SAID_AT_MOST], missing))

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
