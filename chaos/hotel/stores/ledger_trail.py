"""The audit trail of a simulated ledger: what `bff.stores.postgres_trail` does, by the same port."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

import trio

from bff.stores.trail import BEGINNING, GAPS, LOOKED_BACK, Completeness, TrailRow, link
from chaos.hotel.stores.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bff.model import Down, TenantId
    from bff.stores.keys import KeyId
    from bff.stores.trail import Checkpoint
    from chaos.hotel.stores.journal import Journal
    from chaos.hotel.stores.ledger import SimLedger

Action: TypeAlias = "tuple[TenantId, str | None, str | None]"  # tenant, operator and key


@dataclass(frozen=True, slots=True)
class Written:
    """A row, when it was written, and what the ledger looks at of its entry."""

    row: TrailRow
    at: float
    kind: str | None
    action: Action


class TrailTables:
    """What is kept of trails. `rows` are by tenant and number."""

    def __init__(self, journal: Journal) -> None:
        self.rows: Rows[tuple[TenantId, int], Written] = Rows(journal)
        self._ends: Rows[TenantId, TrailRow] = Rows(journal)
        self._checkpoints: Rows[tuple[TenantId, int], Checkpoint] = Rows(journal)

    def add(self, tenant: TenantId, entries: Iterable[str]) -> None:
        """Add rows; `ValueError`, and none of them, where one is no JSON."""
        for entry, told in [(entry, json.loads(entry)) for entry in entries]:
            known = self._ends.get(tenant)
            end = self._last(tenant, known.seq) if known else None
            seq, previous = (end.seq + 1, end.hash) if end else (1, BEGINNING)
            row = TrailRow(tenant, seq, entry, previous, link(tenant, seq, entry, previous))
            action = (tenant, told.get("operator"), told.get("key"))
            self.rows.put((tenant, seq), Written(row, trio.current_time(), told.get("kind"), action))
            self._ends.put(tenant, row)

    def after(self, tenant: TenantId, number: int, limit: int) -> tuple[TrailRow, ...]:
        """At most `limit` rows numbered above `number`."""
        end = self._ends.get(tenant)
        numbers = range(number + 1, end.seq + 1) if end is not None else ()
        found = (self.rows.get((tenant, seq)) for seq in numbers)
        return tuple(islice((written.row for written in found if written is not None), limit))

    def ends(self) -> tuple[TrailRow, ...]:
        """The last row of each that is there, by tenant."""
        lasts = [(tenant, self._last(tenant, end.seq)) for tenant, end in self._ends.items()]
        return tuple(row for _, row in sorted(lasts, key=itemgetter(0)) if row is not None)

    def _last(self, tenant: TenantId, seq: int) -> TrailRow | None:
        found = (self.rows.get((tenant, number)) for number in range(seq, 0, -1))
        return next((written.row for written in found if written is not None), None)

    def sign(self, checkpoint: Checkpoint) -> None:
        """Keep it, if there is none of its row."""
        place = (checkpoint.tenant, checkpoint.seq)
        if self._checkpoints.get(place) is None:
            self._checkpoints.put(place, checkpoint)

    def checkpoints(self, tenant: TenantId) -> tuple[Checkpoint, ...]:
        """All of a trail, in order."""
        of_it = [checkpoint for checkpoint in self._checkpoints.values() if checkpoint.tenant == tenant]
        return tuple(sorted(of_it, key=lambda checkpoint: checkpoint.seq))

    def completeness(self, claims: Iterable[tuple[KeyId, float]], grace: float) -> Completeness:
        """How whole they are, by the claims of lock actions: each key, and when it was claimed first."""
        now = trio.current_time()
        since = now - LOOKED_BACK
        actions = [(key.tenant, key.operator, key.key) for key, at in claims if at > since]
        known = {written.action for written in self.rows.values() if written.kind == "intent"}
        no_intent = sorted(action for action in actions if action not in known)
        due = [(written, done) for written, done in self._intents() if since < written.at <= now - grace]
        no_outcome = sorted((written.row.tenant, written.row.seq) for written, done in due if not done)
        numbers, holes = self._holes()
        expected = len(actions) + len(due) + numbers
        missing = len(no_intent) + len(no_outcome) + sum(last - first + 1 for _, first, last in holes)
        gaps = [f"{tenant}: no intent of {operator}'s {key}" for tenant, operator, key in no_intent[:GAPS]]
        gaps += [f"{tenant}: no outcome of row {seq}" for tenant, seq in no_outcome[:GAPS]]
        gaps += [f"{tenant}: no rows {first} to {last}" for tenant, first, last in holes[:GAPS]]
        return Completeness(expected, expected - missing, tuple(gaps))

    def _intents(self) -> Iterator[tuple[Written, bool]]:
        """Every intent, and whether there is an outcome of it: one before the next intent."""
        open_: dict[Action, Written] = {}
        for written in self.rows.values():
            if written.kind == "outcome" and written.action in open_:
                yield open_.pop(written.action), True
            elif written.kind == "intent":
                if written.action in open_:
                    yield open_[written.action], False
                open_[written.action] = written
        for written in open_.values():
            yield written, False

    def _holes(self) -> tuple[int, list[tuple[TenantId, int, int]]]:
        """How many numbers there should be, and the runs of those that are not there: tenant, first and last."""
        there: dict[TenantId, list[int]] = {}
        for tenant, seq in (place for place, _ in self.rows.items()):
            there.setdefault(tenant, []).append(seq)
        signed: dict[TenantId, int] = {}
        for tenant, seq in (place for place, _ in self._checkpoints.items()):
            signed[tenant] = max(seq, signed.get(tenant, 0))
        numbers, holes = 0, []
        for tenant in sorted({*there, *signed}):
            seqs = there.get(tenant, [])
            last = max([*seqs, signed.get(tenant, 0)])
            numbers += last
            pairs = zip([0, *seqs], [*seqs, last + 1], strict=True)
            holes += [(tenant, one + 1, next_ - 1) for one, next_ in pairs if next_ - one > 1]
        return numbers, holes


class TrailSession:
    """`bff.stores.trail.Trail`, for one process."""

    def __init__(self, store: SimLedger) -> None:
        self.store = store

    async def add_to_trail(self, tenant: TenantId, entries: tuple[str, ...]) -> Down | None:
        """Add rows, in one commit."""
        return await self.store.asked(lambda: self.store.trail.add(tenant, entries))

    async def trail(self, tenant: TenantId, *, after: int, limit: int) -> tuple[TrailRow, ...] | Down:
        """Rows numbered above `after`, in order."""
        return await self.store.asked(lambda: self.store.trail.after(tenant, after, limit))

    async def ends_of_trails(self) -> tuple[TrailRow, ...] | Down:
        """The last row of every trail."""
        return await self.store.asked(self.store.trail.ends)

    async def sign(self, checkpoint: Checkpoint) -> Down | None:
        """Keep a checkpoint; one for the same row is there once."""
        return await self.store.asked(lambda: self.store.trail.sign(checkpoint))

    async def checkpoints(self, tenant: TenantId) -> tuple[Checkpoint, ...] | Down:
        """Every checkpoint of a trail, in order."""
        return await self.store.asked(lambda: self.store.trail.checkpoints(tenant))

    async def lock_completeness(self, *, grace: float) -> Completeness | Down:
        """Look at every lock action of the last eight days."""
        return await self.store.asked(lambda: self.store.trail.completeness(self.store.keys.of_locks(), grace))
