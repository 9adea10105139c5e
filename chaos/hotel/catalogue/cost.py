"""FAILURE_MODES 1.5: what costs money, or memory that is paid for."""

from __future__ import annotations

from typing import Final

from chaos.hotel.catalogue.row import LATER_AND_METRIC, Metric, Row, Section, Severity, Staged

COST: Final = Section(
    "1.5",
    "Cost / quota",
    (
        Row(
            id="F-39",
            failure="Cloud Run cost spike (instance count run-up)",
            detection="billing alert",
            impact="none directly",
            mitigation="capacity audit; reduce SSE timeout; investigate device fleet",
            runbook="platform/cost-spike",
            metric=Metric("bff_instances"),
            severity=Severity.P3,
            fixtures=(Staged("a fleet holds its streams open until every instance is full"),),
            later=LATER_AND_METRIC,
        ),
        Row(
            id="F-40",
            failure="Pub/Sub egress cost spike from telemetry",
            detection="billing alert",
            impact="none",
            mitigation="reduce sample rates via flag",
            runbook="bff-backoffice/telemetry-cost",
            metric=Metric("bff_telemetry_events_total"),
            severity=Severity.P3,
            fixtures=(Staged("a fleet sends a hundred events at a time, and none of them is sampled away"),),
            tests=("tests/writes/test_telemetry.py::test_the_switch_says_which_part_of_the_events_is_kept_f40",),
        ),
        Row(
            id="F-41",
            failure="DPoP cache (Memorystore) memory pressure from a spike in unique jti",
            detection="memory utilization alert",
            impact="DPoP verify failures",
            mitigation="TTL trim; switch to bloom filter for replay check",
            runbook="bff-backoffice/dpop-cache-pressure",
            metric=Metric("bff_store_memory_ratio", (("store", "redis-session"),)),
            severity=Severity.P2,
            fixtures=(
                Staged("redis-session gets a maxmemory below what it holds, and evicts nothing"),
                Staged("strangers without a session bring a new proof each, as fast as they may"),
            ),
            tests=(
                "tests/stores/test_redis_line.py::test_a_full_memory_refuses_one_call_and_takes_nothing_down_f41",
                "tests/stores/test_redis_keys.py"
                "::test_a_proof_is_kept_for_its_time_and_a_replay_does_not_prolong_it_f41",
                "tests/gate/test_ladder.py::test_what_the_window_cannot_remember_it_refuses_f41",
                "tests/gate/test_ladder.py::test_strangers_cannot_fill_the_window_of_those_who_have_a_session_f41",
            ),
            gap="the bloom filter",
            later=LATER_AND_METRIC,
        ),
    ),
)
