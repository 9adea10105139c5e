"""The golden signals as a dashboard: what desks ask for, what they get, how soon, and how full the house is.

The four of the SRE book (latency, traffic, errors, saturation), the same three of each service behind it, and of what
the specification promises what can be seen while it is kept (FAILURE_MODES section 4).
"""

from __future__ import annotations

from typing import Any, Final

from chaos.hotel.catalogue.boards import Group, Panel, Target, board, grown, quantile

SERVER_ERRORS: Final = 'bff_requests_total{status=~"5.."}'
FAILED: Final = 'bff_upstream_calls_total{outcome!~"ok|cancelled"}'


def _rate(name: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({name}[5m]))" if by else f"sum(rate({name}[5m]))"


TRAFFIC: Final = Group(
    "Traffic",
    (
        Panel("Requests by route", (Target(_rate("bff_requests_total", "route"), "{{route}}"),), unit="reqps"),
        Panel(
            "Streams that are open, and beginnings",
            (
                Target("sum by (instance) (bff_sse_streams)", "open at {{instance}}"),
                Target(_rate("bff_sse_opened_total"), "begun a second"),
            ),
            "Desks that listen (F-26).",
        ),
        Panel("Changes by action", (Target(_rate("bff_mutations_total", "action"), "{{action}}"),), unit="reqps"),
    ),
)

ERRORS: Final = Group(
    "Errors",
    (
        Panel(
            "Part of the answers that is an error of ours",
            (Target(f"sum(rate({SERVER_ERRORS}[5m])) / sum(rate(bff_requests_total[5m]))", "5xx"),),
            "A skeleton in a dashboard is none: the answer came, and said what is missing.",
            unit="percentunit",
        ),
        Panel(
            "Refusals and errors by code",
            (Target(grown('bff_requests_total{code!=""}', ("code",)), "{{code}}"),),
            "In five minutes.",
        ),
        Panel(
            "What should never be",
            (
                Target(grown("bff_surprised_total"), "an error nobody foresaw"),
                Target(grown("bff_dpop_replay_passed_total"), "a proof passed twice (F-28)"),
                Target(grown("bff_mfa_attestation_replay_success_total"), "a second factor passed twice (F-29)"),
                Target(grown("bff_tenant_probe_leaks_total"), "another tenant's (F-30)"),
                Target(grown("bff_events_lost_total"), "a log of events was lost"),
                Target(grown("bff_tripped_total", ("switch",)), "{{switch}} was halted"),
            ),
            "Any of these is a reason to get up.",
        ),
    ),
)

LATENCY: Final = Group(
    "Latency",
    (
        Panel(
            "p95 by route",
            (Target(quantile(0.95, "bff_request_seconds", ("route",)), "{{route}}"),),
            "From the head to the answer. An exemplar has the trace.",
            unit="s",
        ),
        Panel(
            "All requests",
            tuple(Target(quantile(part, "bff_request_seconds"), f"p{part * 100:g}") for part in (0.5, 0.95, 0.99)),
            unit="s",
        ),
        Panel(
            "Dashboards past their deadline",
            tuple(
                Target(quantile(part, "bff_dashboard_late_seconds"), f"p{part * 100:g} late") for part in (0.5, 0.99)
            ),
            "An answer is due at 800 ms whatever a service does (F-33).",
            unit="s",
        ),
    ),
)

SATURATION: Final = Group(
    "Saturation",
    (
        Panel(
            "Memory of each process",
            (Target("max by (instance) (bff_resident_memory_bytes)", "{{instance}}"),),
            "F-37: more than a tenth in four hours is reported, with the types that grew.",
            unit="bytes",
        ),
        Panel(
            "What waits to be said, and what cannot be",
            (
                Target("max(bff_outbox_depth)", "outbox (F-21)"),
                Target("max(bff_dlq_depth)", "dead letters (F-38)"),
                Target("max(bff_claims_unsettled)", "changes of unknown outcome"),
            ),
            "Every instance counts the same.",
        ),
        Panel(
            "Refused because there was no room",
            (
                Target(grown('bff_gate_refused_total{rung="0"}', ("code",)), "{{code}}"),
                Target(grown("bff_retries_denied_total", ("name",)), "no retry for {{name}}"),
                Target(grown("bff_stragglers_let_go_total"), "work that overstayed"),
            ),
            "In five minutes.",
        ),
    ),
)

SERVICES: Final = Group(
    "Services behind it",
    (
        Panel("Calls", (Target(_rate("bff_upstream_calls_total", "service"), "{{service}}"),), unit="reqps"),
        Panel(
            "Part that fails",
            (
                Target(
                    f"sum by (service) (rate({FAILED}[5m]))"
                    ' / sum by (service) (rate(bff_upstream_calls_total{outcome!="cancelled"}[5m]))',
                    "{{service}}",
                ),
                Target("max by (name) (bff_breaker_open) > 0", "breaker of {{name}}"),
            ),
            unit="percentunit",
        ),
        Panel(
            "p95",
            (Target(quantile(0.95, "bff_upstream_seconds", ("service",)), "{{service}}"),),
            unit="s",
        ),
    ),
)

STORES: Final = Group(
    "Stores and the bus",
    (
        Panel("Up", (Target("min by (store) (bff_store_up)", "{{store}}"),), kind="state-timeline"),
        Panel(
            "A probe's way over the bus",
            (
                Target(quantile(0.95, "bff_bus_probe_seconds"), "p95"),
                Target("max(bff_bus_stalled)", "1 while it delivers nothing (F-34)"),
            ),
            unit="s",
        ),
        Panel(
            "Switches that are off",
            (Target("max by (name) (bff_switch_off) > 0", "{{name}}"),),
            "A person lifts them: `bff switches`.",
            kind="state-timeline",
        ),
    ),
)

PROMISES: Final = Group(
    "What is promised",
    (
        Panel(
            "Rows of the locks' audit trail that are there",
            (Target("min(bff_lock_audit_completeness)", "of all that should be"),),
            "100 %, without tolerance (F-27).",
            unit="percentunit",
        ),
        Panel(
            "A force-logout's way to the desk",
            tuple(Target(quantile(part, "bff_force_logout_seconds"), f"p{part * 100:g}") for part in (0.5, 0.95)),
            "Less than 5 s at p95 (F-31).",
            unit="s",
        ),
        Panel(
            "Dashboards with a skeleton, and keys that were recognised",
            (
                Target(grown("bff_dashboard_partial_total"), "partial (F-33)"),
                Target(grown("bff_idempotency_dedup_total"), "answered from the record (F-32)"),
            ),
            "In five minutes.",
        ),
    ),
)


def golden() -> dict[str, Any]:
    """The board."""
    about = "What desks ask for, what they get, how soon, and how full the house is."
    groups = (TRAFFIC, ERRORS, LATENCY, SATURATION, SERVICES, STORES, PROMISES)
    return board("bff-golden", "bff: golden signals", about, groups)
