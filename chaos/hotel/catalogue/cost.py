"""FAILURE_MODES 1.5: what costs money, or memory that is paid for."""

from __future__ import annotations

from typing import Final

from chaos.hotel.catalogue.row import Metric, Row, Section, Severity, Staged

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
            fixtures=(
                Staged("a fleet holds its streams open until every instance is full"),
                Staged("one server more begins than the budget has"),
            ),
            tests=(
                "tests/jobs/test_watch_budgets.py"
                "::test_processes_are_counted_while_they_say_that_they_are_here_and_one_too_many_is_said_once_f39",
                "tests/jobs/test_watch_budgets.py"
                "::test_two_servers_of_a_hotel_see_each_other_and_what_they_publish_is_measured_f39_f40",
                "tests/parity/test_ledger.py"
                "::test_the_ledger_says_how_many_connections_its_server_has_and_may_have_f39",
            ),
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
            tests=(
                "tests/writes/test_telemetry.py::test_the_switch_says_which_part_of_the_events_is_kept_f40",
                "tests/jobs/test_watch_budgets.py"
                "::test_what_all_processes_publish_in_a_day_is_one_sum_and_a_new_day_begins_at_nothing_f40",
            ),
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
                "tests/gate/test_jti_modes.py::test_no_turn_rotation_or_failover_lets_a_proof_in_that_is_known_f28_f41",
                "tests/gate/test_jti_modes.py"
                "::test_in_every_mode_desks_sign_in_and_look_and_a_stolen_proof_is_turned_away_elsewhere_f28_f41",
                "tests/jobs/test_watch_redis.py"
                "::test_where_a_trim_is_not_enough_the_filter_holds_it_and_each_proof_is_still_fresh_once_f41",
                "tests/jobs/test_watch_redis.py"
                "::test_when_the_spike_is_over_it_goes_back_step_by_step_each_after_its_time_f41",
                "tests/parity/test_jti.py::test_no_turn_forgets_what_was_remembered_another_way_f41",
                "tests/parity/test_jti.py::test_a_full_filter_is_as_wrong_as_it_says_and_never_the_other_way_f41",
                "tests/stores/test_redis_size.py"
                "::test_a_tier_that_is_full_by_its_own_word_turns_to_the_filter_and_refuses_no_honest_proof_f41",
            ),
        ),
    ),
)
