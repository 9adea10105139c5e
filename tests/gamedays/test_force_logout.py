"""The game-day of the force-logout (F-31): what it proves of the server, and that it would find what it looks for."""

import math
from dataclasses import replace

import msgspec
import pytest
import trio

from bff.events import stream
from bff.events.event import Event
from bff.events.intake import Told
from chaos.history import FAULTS, History, Moment
from chaos.hotel.gamedays import find
from chaos.hotel.gamedays.force_logout import GAME_DAY, all_out, exported, nobody_else, out_in_time, shut, still_in
from chaos.hotel.gamedays.running import rehearse
from chaos.hotel.stores.tier import SimTier
from chaos.plan import parse_plan

SMALL = """
plan        A few are logged out in one moment
owner       security
lasts       25, then 8 of calm
work        looks desks=1 every=3
work        bystanders person=0 devices=4
work        logout person=2 devices=40 at=3
work        logout person=3 devices=25 at=8
work        logout person=1 devices=25 at=16
fault       bus hang from 7.8 until 13
fault       redis-session kill from 15 until 19
always      in-time honest answered out-in-time shut nobody-else
eventually  all-out within 5
eventually  still-in within 5
eventually  exported within 5
"""
FEW = SMALL.replace("devices=40", "devices=10").replace("devices=25", "devices=6")
SEEDS = [1, pytest.param(2, marks=pytest.mark.soak)]


def played(plan=FEW, seed=1):
    return rehearse(replace(GAME_DAY, plan=parse_plan(plan)), seed)


def broken(record):
    return {finding.check for finding in record.findings}


@pytest.mark.parametrize("seed", SEEDS)
def test_each_device_hears_it_once_and_is_shut_out_though_the_bus_is_deaf_or_down_f31_f34(seed):
    record = played(SMALL, seed)
    assert record.findings == () and record.skipped == ()
    told = record.figures
    assert [told[f"{name}: devices"] for name in ("carla", "rui", "tiago")] == [40, 25, 25]
    assert told["carla: by force-logout"] == 40 and told["carla: max ms"] < 100
    assert told["rui: max ms"] > 1000, "its servers were deaf"
    assert told["tiago: pushes"] > 1, "it was said while nobody could be told"
    assert told["refused in the moment it was taken"] == 60


@pytest.mark.soak
def test_two_thousand_devices_at_two_servers_are_out_within_five_seconds_f31():
    record = rehearse(find("force-logout"), 3)
    assert record.findings == ()
    assert record.figures["carla: by force-logout"] == 2_000
    assert record.figures["carla: max ms"] < 5_000


def test_a_server_that_says_it_and_ends_no_session_is_found_out_f31(monkeypatch):
    async def kind(self, tenant, **_):
        await trio.lowlevel.checkpoint()
        return ()

    monkeypatch.setattr(SimTier, "log_out", kind)
    record = played()
    assert "shut" in broken(record)
    assert any(finding.text.startswith("rui: let in") for finding in record.findings)


def test_a_server_that_ends_sessions_and_says_it_to_nobody_is_found_out_f31(monkeypatch):
    monkeypatch.setattr(Event, "reaches", lambda self, desk: False)
    assert {"out-in-time"} <= broken(played())


def test_a_server_that_logs_out_the_whole_house_for_one_of_its_operators_is_found_out_f31(monkeypatch):
    monkeypatch.setattr(
        Told, "said", lambda self, said=Told.said: msgspec.structs.replace(said(self), operator_id=None)
    )
    assert "nobody-else" in broken(played())


def test_a_stream_that_goes_on_after_it_said_that_it_is_over_is_found_out_f31(monkeypatch):
    def end(self, why, *, back=0, ends=stream.Stream.end):
        if why is not stream.End.LOGGED_OUT:
            ends(self, why, back=back)

    monkeypatch.setattr(stream.Stream, "end", end)
    assert "out-in-time" in broken(played())


def test_servers_that_do_not_measure_how_soon_it_was_heard_are_found_out_f31(monkeypatch):
    monkeypatch.setattr(stream, "tell", lambda fact: None)
    assert broken(played()) == {"exported"}


def out(**said):
    data = {"after": 0.1, "heard": {"force-logout": 1}, "last": "force-logout"}
    return Moment(20, "carla", "out", data={**data, "request": "SESSION_EXPIRED", "renewal": "SESSION_EXPIRED", **said})


def fault(at, word, target="bus"):
    return Moment(at, FAULTS, word, data={"target": target, "toxic": "hang"})


def found(judge, *moments):
    return [wrong for moment in moments if (wrong := judge(moment))]


BY_TOKEN = {"heard": {"bus-stalled": 1, "expired": 1}, "last": "expired"}


@pytest.mark.parametrize(
    ("said", "fine", "in_trouble"),
    [
        ({}, True, True),
        ({"heard": {"force-logout": 2}}, False, False),
        ({"heard": {}, "last": "cut", "after": math.inf}, False, False),
        ({"last": "still open"}, False, False),
        ({"last": "cut"}, False, False),
        ({"after": 5.1}, False, False),
        (BY_TOKEN, False, True),
        ({"heard": {"force-logout": 1, "expired": 1}, "last": "expired"}, False, False),
    ],
)
def test_it_is_heard_once_in_time_as_the_last_word_and_by_another_word_only_where_the_bus_is_in_trouble(
    said, fine, in_trouble
):
    assert (found(out_in_time(), out(**said)) == []) is fine
    assert (found(out_in_time(), fault(10, "breaking"), out(**said)) == []) is in_trouble


@pytest.mark.parametrize("what", ["request", "renewal"])
@pytest.mark.parametrize("code", ["", "OVERLOADED"])
def test_whoever_is_out_is_refused_at_the_door_and_at_the_desk_for_new_tokens(what, code):
    assert found(shut(), out()) == []
    assert found(shut(), out(**{what: code})) != []


def test_who_is_let_in_in_the_moment_it_is_taken_is_found():
    asks = [Moment(1, "carla", "asks", data={"request": code}) for code in ("SESSION_EXPIRED", "")]
    assert found(shut(), *asks) == ["carla: : let in"]


def test_who_is_disturbed_is_found_and_who_is_not_is_not():
    assert found(nobody_else(), Moment(1, "ines", "still-in"), Moment(2, "ines", "disturbed", "d1 alert")) == [
        "ines: d1 alert"
    ]


async def test_nobody_is_forgotten(autojump_clock):
    history = History()
    history.moments += [
        Moment(0, "carla", "arrives", data={"devices": 2}),
        Moment(0, "ines", "comes", data={"devices": 1}),
        out(),
        Moment(21, "servers", "counted", data={"count": 1}),
    ]
    assert all_out(history) == "1 of carla are not known to be out"
    assert still_in(history) == "1 of ines were not asked"
    assert exported(history) == ""
    history.calm_at = 22.0
    history.moments += [out(), Moment(23, "ines", "still-in")]
    assert (all_out(history), still_in(history)) == ("", "")
    assert exported(history) == "2 heard it, 1 measured"
