"""What the rooms say happened, as frozen values told through `nurseries.tell`.

Metrics, logs and tests listen; nobody here knows who. A fact holds no token, no body and no person: names of services,
codes and seconds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestServed:
    """One answer left. `route` is the table's pattern, `code` the word of a problem; `seconds` since the head."""

    route: str
    method: str
    status: int
    code: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RungRefused:
    """The gate refused at `rung` (CONTRACT section 2) with `code`; `why` is the rule, from a fixed set."""

    rung: int
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class ReplayBlocked:
    """A proof seen before was refused (F-28). `by` is `tier` or `window`."""

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
    """One call ended. `outcome` is `ok`, a problem's word, `BREAKER_OPEN` or `OVERLOADED`; `seconds` in the client."""

    service: str
    operation: str
    outcome: str
    seconds: float


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
