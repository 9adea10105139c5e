"""The judges of plans: what each of them says of a history, and what it lets pass."""

import pytest
import trio

from chaos.history import FAULTS, History, Moment
from chaos.hotel.checks.promises import ALWAYS, FELT, answered, honest, in_time, whole


def fault(at, word, target="pricing", toxic="hang"):
    return Moment(at, FAULTS, word, data={"target": target, "toxic": toxic})


def look(at, wrong=None, *, word="whole", late=0.0, took=0.1, lane="desk-1"):
    return Moment(at, lane, word, took=took, data={"late": late, "wrong": wrong or {}})


def found(judge, *moments):
    """What a judge says of each moment that it does not like."""
    return [wrong for moment in moments if (wrong := judge(moment))]


def test_a_dashboard_is_late_by_the_microsecond():
    assert found(in_time(), look(1.0), look(2.0, late=1e-6)) == ["desk-1: a dashboard 0.001 ms after its deadline"]


def test_a_widget_that_is_missing_while_its_service_is_well_is_a_lie():
    missing = {"rateSnapshot": "UPSTREAM_TIMEOUT"}
    assert found(honest(), look(1.0, missing)) == ["desk-1: rateSnapshot is UPSTREAM_TIMEOUT, and pricing is well"]
    assert found(honest(), fault(0.5, "breaking", "billing"), look(1.0, missing)) != []
    assert found(honest(), fault(0.5, "breaking"), look(1.0, missing)) == []


@pytest.mark.parametrize(
    ("at", "excused"), [(0.99, False), (1.0, True), (3.0, True), (2 + FELT, True), (2.2 + FELT, False)]
)
def test_a_fault_excuses_from_its_beginning_until_it_is_no_longer_felt(at, excused):
    judge = honest()
    faults = [fault(1.0, "breaking"), fault(1.1, "begins"), fault(2.0, "ends")]
    moments = sorted([*faults, look(at, {"rateSnapshot": "BREAKER_OPEN"})], key=lambda moment: moment.at)
    assert (found(judge, *moments) == []) is excused


def test_the_calm_ends_every_fault_and_one_that_was_left_out_never_was():
    missing = {"rateSnapshot": "UPSTREAM_TIMEOUT"}
    calm = Moment(5.0, FAULTS, "calm")
    assert found(honest(), fault(1.0, "breaking"), calm, look(5.2 + FELT, missing)) != []
    assert found(honest(), fault(1.0, "breaking"), fault(1.0, "skipped"), look(1.5, missing)) != []
    assert found(honest(), fault(1.0, "breaking"), fault(1.0, "skipped"), calm, look(6.0, missing)) != []


def test_an_answer_that_contradicts_itself_is_never_excused():
    strange = Moment(2.0, "desk-2", "strange", "partial is False: arrivals UPSTREAM_TIMEOUT")
    assert found(honest(), fault(1.0, "breaking", "reservation"), strange) == [f"desk-2: {strange.text}"]


@pytest.mark.parametrize("word", ["refused", "unreachable"])
@pytest.mark.parametrize(("target", "excused"), [(None, False), ("pricing", False), ("iam", True), ("bff", True)])
def test_a_desk_is_refused_for_what_is_on_its_way_alone(word, target, excused):
    faults = [fault(1.0, "breaking", target)] if target else []
    refused = Moment(2.0, "desk-3", word, "CACHE_UNAVAILABLE: later")
    assert found(answered(), *faults, refused) == ([] if excused else [f"desk-3: {refused.text}"])


def test_a_thief_who_is_refused_is_no_desk():
    assert found(answered(), Moment(2.0, "thief", "refused")) == []


async def test_a_fleet_is_whole_when_each_desks_last_look_was_asked_for_in_the_calm_and_is_whole(autojump_clock):
    history = History()
    assert whole(history) == ""
    history.note("desk-1", "arrives")
    assert whole(history) == "not whole yet: desk-1"
    history.note("desk-1", "whole")
    history.note("desk-2", "whole")
    assert whole(history) == "not whole yet: desk-1, desk-2"
    await trio.sleep(1)
    history.calm_at = history.elapsed()
    history.note("desk-1", "whole", took=0.5)  # asked for before
    await trio.sleep(1)
    history.note("desk-2", "whole", took=0.5)
    assert whole(history) == "not whole yet: desk-1"
    history.note("desk-1", "partial", took=0.1)
    assert whole(history) == "not whole yet: desk-1"
    history.note("desk-1", "whole", took=0.1)
    assert whole(history) == ""


def test_a_judge_remembers_nothing_of_another_run():
    for make in ALWAYS.values():
        assert make() is not make()
