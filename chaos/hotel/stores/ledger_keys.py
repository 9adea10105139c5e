"""The idempotency keys of a simulated ledger: what `bff.stores.postgres_keys` does, by the same port."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import trio

from bff.stores.keys import Busy, Claimed, InFlight, KeysSince, Outcomes, Recorded, Reused, Spent, Unsettled
from chaos.hotel.stores.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bff.model import Down
    from bff.stores.keys import Before, Claiming, KeptAnswer, KeyId, Recording, State, Verdict
    from chaos.hotel.stores.journal import Journal
    from chaos.hotel.stores.ledger import SimLedger
    from chaos.hotel.stores.ledger_mirrors import MirrorTables
    from chaos.hotel.stores.ledger_outbox import OutboxTables
    from chaos.hotel.stores.ledger_trail import TrailTables

ACTION: Final = re.compile(rb'"action":"([^"]+)"')  # as the real one finds it in what it keeps of a request


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept. Times are Trio's; `turn` says which of two that were claimed at one moment came first."""

    asked: Claiming
    state: Literal["in-flight"] | State
    fence: int
    first: float
    claimed: float
    until: float
    turn: int
    answer: KeptAnswer | None = None

    @property
    def held(self) -> bool:
        """Somebody is at it, and his lease runs."""
        return self.state == "in-flight" and self.until > trio.current_time()

    @property
    def before(self) -> Before:
        """What it is to who claims it now."""
        assert self.state != "recorded", "it is replayed, and never claimed"
        return "abandoned" if self.state == "in-flight" else self.state


@dataclass(frozen=True, slots=True)
class Burnt:
    """A second factor that was spent on `key`, at `at` on Trio's clock."""

    key: KeyId
    at: float


class KeyTables:
    """What is kept of keys, and what is written with them."""

    def __init__(self, journal: Journal, trail: TrailTables, outbox: OutboxTables, mirrors: MirrorTables) -> None:
        self._keys: Rows[KeyId, Key] = Rows(journal)
        self.pending: Rows[KeyId, Key] = Rows(journal)  # those of them; few, where the others are many
        self._spent: Rows[str, Burnt] = Rows(journal)
        self._trail, self._outbox, self._mirrors = trail, outbox, mirrors
        self._turns = 0

    def claim(self, asked: Claiming) -> Verdict:
        """Claim a key, if it is to be had."""
        known = self._keys.get(asked.id)
        return self._refused(asked, known) or self._claimed(asked, known)

    def _refused(self, asked: Claiming, known: Key | None) -> Verdict | None:
        now = trio.current_time()
        if known is not None:
            if known.asked.fingerprint != asked.fingerprint:
                return Reused()
            if known.answer is not None:
                return Recorded(known.answer)
            if known.held:
                return InFlight(known.until - now)
        if busy := [key.until for key in self.pending.values() if key.held and _meet(key.asked, asked)]:
            return Busy(max(busy) - now)
        if known is None and asked.attestation is not None:
            burnt = self._spent.get(asked.attestation)
            if burnt is not None and burnt.key != asked.id:
                return Spent()
        return None

    def _claimed(self, asked: Claiming, known: Key | None) -> Claimed:
        before: Before = known.before if known is not None else "new"
        abandoned = (asked.abandoned,) if asked.abandoned is not None and before == "abandoned" else ()
        intent = (asked.intent,) if asked.intent is not None else ()
        self._trail.add(asked.id.tenant, (*abandoned, *intent))
        now = trio.current_time()
        if known is None and asked.attestation is not None and self._spent.get(asked.attestation) is None:
            self._spent.put(asked.attestation, Burnt(asked.id, now))
        self._turns += 1
        fence = known.fence + 1 if known is not None else 1
        first = known or Key(asked, "in-flight", fence, now, now, now, 0)
        lease = now + asked.lease
        self._keep(replace(first, state="in-flight", fence=fence, claimed=now, until=lease, turn=self._turns))
        return Claimed(fence, before)

    def _keep(self, key: Key) -> None:
        self._keys.put(key.asked.id, key)
        if _is_certain(key):
            self.pending.drop(key.asked.id)
        else:
            self.pending.put(key.asked.id, key)

    def record(self, what: Recording) -> bool:
        """Write what became of a claim, and what belongs to it."""
        known = self._keys.get(what.id)
        if known is None or known.fence != what.fence:
            return False
        if known.state != "in-flight":
            return known.state == what.state and known.answer == what.answer
        self._trail.add(what.id.tenant, what.trail)
        self._outbox.write(what.letters)
        if what.mirror is not None:
            self._mirrors.keep(what.mirror)
        self._keep(replace(known, state=what.state, answer=what.answer))
        return True

    def spent_on(self, attestation: str) -> KeyId | None:
        """The key that a second factor was spent on."""
        burnt = self._spent.get(attestation)
        return burnt.key if burnt is not None else None

    def unsettled(self, older_than: float, limit: int) -> tuple[Unsettled, ...]:
        """Keys whose outcome nobody knows."""
        now = trio.current_time()
        found = [key for key in self.pending.values() if _is_unsettled(key, now - older_than)]
        found.sort(key=lambda key: key.turn)
        return tuple(_unsettled(key, now) for key in found[:limit])

    def trim(self, older_than: float, limit: int) -> int:
        """Forget what is old and certain."""
        until = trio.current_time() - older_than
        old = [key for key in self._keys.values() if key.first < until and _is_certain(key)]
        old.sort(key=lambda key: key.first)
        over = [(name, burnt) for name, burnt in self._spent.items() if burnt.at < until and self._is_over(burnt.key)]
        over.sort(key=lambda named: named[1].at)
        for key in old[:limit]:
            self._keys.drop(key.asked.id)
        for name, _ in over[:limit]:
            self._spent.drop(name)
        return len(old[:limit])

    def _is_over(self, id_: KeyId) -> bool:
        key = self._keys.get(id_)
        return key is None or _is_certain(key)

    def since(self, moment: float | None) -> KeysSince:
        """What became of keys that were claimed first after that moment."""
        refused: Counter[str] = Counter()
        others: Counter[str] = Counter()
        for key in self._keys.values() if moment is not None else ():
            found = ACTION.search(key.asked.request)
            if found is not None and key.first > (moment or 0.0):
                at_fault = key.answer is not None and 400 <= key.answer.status <= 499
                (refused if at_fault else others)[found[1].decode()] += 1
        actions = {action: Outcomes(refused[action], others[action]) for action in sorted({*refused, *others})}
        return KeysSince(trio.current_time(), actions)

    def of_locks(self) -> Iterator[tuple[KeyId, float]]:
        """The keys of lock actions, and when each was claimed first."""
        return ((key.asked.id, key.first) for key in self._keys.values() if key.asked.aggregates[0].startswith("lock:"))


def _meet(one: Claiming, other: Claiming) -> bool:
    """One operator's, of one aggregate, and not the same mutation."""
    if (one.id.tenant, one.id.operator) != (other.id.tenant, other.id.operator) or one.id == other.id:
        return False
    return not set(one.aggregates).isdisjoint(other.aggregates)


def _is_certain(key: Key) -> bool:
    return key.state in ("recorded", "open")


def _is_unsettled(key: Key, claimed_before: float) -> bool:
    if key.state == "in-flight":
        return not key.held
    return key.state == "uncertain" and key.claimed < claimed_before


def _unsettled(key: Key, now: float) -> Unsettled:
    asked = key.asked
    before: Literal["uncertain", "abandoned"] = "uncertain" if key.state == "uncertain" else "abandoned"
    return Unsettled(asked.id, asked.fingerprint, asked.aggregates, asked.request, before, now - key.claimed, key.fence)


class KeysSession:
    """`bff.stores.keys.Keys`, for one process."""

    def __init__(self, store: SimLedger) -> None:
        self.store = store

    async def claim(self, asked: Claiming) -> Verdict | Down:
        """Claim a key, in one commit."""
        return await self.store.asked(lambda: self.store.keys.claim(asked))

    async def record(self, what: Recording) -> bool | Down:
        """Record what became of a claim, in one commit."""
        return await self.store.asked(lambda: self.store.keys.record(what))

    async def spent_on(self, attestation: str) -> KeyId | Down | None:
        """The key that a second factor was spent on."""
        return await self.store.asked(lambda: self.store.keys.spent_on(attestation))

    async def unsettled(self, *, older_than: float, limit: int) -> tuple[Unsettled, ...] | Down:
        """Keys whose outcome nobody knows, eldest first."""
        return await self.store.asked(lambda: self.store.keys.unsettled(older_than, limit))

    async def keys_since(self, moment: float | None) -> KeysSince | Down:
        """What became of keys that were claimed first after `moment`."""
        return await self.store.asked(lambda: self.store.keys.since(moment))

    async def trim_keys(self, *, older_than: float, limit: int) -> int | Down:
        """Forget what is old and certain; how many keys were."""
        return await self.store.asked(lambda: self.store.keys.trim(older_than, limit))
