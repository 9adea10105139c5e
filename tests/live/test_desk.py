"""What a person sees at a desk: the picture itself, and how it goes on while the server comes and goes."""

import json
import os
import pty
import re
import select
import signal
import sys
import time
from base64 import b64encode
from contextlib import asynccontextmanager

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bff.outside import real
from bff.wire.dial import connect
from chaos.hotel.asking import a_client
from chaos.hotel.fleet.desk import Refused, Seen
from chaos.hotel.fleet.looking import Choice, Looking
from chaos.hotel.fleet.screen import screen
from chaos.hotel.fleet.views import REASONS, WIDGETS
from chaos.live.process import LiveError
from nurseries import within

NOW = "2015-08-15T08:00:00.000Z"


def ok(data, as_of=NOW):
    return {"status": "ok", "asOf": as_of, "data": data}


STAYS = {"total": 9, "items": [{"guest": f"Guest {n}", "roomNumber": None if n else "101"} for n in range(9)]}
DAY = {
    "operator": ok({"displayName": "Inês Carvalho"}),
    "property": ok({"name": "Resort da Praia", "businessDate": "2015-08-15"}),
    "occupancy": ok(
        {"rooms": 64, "occupied": 29, "arrivals": 10, "departures": 8, "outOfOrder": 2, "occupancyPercent": 46.8}
    ),
    "rateSnapshot": ok({"currency": "EUR", "rates": [{"roomType": "A", "amountMinor": 13400}]}),
    "arrivals": ok(STAYS),
    "departures": ok(STAYS),
    "inHouse": ok(STAYS),
    "housekeeping": ok({"tasks": [{"status": "dirty"}, {"status": "clean"}]}),
    "maintenance": ok({"orders": [{"roomNumber": "101", "kind": "lock", "status": "open"}]}),
    "folioSummary": ok(
        {"currency": "EUR", "open": 27, "balanceMinor": 2017186, "folios": [{"guest": "Ana", "balanceMinor": -500}]}
    ),
    "kpis": ok(
        {
            "tiles": [
                {"id": "a", "label": "Average rate", "value": 170.36, "unit": "EUR", "trend": -1.5, "status": "ok"},
                {"id": "b", "status": "skeleton", "reason": "SCHEMA_DRIFT"},
            ]
        }
    ),
    "alerts": ok(
        {
            "alerts": [
                {"message": "Room 307: the battery is low", "severity": "critical", "acknowledged": False},
                {"message": "an old one", "severity": "info", "acknowledged": True},
            ]
        }
    ),
    "sync": ok({"cursor": "c-7", "staleSync": False}),
    "ai": ok({"suggestions": [{"text": "Clean 103 first", "confidence": 0.68}]}),
}


def a_day(**changed):
    widgets = {name: widget for name, widget in {**DAY, **changed}.items() if widget is not None}
    partial = any(widget["status"] == "skeleton" for widget in widgets.values())
    return Seen(
        {"propertyId": "p", "generatedAt": NOW, "partial": partial, "deadlineMs": 800, "widgets": widgets}, 0.04
    )


def picture(seen, width=120, height=40, **how):
    console = Console(width=width, height=height, force_terminal=True, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(screen(seen, width=width, height=height, **how))
    return captured.get()


def test_a_whole_day_has_all_fourteen_in_it():
    text = picture(a_day())
    for words in (
        "Resort da Praia",
        "Inês Carvalho",
        "whole",
        "40 of 800 ms",
        "29 of 64 rooms, 46.8 %",
        "134.00 EUR",
        "Arrivals 9",
        "Guest 0",
        "no room",
        "1 of 2 to do",
        "101 lock",
        "27 open, 20,171.86 EUR",
        "-5.00 EUR",
        "170.36 EUR ▼",
        "1 missing",
        "Room 307: the battery",
        "1 unread",
        "in step",
        "Clean 103 first",
        "● 14 ok",
    ):
        assert words in text, words
    assert "an old one" not in text


def test_what_is_stale_says_how_old_it_is():
    text = picture(a_day(housekeeping={**DAY["housekeeping"], "status": "stale", "asOf": "2015-08-15T07:59:13.000Z"}))
    assert "47 s old" in text
    assert "◐ 1 stale" in text
    assert "whole" in text


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24)])
def test_what_is_missing_says_why_in_the_words_of_a_desk_and_of_the_contract(reason, width, height):
    text = picture(a_day(rateSnapshot={"status": "skeleton", "reason": reason}), width, height)
    assert REASONS[reason].format(service="pricing") in text
    assert reason in text
    assert "○ 1 skeleton" in text
    assert "partial" in text
    assert "134.00" not in text


def test_suggestions_that_are_not_there_are_nothing_to_worry_about():
    text = picture(a_day(ai=None))
    assert "none now" in text
    assert "whole" in text
    assert "● 13 ok" in text


@pytest.mark.parametrize("name", ["property", "operator"])
def test_the_two_widgets_of_the_first_line_are_missed_there(name):
    text = picture(a_day(**{name: {"status": "skeleton", "reason": "UPSTREAM_TIMEOUT"}}))
    assert f"{name} UPSTREAM_TIMEOUT" in text.split("\n")[0]


def test_while_there_is_nothing_newer_the_last_picture_stays_under_the_trouble():
    text = picture(a_day(), trouble="since 08:00:00: nobody answers")
    assert "since 08:00:00: nobody answers" in text.split("\n")[0]
    assert "Guest 0" in text
    assert picture(None, trouble="nobody answers").count("nobody answers") == 1


def test_how_long_answers_took_is_drawn_against_the_deadline():
    assert "▁▄█\n" in picture(a_day(), history=[0.0, 0.39, 0.8])


@settings(max_examples=40)
@given(st.integers(20, 200), st.integers(10, 80))
def test_it_fits_every_terminal_that_has_a_line_for_each_widget(width, height):
    lines = picture(a_day(), width, height).rstrip("\n").split("\n")
    assert len(lines) <= max(height, len(WIDGETS) + 2)
    assert all(len(line) <= width for line in lines)
    assert all(any(widget.title[:3] in line for line in lines) for widget in WIDGETS.values())


@settings(max_examples=25)
@given(st.sampled_from(sorted(WIDGETS)), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=3))
def test_content_of_another_shape_is_no_error(name, odd):
    data = DAY[name]["data"]
    for changed in (dict.fromkeys(data, odd), dict.fromkeys(data), {"other": odd}):
        picture(a_day(**{name: ok(changed)}))


@asynccontextmanager
async def looking_at(data, **choice):
    async with a_client() as client:
        with within(20):
            yield Looking(data, Choice(**choice), client, real(connect))


async def test_a_desk_goes_on_where_its_server_was_replaced(hotel):
    async with looking_at(hotel.data) as looking:
        await looking.again()
        assert (looking.trouble, looking.seen.body["partial"]) == ("", False)
        [server] = hotel.pids()["workers"]
        os.kill(server, signal.SIGKILL)
        hotel.begun.line_with("is started again")
        await looking.again()
        assert re.match(r"since \d\d:\d\d:\d\d: UNREACHABLE: http://\S+ does not answer", looking.trouble)
        assert looking.seen is not None
        hotel.begun.line_with("is there again")
        await looking.again()
        assert (looking.trouble, len(looking.history)) == ("", 2)


async def test_a_desk_finds_a_hotel_that_was_opened_again_elsewhere(shared, open_hotel, tmp_path):
    first = open_hotel(tmp_path, **shared.ledger())
    async with looking_at(tmp_path) as looking:
        await looking.again()
        session = looking._desk.session.session_id
        first.begun.process.send_signal(signal.SIGTERM)
        assert first.begun.ended() == 0
        await looking.again()
        assert f"nothing runs on {tmp_path}" in looking.trouble
        second = open_hotel(tmp_path, **shared.ledger())
        assert second.said["edge"] != first.said["edge"]
        await looking.again()
        assert looking.trouble == ""
        assert looking._desk.session.session_id != session


async def test_a_session_that_was_ended_elsewhere_is_begun_anew(hotel):
    async with looking_at(hotel.data) as looking:
        await looking.again()
        ended = looking._desk.session
        await looking._desk.sign_out()
        looking._desk.session = ended
        await looking.again()
        assert looking.trouble == ""
        assert looking._desk.session.session_id != ended.session_id


@pytest.mark.parametrize(
    ("choice", "kind"),
    [({"operator": "nobody"}, LiveError), ({"place": "city-baixa"}, Refused)],
)
async def test_a_wish_that_cannot_be_is_said_at_once(hotel, choice, kind):
    async with looking_at(hotel.data, **choice) as looking:
        with pytest.raises(kind):
            await looking.first()


def test_in_a_terminal_it_moves_until_it_is_interrupted(hotel):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        argv = [sys.executable, "-P", "-m", "bff", "desk", "--data", str(hotel.data), "--every", "0.2"]
        os.execv(sys.executable, argv)
    try:
        shown = until(terminal, lambda text: text.count("whole") >= 2)
        assert "\x1b[?1049h" in shown  # the terminal's other page: what was there before comes back
        assert hotel.run("chaos", "inject", "analytics", "status")[0] == 0
        until(terminal, lambda text: "analytics is unavailable" in text)
        os.kill(pid, signal.SIGINT)
        assert "\x1b[?1049l" in until(terminal, lambda text: "\x1b[?1049l" in text)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        pid = 0
    finally:
        os.close(terminal)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_in_a_terminal_one_is_told_what_happens_and_when_one_is_logged_out_f31(hotel):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(
            sys.executable, [sys.executable, "-P", "-m", "bff", "desk", "--data", str(hotel.data), "--every", "60"]
        )
    try:
        until(terminal, lambda text: "● live" in text)
        say(hotel, "alert", message="The lift stands still")
        until(terminal, lambda text: "The lift stands still" in text)
        say(hotel, "force-logout", reason="this desk was stolen")
        left = until(terminal, lambda text: "bff: " in text)
        assert "bff: you have been logged out: this desk was stolen" in left[left.index("\x1b[?1049l") :]
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        pid = 0
    finally:
        os.close(terminal)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def say(hotel, kind, **data):
    """As the platform says it, to the first operator's desks."""
    who = hotel.said["operators"][0]
    told = {"type": kind, "tenantId": who["tenant"], "operatorId": who["operator"], "data": data}
    message = {"messageId": f"{kind}-{os.urandom(4).hex()}", "data": b64encode(json.dumps(told).encode()).decode()}
    headers = {"authorization": f"Bearer {hotel.said['internalToken']}"}
    url = f"{hotel.said['ops']}/internal/events"
    assert httpx.post(url, json={"message": message}, headers=headers, trust_env=False).status_code == 204


def until(terminal, enough, seconds=15):
    text, end = "", time.monotonic() + seconds
    while not enough(text):
        assert select.select([terminal], [], [], max(0, end - time.monotonic()))[0], text
        text += os.read(terminal, 65536).decode(errors="replace")
    return text
