"""What the rooms say happened, as frozen values told through `nurseries.tell`.

Metrics, logs and tests listen; nobody here knows who. A fact holds no token, no body and no person: names of services,
codes and seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bff.model import Span


@dataclass(frozen=True, slots=True)
class RequestServed:
    """One answer left. `route` is the table's pattern, `code` the word of a problem; `seconds` since the head.

    `span` is what it is called in its trace.
    """

    route: str
    method: str
    status: int
    code: str
    seconds: float
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RungRefused:
    """The gate refused at `rung` (CONTRACT section 2) with `code`; `why` is the rule, from a fixed set."""

    rung: int
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class ReplayBlocked:
    """A proof seen before was refused (F-28). `by` is `window`, `tier`, or `bloom`: the tier's filter alone says so."""

    by: str


@dataclass(frozen=True, slots=True)
class WindowFull:
    """The process's own replay window is at its bound and refuses what it cannot remember (F-41)."""

    size: int


@dataclass(frozen=True, slots=True)
class ReplayPassed:
    """So many proofs passed once more than they may: on two instances, while the session tier could not tell (F-28)."""

    count: int


@dataclass(frozen=True, slots=True)
class Recounted:
    """So many acceptances were shown to the session tier again, since it may not have known them (F-19)."""

    count: int


@dataclass(frozen=True, slots=True)
class RecountSkipped:
    """So many acceptances of which nobody will know whether they were replays; `why` is from a fixed set."""

    why: str
    count: int


@dataclass(frozen=True, slots=True)
class UpstreamCalled:
    """One call ended. `outcome` is `ok`, `refused` (a 4xx, which is an answer), a problem's word, `BREAKER_OPEN` or
    `OVERLOADED`; `seconds` in the client.

    `span` is what it is called in its trace, None where nothing was sent.
    """

    service: str
    operation: str
    outcome: str
    seconds: float
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SchemaDrifted:
    """An answer did not parse (F-15): the path of the field that drifted, and what was wrong with it."""

    service: str
    operation: str
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class WidgetServed:
    """One widget of one dashboard: `status` ok, stale, skeleton or absent; `reason` of a skeleton or ''."""

    widget: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class DashboardServed:
    """A dashboard was composed; `late` is how many seconds after its deadline it was ready (0 when in time)."""

    partial: bool
    seconds: float
    late: float


@dataclass(frozen=True, slots=True)
class StoreChanged:
    """A store went down or came back: `store` is `postgres`, `redis-session` or `redis-cache`; `why` is '' when up."""

    store: str
    up: bool
    why: str


@dataclass(frozen=True, slots=True)
class StoreTakenOver:
    """Another server answers for `store` than did before: a standby has taken over, or it was started anew (F-19).

    What was acknowledged last may be gone with the old one.
    """

    store: str


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The transport closed a connection to an upstream; `why` is from a fixed set (idle, cancelled, broken, ...)."""

    host: str
    port: int
    why: str


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The edge refused a request, or its connection, before the app saw it whole; `why` is the rule that it broke."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class CertificateLooked:
    """The files of the edge's certificate have changed: `what` is `renewed` or `unusable`, `why` in one line."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class AppFailed:
    """An exception left the app, or a connection's own code: a bug. It ended one request, or one connection.

    `error` is its type, `where` the file and line it came from; its message may hold anything and stays inside.
    """

    error: str
    where: str


@dataclass(frozen=True, slots=True)
class Surprised:
    """An error that nobody foresaw was turned into an outcome at a border: a bug. `error` is one line."""

    where: str
    error: str


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """A worker ended that nobody had asked to; `code` is negative for a signal, `lived` seconds since it was ready."""

    number: int
    pid: int
    code: int
    lived: float


@dataclass(frozen=True, slots=True)
class WorkerReplaced:
    """Another process took the place of a worker, and is ready."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class MutationConcluded:
    """A service was asked for a change: the key's `state` now, the `outcome` as the audit trail has it, `seconds`."""

    action: str
    state: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class KeyReplayed:
    """A mutation came again and was answered from the record (F-32)."""

    action: str


@dataclass(frozen=True, slots=True)
class KeyTakenOver:
    """A mutation came again whose outcome was not known, or not done: `before` is what its key was."""

    action: str
    before: str


@dataclass(frozen=True, slots=True)
class AttestationReplayBlocked:
    """A second factor that was spent on another key was refused (F-29)."""


@dataclass(frozen=True, slots=True)
class AttestationReplayed:
    """So many sensitive actions were done with a second factor that was spent already: a bug (F-29)."""

    count: int


@dataclass(frozen=True, slots=True)
class SwitchTurned:
    """A switch has another value, as seen here: `value` from now on, turned by `by`."""

    name: str
    value: str
    by: str


@dataclass(frozen=True, slots=True)
class TelemetryTaken:
    """So many events of desks: `left-out` by the sample, `written` to the outbox, or `buffered` and then `flushed`."""

    outcome: str
    count: int


@dataclass(frozen=True, slots=True)
class TelemetryDropped:
    """So many events that were taken are lost: memory was `full` of those that wait, or the process has `ended`."""

    count: int
    why: str


@dataclass(frozen=True, slots=True)
class OutboxMeasured:
    """What waits to be said: so many letters, the eldest for so many seconds, and so many `dead` (F-21, F-38)."""

    depth: int
    oldest: float
    dead: int


@dataclass(frozen=True, slots=True)
class LettersPublished:
    """So many letters of a topic were said; once more where nobody could tell whether they had been."""

    topic: str
    count: int


@dataclass(frozen=True, slots=True)
class RelayFailed:
    """Letters could not be said now (F-22); `why` is `unavailable`, `timeout` or `refused`."""

    why: str


@dataclass(frozen=True, slots=True)
class LetterBuried:
    """A letter of a topic can never be said, and is with the dead letters (F-38)."""

    topic: str


@dataclass(frozen=True, slots=True)
class LettersRaised:
    """So many dead letters are to be said after all."""

    count: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """So many rows were old enough; `what` is `keys` or `dead-letters`."""

    what: str
    count: int


@dataclass(frozen=True, slots=True)
class ClaimsUnsettled:
    """Of so many mutations nobody knows what became of them, of the eldest for `oldest` seconds."""

    count: int
    oldest: float


@dataclass(frozen=True, slots=True)
class ClaimSettled:
    """What nobody knew of a mutation is known: its key is `recorded`, or `open` since nothing was done."""

    action: str
    state: str


@dataclass(frozen=True, slots=True)
class LockAuditMeasured:
    """Of the rows that the audit trail of lock actions should have, so many are there (F-27)."""

    expected: int
    present: int


@dataclass(frozen=True, slots=True)
class LockAuditUnseen:
    """The audit trail of lock actions could not be looked at: what was measured last may not be so any more."""


@dataclass(frozen=True, slots=True)
class MirrorDiverged:
    """What is mirrored here was not what its authority says: `what` is `preferences` (F-36) or `cursor` (F-35)."""

    what: str


@dataclass(frozen=True, slots=True)
class CursorsCompared:
    """All mirrored cursors have been looked at once more, and so many are known to diverge (F-35)."""

    diverged: int
