"""Servers that die at every checkpoint of a mutation, and desks that try again."""

import pytest

from bff.model import Answer
from bff.upstreams.client import Call
from bff.writes import locks, mutation
from bff.writes.actions import ACTIONS
from bff.writes.conclusion import Conclusion
from bff.writes.mutation import Mutations
from chaos.hotel.sweeps.crashes import FAULTS, CrashCase, CrashSweep, checkpoints
from chaos.sweep import sliced

SWEEP = CrashSweep()
IN_MAKE_TEST = 24


def test_every_checkpoint_of_every_mutation_is_a_case_whatever_its_service_does_f32():
    counts = checkpoints()
    assert counts.keys() == {(action, fault) for action in ACTIONS for fault in FAULTS}
    assert all(count >= 15 for count in counts.values()), counts
    assert len(SWEEP.cases(pairs=False)) == sum(counts.values())


def test_servers_die_at_checkpoints_by_lot_and_what_desks_asked_for_is_done_once_f4_f32(account_of):
    account = account_of(SWEEP, sliced(SWEEP.cases(pairs=False), IN_MAKE_TEST, 5), seed=5)
    assert account.broken == ()
    assert account.cases == IN_MAKE_TEST


@pytest.mark.soak
def test_servers_die_at_every_checkpoint_of_every_mutation_by_the_command_on_all_cores_f32(by_command, on_all_cores):
    code, said = by_command("crashes", *on_all_cores)
    assert code == 0, said
    assert f"{len(SWEEP.cases(pairs=False))} cases, 0 broken" in said


# -- it can fail -----------------------------------------------------------------------------------------------------


def first_error(account_of, action, numbers, fault="fine"):
    """What is found by the first of the crashes that finds anything."""
    ran = (account_of(SWEEP, [CrashCase(action, fault, number)]) for number in numbers)
    return next((account.broken[0].error for account in ran if account.broken), "nothing")


def test_a_mutation_that_is_recorded_before_it_is_done_is_found(account_of, monkeypatch):
    carry_out, done = Mutations.carry_out, Conclusion("recorded", Answer(200, b"{}"), "success")

    async def hasty(self, work, claimed, journey, leave):
        await self.record(work, claimed, done)
        await carry_out(self, work, claimed, journey, leave)
        return done

    monkeypatch.setattr(Mutations, "carry_out", hasty)
    assert first_error(account_of, "task.transition", range(3, 30)) == "AssertionError: 0 effects"


def test_a_service_that_is_not_told_the_key_is_found_f32(account_of, monkeypatch):
    def keyless(operation, fields, *, body, key):
        return Call(operation, fields, body=body)

    monkeypatch.setattr(mutation, "Call", keyless)
    assert first_error(account_of, "folio.charge", range(3, 30)) == "AssertionError: 2 effects"


def test_an_owner_who_died_and_of_whom_the_trail_says_nothing_is_found_f10(account_of, monkeypatch):
    monkeypatch.setattr(locks, "abandoned", lambda *_: None)
    assert "the trail has gaps" in first_error(account_of, "lock.issue", range(3, 30))


def test_a_key_that_a_dead_server_holds_for_ever_is_found_f4(account_of, monkeypatch):
    monkeypatch.setattr(mutation, "LEASE", 3600.0)
    assert "not answered in 25 s" in first_error(account_of, "alert.ack", range(3, 60))
