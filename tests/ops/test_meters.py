import re

import pytest

from bff import facts
from bff.facts import cost, events, probes, spans
from bff.meters import HEARD, Meters
from bff.model import Span
from nurseries import BreakerClosed, BreakerOpened, DetachedCutOff, OwnedTaskFailed


def shown(meters):
    body, kind = meters.shown()
    assert kind.startswith("application/openmetrics-text")
    return body.decode()


def value(meters, series):
    found = re.search(rf"^{re.escape(series)} (\S+)", shown(meters), re.MULTILINE)
    return float(found[1]) if found else None


def test_a_dashboard_with_a_skeleton_is_counted_under_the_specifications_name():
    meters = Meters()
    meters.hear(facts.DashboardServed(partial=True, seconds=0.3, late=0.0))
    meters.hear(facts.DashboardServed(partial=False, seconds=0.1, late=0.0))
    assert value(meters, "bff_dashboard_partial_total") == 1


def test_a_blocked_replay_is_counted_under_the_specifications_name_f28():
    meters = Meters()
    meters.hear(facts.ReplayBlocked("tier"))
    meters.hear(facts.ReplayBlocked("window"))
    assert value(meters, 'bff_dpop_replay_blocked_total{by="tier"}') == 1
    assert value(meters, 'bff_dpop_replay_blocked_total{by="window"}') == 1


def test_replays_that_passed_are_counted_and_so_are_the_acceptances_that_nobody_could_recount_f28():
    meters = Meters()
    for fact in (facts.Recounted(7), facts.ReplayPassed(2), facts.ReplayPassed(1), facts.RecountSkipped("too late", 4)):
        meters.hear(fact)
    assert value(meters, "bff_dpop_replay_passed_total") == 3
    assert value(meters, "bff_dpop_recounted_total") == 7
    assert value(meters, 'bff_dpop_recount_skipped_total{why="too late"}') == 4


def test_calls_are_counted_and_timed_by_operation_and_outcome():
    meters = Meters()
    meters.hear(facts.UpstreamCalled("pricing", "rateSnapshot", "UPSTREAM_TIMEOUT", 0.7))
    series = 'bff_upstream_calls_total{operation="rateSnapshot",outcome="UPSTREAM_TIMEOUT",service="pricing"}'
    assert value(meters, series) == 1
    assert value(meters, 'bff_upstream_seconds_sum{operation="rateSnapshot",service="pricing"}') == 0.7


@pytest.mark.parametrize("sampled", [True, False])
def test_a_bucket_names_a_trace_that_was_in_it_where_somebody_keeps_that_trace(sampled):
    meters, span = Meters(), Span("0a" * 16, "0b" * 8, sampled)
    meters.hear(facts.RequestServed("/v1/dashboard", "GET", 200, "", 0.7, span))
    meters.hear(facts.UpstreamCalled("pricing", "rateSnapshot", "ok", 0.7, span))
    for series in (
        'bff_request_seconds_bucket{le="0.8",route="/v1/dashboard"} 1.0',
        'bff_upstream_seconds_bucket{le="0.8",operation="rateSnapshot",service="pricing"} 1.0',
    ):
        named = f'{series} # {{span_id="{"0b" * 8}",trace_id="{"0a" * 16}"}} 0.7 '
        assert (named in shown(meters)) is sampled
        assert f"\n{series}" in shown(meters)


def test_a_breaker_shows_whether_it_is_open_now():
    meters = Meters()
    meters.hear(BreakerOpened("pricing.rateSnapshot", "consecutive"))
    assert value(meters, 'bff_breaker_open{name="pricing.rateSnapshot"}') == 1
    meters.hear(BreakerClosed("pricing.rateSnapshot"))
    assert value(meters, 'bff_breaker_open{name="pricing.rateSnapshot"}') == 0


def test_a_store_shows_whether_it_answers_f17_f18():
    meters = Meters()
    meters.hear(facts.StoreChanged("redis-cache", up=False, why="refused"))
    assert value(meters, 'bff_store_up{store="redis-cache"}') == 0


def test_both_kinds_of_bug_are_one_figure():
    meters = Meters()
    meters.hear(facts.Surprised("upstream call", "KeyError"))
    meters.hear(facts.AppFailed("KeyError", "somewhere:1"))
    assert value(meters, "bff_surprised_total") == 2


def test_a_change_is_counted_by_what_became_of_it_and_timed_by_its_action():
    meters = Meters()
    for state, outcome in (("recorded", "success"), ("uncertain", "uncertain"), ("recorded", "success")):
        meters.hear(facts.MutationConcluded("folio.charge", state, outcome, 0.25))
    series = 'bff_mutations_total{action="folio.charge",outcome="%s",state="%s"}'
    assert value(meters, series % ("success", "recorded")) == 2
    assert value(meters, series % ("uncertain", "uncertain")) == 1
    assert value(meters, 'bff_mutation_seconds_sum{action="folio.charge"}') == 0.75


def test_what_came_again_is_counted_apart_answered_from_the_record_or_taken_over_f32():
    meters = Meters()
    meters.hear(facts.KeyReplayed("lock.issue"))
    meters.hear(facts.KeyTakenOver("lock.issue", "uncertain"))
    meters.hear(facts.KeyTakenOver("lock.issue", "uncertain"))
    assert value(meters, 'bff_idempotency_dedup_total{action="lock.issue"}') == 1
    assert value(meters, 'bff_idempotency_takeover_total{action="lock.issue",before="uncertain"}') == 2


def test_a_switch_shows_whether_it_is_off_or_frozen_now():
    meters = Meters()
    for word, shows in (("frozen", 1), ("on", 0), ("off", 1), ("on", 0)):
        meters.hear(facts.SwitchTurned("locks", word, "ann"))
        assert value(meters, 'bff_switch_off{name="locks"}') == shows


def test_what_failed_in_the_background_is_one_figure_whoever_tells_of_it():
    meters = Meters()
    for fact in (OwnedTaskFailed("server", "relay", "KeyError()"), DetachedCutOff("relay", 1.0)):
        meters.hear(fact)
    assert value(meters, 'bff_background_failed_total{task="relay"}') == 2


def test_a_fact_of_no_metric_is_passed_over():
    meters = Meters()
    before = shown(meters)
    meters.hear("nothing that is known")
    assert shown(meters) == before


def test_two_servers_in_one_process_count_apart():
    one, other = Meters(), Meters()
    one.hear(facts.Surprised("here", "KeyError"))
    assert value(other, "bff_surprised_total") == 0


def test_every_fact_of_the_house_is_counted_or_named_here_as_one_that_is_not():
    counted = {kind.__name__ for kind in HEARD}
    told = {
        name
        for told in (facts, events, cost, probes, spans)
        for name, kind in vars(told).items()
        if isinstance(kind, type) and kind.__module__ == told.__name__
    }
    assert told - counted == {"WorkerEnded", "WorkerReplaced"}  # a supervisor's, whose crew counts them itself
