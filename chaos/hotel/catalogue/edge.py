"""FAILURE_MODES 1.3: what stands in front of the server, and who floods it.

None of the first three is the server's own to see: a probe asks for the address as a desk does.
"""

from __future__ import annotations

from typing import Final

from chaos.hotel.catalogue.row import Metric, Row, Section, Severity, Staged

EDGE: Final = Section(
    "1.3",
    "Edge / ingress",
    (
        Row(
            id="F-23",
            failure="TLS cert expiry on backoffice.melmastoon.ghasi.io",
            detection="TLS handshake monitor",
            impact="desktop unable to reach BFF; falls offline",
            mitigation="cert manager auto-renewal; alerts at T-30/7/1 days",
            runbook="bff-backoffice/tls-cert-expiry",
            metric=Metric("bff_edge_certificate_left_seconds"),
            severity=Severity.P1,
            fixtures=(Staged("a listener shows a certificate with 60 and 29 days left, and one that is over"),),
            tests=(
                "tests/jobs/test_probe_edge.py"
                "::test_how_long_a_certificate_lasts_is_read_from_a_handshake_whoever_signed_it_f23",
                "tests/ops/test_blast_radius.py"
                "::test_whoever_comes_by_tls_is_let_in_until_the_certificate_has_ended_and_offline_from_then_on_f23",
            ),
        ),
        Row(
            id="F-24",
            failure="Cloud Armor false positive blocks legitimate device traffic",
            detection="403 spike from device IPs",
            impact="some operators blocked; offline mode survives",
            mitigation="stage soak before prod; rollback Terraform",
            runbook="bff-backoffice/waf-fp",
            metric=Metric("bff_edge_probes_total", (("why", "blocked"),)),
            severity=Severity.P2,
            fixtures=(
                Staged("something in front of the edge answers 403 to some addresses; no word reaches the server"),
            ),
            tests=(
                "tests/jobs/test_probe_edge.py"
                "::test_who_is_refused_by_somebody_before_this_server_knows_that_it_was_not_the_server_f24",
                "tests/ops/test_blast_radius.py::test_whom_the_wall_lets_through_can_do_everything_f24",
                "tests/ops/test_blast_radius.py"
                "::test_what_works_is_done_and_what_is_gone_says_so_while_each_failure_is_in_force",
            ),
        ),
        Row(
            id="F-25",
            failure="DNS regression",
            detection="synthetic uptime fail",
            impact="desktop fleet unreachable; offline fallback",
            mitigation="Cloud DNS managed; DR DNS as fallback",
            runbook="bff-backoffice/dns",
            metric=Metric("bff_edge_probe_up", (("name", "public"),)),
            severity=Severity.P1,
            fixtures=(Staged("the server's name is not known any more, or nobody can dial it"),),
            tests=(
                "tests/jobs/test_probe_edge.py"
                "::test_a_name_that_nobody_knows_any_more_is_told_apart_from_a_server_that_is_gone_f25",
                "tests/jobs/test_probe_edge.py::test_one_that_cannot_be_reached_says_where_it_ended_and_in_time_f25",
                "tests/jobs/test_probe_edge.py"
                "::test_a_server_that_can_be_reached_answers_for_itself_under_both_names_f25",
                "tests/ops/test_blast_radius.py"
                "::test_what_works_is_done_and_what_is_gone_says_so_while_each_failure_is_in_force",
            ),
        ),
        Row(
            id="F-26",
            failure="DDoS via SSE flood",
            detection="SSE active conns spike",
            impact="instance count climbs; cost spike",
            mitigation="per-device 1-conn cap; Cloud Armor IP rules; circuit-break",
            runbook="bff-backoffice/sse-flood",
            metric=Metric("bff_sse_streams"),
            severity=Severity.P2,
            fixtures=(Staged("one device opens streams as fast as it can, and thousands of devices one each"),),
            tests=(
                "tests/gate/test_admission.py::test_a_storm_of_streams_takes_no_place_from_anybody_else_f26",
                "tests/events/test_stream.py::test_a_newer_stream_of_the_device_ends_the_older_wherever_it_is_f26",
                "tests/events/test_stream.py::test_new_streams_have_a_rate_per_device_and_a_place_each_f26",
                "tests/sweeps/test_openings.py"
                "::test_of_streams_of_one_device_that_are_opened_at_once_one_lives_by_schedules_by_lot_f26",
                "tests/live/test_open_files.py"
                "::test_it_has_room_for_fewer_streams_and_says_so_in_one_line_and_in_readyz_f26",
            ),
            gamedays=("sync-storm",),
        ),
    ),
)
