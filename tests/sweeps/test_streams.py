"""Whatever the session tier does at whatever moment of a stream: nothing is lost unsaid, and nothing comes twice."""

import pytest

from bff.events import streams
from bff.events.logs import Logs
from bff.events.registry import Registry
from chaos.hotel.sweeps.ailing import FAULTS
from chaos.hotel.sweeps.buses import LAGS, MOMENTS, StreamCase, StreamSweep
from chaos.sweep import sliced

SWEEP = StreamSweep()
IN_MAKE_TEST = 6


def test_every_fault_and_every_two_of_them_in_either_order_are_a_case_at_every_moment():
    moments, words = len(MOMENTS) * len(LAGS), len(FAULTS)
    alone = SWEEP.cases(pairs=False)
    assert len(alone) == moments * words
    assert len(SWEEP.cases(pairs=True)) == len(alone) + moments * (words**2 + words * (words - 1) // 2)
    assert len({case.name for case in SWEEP.cases(pairs=True)}) == len(SWEEP.cases(pairs=True))


def test_faults_by_lot_at_moments_by_lot_and_no_device_loses_or_doubles_anything_f19_f26_f31_f34(account_of):
    account = account_of(SWEEP, sliced(SWEEP.cases(pairs=True), IN_MAKE_TEST, 5), seed=5)
    assert account.broken == ()
    assert account.cases == IN_MAKE_TEST


@pytest.mark.soak
def test_all_faults_and_all_pairs_of_them_by_the_command_on_all_cores_f19_f26_f31_f34(by_command, on_all_cores):
    code, said = by_command("streams", "--pairs", *on_all_cores)
    assert code == 0, said
    assert f"{len(SWEEP.cases(pairs=True))} cases, 0 broken" in said


# -- what it found ---------------------------------------------------------------------------------------------------


def error_of(account_of, faults, moment, lag, seed, *, later=False):
    account = account_of(SWEEP, [StreamCase(faults, moment, lag, later)], seed)
    return account.broken[0].error if account.broken else ""


def test_a_desk_that_is_ahead_of_its_log_waits_for_who_gives_it_back_and_hears_nothing_twice_f19(
    account_of, monkeypatch
):
    """It comes to a server that has just started, when the tier has lost what the other server knows."""
    case = (("failover-lost",), "drain", "amid", 0)
    assert error_of(account_of, *case) == ""
    monkeypatch.setattr(streams, "GIVEN_BACK", ())
    assert "comes twice" in error_of(account_of, *case)


# -- it can fail -----------------------------------------------------------------------------------------------------


def test_a_reader_that_does_not_ask_the_log_for_what_it_has_missed_is_found(account_of, monkeypatch):
    async def content(self, journal):
        return

    monkeypatch.setattr(Logs, "catch_up", content)
    assert "is missing" in error_of(account_of, ("deaf-one",), "live", "before", 0)


def test_a_server_that_never_says_that_its_bus_is_dead_is_found_f34(account_of, monkeypatch):
    monkeypatch.setattr("bff.events.bus.STALL_SECONDS", 3.7)
    assert "is not told that the bus is dead" in error_of(account_of, ("kill",), "live", "amid", 0)


def test_two_servers_that_both_keep_a_devices_stream_are_found_f26(account_of, monkeypatch):
    async def turn(self):
        return

    monkeypatch.setattr(Registry, "turn", turn)
    monkeypatch.setattr(streams.Streams, "_supersede", lambda *_: None)
    assert "not one lives" in error_of(account_of, ("slow",), "supersession", "before", 0)
