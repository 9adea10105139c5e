"""Whether the ledger says all there is to say: an unbroken trail, no outcome unknown, nothing that waits to be told.

Of one lock action the trail has an intent before anything is sent, and an outcome after it before the next intent; one
that is uncertain has another outcome once it is known. What went wrong meanwhile is nothing that is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from bff.model import Down, OperatorId, TenantId
from bff.stores.keys import KeyId
from bff.writes.actions import ACTIONS
from bff.writes.audit import Chain, Entry

if TYPE_CHECKING:
    from bff.stores.ledger import Ledger
    from chaos.hotel.estate.service import Call, Handler, Operation, Reply, Service

T = TypeVar("T")

ROWS: Final = 10_000  # of a trail: no world leaves more
KEYS: Final = 1_000
LOCKS: Final = frozenset(action.operation.name for action in ACTIONS.values() if action.audited)


async def judge_ledger(ledger: Ledger, tenant: TenantId, succeeded: Set[str]) -> None:
    """What is there when all is calm. `succeeded` are the keys of lock actions that were answered with success.

    Raises `AssertionError`; needs a finite deadline above it and raises `nurseries.Unbounded` without one.
    """
    rows = _said(await ledger.trail(tenant, after=0, limit=ROWS))
    broken = Chain(tenant).follow(rows)
    assert broken is None, f"the trail is broken: {broken}"
    judge_turns([msgspec.json.decode(row.entry, type=Entry) for row in rows], succeeded)
    measured = _said(await ledger.lock_completeness(grace=0.0))
    assert measured.ratio == 1.0, f"the trail has gaps: {measured.gaps}"
    open_ = _said(await ledger.unsettled(older_than=0.0, limit=KEYS))
    assert not open_, f"nobody knows what came of {[row.id.key for row in open_]}"
    backlog = _said(await ledger.backlog())
    assert (backlog.depth, backlog.dead) == (0, 0), f"not told: {backlog}"


def judge_turns(entries: Iterable[Entry], succeeded: Set[str]) -> None:
    """Raises `AssertionError` for an intent without its outcome, an outcome without its intent, or one too many."""
    said: dict[str, list[str]] = {}
    for entry in entries:
        if entry.kind in {"intent", "outcome"}:
            said.setdefault(entry.key, []).append(entry.outcome or entry.kind)
    for key, words in said.items():
        for before, word in zip(["", *words], words, strict=False):
            fits = before not in {"intent", "success"} if word == "intent" else before in {"intent", "uncertain"}
            assert fits, f"the trail says of {key}: {words}"
        assert words[-1] in {"success", "failure"}, f"the trail says of {key}: {words}"
    done = {key for key, words in said.items() if words[-1] == "success"}
    assert done == succeeded, f"the trail says that {sorted(done)} were done, and desks heard it of {sorted(succeeded)}"


class Witness:
    """Stands at the locks' service. `intended` says whether the trail has an intent of a key.

    `unasked` are the keys of what was done there without one.
    """

    def __init__(self, service: Service, intended: Callable[[KeyId], bool]) -> None:
        self.unasked: list[str] = []
        self._intended = intended
        service.operations = tuple(self._watched(one) if one.name in LOCKS else one for one in service.operations)

    def _watched(self, operation: Operation) -> Operation:
        return replace(operation, handler=self._seeing(operation.handler))

    def _seeing(self, handler: Handler) -> Handler:
        def seen(call: Call) -> Reply:
            if not self._intended(KeyId(TenantId(call.tenant), OperatorId(call.operator), call.key or "")):
                self.unasked.append(call.key or "(no key)")
            return handler(call)

        return seen


def _said(answer: T | Down) -> T:
    assert not isinstance(answer, Down), f"the ledger does not answer: {answer.why}"
    return answer
