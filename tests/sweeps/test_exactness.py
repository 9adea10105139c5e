"""A sweep is the same run twice: what is sent, when, and what comes of it. A slice of each is held to that."""

import pytest

from chaos.hotel.sweeps import SWEEPS
from chaos.sim.trace import KEPT, Trace, first_difference, keeping
from chaos.sweep import sliced

IN_MAKE_TEST, IN_SOAK = 4, 60


@pytest.mark.parametrize("cases", [IN_MAKE_TEST, pytest.param(IN_SOAK, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", SWEEPS)
def test_the_same_cases_by_the_same_seed_send_the_same_bytes_at_the_same_times(name, cases, account_of):
    sweep = SWEEPS[name]
    cases = sliced(sweep.cases(pairs=False), cases, 20150815)
    account_of(sweep, cases[:1], 5)  # what a process finds out but once, it has found out
    runs = []
    for _ in range(2):
        with keeping(Trace(keep=KEPT)) as trace:
            account = account_of(sweep, cases, 5)
        runs.append((trace, account.broken))
    (one, broken), (other, again) = runs
    assert first_difference(one.lines, other.lines) is None
    assert one.digest() == other.digest()
    assert one.bytes == other.bytes > 10_000
    assert broken == again == ()
