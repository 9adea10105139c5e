"""Every metric by its name, as one table, and the listener that turns facts into them.

Labels are from bounded sets: services, operations, widgets, routes, codes. Never a tenant, an operator, a device or a
path as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from bff import facts
from bff.facts import cost, events, probes, spans
from bff.meters_row import ADDS, From, Row, counts, shows, times
from nurseries import (
    BreakerClosed,
    BreakerOpened,
    DetachedCutOff,
    OwnedTaskFailed,
    RetryDenied,
    ServiceRestarting,
    StragglerLetGo,
)

JTI_MODES: Final = {"exact": 0, "trimmed": 1, "bloom": 2}
LATE: Final = (0.001, 0.005, 0.015, 0.05, 0.25)
LATENCIES: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STALLS: Final = (2.0, 2.5, 3.0, 4.0, 5.0, 10.0, 30.0, 60.0, 300.0)

_COUNT: Final = attrgetter("count")

ROWS: Final = (
    # -- the door
    counts("bff_requests", "Answers", facts.RequestServed, labels=("route", "status", "code")),
    times("bff_request_seconds", "Head to answer", facts.RequestServed, labels=("route",)),
    counts("bff_edge_refused", "Requests the edge refused", facts.RequestRefused, labels=("status",)),
    counts("bff_surprised", "Errors nobody foresaw", facts.Surprised, facts.AppFailed),
    # -- the gate
    counts("bff_gate_refused", "Refusals by rung", facts.RungRefused, labels=("rung", "code", "why")),
    counts("bff_dpop_replay_blocked", "Proofs seen before (F-28)", facts.ReplayBlocked, labels=("by",)),
    counts("bff_dpop_replay_passed", "Proofs that passed once more than they may", From(facts.ReplayPassed, _COUNT)),
    counts("bff_dpop_recounted", "Acceptances shown to the tier again", From(facts.Recounted, _COUNT)),
    counts(
        "bff_dpop_recount_skipped",
        "Acceptances nobody recounts",
        From(facts.RecountSkipped, _COUNT),
        labels=("why",),
    ),
    counts("bff_dpop_window_full", "Proofs that could not be remembered", facts.WindowFull),
    counts(
        "bff_mfa_attestation_replay_blocked",
        "Second factors that were spent already (F-29)",
        facts.AttestationReplayBlocked,
    ),
    counts(
        "bff_mfa_attestation_replay_success",
        "Actions done with a spent second factor (F-29)",
        From(facts.AttestationReplayed, _COUNT),
    ),
    # -- reads
    counts("bff_widget", "Widgets by status", facts.WidgetServed, labels=("widget", "status", "reason")),
    counts(
        "bff_dashboard_partial", "Dashboards with a skeleton", From(facts.DashboardServed, lambda fact: fact.partial)
    ),
    times("bff_dashboard_late_seconds", "Past the deadline", facts.DashboardServed, field="late", buckets=LATE),
    # -- writes
    counts(
        "bff_mutations",
        "Changes that a service was asked for, by what became of the key and of the change",
        facts.MutationConcluded,
        labels=("action", "state", "outcome"),
    ),
    times("bff_mutation_seconds", "Seconds per change at its service", facts.MutationConcluded, labels=("action",)),
    counts("bff_idempotency_dedup", "Answers from the record (F-32)", facts.KeyReplayed, labels=("action",)),
    counts(
        "bff_idempotency_takeover",
        "Keys that somebody went on with",
        facts.KeyTakenOver,
        labels=("action", "before"),
    ),
    counts(
        "bff_telemetry_events",
        "Events of desks: left out by the sample, written, or buffered and then flushed (F-40)",
        From(facts.TelemetryTaken, _COUNT),
        labels=("outcome",),
    ),
    counts(
        "bff_telemetry_dropped",
        "Events of desks that were taken and are lost",
        From(facts.TelemetryDropped, _COUNT),
        labels=("why",),
    ),
    shows(
        "bff_switch_off",
        "1 while it is off, or frozen; there is none of one that was never turned",
        From(facts.SwitchTurned, lambda fact: fact.value in {"off", "frozen"}),
        labels=("name",),
    ),
    # -- what others must hear; every instance counts the same outbox
    shows("bff_claims_unsettled", "Mutations of unknown outcome", From(facts.ClaimsUnsettled, _COUNT)),
    shows(
        "bff_claims_unsettled_oldest_seconds", "The eldest of them", From(facts.ClaimsUnsettled, attrgetter("oldest"))
    ),
    counts(
        "bff_claims_settled",
        "Mutations of which it was found out what came of them",
        facts.ClaimSettled,
        labels=("action", "state"),
    ),
    shows(
        "bff_lock_audit_completeness",
        "Rows of the locks' audit trail that are there, of all that should be (F-27)",
        From(facts.LockAuditMeasured, lambda fact: fact.present / fact.expected if fact.expected else 1.0),
        begins=1.0,
    ),
    counts("bff_lock_audit_unseen", "Times that nobody could look, and the figure stood", facts.LockAuditUnseen),
    counts("bff_mirror_diverged", "Copies unlike their authority", facts.MirrorDiverged, labels=("what",)),
    shows(
        "bff_cursor_divergence",
        "Cursors that are not what sync-service says, until their device's next handshake (F-35)",
        From(facts.CursorsCompared, attrgetter("diverged")),
    ),
    shows("bff_outbox_depth", "Letters that wait (F-21)", From(facts.OutboxMeasured, attrgetter("depth"))),
    shows("bff_outbox_oldest_seconds", "How long the eldest has", From(facts.OutboxMeasured, attrgetter("oldest"))),
    shows("bff_dlq_depth", "Dead letters (F-38)", From(facts.OutboxMeasured, attrgetter("dead"))),
    counts("bff_relay_published", "Letters said", From(facts.LettersPublished, _COUNT), labels=("topic",)),
    counts("bff_relay_failed", "Times that letters could not be said (F-22)", facts.RelayFailed, labels=("why",)),
    counts("bff_dlq_buried", "Letters that never can be said", facts.LetterBuried, labels=("topic",)),
    counts("bff_dlq_raised", "Dead letters to be said after all", From(facts.LettersRaised, _COUNT)),
    counts("bff_forgotten", "Rows old enough to be", From(facts.Forgotten, _COUNT), labels=("what",)),
    # -- events
    times("bff_bus_probe_seconds", "A probe's way over the bus and back", events.BusProbed),
    counts("bff_bus_stalls", "Times that the bus delivered nothing (F-34)", events.BusStalled),
    shows("bff_bus_stalled", "1 while it does not", From(events.BusStalled), From(events.BusBack, lambda _: 0)),
    times(
        "bff_bus_stall_seconds",
        "From the last that it delivered to all that was missed",
        events.BusBack,
        buckets=STALLS,
    ),
    counts("bff_bus_rebuilt", "Times that the reader of the bus came into step", events.BusRebuilt),
    counts("bff_bus_gaps", "Times that a tenant's log had to be asked", events.BusGap),
    counts("bff_events_restored", "Events given back to the tier (F-19)", From(events.EventsRestored, _COUNT)),
    counts("bff_events_lost", "Logs that went on without events that were known", events.EventsLost),
    counts(
        "bff_events_reset",
        "Streams that were told to begin anew",
        From(events.EventsLost, attrgetter("streams")),
    ),
    counts("bff_events_taken", "What the platform had to say", events.EventTaken, labels=("type",)),
    counts("bff_push_refused", "Pushes at the edge that were not let in", events.PushRefused, labels=("why",)),
    shows("bff_sse_streams", "Streams that are open (F-26)", From(events.StreamsCounted, _COUNT)),
    counts("bff_sse_opened", "Streams that said hello", events.StreamOpened),
    shows(
        "bff_streams_room",
        "Streams that there is room for, where that is fewer than were asked for; 0 where it is not",
        From(events.StreamsCapped, attrgetter("room")),
    ),
    counts("bff_sse_ended", "Streams that ended, and why", events.StreamEnded, labels=("why",)),
    times("bff_sse_first_event_seconds", "From a stream's request to its hello (F-34)", events.StreamOpened),
    times(
        "bff_force_logout_seconds",
        "From when it was posted to each desk that heard it (F-31)",
        events.ForceLogoutDelivered,
        buckets=LATENCIES,
    ),
    counts("bff_session_marks_again", "Ends that the tier may have lost", From(events.MarksMadeAgain, _COUNT)),
    counts("bff_sessions_ended", "Sessions that a force-logout ended", From(events.SessionsEnded, _COUNT)),
    # -- what is behind it
    counts("bff_upstream_calls", "Calls by outcome", facts.UpstreamCalled, labels=("service", "operation", "outcome")),
    times("bff_upstream_seconds", "Seconds per call", facts.UpstreamCalled, labels=("service", "operation")),
    counts("bff_schema_drift", "Answers that did not parse", facts.SchemaDrifted, labels=("service", "operation")),
    counts("bff_upstream_connections_closed", "By reason", facts.ConnectionClosed, labels=("why",)),
    shows(
        "bff_breaker_open",
        "1 while open",
        From(BreakerOpened),
        From(BreakerClosed, lambda _: 0),
        labels=("name",),
    ),
    counts("bff_retries_denied", "Retries the budget did not pay for", RetryDenied, labels=("name",)),
    shows(
        "bff_store_up",
        "1 while it answers",
        From(facts.StoreChanged, lambda fact: fact.up),
        labels=("store",),
    ),
    counts("bff_store_failovers", "Times that another server answered", facts.StoreTakenOver, labels=("store",)),
    # -- what this server finds out about itself
    counts("bff_replay_probe", "Its own, used once more (F-28, F-29)", probes.ReplayProbed, labels=("what", "passed")),
    counts("bff_tenant_probe_places", "Places looked into", From(probes.TenantsProbed, attrgetter("places"))),
    counts("bff_tenant_probe_leaks", "Another tenant's, found (F-30)", From(probes.TenantsProbed, attrgetter("leaks"))),
    shows(
        "bff_edge_probe_up",
        "1 while it answers under that name (F-24, F-25)",
        From(probes.EdgeProbed, lambda fact: fact.why == "ok"),
        labels=("name",),
    ),
    counts("bff_edge_probes", "Looks from outside", probes.EdgeProbed, labels=("name", "why")),
    shows(
        "bff_edge_certificate_left_seconds",
        "Until it ends (F-23)",
        From(probes.CertificateSeen, attrgetter("left")),
        labels=("name",),
    ),
    counts("bff_idempotency_compared", "Looks at what services changed (F-32)", probes.EffectsCompared),
    counts("bff_idempotency_unseen", "Looks that could not be made", probes.EffectsUnseen),
    counts(
        "bff_idempotency_duplicates",
        "Changes that services made without a key of their own (F-32)",
        From(probes.DuplicatesFound, _COUNT),
        labels=("service", "operation"),
    ),
    counts("bff_tripped", "Switches that a job has turned", probes.Tripped, labels=("switch", "job")),
    counts("bff_certificate_looked", "Times that its files changed (F-23)", facts.CertificateLooked, labels=("what",)),
    # -- what it costs
    shows("bff_resident_memory_bytes", "What this process holds", From(cost.MemoryMeasured, attrgetter("resident"))),
    shows(
        "bff_resident_memory_growth_ratio",
        "Newest against eldest of up to four hours; 0.1 is ten per cent more (F-37)",
        From(cost.MemoryMeasured, attrgetter("growth")),
    ),
    counts("bff_memory_reports", "Times that it held more and more", cost.MemoryGrows),
    shows(
        "bff_store_memory_ratio",
        "Used of what it may; 0 where nobody bounds it (F-41)",
        From(cost.StoreSized, lambda fact: fact.used / fact.most if fact.most else 0),
        labels=("store",),
    ),
    shows("bff_store_memory_bytes", "Used", From(cost.StoreSized, attrgetter("used")), labels=("store",)),
    shows(
        "bff_store_connections_ratio",
        "Connections that are open to it, of those that may be; 0 where nobody bounds them (F-39)",
        From(cost.StoreConnected, lambda fact: fact.used / fact.most if fact.most else 0),
        labels=("store",),
    ),
    shows("bff_store_connections", "Open", From(cost.StoreConnected, attrgetter("used")), labels=("store",)),
    shows(
        "bff_budget_used", "By budget (F-39, F-40)", From(cost.BudgetMeasured, attrgetter("used")), labels=("budget",)
    ),
    shows(
        "bff_budget_used_ratio",
        "Of what may be; 0 where nobody has said a figure (F-39, F-40)",
        From(cost.BudgetMeasured, lambda fact: fact.used / fact.allowed if fact.allowed else 0),
        labels=("budget",),
    ),
    counts("bff_budget_exceeded", "Times that more was used than may be", cost.BudgetExceeded, labels=("budget",)),
    shows(
        "bff_instances", "Processes that serve, as the session tier knows them (F-39)", From(cost.InstancesSeen, _COUNT)
    ),
    shows(
        "bff_jti_mode",
        "How proofs are remembered: 0 exactly, 1 for as short as they hold, 2 in a bloom filter (F-41)",
        From(cost.JtiMemorySeen, lambda fact: JTI_MODES[fact.mode]),
    ),
    shows(
        "bff_jti_bloom_fill_ratio",
        "Proofs in the filter, of those it is meant for; above 1 it calls too many fresh ones used (F-41)",
        From(cost.JtiMemorySeen, attrgetter("fill")),
    ),
    counts("bff_jti_mode_turned", "Times that proofs were remembered otherwise", cost.JtiModeTurned, labels=("mode",)),
    # -- what is said of all this elsewhere
    counts("bff_spans_sent", "Spans that the collector took", From(spans.SpansSent, _COUNT)),
    counts("bff_spans_dropped", "Spans that nobody sees", From(spans.SpansDropped, _COUNT), labels=("why",)),
    # -- behind the answers
    counts("bff_stragglers_let_go", "Work that overstayed its deadline", StragglerLetGo),
    counts(
        "bff_background_failed",
        "Background tasks that failed",
        OwnedTaskFailed,
        From(ServiceRestarting, fields=("service",)),
        From(DetachedCutOff, fields=("why",)),
        labels=("task",),
    ),
)
TRACED: Final = frozenset({facts.RequestServed, facts.UpstreamCalled})  # they have a span
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
    if row.kind is Histogram and source.fact in TRACED:
        return _traced(_finding(metric, add, attrgetter(*row.labels), single=len(row.labels) == 1), figure)
    if not row.labels:
        record = add(metric)
        return lambda fact: record(figure(fact))
    fields = source.fields or row.labels
    find = _finding(metric, add, attrgetter(*fields), single=len(fields) == 1)
    return lambda fact: find(fact)(figure(fact))


def _finding(
    metric: Any, add: Callable[[Any], Any], read: Callable[[Any], Any], *, single: bool
) -> Callable[[Any], Callable[..., None]]:
    """Which of a metric's series a fact is for; labels are from bounded sets, so that each is looked up once."""
    known: dict[Any, Callable[..., None]] = {}

    def find(fact: Any) -> Callable[..., None]:
        values = read(fact)
        record = known.get(values)
        if record is None:
            record = known[values] = add(metric.labels(*((values,) if single else values)))
        return record

    return find


def _traced(find: Callable[[Any], Callable[..., None]], figure: Callable[[Any], float]) -> Callable[[Any], None]:
    """Seconds with the span that took them, where somebody keeps it: from a slow bucket to one who was in it."""

    def record(fact: Any) -> None:
        span = fact.span
        if span is not None and span.sampled:
            find(fact)(figure(fact), {"trace_id": span.trace_id, "span_id": span.span_id})
        else:
            find(fact)(figure(fact))

    return record
