"""Decisions are drawn, played again and walked through, and a record of zeros is the plain run."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import choices as module
from chaos.choices import Drawn, Replayed, TooMany, walk

OPTIONS = st.lists(st.integers(1, 6), max_size=30)


def decide(choices, options):
    return [choices.choose(number) for number in options]


@given(st.integers(), OPTIONS)
def test_a_draw_is_had_again_from_its_seed_and_from_its_record(seed, options):
    drawn = Drawn(seed)
    decided = decide(drawn, options)
    assert all(0 <= chosen < number for chosen, number in zip(decided, options, strict=True))
    assert (drawn.taken, drawn.options) == (decided, options)
    assert decide(Drawn(seed), options) == decided
    assert decide(Replayed(decided), options) == decided


def test_other_seeds_decide_otherwise_and_every_option_is_drawn():
    decided = [tuple(decide(Drawn(seed), [4] * 20)) for seed in range(20)]
    assert len(set(decided)) == 20
    assert {chosen for run in decided for chosen in run} == {0, 1, 2, 3}


def test_as_many_as_asked_for_are_left_plain():
    assert decide(Drawn(1, plain=1.0), [9] * 50) == [0] * 50
    plain = decide(Drawn(1, plain=0.9), [1000] * 1000).count(0)
    assert 850 < plain < 950, "nine tenths, and a thousandth of the rest"


@given(st.lists(st.integers(0, 9), max_size=8), OPTIONS)
def test_a_record_is_kept_to_as_far_as_it_goes_and_as_far_as_there_are_options(record, options):
    decided = decide(Replayed(record), options)
    for at, (chosen, number) in enumerate(zip(decided, options, strict=True)):
        assert chosen == (min(record[at], number - 1) if at < len(record) else 0)


def test_a_decision_without_options_is_a_decision_so_that_a_record_keeps_its_place():
    replayed = Replayed([5, 1])
    assert decide(replayed, [1, 2]) == [0, 1]
    assert replayed.options == [1, 2]


def test_walking_is_every_way_once_and_the_plain_one_first():
    ways = [tuple(decide(choices, [2, 1, 3])) for choices in walk()]
    assert ways == [(a, 0, c) for a in range(2) for c in range(3)]


def test_what_is_asked_may_depend_on_what_was_decided():
    def run(choices):
        return (first := choices.choose(3), *(choices.choose(2) for _ in range(first)))

    assert [run(choices) for choices in walk()] == [
        (0,),
        *[(1, second) for second in range(2)],
        *[(2, second, third) for second in range(2) for third in range(2)],
    ]


def test_where_nothing_is_decided_there_is_one_way():
    assert len(list(walk())) == 1


def test_a_walk_ends_at_its_limit():
    ways = [decide(choices, [10] * 3) for choices in walk(4)]
    assert ways == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]]
    assert list(walk(0)) == []
    assert len([decide(choices, [2]) for choices in islice(walk(), 9)]) == 2


def test_a_run_that_decides_for_ever_is_ended(monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    choices = Drawn(1)
    decide(choices, [2, 2, 2])
    with pytest.raises(TooMany, match="3 decisions"):
        choices.choose(2)
    assert len(choices.taken) == 3
