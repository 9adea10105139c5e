"""ok, stale or skeleton: one rule for everything that is read and may be kept.

    kept, younger than fresh             ok, and nobody is asked
    the service answered                 ok, and the answer is kept
    it did not; kept, younger than keep  stale, with the time at which it was true
    it did not; nothing kept             skeleton, with the reason

What is kept is the answer as it came, and it is parsed again when it is read: a deployment that changed a struct, or a
key that met another tenant's answer, shows as a miss and never as data (F-30). It is renewed when the answer differs or
the old one has come of age, so that a busy desk does not write the same board at each look, and what is shown in an
outage is still the last that was known.

Ages are judged when the answer is composed, not when the cache was read: in between lies the whole deadline.
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

RENEW_SECONDS = 1.0  # the same answer is not written again before: so much of its keep may be lost


@dataclass(frozen=True, slots=True)
class Remembered:
    """A kept answer that still parses: true at `as_of`, in POSIX seconds."""

    value: Any
    kept: Kept

    @property
    def as_of(self) -> float:
        return self.kept.as_of

    def age(self, now: float) -> float:
        """Seconds at `now`; none for an answer that an instance with a faster clock has kept."""
        return max(0.0, now - self.kept.as_of)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a widget shows: `status` ok, stale or skeleton; `data` and `as_of` of the first two, else `reason`."""

    status: str
    data: Any = None
    as_of: float | None = None
    reason: str = ""


def remembered(widget: Widget, kept: Kept | None, tenant: TenantId) -> Remembered | None:
    """What is kept for `widget`, if it can be read."""
    if kept is None:
        return None
    value = parsed(kept.body, widget.operation.decoder, tenant)
    return None if isinstance(value, Drift) else Remembered(value, kept)


def fresh(widget: Widget, memory: Remembered | None, now: float) -> bool:
    """Whether the service need not be asked at `now`, in POSIX seconds."""
    return memory is not None and memory.age(now) < widget.fresh


def shown(widget: Widget, result: Got | Missed | None, memory: Remembered | None, now: float) -> Shown:
    """The rule above, at `now`; `result` is None where nobody was asked."""
    if isinstance(result, Got):
        data = widget.shown(result.value)
        return Shown("ok", data, result.at) if data is not None else Shown("skeleton", reason=Reason.SCHEMA_DRIFT.value)
    if memory is not None and result is None:
        return Shown("ok", widget.shown(memory.value), memory.as_of)
    if memory is not None and memory.age(now) < widget.keep:
        return Shown("stale", widget.shown(widget.stale(memory.value)), memory.as_of)
    reason = result.reason if result is not None else Reason.UPSTREAM_TIMEOUT
    return Shown("skeleton", reason=reason.value)


def to_keep(
    widget: Widget, whose: Whose, result: Got | Missed | None, memory: Remembered | None, now: float
) -> Entry | None:
    """What is to be written after the answer, if anything."""
    if not (widget.cached and isinstance(result, Got)):
        return None
    if memory is not None and memory.kept.body == result.body and memory.age(now) < RENEW_SECONDS:
        return None
    return Entry(widget.key(whose), Kept(result.at, result.body), widget.keep)
