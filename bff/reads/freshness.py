"""ok, stale or skeleton: one rule for everything that is read and may be kept.

    kept, younger than fresh             ok, and nobody is asked
    the service answered                 ok, and the answer is kept
    it did not; kept, younger than keep  stale, with the time at which it was true
    it did not; nothing kept             skeleton, with the reason

What is kept is the answer as it came, and it is parsed again when it is read: a deployment that changed a struct, or a
key that met another tenant's answer, shows as a miss and never as data (F-30). What is kept is renewed once it is older
than a part of its keep, so that a busy desk does not write the same board at each look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bff.stores.cache import Entry, Kept
from bff.upstreams.client import Got, Missed, Reason
from bff.upstreams.drift import Drift, parsed

if TYPE_CHECKING:
    from bff.model import TenantId
    from bff.reads.widgets import Whose, Widget

RENEW_PART = 1 / 12


@dataclass(frozen=True, slots=True)
class Remembered:
    """A kept answer that still parses: `age` in seconds."""

    value: Any
    as_of: float
    age: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What a widget shows: `status` ok, stale or skeleton; `data` and `as_of` of the first two, else `reason`."""

    status: str
    data: Any = None
    as_of: float | None = None
    reason: str = ""


def remembered(widget: Widget, kept: Kept | None, tenant: TenantId, now: float) -> Remembered | None:
    """What is kept for `widget` if it may still be shown at all at `now`, in POSIX seconds."""
    if kept is None:
        return None
    age = max(0.0, now - kept.as_of)
    if age >= widget.keep:
        return None
    value = parsed(kept.body, widget.operation.decoder, tenant)
    return None if isinstance(value, Drift) else Remembered(value, kept.as_of, age)


def fresh(widget: Widget, memory: Remembered | None) -> bool:
    """Whether the service need not be asked."""
    return memory is not None and memory.age < widget.fresh


def shown(widget: Widget, result: Got | Missed | None, memory: Remembered | None) -> Shown:
    """The rule above; `result` is None where nobody was asked."""
    if isinstance(result, Got):
        data = widget.shown(result.value)
        return Shown("ok", data, result.at) if data is not None else Shown("skeleton", reason="SCHEMA_DRIFT")
    if memory is not None and result is None:
        return Shown("ok", widget.shown(memory.value), memory.as_of)
    if memory is not None:
        return Shown("stale", widget.shown(widget.stale(memory.value)), memory.as_of)
    reason = result.reason if result is not None else Reason.UPSTREAM_TIMEOUT
    return Shown("skeleton", reason=reason.value)


def to_keep(widget: Widget, whose: Whose, result: Got | Missed | None, memory: Remembered | None) -> Entry | None:
    """What is to be written after the answer, if anything."""
    if not (widget.cached and isinstance(result, Got)):
        return None
    if memory is not None and memory.age < widget.keep * RENEW_PART and not widget.fresh:
        return None
    return Entry(widget.key(whose), Kept(result.at, result.body), widget.keep)
