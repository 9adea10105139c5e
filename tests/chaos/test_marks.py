"""What a sweep must have reached, it is held to."""

from dataclasses import dataclass

import pytest

from chaos.marks import Mark, Marks, told
from nurseries import listening, tell


@dataclass(frozen=True)
class Opened:
    name: str
    why: str


@dataclass(frozen=True)
class Closed:
    name: str


@dataclass(frozen=True)
class OpenedAgain(Opened):
    pass


def test_a_mark_is_reached_by_a_fact_with_its_fields_and_by_no_other():
    marks = Marks([told(Opened, why="ratio"), told(Opened, why="probe"), told(Closed)])
    marks.heard(Opened("pricing", "consecutive"))
    marks.heard(OpenedAgain("pricing", "ratio"))
    marks.heard("Opened why=ratio")
    assert marks.missing() == ("Opened why=ratio", "Opened why=probe", "Closed")
    marks.heard(Opened("pricing", "ratio"))
    marks.heard(Closed("billing"))
    assert marks.missing() == ("Opened why=probe",)
    assert len(marks) == 3


def test_one_fact_may_reach_several_marks_and_each_is_news_once():
    marks = Marks([told(Opened), Mark("of pricing", lambda fact: getattr(fact, "name", "") == "pricing")])
    marks.heard(Opened("pricing", "ratio"))
    marks.heard(Opened("pricing", "ratio"))
    assert marks.news() == ["Opened", "of pricing"]
    assert marks.news() == []
    assert marks.missing() == ()


def test_what_another_process_reached_counts_and_a_name_of_no_mark_is_nothing():
    marks = Marks([told(Opened), told(Closed)])
    marks.reach("Closed")
    marks.reach("Closed")
    marks.reach("rained")
    assert marks.missing() == ("Opened",)
    assert marks.news() == ["Closed"]


def test_two_marks_of_one_name_are_a_mistake():
    with pytest.raises(ValueError, match="two marks are called 'Opened'"):
        Marks([told(Opened), told(Opened)])


async def test_marks_listen_to_what_is_told_in_a_run(autojump_clock):
    marks = Marks([told(Opened), told(Closed)])
    with listening(marks.heard):
        tell(Opened("pricing", "ratio"))
    tell(Closed("pricing"))
    assert marks.missing() == ("Closed",)
