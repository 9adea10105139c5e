"""A sweep, run in this process."""

import os

import pytest
from click.testing import CliRunner

from chaos.hotel.sweeps.commands import sweep as command
from chaos.sweep import Tally, batches, entries


@pytest.fixture(scope="session")
def account_of():
    """`account_of(sweep, cases, seed)`: what came of these cases; `whole` asks for the marks too."""

    def run(sweep, cases, seed=0, *, whole=False):
        marks = sweep.marks()
        tally = Tally(len(cases), marks)
        for entry in entries(sweep, batches(cases, sweep.together), seed, marks):
            tally.add(entry)
        return tally.swept(whole=whole)

    return run


@pytest.fixture(scope="session")
def by_command():
    """`by_command("gate", "--pairs")`: the exit code and the words of `bff sweep run`."""

    def run(*words):
        ended = CliRunner().invoke(command, ["run", *words])
        return ended.exit_code, ended.output

    return run


@pytest.fixture(scope="session")
def on_all_cores():
    """What to say to `bff sweep run`, so that it uses them."""
    cores = os.cpu_count() or 1
    return ["--cores", str(cores)] if cores > 1 else []
