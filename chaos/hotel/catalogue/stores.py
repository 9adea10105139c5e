"""FAILURE_MODES 1.2: the stores, and the outbox on its way to Pub/Sub."""

from __future__ import annotations

from typing import Final

from chaos.hotel.catalogue.row import (
    Inject,
    Metric,
    Row,
    Section,
    Severity,
    Staged,
    store_up,
)

NOT_READY: Final = "tests/ops/test_readiness.py::test_without_a_vital_store_it_is_not_ready_f18_f20"

STORES: Final = Section(
    "1.2",
    "Stateful dependencies",
    (
        Row(
            id="F-17",
            failure="Memorystore (Redis) cache tier down",
            detection="health + client errors",
            impact="higher upstream load; latency rises",
            mitigation="read-through to upstream; readiness reflects state",
            runbook="bff-backoffice/memorystore-cache-down",
            metric=store_up("redis-cache"),
            severity=Severity.P2,
            fixtures=(Inject("redis-cache", "kill"), Inject("redis-cache", "stop")),
            tests=(
                "tests/reads/test_stores_fail.py"
                "::test_without_the_cache_tier_every_widget_is_asked_for_and_the_dashboard_is_whole",
                "tests/reads/test_stores_fail.py::test_a_cache_that_hangs_and_a_service_that_fails_are_still_in_time",
                "tests/reads/test_outage.py::test_a_cache_client_that_ignores_its_cancellation_holds_no_widget_back",
                "tests/reads/test_boards.py"
                "::test_without_the_cache_tier_every_read_is_whole_and_an_outage_is_one_at_once_f17",
                "tests/ops/test_readiness.py::test_without_the_cache_tier_it_is_ready_and_says_degraded_f17",
                "tests/parity/test_cache.py::test_down_means_miss_and_what_was_kept_is_there_again_afterwards_f17",
            ),
        ),
        Row(
            id="F-18",
            failure="Memorystore (Redis) session tier down",
            detection="health + client errors",
            impact="mutating endpoints 503; SSE bus down",
            mitigation="reads fall back direct, no session blob; readiness DOWN; auto-failover to standby",
            runbook="bff-backoffice/memorystore-session-down",
            metric=store_up("redis-session"),
            severity=Severity.P1,
            fixtures=(Inject("redis-session", "kill"), Inject("redis-session", "stop")),
            tests=(
                "tests/reads/test_stores_fail.py"
                "::test_without_the_session_tier_reads_go_on_and_a_replayed_proof_is_still_refused",
                "tests/reads/test_boards.py::test_without_the_session_tier_every_read_goes_on_f18",
                "tests/gate/test_ladder.py"
                "::test_with_the_tier_gone_a_read_goes_on_and_its_proof_is_still_used_up_f18_f28",
                "tests/gate/test_session.py::test_with_the_tier_gone_signing_in_goes_on_f18",
                "tests/events/test_readiness.py"
                "::test_with_the_session_tier_down_the_bus_is_down_too_and_both_come_back_f18",
                "tests/events/test_poll.py::test_with_the_tier_down_there_is_no_poll_f18",
                "tests/gate/test_standing.py::test_the_last_known_state_holds_while_the_tier_is_down_f18",
                NOT_READY,
                "tests/parity/test_tier.py"
                "::test_a_tier_that_is_down_says_so_at_once_and_comes_back_with_all_it_held_f18",
            ),
            gamedays=("shift-change", "dpop-replay"),
        ),
        Row(
            id="F-19",
            failure="Memorystore failover",
            detection="failover event",
            impact="< 30 s elevated latency; sessions preserved",
            mitigation="HA standby; session blobs intact",
            runbook="bff-backoffice/memorystore-failover",
            metric=Metric("bff_store_failovers_total", (("store", "redis-session"),)),
            severity=Severity.P2,
            fixtures=(Inject("redis-session", "failover"),),
            tests=(
                "tests/gate/test_recount.py"
                "::test_what_a_failover_lost_is_shown_again_and_who_was_faster_is_counted_f19_f28",
                "tests/stores/test_redis_line.py::test_a_demoted_primary_is_left_and_reads_on_it_do_not_hide_it_f19",
                "tests/parity/test_tier.py::test_another_server_at_the_same_address_is_told_once_f19",
                "tests/events/test_stream.py::test_a_failover_is_felt_as_a_pause_and_not_as_a_loss_f19",
                "tests/sweeps/test_streams.py"
                "::test_faults_by_lot_at_moments_by_lot_and_no_device_loses_or_doubles_anything_f19_f26_f31_f34",
                "tests/gate/test_lost_marks.py"
                "::test_who_has_signed_out_is_refused_elsewhere_though_the_tiers_mark_was_lost_f19",
            ),
            gap="how long one of the real thing takes",
            gamedays=("shift-change", "dpop-replay"),
        ),
        Row(
            id="F-20",
            failure="Cloud SQL (Postgres) primary down",
            detection="health check",
            impact="mutating endpoints 503; idempotency unwritable",
            mitigation="HA failover (~ 60 s)",
            runbook="bff-backoffice/postgres-down",
            metric=store_up("postgres"),
            severity=Severity.P1,
            fixtures=(Inject("postgres", "kill"), Inject("postgres", "stop"), Inject("postgres", "failover")),
            tests=(
                NOT_READY,
                "tests/parity/test_ledger.py::test_a_ledger_that_is_down_says_so_and_comes_back_by_itself_f20",
                "tests/live/test_killing_spree.py"
                "::test_as_many_effects_as_keys_when_workers_and_postgresql_are_killed_under_16_desks_f20",
                "tests/stores/test_simulated.py::test_a_failover_loses_the_whole_of_a_change_or_nothing_of_it_f20",
            ),
            gap="the failover of a real one",
        ),
        Row(
            id="F-21",
            failure="outbox grows",
            detection="depth alert",
            impact="none visible; storage pressure",
            mitigation="relay retries; SRE investigates",
            runbook="platform/outbox-backlog",
            metric=Metric("bff_outbox_depth"),
            severity=Severity.P3,
            fixtures=(
                Inject("pubsub", "hang"),
                Staged("telemetry from a fleet goes on while the relay gets nothing away"),
            ),
            tests=(
                "tests/jobs/test_relay.py"
                "::test_everything_is_said_once_in_the_order_of_its_key_and_leaves_the_outbox_f21",
                "tests/jobs/test_deadletters.py"
                "::test_every_instance_counts_the_outbox_and_says_so_when_letters_wait_for_a_minute_f21",
            ),
        ),
        Row(
            id="F-22",
            failure="Pub/Sub publish 100 % failure",
            detection="publish error alert",
            impact="none visible",
            mitigation="outbox queues; recovers",
            runbook="platform/pubsub-publish-down",
            metric=Metric("bff_relay_failed_total"),
            severity=Severity.P2,
            fixtures=(Inject("pubsub", "status code=503"), Inject("pubsub", "down")),
            tests=(
                "tests/jobs/test_relay.py::test_while_pubsub_fails_letters_stay_and_are_said_when_it_is_back_f22",
                "tests/jobs/test_deadletters.py"
                "::test_in_the_house_letters_go_out_and_an_outage_of_pubsub_degrades_a_line_and_nothing_else_f22",
                "tests/writes/test_telemetry.py"
                "::test_without_the_ledger_every_event_is_taken_at_once_and_is_in_the_outbox_once_it_is_back_f22",
            ),
        ),
    ),
)
