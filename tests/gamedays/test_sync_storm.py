"""The game-day of the sync storm (F-26, F-35): what it proves, and that it would find what it looks for."""

from dataclasses import replace

import pytest

from bff.events.event import Event
from bff.gate import admission
from bff.gate.admission import Admission
from bff.problem import Code, Problem
from bff.writes import handshake
from chaos.history import FAULTS, History, Moment
from chaos.hotel.checks.heard import in_step
from chaos.hotel.checks.promises import Troubles
from chaos.hotel.gamedays import find
from chaos.hotel.gamedays.running import rehearse
from chaos.hotel.gamedays.sync_storm import GAME_DAY, brisk, put_off_well, stale_shown, turned_away_well
from chaos.hotel.stores.tier import SimTier
from chaos.plan import parse_plan

SMALL = """
plan        A few desks come back all at once, and sync cannot be reached
owner       front desk
lasts       52, then 80 of calm
work        looks desks=1 every=4
work        boards desks=1 every=1
work        tills desks=1 every=3
work        follows desks=16 servers=2 shakes=1
work        knocks devices=72 at=6
work        speaks every=3 servers=2
fault       sync hang from 5.5 until 20
fault       sync down from 20 until 50
fault       bff-2 kill from 6 until 12
always      in-time honest answered
always      undisturbed brisk put-off-well turned-away-well stale-shown
eventually  whole within 20
eventually  live within 20
eventually  let-in within 20
eventually  in-step within 78
eventually  heard within 78
"""
SHORT = (
    SMALL.replace("lasts       52", "lasts       12")
    .replace("until 20", "until 9")
    .replace("from 20 until 50", "from 9")
    .replace("follows desks=16", "follows desks=8")
)
SEEDS = [1, pytest.param(2, marks=pytest.mark.soak)]


def played(plan=SHORT, seed=1):
    """A server as small as its fleet: else hundreds would have to knock before one is turned away."""
    with pytest.MonkeyPatch.context() as small:
        small.setattr(admission, "OPENING", 64)
        return rehearse(replace(GAME_DAY, plan=parse_plan(plan)), seed)


def broken(record):
    return {finding.check for finding in record.findings}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_is_weathered_and_every_desk_is_live_in_step_and_has_heard_everything_f26_f35(seed):
    record = played(SMALL, seed)
    assert record.findings == () and record.skipped == ()
    told = record.figures
    assert told["desks that came back"] == 8 and told["back max s"] < 5
    assert told["turned away 503"] > 0 and told["knocked"] == 72
    assert told["put off 502"] >= 16, "once while sync hung, and once while it was down"
    assert told["dashboards with staleSync"] >= 8
    assert told["boards p95 ms in the storm"] < told["boards p95 ms in quiet"] + 20
    assert told["charges p95 ms in the storm"] < told["charges p95 ms in quiet"] + 20


@pytest.mark.soak
def test_the_day_itself_keeps_every_promise_and_had_something_to_keep_f26_f35():
    record = rehearse(find("sync-storm"), 2)
    assert record.findings == ()
    assert record.figures["desks that came back"] == 120 and record.figures["put off 502"] >= 200


def test_a_server_that_has_desks_shake_hands_again_too_soon_is_found_out_f13(monkeypatch):
    monkeypatch.setattr(handshake, "AGAIN", 5.0)
    assert "put-off-well" in broken(played())


def test_a_server_that_turns_streams_away_and_does_not_say_when_to_come_again_is_found_out_f26(monkeypatch):
    monkeypatch.setattr(Admission, "crowded", lambda self: Problem(Code.OVERLOADED, "full"))
    assert "turned-away-well" in broken(played())


def test_a_server_that_keeps_another_cursor_than_it_was_told_is_found_out_f35(monkeypatch):
    async def keep(self, blob, ttl, keeps=SimTier.keep):
        wrong = replace(blob, cursor="c-000077") if blob.cursor else blob
        return await keeps(self, wrong, ttl)

    monkeypatch.setattr(SimTier, "keep", keep)
    assert broken(played()) == {"in-step", "stale-shown"}


def test_a_server_that_swallows_an_event_is_found_out(monkeypatch):
    def reaches(self, desk, says=Event.reaches):
        return says(self, desk) and self.said.data.get("n") != 4

    monkeypatch.setattr(Event, "reaches", reaches)
    record = played()
    assert broken(record) == {"heard"}
    assert any("4 is missing" in finding.text for finding in record.findings)


def test_a_board_that_comes_late_is_found_out():
    assert broken(played(SHORT + "fault housekeeping latency ms=700 from 8 until 11\n")) == {"brisk"}


def fault(at, word, target="sync", toxic="hang"):
    return Moment(at, FAULTS, word, data={"target": target, "toxic": toxic})


def found(judge, *moments):
    return [wrong for moment in moments if (wrong := judge(moment))]


def put_off(at, status=502, code="UPSTREAM_UNAVAILABLE", again=30.0, lane="follow-1"):
    return Moment(at, lane, "put-off", took=0.1, data={"status": status, "code": code, "again": again})


@pytest.mark.parametrize(
    ("moment", "fine"),
    [
        (put_off(12), True),
        (put_off(12, again=None), False),
        (put_off(12, again=1.0), False),
        (put_off(12, 500, "INTERNAL", None), False),
        (put_off(12, 503, "OVERLOADED", 1.0), True),
        (put_off(12, 503, "OVERLOADED", None), False),
        (put_off(12, 0, "UNREACHABLE", None), True),
        (put_off(60, 0, "UNREACHABLE", None), False),
        (put_off(60, 503, "OVERLOADED", 1.0), False),
    ],
)
def test_a_handshake_is_put_off_by_the_contract_alone_f13(moment, fine):
    storm = [fault(1, "breaking"), fault(2, "breaking", "bff-2", "kill"), fault(4, "ends", "bff-2", "kill")]
    assert (found(put_off_well(), *storm, moment) == []) is fine


def test_once_sync_is_well_a_desk_is_put_off_once_more_at_most():
    healed = [fault(1, "breaking"), fault(10, "ends")]
    shook = Moment(80, "follow-1", "shook")
    assert found(put_off_well(), *healed, put_off(20), put_off(50), shook, put_off(110)) == []
    assert len(found(put_off_well(), *healed, put_off(50), put_off(80, lane="follow-2"), put_off(81))) == 1
    assert len(found(put_off_well(), put_off(1))) == 1, "nothing was ever wrong with it"


def shown(at, stale, status="stale"):
    data = {"status": status, "stale": stale, "cursor": "c-000002", "mine": "c-000002", "code": ""}
    return Moment(at, "follow-1", "shown", took=0.1, data=data)


@pytest.mark.parametrize(
    ("moment", "fine"),
    [(shown(8, True), False), (shown(12, True), True), (shown(12, False), False), (shown(12, None), False)],
)
def test_a_dashboard_says_that_sync_is_behind_while_it_is_out_and_only_then_f35(moment, fine):
    assert (found(stale_shown(), *([fault(10, "breaking")] if moment.at > 10 else []), moment) == []) is fine


def test_a_dashboard_may_say_so_for_as_long_as_the_breaker_is_open_and_no_longer_f35():
    healed = [fault(10, "breaking"), fault(20, "ends")]
    assert found(stale_shown(), *healed, shown(30, True), shown(31, False)) == []
    assert len(found(stale_shown(), *healed, shown(40, True))) == 1


@pytest.mark.parametrize(
    ("turned", "fine"), [([503, 2.0], True), ([429, 1.0], True), ([503, None], False), ([500, 1], False)]
)
def test_who_finds_no_room_is_told_when_to_come_again_f26(turned, fine):
    assert (found(turned_away_well(), Moment(1, "knocks", "let-in", data={"turned": [turned]})) == []) is fine


def test_a_board_that_is_refused_is_found():
    assert found(brisk(), Moment(1, "board-1", "refused", "OVERLOADED: full")) == ["board-1: OVERLOADED: full"]
    assert found(brisk(), Moment(1, "board-1", "read", data={"slow": False})) == []


def test_two_faults_of_one_service_are_felt_each_for_as_long_as_it_lasts():
    troubles = Troubles()
    for moment in (
        fault(1, "breaking"),
        fault(5, "breaking", toxic="down"),
        fault(6, "ends"),
        fault(9, "ends", toxic="down"),
    ):
        troubles.see(moment)
    assert troubles.spans == {"sync": [[1, 6], [5, 9]]}


async def test_in_step_is_who_has_shaken_hands_since_he_was_live_and_whose_dashboard_agrees_f35(autojump_clock):
    history = History()

    def then(*moments):
        history.moments += moments
        return in_step(history)

    live, shook = Moment(1, "follow-1", "live"), Moment(2, "follow-1", "shook")
    assert then(live) == "not in step: follow-1 has not shaken hands"
    assert then(shook) == "not in step: follow-1 has not looked"
    assert "follow-1" in then(shown(3, True))
    assert then(shown(4, False, "ok")) == ""
    assert then(put_off(5)) == "not in step: follow-1 has not shaken hands"
    assert "follow-1" in then(shown(6, False, "ok"))
