"""Chance comes from the seed and from what it is for."""

import os
import subprocess
import sys

import pytest

from chaos.sim.entropy import between, chance, entropy


def test_the_same_seed_and_purpose_give_the_same_bytes_and_any_other_ones_do_not():
    streams = [entropy(1, "desk", 1), entropy(1, "desk", 1), entropy(1, "desk", 11), entropy(2, "desk", 1)]
    one, again, other, another = [[stream(16) for _ in range(3)] for stream in streams]
    assert one == again
    assert len({b"".join(drawn) for drawn in (one, other, another)}) == 3


def test_one_more_draw_in_one_place_changes_nothing_in_another():
    here, there = entropy(1, "here"), entropy(1, "there")
    expected = entropy(1, "there")(8)
    here(100)
    assert there(8) == expected


def test_what_it_is_for_is_not_confused_by_how_it_is_written():
    purposes = [("a", "b"), ("a:b",), ("ab",), ("a', 'b",), (1,), ("1",)]
    assert len({chance(1, *about).random() for about in purposes}) == len(purposes)


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_seed_means_the_same_in_every_process(hash_seed):
    told = "from chaos.sim.entropy import entropy; print(entropy(7, 'server', 'bff', 1)(8).hex())"
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    found = subprocess.run([sys.executable, "-c", told], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == entropy(7, "server", "bff", 1)(8).hex()


def test_a_span_is_kept_to_and_what_is_none_is_refused():
    latency = between(0.005, 0.05, 1, "way")
    assert all(0.005 <= latency() <= 0.05 for _ in range(100))
    assert between(0.2, 0.2, 1)() == 0.2
    for least, most in ((-0.1, 1), (2, 1)):
        with pytest.raises(ValueError, match="no span"):
            between(least, most, 1)
