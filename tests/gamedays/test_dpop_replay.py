"""The game-day of the thief (F-28): what it proves of the server, and that it would find what it looks for."""

from dataclasses import replace

import pytest
import trio

from bff.gate.recount import Recount
from chaos.history import FAULTS, Moment
from chaos.hotel.gamedays import find
from chaos.hotel.gamedays.dpop_replay import GAME_DAY, exactly_once, no_stranger
from chaos.hotel.gamedays.running import rehearse
from chaos.hotel.stores.tier import SimTier
from chaos.plan import parse_plan

SHORT = """
plan        A thief replays for a short while what he has read along
owner       security
lasts       18, then 12 of calm
work        looks desks=1 every=2
work        thief every=0.5
work        auditor every=1
fault       redis-session failover lost=1.5 takes=2 from 4
fault       redis-session kill from 10 until 14
always      in-time honest answered exactly-once no-stranger
eventually  whole within 5
eventually  counted within 10
"""


def short(seed=1):
    return rehearse(replace(GAME_DAY, plan=parse_plan(SHORT)), seed)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2))])
def test_a_thief_gets_reads_alone_and_only_while_the_tier_does_not_know_and_each_is_counted_f28(seed):
    record = rehearse(find("dpop-replay"), seed)
    assert record.findings == ()
    told = record.figures
    assert told["reads that passed a second time"] == told["counted by the servers"] > 0
    assert told["of them partial"] == told["refused or unreachable"] == 0
    assert told["attempts"] > 500


def test_a_short_day_keeps_the_same_promises_and_passes_some_twice_f28():
    record = short()
    assert record.findings == ()
    assert record.figures["reads that passed a second time"] > 0


def test_another_seed_is_another_run():
    one, other = (short(seed) for seed in (4, 5))
    assert one.digest != other.digest


def test_a_tier_that_takes_every_proof_for_new_is_found_out(monkeypatch):
    async def gullible(self, proof, present=SimTier.present):
        answer = await present(self, proof)
        return replace(answer, fresh=True) if hasattr(answer, "fresh") else answer

    monkeypatch.setattr(SimTier, "present", gullible)
    record = short()
    assert {finding.check for finding in record.findings} == {"exactly-once", "counted"}
    assert any("the tier was well" in finding.text for finding in record.findings)
    assert any(line.startswith("exactly-once was broken, first at") for line in record.backlog)


def test_servers_that_do_not_count_what_passed_are_found_out(monkeypatch):
    async def idle(self):
        await trio.sleep_forever()

    monkeypatch.setattr(Recount, "serve", idle)
    record = short()
    assert {finding.check for finding in record.findings} == {"counted"}


def passed(at, server, *, jti="a", way="elsewhere", took=0.0):
    return Moment(at, "thief", "passed", took=took, data={"jti": jti, "server": server, "way": way})


def tier(at, word, toxic="kill", target="redis-session"):
    return Moment(at, FAULTS, word, data={"target": target, "toxic": toxic})


def found(judge, *moments):
    return [wrong for moment in moments if (wrong := judge(moment))]


def test_a_proof_that_passes_twice_at_one_server_is_found_whatever_is_broken():
    assert found(exactly_once(), tier(1, "breaking"), passed(2, 0), passed(3, 0)) == ["a passed twice at server 1"]


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [(1, 2, False), (1, 11, True), (11, 12, True), (11, 30, True), (9.9, 10.0, True), (23, 24, False)],
)
def test_a_proof_passes_at_both_servers_only_where_the_tier_could_not_know(first, second, allowed):
    judge = exactly_once()
    moments = [tier(10, "breaking"), tier(20, "ends"), passed(first, 0), passed(second, 1)]
    assert (found(judge, *sorted(moments, key=lambda moment: moment.at)) == []) is allowed


@pytest.mark.parametrize(("first", "allowed"), [(5, False), (7, True), (9, True)])
def test_what_was_accepted_in_the_tail_that_a_failover_lost_may_pass_once_more(first, allowed):
    judge = exactly_once()
    failover = tier(10, "breaking", "failover lost=2 takes=1")
    moments = [passed(first, 0), failover, passed(14, 1)]
    assert (found(judge, *moments) == []) is allowed


@pytest.mark.parametrize("other", [tier(10, "breaking", target="redis-cache"), tier(10, "skipped")])
def test_a_fault_of_something_else_or_one_that_was_left_out_excuses_nothing(other):
    judge = exactly_once()
    before = [tier(10, "breaking")] if other.word == "skipped" else []
    assert found(judge, *before, other, passed(11, 0), passed(12, 1)) != []


@pytest.mark.parametrize("way", ["bent", "own-key"])
def test_a_stranger_who_passes_is_found_whatever_is_broken(way):
    assert found(no_stranger(), tier(1, "breaking"), passed(2, 1, way=way)) == [f"{way} passed at server 2"]
    assert found(no_stranger(), passed(2, 1)) == []
