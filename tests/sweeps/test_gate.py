"""Whatever is wrong with a request at once, the first rung that holds answers, through the whole server."""

import pytest

from bff.gate import ladder
from chaos.hotel.sweeps.gate import GateCase, GateSweep
from chaos.hotel.sweeps.wrongs import WRONG
from chaos.sweep import sliced

SWEEP = GateSweep()
COMBINATIONS_IN_MAKE_TEST = 250


def test_of_every_subset_of_the_rungs_the_first_answers_and_every_rung_with_every_code_is_reached(account_of):
    cases = SWEEP.cases(pairs=False)
    account = account_of(SWEEP, cases, seed=5, whole=True)
    assert (account.broken, account.missing) == ((), ())
    assert account.cases == 2**10 + len(WRONG) - 10


def test_of_combinations_of_everything_that_can_be_wrong_the_first_rung_answers(account_of):
    cases = sliced(SWEEP.cases(pairs=True), COMBINATIONS_IN_MAKE_TEST, seed=20150815)
    assert account_of(SWEEP, cases).broken == ()


@pytest.mark.soak
def test_of_all_combinations_the_first_rung_answers_by_the_command_on_all_cores(by_command, on_all_cores):
    code, said = by_command("gate", "--pairs", *on_all_cores)
    assert code == 0, said
    # Of the rungs up to the tier all that can be wrong, and the firsts of those below it with all of the three last.
    assert f"{4 * 5 * 10 * 3 * 3 * 2 * 4 * 3 + 2**7 * 3 * (6 * 3 - 1)} cases, 0 broken" in said


def test_the_cases_know_every_rung_of_the_ladder():
    assert {way.rung for way in WRONG.values()} == {rung.number for rung in ladder.LADDER}
    assert [way.rung for way in WRONG.values()] == sorted(way.rung for way in WRONG.values())


def test_two_rungs_that_have_changed_places_are_found_by_the_very_cases_in_which_both_hold(account_of, monkeypatch):
    rungs = list(ladder.LADDER)
    rungs[3], rungs[4] = rungs[4], rungs[3]
    monkeypatch.setattr(ladder, "LADDER", tuple(rungs))
    account = account_of(SWEEP, [GateCase(wrong) for wrong in (("expired",), ("foreign-device",), BOTH, THREE)])
    assert [ran.name for ran in account.broken] == ["expired + foreign-device"]
    assert account.broken[0].error == ("AssertionError: told (403, 'DEVICE_MISMATCH'), not (401, 'SESSION_EXPIRED')")


def test_a_key_that_is_asked_for_before_the_second_factor_is_found_at_the_ladder_f29(account_of, monkeypatch):
    rungs = list(ladder.LADDER)
    rungs[8], rungs[9] = rungs[9], rungs[8]
    monkeypatch.setattr(ladder, "LADDER", tuple(rungs))
    words = [("attestation-spent",), ("no-key",), ("attestation-spent", "no-key"), ("no-token", "attestation-spent")]
    account = account_of(SWEEP, [GateCase(wrong) for wrong in words])
    assert [ran.name for ran in account.broken] == ["attestation-spent + no-key"]
    assert account.broken[0].error == (
        "AssertionError: the ladder said (400, 'IDEMPOTENCY_KEY_REQUIRED'), not (401, 'MFA_INVALID_OR_USED')"
    )


BOTH = ("expired", "foreign-device")
THREE = ("no-token", "expired", "foreign-device")


def test_a_rung_that_never_holds_is_missing_from_the_marks_and_its_cases_are_broken(account_of, monkeypatch):
    monkeypatch.setattr(ladder, "LADDER", tuple(rung for rung in ladder.LADDER if rung.number != 6))
    cases = [GateCase((word,)) for word in ("out-of-scope", "no-token")]
    account = account_of(SWEEP, cases, whole=True)
    assert [ran.name for ran in account.broken] == ["out-of-scope"]
    assert "RungRefused rung=6 code=PROPERTY_OUT_OF_SCOPE" in account.missing
    assert "RungRefused rung=1 code=SESSION_REQUIRED" not in account.missing


def test_a_case_is_run_by_its_name(by_command):
    assert by_command("gate", "--case", "too-old + expired + tier-down") == (0, "ok: too-old + expired + tier-down\n")
    assert by_command("gate", "--case", "nothing") == (0, "ok: nothing\n")
