"""Streams of one device that are opened in one moment, under every schedule (F-26); and a registry that is found."""

import pytest

from bff.events.registry import Registry
from bff.events.streams import Streams
from chaos.hotel.stores.bus import SimBus
from chaos.hotel.sweeps.openings import Openings, OpeningSweep
from chaos.sweep import sliced

SWEEP = OpeningSweep()
IN_MAKE_TEST = 20


@pytest.fixture(scope="module", autouse=True)
def walked():
    """The schedules are those of the server as it is: they are looked for once, before a test breaks it."""
    return SWEEP.cases(pairs=False)


def test_of_streams_of_one_device_that_are_opened_at_once_one_lives_by_schedules_by_lot_f26(account_of):
    account = account_of(SWEEP, sliced(SWEEP.cases(pairs=False), IN_MAKE_TEST, 5), seed=5, whole=True)
    assert (account.broken, account.missing) == ((), ())
    assert account.cases == IN_MAKE_TEST


@pytest.mark.soak
def test_of_streams_of_one_device_that_are_opened_at_once_one_lives_f26(by_command, on_all_cores):
    code, said = by_command("openings", "--pairs", *on_all_cores)
    assert code == 0, said
    assert f"{len(SWEEP.cases(pairs=True))} cases, 0 broken" in said


def cases_of(openings, number=2):
    return [case for case in SWEEP.cases(pairs=False) if case.openings == openings][:number]


def test_servers_that_do_not_heed_a_greater_token_are_found_f26(account_of, monkeypatch):
    async def turn(self):
        return

    cases = cases_of(Openings(2, 2, 1))
    assert account_of(SWEEP, cases).broken == ()
    monkeypatch.setattr(Registry, "turn", turn)
    monkeypatch.setattr(Streams, "_supersede", lambda *_: None)
    broken = account_of(SWEEP, cases).broken
    assert {ran.error for ran in broken} == {"AssertionError: 2 of 2 streams live"}


def test_a_registry_whose_tokens_do_not_grow_with_the_clock_is_found_where_it_fails_over_f26(account_of, monkeypatch):
    take = SimBus.take

    def counting(self, tenant, device, *, now, ttl):
        return take(self, tenant, device, now=0.0, ttl=ttl)

    monkeypatch.setattr(SimBus, "take", counting)
    broken = account_of(SWEEP, cases_of(Openings(2, 2, 6, 7))).broken
    assert {ran.error for ran in broken} == {"AssertionError: 2 of 2 streams live"}
