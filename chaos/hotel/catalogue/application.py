"""FAILURE_MODES 1.4: what only a mistake of the server's own can cause, or only it can stop."""

from __future__ import annotations

from typing import Final

from chaos.hotel.catalogue.row import LATER_AND_METRIC, RUNBOOK, Inject, Metric, Row, Section, Severity, Staged

CRASHES: Final = (
    "tests/sweeps/test_crashes.py::test_servers_die_at_checkpoints_by_lot_and_what_desks_asked_for_is_done_once_f4_f32"
)

APPLICATION: Final = Section(
    "1.4",
    "Application layer",
    (
        Row(
            id="F-27",
            failure="lock-action audit log gap",
            detection="lock_audit_completeness < 100 %",
            impact="compliance + dispute risk",
            mitigation="hard freeze on lock proxy; SRE investigates within 30 min",
            runbook="bff-backoffice/lock-audit-gap",
            metric=Metric("bff_lock_audit_completeness"),
            severity=Severity.P1,
            fixtures=(
                Inject("lock-integration", "lose-answer"),
                Staged("an audit row is taken out of the ledger behind the server's back"),
            ),
            tests=(
                "tests/jobs/test_watch_locks.py"
                "::test_a_missing_row_freezes_lock_actions_and_no_others_until_a_person_lifts_it_f27",
                "tests/live/test_audit.py"
                "::test_verify_finds_real_lock_actions_whole_and_names_the_row_a_superuser_changed_f27",
            ),
            gamedays=("lock-outage",),
            later=(),
        ),
        Row(
            id="F-28",
            failure="DPoP replay accepted",
            detection="dpop_replay_blocked_total < expected, or audit log shows replays succeeding",
            impact="token theft enabled",
            mitigation="page Security; halt traffic to affected revision; restore from prior known-good",
            runbook="bff-backoffice/dpop-replay-bypass",
            metric=Metric("bff_dpop_replay_blocked_total"),
            severity=Severity.P1,
            fixtures=(
                Staged("a thief presents a stolen proof again: at once, later, at another instance"),
                Inject("redis-session", "kill"),
                Inject("redis-session", "failover"),
            ),
            tests=(
                "tests/sweeps/test_replays.py"
                "::test_of_equal_proofs_at_once_exactly_one_is_accepted_under_every_schedule_f28",
                "tests/live/test_gameday.py"
                "::test_a_thief_at_two_real_servers_gets_no_more_than_the_contract_says_and_it_is_counted_f28",
                "tests/gate/test_ladder.py::test_of_many_equal_proofs_at_once_exactly_one_passes_f28",
                "tests/gate/test_ladder.py::test_of_equal_proofs_at_two_instances_exactly_one_passes_f28",
                "tests/gate/test_ladder.py"
                "::test_with_the_tier_gone_a_read_goes_on_and_its_proof_is_still_used_up_f18_f28",
                "tests/gate/test_ladder.py"
                "::test_a_proof_accepted_while_the_tier_was_up_is_refused_by_the_window_when_it_is_down_f28",
                "tests/gate/test_ladder.py::test_a_proof_at_the_doorstep_is_good_once_f28",
                "tests/gate/test_recount.py"
                "::test_a_read_replayed_at_another_instance_while_the_tier_is_down_is_counted_when_it_is_back_f28",
                "tests/gate/test_recount.py::test_what_rung_7_turned_away_has_not_passed_f28",
                "tests/gate/test_recount.py"
                "::test_what_a_failover_lost_is_shown_again_and_who_was_faster_is_counted_f19_f28",
                "tests/gate/test_recount.py"
                "::test_whatever_happens_to_the_tier_all_that_passed_twice_is_counted_and_nothing_else_f19_f28",
                "tests/gamedays/test_dpop_replay.py"
                "::test_a_thief_gets_reads_alone_and_only_while_the_tier_does_not_know_and_each_is_counted_f28",
                "tests/reads/test_stores_fail.py"
                "::test_without_the_session_tier_reads_go_on_and_a_replayed_proof_is_still_refused",
                "tests/parity/test_tier.py::test_a_proof_is_fresh_once_and_seen_ever_after_f28",
                "tests/parity/test_tier.py::test_of_many_who_present_one_proof_at_once_exactly_one_is_first_f28",
                "tests/stores/test_redis_line.py::test_a_proof_whose_answer_was_lost_is_no_replay_of_itself_f28",
                "tests/ops/test_switches.py"
                "::test_with_traffic_off_both_servers_halt_everything_but_health_till_it_is_on_again_f28",
            ),
            gamedays=("dpop-replay",),
            later=(RUNBOOK,),
        ),
        Row(
            id="F-29",
            failure="MFA attestation replayed successfully",
            detection="mfa.attestation.replay_success (would be 0; nonzero is a bug)",
            impact="sensitive action without fresh MFA",
            mitigation="page Security; halt sensitive endpoints",
            runbook="bff-backoffice/mfa-replay-bypass",
            metric=Metric("bff_mfa_attestation_replay_success_total"),
            severity=Severity.P1,
            fixtures=(Staged("a spent attestation is presented again, with another key, by another session"),),
            tests=(
                "tests/gate/test_attestation.py::test_one_that_was_spent_on_another_key_is_refused_and_counted_f29",
                "tests/parity/test_keys.py"
                "::test_of_32_who_bring_one_attestation_for_different_keys_exactly_one_spends_it_f29",
                "tests/writes/test_mutations.py::test_a_second_factor_is_good_for_one_of_32_keys_at_once_f29",
            ),
        ),
        Row(
            id="F-30",
            failure="cross-tenant data leakage via cache key collision",
            detection="synthetic cross-tenant probe fail",
            impact="catastrophic: operator sees another tenant's data",
            mitigation="tenant-scoped cache keys; nightly probe; rollback on alert",
            runbook="bff-backoffice/cross-tenant-leak",
            metric=Metric("bff_tenant_probe_leaks_total"),
            severity=Severity.P1,
            fixtures=(
                Staged("two tenants whose properties, operators and devices have the same names"),
                Staged("another tenant's answer is put under our key in the cache"),
                Inject("pricing", "wrong-tenant"),
            ),
            tests=(
                "tests/reads/test_outage.py"
                "::test_two_tenants_with_the_same_property_operator_and_device_never_meet_in_the_cache",
                "tests/reads/test_outage.py::test_another_tenant_s_answer_under_our_key_is_a_miss_and_not_data",
                "tests/reads/test_boards_asked.py::test_who_sees_one_property_sees_nothing_of_the_other_one_f30",
                "tests/reads/test_boards_asked.py"
                "::test_a_folio_of_another_tenant_or_property_reads_as_one_that_never_was_f30",
                "tests/reads/test_boards_asked.py"
                "::test_two_tenants_with_the_same_property_never_meet_in_what_is_kept_f30",
                "tests/gate/test_standing.py::test_an_answer_about_another_tenant_says_nothing_f30",
                "tests/gate/test_session.py::test_a_token_that_says_otherwise_than_its_answer_is_handed_to_nobody_f30",
                "tests/parity/test_cache.py::test_a_tenant_never_gets_another_s_f30",
                "tests/parity/test_tier.py::test_the_same_session_id_of_another_tenant_is_another_session_f30",
                "tests/stores/test_redis_keys.py::test_a_blob_that_is_none_or_another_s_is_no_blob_f30",
                "tests/stores/test_redis_keys.py"
                "::test_everything_but_a_tenant_s_status_has_its_time_and_names_its_tenant_f30",
                "tests/ops/test_blast_radius.py"
                "::test_what_works_is_done_and_what_is_gone_says_so_while_each_failure_is_in_force",
            ),
            gap="the nightly probe",
            later=LATER_AND_METRIC,
        ),
        Row(
            id="F-31",
            failure="force-logout SSE event lost",
            detection="E2E latency > 5 s p95",
            impact="revoked operator continues to act",
            mitigation="refresh-time check (next refresh fails with SESSION_EXPIRED) acts as backstop;"
            " investigate within 1 h",
            runbook="bff-backoffice/forcelogout-lag",
            metric=Metric("bff_force_logout_seconds"),
            severity=Severity.P2,
            fixtures=(
                Staged("iam revokes a session and the event never comes"),
                Inject("redis-session", "stop"),
            ),
            tests=(
                "tests/gate/test_session.py::test_a_session_that_iam_revoked_is_over_at_its_next_renewal_f31",
                "tests/gate/test_session.py"
                "::test_a_session_that_the_tier_knows_to_be_over_is_not_renewed_though_iam_would_f31",
                "tests/gate/test_session.py"
                "::test_what_ended_here_is_not_renewed_though_neither_the_tier_nor_iam_can_tell_f31",
                "tests/gate/test_ladder.py::test_a_session_revoked_anywhere_is_over_here_f31",
                "tests/events/test_backstop.py"
                "::test_a_stream_whose_end_nobody_has_heard_of_ends_within_a_turn_with_the_word_why_f31",
                "tests/events/test_stream.py"
                "::test_a_force_logout_is_heard_ends_the_stream_and_the_session_and_signing_in_again_works_f31",
                "tests/live/test_streams.py"
                "::test_a_force_logout_of_a_tenant_ends_every_stream_and_session_of_it_and_no_other_f31",
            ),
            gamedays=("force-logout",),
        ),
        Row(
            id="F-32",
            failure="idempotency key replay creates duplicate mutation upstream",
            detection="idempotency_dedup_total < expected; reservation-service duplicate counter spike",
            impact="duplicate room assignment / double charge",
            mitigation="page on-call; halt mutation proxy; investigate",
            runbook="bff-backoffice/idem-bypass",
            metric=Metric("bff_idempotency_dedup_total"),
            severity=Severity.P1,
            fixtures=(
                Inject("reservation", "lose-answer"),
                Inject("billing", "lose-answer"),
                Staged("billing forgets which keys it has, and does again what it has done"),
            ),
            tests=(
                CRASHES,
                "tests/parity/test_keys.py::test_of_32_who_claim_one_key_at_once_exactly_one_has_it_f32",
                "tests/parity/test_keys.py::test_a_second_owner_is_never_overwritten_by_the_first_f32",
                "tests/jobs/test_settle_claims.py"
                "::test_a_mutation_whose_server_died_is_carried_out_once_though_its_desk_never_comes_back_f32",
                "tests/jobs/test_probes.py::test_a_ledger_that_forgets_a_key_halts_mutations_and_nothing_else_f32",
                "tests/jobs/test_watch_effects.py"
                "::test_a_service_that_charges_twice_for_a_key_is_found_at_the_next_turn_and_halts_mutations_f32",
                "tests/jobs/test_watch_effects.py"
                "::test_a_quiet_service_is_not_found_whatever_is_lost_refused_or_asked_again_f32",
                "tests/parity/test_keys.py::test_what_became_of_keys_is_told_by_action_from_a_moment_on_f32",
            ),
        ),
        Row(
            id="F-33",
            failure="dashboard composer infinite-await: an upstream that doesn't honor its deadline",
            detection="dashboard.partial.spike + p95 spike",
            impact="many widgets unavailable",
            mitigation="hard deadline enforced (withDeadline in the original); bug in offending fetch; revert",
            runbook="bff-backoffice/dashboard-await-leak",
            metric=Metric("bff_dashboard_partial_total"),
            severity=Severity.P1,
            fixtures=(
                Inject("pricing", "hang"),
                Inject("pricing", "drip"),
                Staged("a dial that hears no cancellation"),
                Staged("the network takes no answer to a dial: a black hole"),
            ),
            tests=(
                "tests/reads/test_services_fail.py::test_a_service_fails_and_its_widgets_alone_are_not_what_they_were",
                "tests/reads/test_services_fail.py::test_a_shorter_deadline_is_kept_to_the_microsecond_too",
                "tests/reads/test_services_fail.py::test_a_dial_that_is_never_answered_costs_one_widget_and_the_time",
                "tests/reads/test_services_fail.py::test_all_services_fail_and_the_answer_still_comes_in_time",
                "tests/sweeps/test_dashboard.py"
                "::test_every_single_fault_at_every_moment_costs_what_the_contract_says_and_leaves_nothing_f33",
                "tests/sweeps/test_dashboard.py::test_a_slice_of_the_pairs_of_faults_too_f33",
                "tests/sweeps/test_leaving.py"
                "::test_dashboards_are_left_at_checkpoints_by_lot_and_nothing_stays_behind_f33",
                "tests/reads/test_outage.py"
                "::test_a_call_that_ignores_its_cancellation_cannot_hold_an_answer_back_nor_fill_the_process",
                "tests/reads/test_outage.py::test_a_cache_client_that_ignores_its_cancellation_holds_no_widget_back",
                "tests/gate/test_app.py::test_the_dashboard_is_200_in_time_with_every_upstream_gone_f33",
                "tests/upstreams/test_client.py::test_without_a_deadline_nothing_is_asked",
                "tests/live/test_up.py::test_one_broken_upstream_is_one_skeleton_in_time_and_healed_it_is_whole_again",
            ),
        ),
        Row(
            id="F-34",
            failure="SSE bus stops delivering after Memorystore failover",
            detection="sse_first_event_p95 spike",
            impact="new events not delivered until reconnect",
            mitigation="clients reconnect SSE on stale-detection; fallback polling",
            runbook="bff-backoffice/sse-bus-stall",
            metric=Metric("bff_sse_first_event_seconds"),
            severity=Severity.P2,
            fixtures=(Inject("redis-session", "failover"), Inject("redis-session", "stop")),
            tests=(
                "tests/events/test_stream.py::test_a_dead_bus_is_told_within_three_seconds_and_then_nothing_is_lost_f34",
                "tests/events/test_readiness.py::test_a_bus_that_delivers_nothing_is_down_though_the_tier_answers_f34",
                "tests/chaos/test_following.py::test_a_stalled_bus_is_polled_beside_and_its_stream_is_kept_f34",
                "tests/live/test_streams.py"
                "::test_nothing_is_lost_when_redis_is_killed_and_back_by_who_stays_and_by_who_comes_again_f34",
                "tests/events/test_poll.py"
                "::test_where_the_bus_delivers_nothing_a_poll_is_told_what_the_log_has_and_does_not_wait_long_f34",
            ),
            gamedays=("shift-change", "force-logout"),
        ),
        Row(
            id="F-35",
            failure="device_sync_status.cursor_version divergence from sync-service",
            detection="reconciliation job alert",
            impact='operators see "stale sync" hint',
            mitigation="reset cache from sync-service authoritative on next handshake",
            runbook="bff-backoffice/cursor-cache-divergence",
            metric=Metric("bff_cursor_divergence"),
            severity=Severity.P3,
            fixtures=(
                Inject("sync", "down"),
                Staged("sync-service moves a device's cursor, and nobody tells the server"),
            ),
            tests=(
                "tests/reads/test_outage.py"
                "::test_what_is_kept_is_stale_to_the_last_millisecond_of_its_keep_and_then_a_skeleton",
                "tests/writes/test_handshake.py::test_every_copy_of_the_cursor_is_reset_before_the_answer_leaves_f35",
                "tests/jobs/test_settle_mirrors.py"
                "::test_a_cursor_that_is_not_the_authority_s_is_marked_once_and_reset_by_a_handshake_f35",
            ),
            gamedays=("sync-storm",),
        ),
        Row(
            id="F-36",
            failure="OperatorPreferences write-through fails (tenant-service down but BFF cache write succeeds)",
            detection="reconciliation alert",
            impact="mirror diverges from authority",
            mitigation="write-through transaction must succeed both; failure → 503;"
            " cache only updated after upstream OK",
            runbook="bff-backoffice/prefs-divergence",
            metric=Metric("bff_mirror_diverged_total", (("what", "preferences"),)),
            severity=Severity.P2,
            fixtures=(
                Inject("tenant", "status code=503"),
                Inject("tenant", "lose-answer"),
                Inject("postgres", "kill"),
            ),
            tests=(
                "tests/reads/test_preferences.py"
                "::test_a_desk_that_changed_them_sees_the_change_in_an_outage_though_the_cache_is_older_f36",
                "tests/jobs/test_settle_mirrors.py"
                "::test_preferences_that_somebody_else_changed_are_found_and_healed_f36",
                "tests/jobs/test_settle_mirrors.py"
                "::test_an_uncertain_change_of_preferences_leaves_the_mirror_and_is_settled_f36",
            ),
        ),
        Row(
            id="F-37",
            failure="memory leak",
            detection="heap RSS upward trend > 10 % / 4 h",
            impact="pod restarts (acceptable, no user impact via Cloud Run min-instances)",
            mitigation="rolling restart; pre-stop drains SSE",
            runbook="bff-backoffice/memory-leak",
            metric=Metric("bff_resident_memory_bytes"),
            severity=Severity.P3,
            fixtures=(Staged("a process holds a seventh more within four hours"),),
            tests=(
                "tests/jobs/test_watch_memory.py"
                "::test_eleven_per_cent_in_four_hours_are_reported_once_with_the_types_that_grew_f37",
            ),
        ),
        Row(
            id="F-38",
            failure="DLQ spike",
            detection="DLQ depth alert",
            impact="none",
            mitigation="DLQ 7 d retention; SRE inspects + replays",
            runbook="platform/dlq-spike",
            metric=Metric("bff_dlq_depth"),
            severity=Severity.P3,
            fixtures=(Inject("pubsub", "status code=400"),),
            tests=(
                "tests/jobs/test_relay.py"
                "::test_a_poisonous_letter_is_found_and_buried_with_its_reason_and_the_rest_is_said_in_order_f38",
                "tests/live/test_dlq.py"
                "::test_what_pubsub_will_not_have_is_listed_shown_and_published_when_it_is_replayed_f38",
            ),
        ),
    ),
)
