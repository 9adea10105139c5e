"""Every metric by its name, as one table, and the listener that turns facts into them.

Labels are from bounded sets: services, operations, widgets, routes, codes. Never a tenant, an operator, a device or a
path as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from bff import facts
from bff.facts import cost, events, probes
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
LATENCIES: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STALLS: Final = (2.0, 2.5, 3.0, 4.0, 5.0, 10.0, 30.0, 60.0, 300.0)

Kind: TypeAlias = type[Counter | Gauge | Histogram]
ADDS: Final[dict[Kind, str]] = {Counter: "inc", Gauge: "set", Histogram: "observe"}  # what a figure does to each kind


@dataclass(frozen=True, slots=True)
class From:
    """A fact that a metric hears of: the `figure` in it, and which of its fields are the labels, in their order.

    Where no fields are named they are called as the labels are.
    """

    fact: type
    figure: Callable[[Any], float] = lambda _: 1
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A metric: its name (a counter's gets `_total` behind it), what it says, its labels, and whom it hears."""

    kind: Kind
    name: str
    about: str
    labels: tuple[str, ...]
    heard: tuple[From, ...]
    buckets: tuple[float, ...] = SECONDS  # a histogram's
    begins: float = 0.0  # what a gauge says before it has heard anything


def _counts(name: str, about: str, *heard: From | type, labels: tuple[str, ...] = ()) -> Row:
    return Row(Counter, name, about, labels, tuple(one if isinstance(one, From) else From(one) for one in heard))


def _shows(name: str, about: str, *heard: From, labels: tuple[str, ...] = (), begins: float = 0.0) -> Row:
    return Row(Gauge, name, about, labels, heard, begins=begins)


def _times(
    name: str, about: str, fact: type, *, labels: tuple[str, ...] = (), field: str = "seconds", buckets: Any = SECONDS
) -> Row:
    return Row(Histogram, name, about, labels, (From(fact, attrgetter(field)),), buckets)


_COUNT: Final = attrgetter("count")

ROWS: Final = (
    # -- the door
    _counts("bff_requests", "Answers", facts.RequestServed, labels=("route", "status", "code")),
    _times("bff_request_seconds", "Head to answer", facts.RequestServed, labels=("route",)),
    _counts("bff_edge_refused", "Requests the edge refused", facts.RequestRefused, labels=("status",)),
    _counts("bff_surprised", "Errors nobody foresaw", facts.Surprised, facts.AppFailed),
    # -- the gate
    _counts("bff_gate_refused", "Refusals by rung", facts.RungRefused, labels=("rung", "code", "why")),
    _counts("bff_dpop_replay_blocked", "Proofs seen before (F-28)", facts.ReplayBlocked, labels=("by",)),
    _counts("bff_dpop_replay_passed", "Proofs that passed once more than they may", From(facts.ReplayPassed, _COUNT)),
    _counts("bff_dpop_recounted", "Acceptances shown to the tier again", From(facts.Recounted, _COUNT)),
    _counts(
        "bff_dpop_recount_skipped",
        "Acceptances nobody recounts",
        From(facts.RecountSkipped, _COUNT),
        labels=("why",),
    ),
    _counts("bff_dpop_window_full", "Proofs that could not be remembered", facts.WindowFull),
    _counts(
        "bff_mfa_attestation_replay_blocked",
        "Second factors that were spent already (F-29)",
        facts.AttestationReplayBlocked,
    ),
    _counts(
        "bff_mfa_attestation_replay_success",
        "Actions done with a spent second factor (F-29)",
        From(facts.AttestationReplayed, _COUNT),
    ),
    # -- reads
    _counts("bff_widget", "Widgets by status", facts.WidgetServed, labels=("widget", "status", "reason")),
    _counts(
        "bff_dashboard_partial", "Dashboards with a skeleton", From(facts.DashboardServed, lambda fact: fact.partial)
    ),
    _times("bff_dashboard_late_seconds", "Past the deadline", facts.DashboardServed, field="late", buckets=LATE),
    # -- writes
    _counts(
        "bff_mutations",
        "Changes that a service was asked for, by what became of the key and of the change",
        facts.MutationConcluded,
        labels=("action", "state", "outcome"),
    ),
    _times("bff_mutation_seconds", "Seconds per change at its service", facts.MutationConcluded, labels=("action",)),
    _counts("bff_idempotency_dedup", "Answers from the record (F-32)", facts.KeyReplayed, labels=("action",)),
    _counts(
        "bff_idempotency_takeover",
        "Keys that somebody went on with",
        facts.KeyTakenOver,
        labels=("action", "before"),
    ),
    _counts(
        "bff_telemetry_events",
        "Events of desks: left out by the sample, written, or buffered and then flushed (F-40)",
        From(facts.TelemetryTaken, _COUNT),
        labels=("outcome",),
    ),
    _counts(
        "bff_telemetry_dropped",
        "Events of desks that were taken and are lost",
        From(facts.TelemetryDropped, _COUNT),
        labels=("why",),
    ),
    _shows(
        "bff_switch_off",
        "1 while it is off, or frozen; there is none of one that was never turned",
        From(facts.SwitchTurned, lambda fact: fact.value in {"off", "frozen"}),
        labels=("name",),
    ),
    # -- what others must hear; every instance counts the same outbox
    _shows("bff_claims_unsettled", "Mutations of unknown outcome", From(facts.ClaimsUnsettled, _COUNT)),
    _shows(
        "bff_claims_unsettled_oldest_seconds", "The eldest of them", From(facts.ClaimsUnsettled, attrgetter("oldest"))
    ),
    _counts(
        "bff_claims_settled",
        "Mutations of which it was found out what came of them",
        facts.ClaimSettled,
        labels=("action", "state"),
    ),
    _shows(
        "bff_lock_audit_completeness",
        "Rows of the locks' audit trail that are there, of all that should be (F-27)",
        From(facts.LockAuditMeasured, lambda fact: fact.present / fact.expected if fact.expected else 1.0),
        begins=1.0,
    ),
    _counts("bff_lock_audit_unseen", "Times that nobody could look, and the figure stood", facts.LockAuditUnseen),
    _counts("bff_mirror_diverged", "Copies unlike their authority", facts.MirrorDiverged, labels=("what",)),
    _shows(
        "bff_cursor_divergence",
        "Cursors that are not what sync-service says, until their device's next handshake (F-35)",
        From(facts.CursorsCompared, attrgetter("diverged")),
    ),
    _shows("bff_outbox_depth", "Letters that wait (F-21)", From(facts.OutboxMeasured, attrgetter("depth"))),
    _shows("bff_outbox_oldest_seconds", "How long the eldest has", From(facts.OutboxMeasured, attrgetter("oldest"))),
    _shows("bff_dlq_depth", "Dead letters (F-38)", From(facts.OutboxMeasured, attrgetter("dead"))),
    _counts("bff_relay_published", "Letters said", From(facts.LettersPublished, _COUNT), labels=("topic",)),
    _counts("bff_relay_failed", "Times that letters could not be said (F-22)", facts.RelayFailed, labels=("why",)),
    _counts("bff_dlq_buried", "Letters that never can be said", facts.LetterBuried, labels=("topic",)),
    _counts("bff_dlq_raised", "Dead letters to be said after all", From(facts.LettersRaised, _COUNT)),
    _counts("bff_forgotten", "Rows old enough to be", From(facts.Forgotten, _COUNT), labels=("what",)),
    # -- events
    _times("bff_bus_probe_seconds", "A probe's way over the bus and back", events.BusProbed),
    _counts("bff_bus_stalls", "Times that the bus delivered nothing (F-34)", events.BusStalled),
    _shows("bff_bus_stalled", "1 while it does not", From(events.BusStalled), From(events.BusBack, lambda _: 0)),
    _times(
        "bff_bus_stall_seconds",
        "From the last that it delivered to all that was missed",
        events.BusBack,
        buckets=STALLS,
    ),
    _counts("bff_bus_rebuilt", "Times that the reader of the bus came into step", events.BusRebuilt),
    _counts("bff_bus_gaps", "Times that a tenant's log had to be asked", events.BusGap),
    _counts("bff_events_restored", "Events given back to the tier (F-19)", From(events.EventsRestored, _COUNT)),
    _counts("bff_events_lost", "Logs that went on without events that were known", events.EventsLost),
    _counts(
        "bff_events_reset",
        "Streams that were told to begin anew",
        From(events.EventsLost, attrgetter("streams")),
    ),
    _counts("bff_events_taken", "What the platform had to say", events.EventTaken, labels=("type",)),
    _shows("bff_sse_streams", "Streams that are open (F-26)", From(events.StreamsCounted, _COUNT)),
    _counts("bff_sse_opened", "Streams that said hello", events.StreamOpened),
    _shows(
        "bff_streams_room",
        "Streams that there is room for, where that is fewer than were asked for; 0 where it is not",
        From(events.StreamsCapped, attrgetter("room")),
    ),
    _counts("bff_sse_ended", "Streams that ended, and why", events.StreamEnded, labels=("why",)),
    _times("bff_sse_first_event_seconds", "From a stream's request to its hello (F-34)", events.StreamOpened),
    _times(
        "bff_force_logout_seconds",
        "From when it was posted to each desk that heard it (F-31)",
        events.ForceLogoutDelivered,
        buckets=LATENCIES,
    ),
    _counts("bff_sessions_ended", "Sessions that a force-logout ended", From(events.SessionsEnded, _COUNT)),
    # -- what is behind it
    _counts("bff_upstream_calls", "Calls by outcome", facts.UpstreamCalled, labels=("service", "operation", "outcome")),
    _times("bff_upstream_seconds", "Seconds per call", facts.UpstreamCalled, labels=("service", "operation")),
    _counts("bff_schema_drift", "Answers that did not parse", facts.SchemaDrifted, labels=("service", "operation")),
    _counts("bff_upstream_connections_closed", "By reason", facts.ConnectionClosed, labels=("why",)),
    _shows(
        "bff_breaker_open",
        "1 while open",
        From(BreakerOpened),
        From(BreakerClosed, lambda _: 0),
        labels=("name",),
    ),
    _counts("bff_retries_denied", "Retries the budget did not pay for", RetryDenied, labels=("name",)),
    _shows(
        "bff_store_up",
        "1 while it answers",
        From(facts.StoreChanged, lambda fact: fact.up),
        labels=("store",),
    ),
    # -- what this server finds out about itself
    _counts("bff_replay_probe", "Its own, used once more (F-28, F-29)", probes.ReplayProbed, labels=("what", "passed")),
    _counts("bff_tenant_probe_places", "Places looked into", From(probes.TenantsProbed, attrgetter("places"))),
    _counts(
        "bff_tenant_probe_leaks", "Another tenant's, found (F-30)", From(probes.TenantsProbed, attrgetter("leaks"))
    ),
    _shows(
        "bff_edge_probe_up",
        "1 while it answers under that name (F-24, F-25)",
        From(probes.EdgeProbed, lambda fact: fact.why == "ok"),
        labels=("name",),
    ),
    _counts("bff_edge_probes", "Looks from outside", probes.EdgeProbed, labels=("name", "why")),
    _shows(
        "bff_edge_certificate_left_seconds",
        "Until it ends (F-23)",
        From(probes.CertificateSeen, attrgetter("left")),
        labels=("name",),
    ),
    _counts("bff_tripped", "Switches that a job has turned", probes.Tripped, labels=("switch", "job")),
    # -- what it costs
    _shows("bff_resident_memory_bytes", "What this process holds", From(cost.MemoryMeasured, attrgetter("resident"))),
    _shows(
        "bff_resident_memory_growth_ratio",
        "Newest against eldest of up to four hours; 0.1 is ten per cent more (F-37)",
        From(cost.MemoryMeasured, attrgetter("growth")),
    ),
    _counts("bff_memory_reports", "Times that it held more and more", cost.MemoryGrows),
    # -- behind the answers
    _counts("bff_stragglers_let_go", "Work that overstayed its deadline", StragglerLetGo),
    _counts(
        "bff_background_failed",
        "Background tasks that failed",
        OwnedTaskFailed,
        From(ServiceRestarting, fields=("service",)),
        From(DetachedCutOff, fields=("why",)),
        labels=("task",),
    ),
)
HEARD: Final = frozenset(source.fact for row in ROWS for source in row.heard)


class Meters:
    """The metrics of one process. `hear` is the listener; `shown` the exposition."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._told: dict[type, list[Callable[[Any], None]]] = {fact: [] for fact in HEARD}
        for row in ROWS:
            options: dict[str, Any] = {"buckets": row.buckets} if row.kind is Histogram else {}
            metric: Any = row.kind(row.name, row.about, row.labels, registry=self.registry, **options)
            if row.begins:
                metric.set(row.begins)
            for source in row.heard:
                self._told[source.fact].append(_record(row, source, metric))

    def hear(self, fact: object) -> None:
        """Count one fact; those of no metric are passed over."""
        for record in self._told.get(type(fact), ()):
            record(fact)

    def shown(self) -> tuple[bytes, str]:
        """The exposition (OpenMetrics) and its content type."""
        write: Callable[[CollectorRegistry], bytes] = generate_latest  # the library leaves its type open
        return write(self.registry), CONTENT_TYPE_LATEST


def _record(row: Row, source: From, metric: Any) -> Callable[[Any], None]:
    """What to do with a fact of that source: all that can be looked up before it comes has been."""
    figure, add = source.figure, attrgetter(ADDS[row.kind])
    if not row.labels:
        record = add(metric)
        return lambda fact: record(figure(fact))
    fields = source.fields or row.labels
    read, single = attrgetter(*fields), len(fields) == 1

    def record_labelled(fact: Any) -> None:
        values = (read(fact),) if single else read(fact)
        add(metric.labels(*values))(figure(fact))

    return record_labelled
