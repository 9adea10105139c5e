"""Every metric by its name, and the listener that turns facts into them.

Labels are from bounded sets: services, operations, widgets, routes, codes. Never a tenant, an operator, a device or a
path as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from bff import facts
from nurseries import (
    BreakerClosed,
    BreakerOpened,
    DetachedCutOff,
    OwnedTaskFailed,
    RetryDenied,
    ServiceRestarting,
    StragglerLetGo,
)

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.8, 1.0, 2.0, 5.0)
LATE: Final = (0.001, 0.005, 0.015, 0.05, 0.25)


class Meters:
    """The metrics of one process. `hear` is the listener; `shown` the exposition."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        with_registry: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("bff_requests", "Answers", ["route", "status", "code"], **with_registry)
        self._request_seconds = Histogram(
            "bff_request_seconds", "Head to answer", ["route"], buckets=SECONDS, **with_registry
        )
        self._rungs = Counter("bff_gate_refused", "Refusals by rung", ["rung", "code", "why"], **with_registry)
        self._replays = Counter("bff_dpop_replay_blocked", "Proofs seen before (F-28)", ["by"], **with_registry)
        self._passed = Counter("bff_dpop_replay_passed", "Proofs that passed once more than they may", **with_registry)
        self._recounted = Counter("bff_dpop_recounted", "Acceptances shown to the tier again", **with_registry)
        self._unknown = Counter("bff_dpop_recount_skipped", "Acceptances nobody recounts", ["why"], **with_registry)
        self._window_full = Counter("bff_dpop_window_full", "Proofs that could not be remembered", **with_registry)
        self._calls = Counter(
            "bff_upstream_calls", "Calls by outcome", ["service", "operation", "outcome"], **with_registry
        )
        self._call_seconds = Histogram(
            "bff_upstream_seconds", "Seconds per call", ["service", "operation"], buckets=SECONDS, **with_registry
        )
        self._drift = Counter(
            "bff_schema_drift", "Answers that did not parse", ["service", "operation"], **with_registry
        )
        self._widgets = Counter("bff_widget", "Widgets by status", ["widget", "status", "reason"], **with_registry)
        self._partial = Counter("bff_dashboard_partial", "Dashboards with a skeleton", **with_registry)
        self._late = Histogram("bff_dashboard_late_seconds", "Past the deadline", buckets=LATE, **with_registry)
        self._breakers = Gauge("bff_breaker_open", "1 while open", ["name"], **with_registry)
        self._stores = Gauge("bff_store_up", "1 while it answers", ["store"], **with_registry)
        self._closed = Counter("bff_upstream_connections_closed", "By reason", ["why"], **with_registry)
        self._denied = Counter("bff_retries_denied", "Retries the budget did not pay for", ["name"], **with_registry)
        self._refused = Counter("bff_edge_refused", "Requests the edge refused", ["status"], **with_registry)
        self._bugs = Counter("bff_surprised", "Errors nobody foresaw", **with_registry)
        self._stragglers = Counter("bff_stragglers_let_go", "Work that overstayed its deadline", **with_registry)
        self._background = Counter("bff_background_failed", "Background tasks that failed", ["task"], **with_registry)
        self._table: Mapping[type, Callable[[Any], None]] = {
            facts.RequestServed: self._request,
            facts.RungRefused: lambda f: self._rungs.labels(f.rung, f.code, f.why).inc(),
            facts.ReplayBlocked: lambda f: self._replays.labels(f.by).inc(),
            facts.WindowFull: lambda _: self._window_full.inc(),
            facts.ReplayPassed: lambda f: self._passed.inc(f.count),
            facts.Recounted: lambda f: self._recounted.inc(f.count),
            facts.RecountSkipped: lambda f: self._unknown.labels(f.why).inc(f.count),
            facts.UpstreamCalled: self._call,
            facts.SchemaDrifted: lambda f: self._drift.labels(f.service, f.operation).inc(),
            facts.WidgetServed: lambda f: self._widgets.labels(f.widget, f.status, f.reason).inc(),
            facts.DashboardServed: self._dashboard,
            facts.StoreChanged: lambda f: self._stores.labels(f.store).set(f.up),
            facts.ConnectionClosed: lambda f: self._closed.labels(f.why).inc(),
            facts.RequestRefused: lambda f: self._refused.labels(f.status).inc(),
            facts.Surprised: lambda _: self._bugs.inc(),
            facts.AppFailed: lambda _: self._bugs.inc(),
            BreakerOpened: lambda f: self._breakers.labels(f.name).set(1),
            BreakerClosed: lambda f: self._breakers.labels(f.name).set(0),
            OwnedTaskFailed: lambda f: self._background.labels(f.task).inc(),
            ServiceRestarting: lambda f: self._background.labels(f.service).inc(),
            DetachedCutOff: lambda f: self._background.labels(f.why).inc(),
            RetryDenied: lambda f: self._denied.labels(f.name).inc(),
            StragglerLetGo: lambda _: self._stragglers.inc(),
        }

    def hear(self, fact: object) -> None:
        """Count one fact; those of no metric are passed over."""
        count = self._table.get(type(fact))
        if count is not None:
            count(fact)

    def shown(self) -> tuple[bytes, str]:
        """The exposition (OpenMetrics) and its content type."""
        write: Callable[[CollectorRegistry], bytes] = generate_latest  # the library leaves its type open
        return write(self.registry), CONTENT_TYPE_LATEST

    def _request(self, fact: facts.RequestServed) -> None:
        self._requests.labels(fact.route, fact.status, fact.code).inc()
        self._request_seconds.labels(fact.route).observe(fact.seconds)

    def _call(self, fact: facts.UpstreamCalled) -> None:
        self._calls.labels(fact.service, fact.operation, fact.outcome).inc()
        self._call_seconds.labels(fact.service, fact.operation).observe(fact.seconds)

    def _dashboard(self, fact: facts.DashboardServed) -> None:
        if fact.partial:
            self._partial.inc()
        self._late.observe(fact.late)
