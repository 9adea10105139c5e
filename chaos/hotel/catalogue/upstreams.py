"""FAILURE_MODES 1.1: the services behind the server."""

from __future__ import annotations

from typing import Final

from chaos.hotel.catalogue.row import Fixture, Inject, Metric, Row, Section, Severity, calls

EACH_SERVICE: Final = (
    "tests/reads/test_services_fail.py::test_a_service_fails_and_its_widgets_alone_are_not_what_they_were"
)
KEPT: Final = (
    "tests/reads/test_outage.py::test_what_is_kept_is_stale_to_the_last_millisecond_of_its_keep_and_then_a_skeleton"
)
LAST_KEPT: Final = (
    "tests/reads/test_outage.py::test_in_an_outage_the_last_answer_that_came_is_shown_and_its_own_age_counts"
)
READ_FAILS: Final = (
    "tests/reads/test_boards.py::test_a_service_fails_and_its_read_says_so_exactly_and_in_time_or_shows_what_was_kept"
)
BOARD_KEPT: Final = (
    "tests/reads/test_boards.py::test_a_board_is_stale_to_the_last_millisecond_of_its_keep_and_then_a_problem"
)
SHARED: Final = (
    "tests/reads/test_boards.py"
    "::test_what_a_dashboard_has_seen_is_what_a_board_shows_in_an_outage_and_the_other_way_round"
)
SPARED: Final = "tests/reads/test_outage.py::test_a_fresh_answer_spares_a_service_that_fails_from_being_asked"
CRASHES: Final = (
    "tests/sweeps/test_crashes.py::test_servers_die_at_checkpoints_by_lot_and_what_desks_asked_for_is_done_once_f4_f32"
)


def _fails(service: str) -> tuple[Fixture, ...]:
    """The two ways in which a service is away that are told apart: it answers with an error, or not at all."""
    return (Inject(service, "status code=503"), Inject(service, "down"))


UPSTREAMS: Final = Section(
    "1.1",
    "Upstream services",
    (
        Row(
            id="F-1",
            failure="iam-service.refresh 5xx",
            detection="per-route alert",
            impact="token expires within 15 min; user re-signs in",
            mitigation="DPoP retry on next interval; if persistent, desktop falls back to offline mode",
            runbook="bff-backoffice/iam-refresh-down",
            metric=calls("iam", "refresh"),
            severity=Severity.P2,
            fixtures=(*_fails("iam"), Inject("iam", "hang")),
            tests=(
                "tests/gate/test_session.py::test_iam_gone_is_502_in_time_and_says_when_to_come_again_f1",
                "tests/gate/test_ladder.py::test_iam_down_afterwards_is_nobody_s_trouble_f1",
                "tests/gate/test_jwks.py::test_old_keys_are_kept_through_an_outage_and_iam_is_not_overrun",
                "tests/reads/test_services_fail.py"
                "::test_a_service_without_a_widget_fails_and_a_desk_that_is_signed_in_sees_nothing_of_it",
                "tests/ops/test_readiness.py"
                "::test_an_instance_that_begins_while_iam_is_away_is_ready_says_so_and_answers_502_f1",
            ),
        ),
        Row(
            id="F-2",
            failure="iam-service.attestStepUp 5xx",
            detection="per-route alert",
            impact="sensitive actions (lock revoke, refund) blocked",
            mitigation="banner shown; non-sensitive flows unaffected",
            runbook="bff-backoffice/mfa-down",
            metric=calls("iam", "attestStepUp"),
            severity=Severity.P2,
            fixtures=_fails("iam"),
            tests=("tests/gate/test_step_up.py::test_iam_gone_is_502_in_time_and_nothing_else_is_affected_f2",),
        ),
        Row(
            id="F-3",
            failure="tenant-service slow",
            detection="per-upstream alert",
            impact="operator resolution slow; preferences mirror stale",
            mitigation="5-min cache absorbs; alert if cache miss + outage",
            runbook="bff-backoffice/tenant-degraded",
            metric=Metric("bff_upstream_seconds", (("service", "tenant"),)),
            severity=Severity.P3,
            fixtures=(Inject("tenant", "latency ms=1000"), Inject("tenant", "hang")),
            tests=(
                EACH_SERVICE,
                KEPT,
                SPARED,
                "tests/gate/test_standing.py"
                "::test_an_unknown_tenant_counts_as_active_and_is_asked_about_behind_the_request",
                "tests/reads/test_preferences.py"
                "::test_without_their_authority_they_are_the_last_that_is_known_and_marked_or_else_why_not_f3",
            ),
        ),
        Row(
            id="F-4",
            failure="reservation-service 5xx",
            detection="per-route alert",
            impact="workbench reads + check-in/check-out fail (online); offline still works locally",
            mitigation="banner; mutation idempotency absorbs retries",
            runbook="bff-backoffice/reservation-down",
            metric=calls("reservation"),
            severity=Severity.P1,
            fixtures=_fails("reservation"),
            tests=(
                EACH_SERVICE,
                READ_FAILS,
                "tests/reads/test_boards.py::test_metadata_that_is_there_makes_no_workbench_without_reservation_f4",
                "tests/writes/test_mutations.py"
                "::test_an_answer_comes_in_time_and_says_what_is_known_whatever_the_service_does_f4_f10",
                CRASHES,
            ),
        ),
        Row(
            id="F-5",
            failure="inventory-service 5xx",
            detection="per-route alert",
            impact="occupancy KPI widget unavailable; rest of dashboard intact",
            mitigation="per-widget skeleton",
            runbook="bff-backoffice/inventory-down",
            metric=calls("inventory"),
            severity=Severity.P3,
            fixtures=_fails("inventory"),
            tests=(EACH_SERVICE,),
        ),
        Row(
            id="F-6",
            failure="pricing-service 5xx",
            detection="per-route alert",
            impact="rate snapshot tile unavailable",
            mitigation="per-widget skeleton",
            runbook="bff-backoffice/pricing-down",
            metric=calls("pricing"),
            severity=Severity.P3,
            fixtures=_fails("pricing"),
            tests=(
                EACH_SERVICE,
                "tests/reads/test_outage.py"
                "::test_a_breaker_opens_and_the_widget_says_so_at_once_and_closes_when_its_probe_comes_back",
            ),
        ),
        Row(
            id="F-7",
            failure="housekeeping-service 5xx",
            detection="per-route alert",
            impact="housekeeping board unavailable; transitions fail online",
            mitigation="board cache absorbs short outage; mutations queue offline",
            runbook="bff-backoffice/housekeeping-down",
            metric=calls("housekeeping"),
            severity=Severity.P2,
            fixtures=_fails("housekeeping"),
            tests=(
                EACH_SERVICE,
                KEPT,
                LAST_KEPT,
                READ_FAILS,
                BOARD_KEPT,
                SHARED,
                CRASHES,
            ),
        ),
        Row(
            id="F-8",
            failure="maintenance-service 5xx",
            detection="per-route alert",
            impact="maintenance board unavailable; same",
            mitigation="same",
            runbook="bff-backoffice/maintenance-down",
            metric=calls("maintenance"),
            severity=Severity.P2,
            fixtures=_fails("maintenance"),
            tests=(
                EACH_SERVICE,
                KEPT,
                LAST_KEPT,
                READ_FAILS,
                BOARD_KEPT,
                SHARED,
                CRASHES,
            ),
        ),
        Row(
            id="F-9",
            failure="billing-service 5xx",
            detection="per-route alert",
            impact="folio summary tile unavailable; charge mutations fail",
            mitigation="per-widget skeleton; idem-key absorbs retries",
            runbook="bff-backoffice/billing-down",
            metric=calls("billing"),
            severity=Severity.P2,
            fixtures=(*_fails("billing"), Inject("billing", "lose-answer")),
            tests=(
                EACH_SERVICE,
                READ_FAILS,
                CRASHES,
            ),
        ),
        Row(
            id="F-10",
            failure="lock-integration-service 5xx",
            detection="per-route alert",
            impact="lock issue/revoke fails; alert raised",
            mitigation="audit row outcome=failure; manual workaround per ADR-0004",
            runbook="bff-backoffice/lock-down",
            metric=calls("lock-integration"),
            severity=Severity.P1,
            fixtures=(*_fails("lock-integration"), Inject("lock-integration", "lose-answer")),
            tests=(
                "tests/writes/test_mutations.py"
                "::test_an_answer_comes_in_time_and_says_what_is_known_whatever_the_service_does_f4_f10",
                "tests/gamedays/test_lock_outage.py"
                "::test_the_day_itself_keeps_every_promise_and_had_something_to_keep_f10",
                "tests/jobs/test_settle_claims.py"
                "::test_an_uncertain_lock_action_is_asked_for_and_nothing_is_cut_twice_f10",
                "tests/live/test_audit.py"
                "::test_a_key_that_was_issued_by_hand_is_a_row_of_its_tenant_s_trail_and_no_gap_f10",
            ),
            gamedays=("lock-outage",),
            later=(),
        ),
        Row(
            id="F-11",
            failure="ai-orchestrator-service 5xx",
            detection="per-route alert",
            impact="AI surfaces hidden",
            mitigation="silent degrade",
            runbook="bff-backoffice/ai-down",
            metric=calls("ai-orchestrator"),
            severity=Severity.P3,
            fixtures=_fails("ai-orchestrator"),
            tests=(EACH_SERVICE,),
        ),
        Row(
            id="F-12",
            failure="notification-service 5xx",
            detection="per-route alert",
            impact="alert inbox stale; ack fails",
            mitigation="cache absorbs; ack idempotent retry",
            runbook="bff-backoffice/notif-down",
            metric=calls("notification"),
            severity=Severity.P3,
            fixtures=_fails("notification"),
            tests=(
                EACH_SERVICE,
                KEPT,
                LAST_KEPT,
                "tests/reads/test_outage.py::test_a_breaker_that_is_open_leaves_a_kept_answer_to_be_shown",
                READ_FAILS,
                BOARD_KEPT,
                SHARED,
                CRASHES,
            ),
        ),
        Row(
            id="F-13",
            failure="sync-service.handshake 5xx",
            detection="per-route alert",
            impact="reconnect blocked; desktop stays offline",
            mitigation="desktop continues offline; retry handshake every 30 s",
            runbook="bff-backoffice/sync-handshake-down",
            metric=calls("sync", "handshake"),
            severity=Severity.P2,
            fixtures=_fails("sync"),
            tests=(
                "tests/writes/test_handshake.py"
                "::test_a_handshake_that_fails_says_when_to_try_again_is_in_time_and_is_made_once_f13",
            ),
            gamedays=("sync-storm",),
        ),
        Row(
            id="F-14",
            failure="analytics-service 5xx",
            detection="per-upstream alert",
            impact="some KPI tiles unavailable",
            mitigation="per-widget skeleton",
            runbook="bff-backoffice/analytics-down",
            metric=calls("analytics"),
            severity=Severity.P3,
            fixtures=(*_fails("analytics"), Inject("analytics", "drift field=tiles.0.value")),
            tests=(
                EACH_SERVICE,
                "tests/reads/test_services_fail.py"
                "::test_a_tile_of_analytics_that_drifts_is_a_skeleton_among_tiles_that_are_ok",
                "tests/live/test_desk.py::test_in_a_terminal_it_moves_until_it_is_interrupted",
            ),
        ),
        Row(
            id="F-15",
            failure="schema drift from any upstream",
            detection="schema parse failure (Zod in the original)",
            impact="affected route 502 + SCHEMA_DRIFT",
            mitigation="on-call within 15 min; provider rolled back or BFF schema patched",
            runbook="bff/schema-drift",
            metric=Metric("bff_schema_drift_total"),
            severity=Severity.P2,
            fixtures=(
                Inject("pricing", "drift"),
                Inject("billing", "drift missing=true"),
                Inject("inventory", "garbage"),
            ),
            tests=(
                EACH_SERVICE,
                READ_FAILS,
                "tests/upstreams/test_client.py::test_drift_names_the_field_and_none_of_what_was_in_it",
                "tests/gate/test_session.py::test_an_answer_of_iam_s_that_is_not_what_it_should_be_is_drift_f15_f30",
                "tests/gate/test_jwks.py::test_a_set_with_nothing_to_use_is_drift_and_what_was_known_holds",
            ),
        ),
        Row(
            id="F-16",
            failure="property-service 5xx",
            detection="per-upstream alert",
            impact="property metadata stale",
            mitigation="cache absorbs",
            runbook="bff-backoffice/property-down",
            metric=calls("property"),
            severity=Severity.P3,
            fixtures=_fails("property"),
            tests=(
                EACH_SERVICE,
                KEPT,
                SPARED,
                "tests/reads/test_boards.py::test_without_its_house_s_metadata_a_workbench_is_whole_and_says_so_f16",
                "tests/reads/test_boards.py::test_fresh_metadata_is_not_asked_for_and_is_shared_with_the_dashboard_f16",
            ),
        ),
    ),
)
