"""Plans of a shift, played by the plugin: twice where CI is set, in soak by several seeds."""

import pytest

MORNING = """
    plan        Everything that a morning can bring
    lasts       60, then 30 of calm
    work        looks desks=3 every=2
    work        shifts every=7
    fault       pricing hang from 5 until 15
    fault       billing latency ms=300 jitter=200 from 8 until 25
    fault       reservation status code=500 from 20 until 30
    fault       analytics drift from 10
    fault       ai-orchestrator down from 3
    fault       redis-cache kill from 12 until 40
    fault       redis-session failover lost=1 takes=2 from 33
    fault       housekeeping reset rate=0.5 from 35 until 50
    always      in-time honest answered
    eventually  whole within 25
"""


def test_a_morning_in_which_everything_breaks_keeps_its_promises(play_plan):
    kept(play_plan(MORNING))


@pytest.mark.soak
@pytest.mark.seeds(1, 9)
def test_a_morning_in_which_everything_breaks_keeps_its_promises_whatever_the_seed(play_plan):
    kept(play_plan(MORNING))


def kept(played):
    words = {moment.word for moment in played.moments if moment.lane.startswith("desk-")}
    assert {"arrives", "signed-in", "whole", "partial"} == words
    assert played.skipped == ()


def test_a_shift_changes_hands_as_long_as_the_plan_lasts(play_plan):
    played = play_plan("plan Hands\nlasts 50, then 10 of calm\nwork shifts every=10\n")
    turns = [moment.word for moment in played.moments if moment.lane == "shift"]
    assert turns[:5] == ["signed-in", "signed-out"] * 2 + ["signed-in"]
    assert all(moment.good for moment in played.moments if moment.lane == "shift")


def test_an_outage_of_iam_is_felt_by_who_signs_in_and_by_nobody_else_f1(play_plan):
    played = play_plan("""
        plan        iam is down for a while
        lasts       40, then 20 of calm
        work        looks desks=2 every=2
        work        shifts every=5
        fault       iam down from 10 until 30
        always      in-time honest answered
        eventually  whole within 5
    """)
    assert {moment.word for moment in played.moments if moment.lane.startswith("desk-")} == {
        "arrives",
        "signed-in",
        "whole",
    }
    signed_in = [moment.at for moment in played.moments if moment.lane == "shift" and moment.word == "signed-in"]
    assert [at for at in signed_in if 10 < at < 30] == []
    assert [at for at in signed_in if at > 30] != []
