"""Every scenario of the repository is the same run in every process of the same seed, whatever its hashes."""

import json
import os
import random
import subprocess
import sys

import pytest

from chaos.hotel.gamedays import game_days

AT_ONCE = max(1, (os.cpu_count() or 1))
HASHES = random.SystemRandom()


def begun(name, seed):
    """`bff gameday run` in a process of its own, under a hash seed that nobody chose."""
    words = ("gameday", "run", name, "--virtual", "--seed", str(seed), "--no-record", "--json")
    env = {**os.environ, "PYTHONHASHSEED": str(HASHES.randrange(2**32))}
    return subprocess.Popen([sys.executable, "-P", "-m", "bff", *words], env=env, stdout=subprocess.PIPE)


def digests(name, seed, processes):
    """What each of them says of all that happened."""
    for done in range(0, processes, AT_ONCE):
        for process in [begun(name, seed) for _ in range(min(AT_ONCE, processes - done))]:
            out, _ = process.communicate(timeout=120)
            yield json.loads(out)["digest"]


@pytest.mark.parametrize("name", ["busy-morning", "short-spree"])  # all that desks do; the rest is in soak
def test_a_scenario_is_the_same_run_in_three_processes(name):
    seen = set(digests(name, 7, 3))
    assert len(seen) == 1 and len(seen.pop()) == 32


@pytest.mark.soak
@pytest.mark.parametrize("name", game_days())
def test_a_scenario_is_the_same_run_in_thirty_processes(name):
    assert len(set(digests(name, 11, 30))) == 1
