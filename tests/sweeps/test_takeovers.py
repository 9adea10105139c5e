"""Owners of a mutation that are lost at a checkpoint of it, and whoever goes on: a job, a third one, another server."""

from dataclasses import replace

import pytest

from bff.jobs.settle_claims import SettleClaims
from bff.jobs.watch_locks import LockWatch
from bff.upstreams.client import Call
from bff.writes import locks, mutation
from bff.writes.actions import ACTIONS
from chaos.hotel.stores.ledger_keys import KeyTables
from chaos.hotel.sweeps.crashes import FAULTS
from chaos.hotel.sweeps.takeovers import WAYS, TakeoverCase, TakeoverSweep, checkpoints
from chaos.sweep import sliced

SWEEP = TakeoverSweep()
IN_MAKE_TEST = 14


def test_every_checkpoint_of_every_mutation_is_a_case_in_each_way_f32():
    counts = checkpoints()
    assert counts.keys() == {(action, fault) for action in ACTIONS for fault in FAULTS}
    assert all(count >= 15 for count in counts.values()), counts
    assert len(SWEEP.cases(pairs=False)) == len(WAYS) * sum(counts.values())


def test_owners_are_lost_at_checkpoints_by_lot_and_what_desks_asked_for_is_done_once_f4_f10_f32(account_of):
    account = account_of(SWEEP, sliced(SWEEP.cases(pairs=False), IN_MAKE_TEST, 5), seed=5)
    assert account.broken == ()
    assert account.cases == IN_MAKE_TEST


@pytest.mark.soak
def test_owners_are_lost_at_every_checkpoint_by_the_command_on_all_cores_f4_f10_f32(by_command, on_all_cores):
    code, said = by_command("takeovers", *on_all_cores)
    assert code == 0, said
    assert f"{len(SWEEP.cases(pairs=False))} cases, 0 broken" in said


# -- it can fail -----------------------------------------------------------------------------------------------------


def first_error(account_of, action, fault, way, numbers):
    """What is found by the first of these cases that finds anything."""
    ran = (account_of(SWEEP, [TakeoverCase(action, fault, way, number)]) for number in numbers)
    return next((account.broken[0].error for account in ran if account.broken), "nothing")


def test_a_first_owner_who_wakes_up_late_and_overwrites_is_found(account_of, monkeypatch):
    record = KeyTables.record

    def unfenced(self, what):
        known = self._keys.get(what.id)
        self._keys.put(what.id, replace(known, state="in-flight"))
        return record(self, replace(what, fence=known.fence))

    checkpoints()  # of the server as it should be
    monkeypatch.setattr(KeyTables, "record", unfenced)
    found = first_error(account_of, "folio.charge", "hang", "slow", range(24, 60, 6))
    assert "nobody knows what came of" in found or "does not say so" in found


def test_a_service_that_is_not_told_the_key_by_whoever_settles_it_is_found_f32(account_of, monkeypatch):
    def keyless(operation, fields, *, body, key):
        return Call(operation, fields, body=body)

    checkpoints()
    monkeypatch.setattr(mutation, "Call", keyless)
    found = first_error(account_of, "folio.refund", "lose-answer", "alone", range(12, 30, 3))
    assert "folio.refund: 2 effects of 1 keys" in found


def test_a_key_that_nobody_settles_is_found(account_of, monkeypatch):
    async def nothing(_):
        return

    checkpoints()
    monkeypatch.setattr(SettleClaims, "turn", nothing)
    assert "is open still" in first_error(account_of, "order.transition", "lose-answer", "alone", range(12, 30, 3))


def test_what_others_must_hear_and_is_written_after_the_answer_is_found_f21(account_of, monkeypatch):
    record = KeyTables.record

    def late(self, what):
        return record(self, replace(what, letters=()))

    checkpoints()
    monkeypatch.setattr(KeyTables, "record", late)
    assert "0 events of 1 keys" in first_error(account_of, "alert.ack", "fine", "twice", [8])


def test_an_outcome_that_is_forgotten_is_found_f27(account_of, monkeypatch):
    record = KeyTables.record

    def silent(self, what):
        return record(self, replace(what, trail=()))

    checkpoints()
    monkeypatch.setattr(KeyTables, "record", silent)
    assert "the trail says of" in first_error(account_of, "lock.issue", "fine", "twice", [8])


def test_a_lock_action_without_an_intent_is_found_f27(account_of, monkeypatch):
    async def blind(_):
        return

    checkpoints()
    monkeypatch.setattr(LockWatch, "turn", blind)  # which would freeze the locks before it is said here
    monkeypatch.setattr(locks, "intent", lambda *_: None)
    assert "done without an intent" in first_error(account_of, "lock.revoke", "fine", "twice", [8])
