"""The killing spree in virtual time: servers die under their desks, and nothing is done twice (F-20, F-32)."""

from dataclasses import replace

import pytest

from chaos.history import Moment
from chaos.hotel.checks.changed import one_answer
from chaos.hotel.estate.service import Service
from chaos.hotel.gamedays import find
from chaos.hotel.gamedays.killing_spree import GAME_DAY, sane
from chaos.hotel.gamedays.running import rehearse


def played(seed):
    """The small size of it, and each try at either of two servers."""
    plan = find("short-spree").plan
    [spree] = [work for work in plan.work if work.word == "spree"]
    others = tuple(work for work in plan.work if work is not spree)
    two = replace(spree, settings=(*spree.settings, ("servers", "2")))
    return rehearse(replace(GAME_DAY, plan=replace(plan, work=(two, *others))), seed)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_as_many_effects_as_keys_however_often_a_server_dies_f20(seed):
    record = played(seed)
    assert record.findings == ()
    told = record.figures
    assert told["processes killed"] >= 4
    assert told["keys"] >= told["keys answered with success"] == told["effects"] > 150
    assert told["keys gone on with by another"] > 0 and told["answered from the record"] > 0
    assert told["answered 409, at it"] > 0 and told["answered 502 or 503"] > 0


def test_a_service_that_does_again_what_it_has_done_is_found_out_f32(monkeypatch):
    def forgetful(self, operation, call, answer=Service.answer):
        return answer(self, operation, replace(call, key=None))

    monkeypatch.setattr(Service, "answer", forgetful)
    assert {finding.check for finding in played(1).findings} == {"once"}


def answer(word, said, *, lane="spree-1", key="k", code=""):
    data = {"key": key, "action": "folio.charge", "answer": said, "code": code, "status": 201, "late": 0.0}
    return Moment(1.0, lane, word, data=data)


def test_a_key_that_is_answered_twice_and_not_the_same_is_found():
    judge = one_answer()
    assert (
        judge(answer("done", "a")) is judge(answer("replayed", "a")) is judge(answer("done", "b", key="other")) is None
    )
    assert judge(answer("replayed", "b")) is not None


@pytest.mark.parametrize(("code", "fine"), [("UPSTREAM_REFUSED", True), ("MFA_INVALID_OR_USED", False)])
def test_a_desk_that_did_nothing_wrong_is_not_told_that_it_did(code, fine):
    assert (sane()(answer("refused", "a", code=code)) is None) is fine
