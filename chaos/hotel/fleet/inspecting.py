"""Somebody who audits while a plan is played: he reads the ledger as it is written, and what the estate counts.

    inspector every=1

His lane is `audit`. `wrote` is a row of the trail about a lock action, `broke` one that is not what it should be,
`begins` when he has seen how things stood before,
`counted` what there is: how complete the trail is, how many keys nobody knows the outcome of, how many letters wait and
are dead, and the effects of each action since he began. While the ledger does not answer he says `silent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from bff.model import Down, TenantId
from bff.stores.trail import HOUSE, TrailRow
from bff.writes.actions import ACTIONS
from bff.writes.audit import Chain, Entry
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.history import History, Moment
    from chaos.hotel.stage import HotelStage
    from chaos.plan import Work

LANE: Final = "audit"
GRACE: Final = 30.0  # seconds after its intent at which an outcome is due
ROWS: Final = 500  # of a trail at a time
KEYS: Final = 1000  # without an outcome are counted; more are as bad
STORE_SECONDS: Final = 5.0
BEGINS: Final = "begins"


async def inspector(stage: HotelStage, history: History, work: Work) -> None:
    """Looks again and again, and at the trail whenever there are new rows."""
    every = work.number("every", 1.0)
    audit = Audit(stage, history)
    while True:
        await audit.turn()
        await trio.sleep(every)


async def counted_from_here(history: History) -> None:
    """Wait till the auditor has seen how things stood before: what is done sooner, he does not count.

    A plan without one has nothing to wait for, and waits `STORE_SECONDS`.
    """
    there = trio.Event()

    def seen(moment: Moment) -> None:
        if moment.lane == LANE and moment.word == BEGINS:
            there.set()

    history.watch(seen)
    if not any(moment.lane == LANE and moment.word == BEGINS for moment in history.moments):
        with within(STORE_SECONDS):
            await there.wait()


class Audit:
    """What he knows: how far he has followed each trail, and what there was when he came."""

    def __init__(self, stage: HotelStage, history: History) -> None:
        self._stage = stage
        self._history = history
        self._chains: dict[TenantId, Chain] = {}
        self._effects: Mapping[str, int] = {}
        self._dead = 0
        self._begun = False

    async def turn(self) -> None:
        """One look at everything; the first that succeeds says from where on he counts."""
        said: Down | None = Down("no answer in time")
        with within(STORE_SECONDS):
            said = await (self._followed() if self._begun else self._begin()) or await self._counted()
        if said is not None:
            self._history.note(LANE, "silent", said.why)

    async def _begin(self) -> Down | None:
        backlog = await self._stage.ledger.backlog()
        ends = await self._stage.ledger.ends_of_trails()
        if isinstance(backlog, Down):
            return backlog
        if isinstance(ends, Down):
            return ends
        self._dead, self._effects = backlog.dead, await self._done_so_far()
        for end in ends:
            self._begins(end.tenant, end)
        self._begun = True
        self._history.note(LANE, BEGINS)
        return None

    def _begins(self, tenant: TenantId, end: TrailRow | None = None) -> Chain:
        chain = self._chains[tenant] = Chain(tenant)
        if end is not None:
            chain.seq, chain.hash = end.seq, end.hash
        return chain

    async def _followed(self) -> Down | None:
        """Every new row of every trail, in order."""
        ledger = self._stage.ledger
        ends = await ledger.ends_of_trails()
        if isinstance(ends, Down):
            return ends
        for end in ends:
            chain = self._chains.get(end.tenant) or self._begins(end.tenant)
            while chain.seq < end.seq:
                rows = await ledger.trail(end.tenant, after=chain.seq, limit=ROWS)
                if isinstance(rows, Down):
                    return rows
                if not self._read(chain, rows):
                    return None
        return None

    def _read(self, chain: Chain, rows: tuple[TrailRow, ...]) -> bool:
        broken = chain.follow(rows)
        if broken is not None or not rows:
            why = f"row {broken.seq}: {broken.why}" if broken else "rows that were there are gone"
            self._history.note(LANE, "broke", f"{chain.tenant}: {why}", good=False)
            return False
        for row in rows if chain.tenant != HOUSE else ():
            entry = msgspec.json.decode(row.entry, type=Entry)
            said: dict[str, Any] = {"kind": entry.kind, "action": entry.action, "key": entry.key}
            text = f"{entry.kind} {entry.action} {entry.key} {entry.outcome}".rstrip()
            self._history.note(LANE, "wrote", text, outcome=entry.outcome, status=entry.status, **said)
        return True

    async def _counted(self) -> Down | None:
        ledger = self._stage.ledger
        whole = await ledger.lock_completeness(grace=GRACE)
        unsettled = await ledger.unsettled(older_than=0.0, limit=KEYS)
        backlog = await ledger.backlog()
        if isinstance(whole, Down):
            return whole
        if isinstance(unsettled, Down):
            return unsettled
        if isinstance(backlog, Down):
            return backlog
        now = await self._done_so_far()
        effects = {name: count - self._effects[name] for name, count in now.items() if count != self._effects[name]}
        told: dict[str, Any] = {"complete": whole.ratio, "gaps": whole.gaps, "unsettled": len(unsettled)}
        left: dict[str, Any] = {"waiting": backlog.depth, "dead": backlog.dead - self._dead}
        text = f"{whole.ratio:.0%} complete, {len(unsettled)} unsettled, {backlog.depth} to be told"
        self._history.note(LANE, "counted", text, good=whole.ratio == 1.0, effects=effects, **told, **left)
        return None

    async def _done_so_far(self) -> Mapping[str, int]:
        """Effects of each action, as the estate has counted them."""
        counters = await self._stage.counters()
        asked = {name: (action.operation.service, action.operation.name) for name, action in ACTIONS.items()}
        return {name: counters[service][what]["effects"] for name, (service, what) in asked.items()}
