"""Desks that go away, and servers that die, at every checkpoint of a request."""

import pytest
import trio

from bff.gate.session import Sessions
from bff.gate.standing import Ended
from bff.reads.dashboard import Dashboard
from bff.reads.looking import keep
from chaos.hotel.sweeps.leaving import WAYS, LeavingCase, LeavingSweep, checkpoints
from chaos.hotel.sweeps.tries import TRIES
from chaos.sweep import sliced
from nurseries import BulkheadPermit

SWEEP = LeavingSweep()
DASHBOARDS_IN_MAKE_TEST = 30


def cases_of(*requests, way=None):
    return [case for case in SWEEP.cases(pairs=False) if case.request in requests and way in (None, case.way)]


def test_every_checkpoint_of_every_request_is_a_case_three_times():
    counts = checkpoints()
    assert counts.keys() == TRIES.keys()
    assert all(count >= 15 for count in counts.values()), counts
    assert min(counts[name] for name in counts if name.startswith("dashboard")) > 75  # 14 calls, each with its own
    assert len(SWEEP.cases(pairs=False)) == 3 * sum(counts.values())


def test_signing_in_renewing_and_signing_out_are_left_at_every_checkpoint_and_nothing_stays_behind_f1_f31(account_of):
    """Each of them in one of the ways, in turn; in all of them by the command."""
    cases = [case for case in cases_of("sign-in", "refresh", "sign-out") if WAYS[case.checkpoint % 3] == case.way]
    account = account_of(SWEEP, cases, seed=3)
    assert account.broken == ()
    assert account.cases == len(cases)


def test_dashboards_are_left_at_checkpoints_by_lot_and_nothing_stays_behind_f33(account_of):
    cases = sliced(cases_of(*(name for name in TRIES if name.startswith("dashboard"))), DASHBOARDS_IN_MAKE_TEST, 11)
    account = account_of(SWEEP, cases)
    assert account.broken == ()
    assert account.cases == DASHBOARDS_IN_MAKE_TEST


@pytest.mark.soak
def test_every_request_is_left_at_every_checkpoint_by_the_command_on_all_cores_f33(by_command, on_all_cores):
    code, said = by_command("leaving", *on_all_cores)
    assert code == 0, said
    assert f"{len(SWEEP.cases(pairs=False))} cases, 0 broken" in said


def test_after_the_last_checkpoint_there_is_none(account_of):
    beyond = LeavingCase("sign-out", "close", checkpoints()["sign-out"] + 20)
    (ran,) = account_of(SWEEP, [beyond]).broken
    assert "checkpoints" in ran.error


# -- it can fail -----------------------------------------------------------------------------------------------------


def first_errors(account_of, *cases):
    """What is found, one case at a time."""
    return [ran.error for ran in account_of(SWEEP, cases).broken]


def test_a_place_that_is_not_given_back_is_found(account_of, monkeypatch):
    monkeypatch.setattr(BulkheadPermit, "__exit__", lambda self, *_: None)
    (error,) = first_errors(account_of, LeavingCase("sign-in", "close", 5))
    assert "'places': " in error


def test_a_task_that_goes_on_for_nobody_is_found(account_of, monkeypatch):
    def forgetful(cache, owner, entries):
        keep(cache, owner, entries)
        owner.start(trio.sleep_forever, name="forgotten")

    checkpoints()  # of the server as it should be
    monkeypatch.setattr("bff.reads.dashboard.keep", forgetful)
    (error,) = first_errors(account_of, LeavingCase("dashboard-cold", "reset", 40))
    assert "forgotten" in error


def test_half_of_a_session_is_found_though_every_answer_is_good(account_of, monkeypatch):
    keep = Sessions._keep

    async def half(self, who, signed, device, cursor):
        await keep(self, who, signed, "", cursor)

    checkpoints()
    monkeypatch.setattr(Sessions, "_keep", half)
    (error,) = first_errors(account_of, LeavingCase("sign-in", "close", 30))
    assert "a session that is nobody's" in error


def test_what_is_remembered_of_each_request_for_ever_is_found_at_the_end_of_its_world(account_of, monkeypatch):
    hoard, show = [], Dashboard.answer

    async def hoarding(self, whose, journey, *, deadline_ms):
        hoard.append(journey)
        return await show(self, whose, journey, deadline_ms=deadline_ms)

    checkpoints()
    monkeypatch.setattr(Dashboard, "answer", hoarding)
    (error,) = first_errors(account_of, *(LeavingCase("refresh", "close", number) for number in range(1, 6)))
    assert "more is alive than was" in error
    assert "Journey" in error


def test_a_session_that_lives_on_after_it_was_ended_is_found_f31(account_of, monkeypatch):
    async def says_so(*_):
        return True

    checkpoints()
    monkeypatch.setattr(Sessions, "_revoked", says_so)
    monkeypatch.setattr(Sessions, "_marked", says_so)
    monkeypatch.setattr(Ended, "add", lambda *_: None)
    errors = first_errors(account_of, *cases_of("sign-out", way="kill")[-3:])
    assert len(errors) == 3
    assert all("signed out, and may still read" in error for error in errors)
