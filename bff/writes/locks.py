"""What a lock action leaves in the audit trail (F-10, F-27), and when it may be done at all.

    claim    ─► intent       committed with the key, before a byte is sent
    record   ─► outcome      committed with the answer: success, failure, or uncertain
    settled  ─► outcome      of one that was uncertain, by asking the service for it by its key

Nobody sends a lock action whose intent is not committed. Whoever takes over from an owner who said nothing writes that
one's outcome first: uncertain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bff.outside import rfc3339
from bff.writes.audit import Entry, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bff.stores.keys import KeyId
    from bff.writes.actions import Action, Request
    from bff.writes.conclusion import Conclusion

ABANDONED = "its server said nothing before its lease ran out"


def intent(action: Action, key: KeyId, request: Request, now: float) -> str:
    """Before it is sent; `now` in POSIX seconds, as everywhere here."""
    said = _said(request)
    return written(
        Entry(
            kind="intent",
            at=rfc3339(now),
            action=action.name,
            operator=key.operator,
            key=key.key,
            resource=resource(action, request.fields),
            device=request.device,
            session=request.session,
            reason=said.get("reason", ""),
            reservation=said.get("reservationId", ""),
        )
    )


def outcome(action: Action, key: KeyId, request: Request, now: float, conclusion: Conclusion) -> str:
    """After it was answered, or was not."""
    return _outcome(action, key, request, now, conclusion.outcome, conclusion.status, conclusion.detail)


def abandoned(action: Action, key: KeyId, request: Request, now: float) -> str:
    """Of an owner who did not say what came of it."""
    return _outcome(action, key, request, now, "uncertain", 0, ABANDONED)


def resource(action: Action, fields: Mapping[str, str]) -> str:
    """What is acted on, as the trail and the second factor name it."""
    return action.resource.format_map(fields)


def _outcome(action: Action, key: KeyId, request: Request, now: float, outcome: str, status: int, detail: str) -> str:
    return written(
        Entry(
            kind="outcome",
            at=rfc3339(now),
            action=action.name,
            operator=key.operator,
            key=key.key,
            resource=resource(action, request.fields),
            outcome=outcome,
            status=status,
            detail=detail,
        )
    )


def _said(request: Request) -> dict[str, str]:
    return msgspec.json.decode(request.body, type=dict[str, str])
