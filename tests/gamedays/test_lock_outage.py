"""The game-day of the locks (F-10, F-27): what it proves of the server, and that it would find what it looks for."""

from dataclasses import replace

import pytest
import trio

from bff.jobs.settle_claims import SettleClaims
from bff.writes import locks
from chaos.history import FAULTS, History, Moment
from chaos.hotel.checks.changed import audited
from chaos.hotel.estate.service import Service
from chaos.hotel.gamedays import find
from chaos.hotel.gamedays.lock_outage import GAME_DAY, by_contract, undisturbed
from chaos.hotel.gamedays.running import rehearse
from chaos.plan import parse_plan

HURRY = """
plan        Locks cannot be reached, in a hurry
owner       front desk
lasts       28, then 60 of calm
work        looks desks=1 every=4
work        keys desks=2 guests=3 every=1
work        tills desks=1 every=1
work        inspector every=2
fault       lock-integration status code=503 from 1 until 4
fault       lock-integration lose-answer from 10 until 13
fault       lock-integration hang from 20 until 24
always      in-time honest answered prompt by-contract undisturbed one-answer complete chained
eventually  whole within 30
eventually  answered-all within 30
eventually  settled within 60
eventually  audited within 60
eventually  once within 60
eventually  told within 60
"""


def hurried(seed):
    return rehearse(replace(GAME_DAY, plan=parse_plan(HURRY)), seed)


def broken(record):
    return {finding.check for finding in record.findings}


def test_the_day_itself_keeps_every_promise_and_had_something_to_keep_f10():
    record = rehearse(find("lock-outage"), 1)
    assert record.findings == ()
    told = record.figures
    assert told["least completeness"] == 1.0
    assert told["outcomes failure"] >= told["answered 502"] > 50
    assert told["outcomes uncertain"] >= told["answered 504"] > 5
    assert told["given up by their desk"] > 0 and told["most unsettled"] > 0
    assert told["of them partial"] == told["refused or unreachable"] == 0


@pytest.mark.parametrize("seed", [2, pytest.param(3, marks=pytest.mark.soak)])
def test_whatever_the_seed_each_attempt_is_in_the_trail_and_each_key_is_cut_once_f27(seed):
    record = hurried(seed)
    assert record.findings == ()
    told = record.figures
    assert told["intents"] >= told["lock actions"] >= told["keys cut"] + told["keys revoked"] > 50
    assert told["answered 502"] and told["answered 504"]


def test_servers_that_never_look_for_what_nobody_knows_are_found_out_f10(monkeypatch):
    async def idle(self):
        await trio.sleep_forever()

    monkeypatch.setattr(SettleClaims, "serve", idle)
    assert "settled" in broken(hurried(2))


def test_a_server_that_sends_before_it_has_written_down_what_is_found_out_f27(monkeypatch):
    monkeypatch.setattr(locks, "intent", lambda *_: None)
    record = hurried(2)
    assert "complete" in broken(record)
    assert any("no intent of" in finding.text for finding in record.findings)


def test_a_server_that_writes_success_whatever_came_of_it_is_found_out_f10(monkeypatch):
    def rosy(action, key, request, now, conclusion, outcome=locks.outcome):
        return outcome(action, key, request, now, replace(conclusion, outcome="success"))

    monkeypatch.setattr(locks, "outcome", rosy)
    record = hurried(2)
    assert {"audited", "once"} <= broken(record)


def test_a_service_that_does_again_what_it_has_done_is_found_out_f32(monkeypatch):
    def forgetful(self, operation, call, answer=Service.answer):
        return answer(self, operation, replace(call, key=None))

    monkeypatch.setattr(Service, "answer", forgetful)
    assert "once" in broken(hurried(2))


def told(at, word, code="", *, lane="keys-1", action="lock.issue", status=0, took=0.1, when=True):
    data = {"key": "k", "action": action, "code": code, "status": status, "late": 0.0, "told": when}
    return Moment(at, lane, word, took=took, data=data)


def found(judge, *moments):
    return [wrong for moment in moments if (wrong := judge(moment))]


def fault(at, word, target="lock-integration"):
    return Moment(at, FAULTS, word, data={"target": target, "toxic": "hang"})


@pytest.mark.parametrize(
    ("word", "code", "allowed"),
    [
        ("failed", "UPSTREAM_UNAVAILABLE", True),
        ("unknown", "UPSTREAM_TIMEOUT", True),
        ("waits", "IDEMPOTENCY_IN_PROGRESS", True),
        ("unreachable", "LEFT", True),
        ("failed", "SCHEMA_DRIFT", False),
        ("later", "STORE_UNAVAILABLE", False),
        ("refused", "VALIDATION_FAILED", False),
        ("unreachable", "UNREACHABLE", False),
    ],
)
def test_a_desk_is_told_what_the_contract_has_for_it_and_only_while_the_locks_are_in_trouble(word, code, allowed):
    assert (found(by_contract(), fault(1, "breaking"), told(2, word, code)) == []) is allowed
    assert (found(by_contract(), fault(1, "breaking", "billing"), told(2, word, code)) == []) is (code == "LEFT")


def test_a_desk_that_is_to_try_again_is_told_when():
    later = [told(2, "waits", "IDEMPOTENCY_IN_PROGRESS", when=when) for when in (True, False)]
    assert found(by_contract(), fault(1, "breaking"), *later) == ["keys-1: , and not when to try again"]


def test_a_key_that_was_cut_is_201_and_other_desks_are_not_judged_by_it():
    assert found(by_contract(), told(1, "done", status=201)) == []
    assert found(by_contract(), told(1, "done", status=200)) != []
    assert found(by_contract(), told(1, "later", lane="till-1", action="folio.charge")) == []


@pytest.mark.parametrize(("word", "took", "fine"), [("done", 0.2, True), ("done", 3.0, False), ("unknown", 0.2, False)])
def test_other_work_is_done_and_briskly_whatever_the_locks_do(word, took, fine):
    moment = told(2, word, lane="till-1", action="folio.charge", took=took)
    assert (found(undisturbed(), fault(1, "breaking"), moment) == []) is fine


def row(kind, outcome=""):
    data = {"key": "k", "action": "lock.issue", "kind": kind, "outcome": outcome, "status": 0}
    return Moment(3, "audit", "wrote", data=data)


def unknown(upstream):
    data = {"key": "k", "action": "lock.issue", "code": "UPSTREAM_TIMEOUT", "upstream": upstream}
    return Moment(2, "keys-1", "unknown", data=data)


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([row("intent"), row("outcome", "uncertain")], ""),
        ([row("intent"), row("outcome", "uncertain"), row("outcome", "success")], ""),
        ([row("intent"), row("outcome", "failure")], "k: no row for uncertain"),
        ([row("intent")], "k: no outcome"),
        ([row("intent"), row("intent"), row("outcome", "uncertain")], "k: two intents"),
    ],
)
async def test_an_answer_that_nobody_knows_has_its_row_and_its_intent_one_outcome_f27(autojump_clock, rows, missing):
    history = History()
    history.moments += [unknown("lock-integration"), *rows]
    assert missing in audited(history) and bool(audited(history)) is bool(missing)


async def test_whoever_only_waited_in_line_has_left_nothing_in_the_trail(autojump_clock):
    history = History()
    history.moments.append(unknown(""))
    assert audited(history) == ""
