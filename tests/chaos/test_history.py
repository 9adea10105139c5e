"""A history is written moment by moment, and whoever watches sees each as it is written."""

import pytest
import trio

from chaos import history as module
from chaos.history import CHECKS, Finding, History, Moment, TooLong


async def test_a_moment_is_written_with_its_time_from_the_beginning(autojump_clock):
    await trio.sleep(100)
    history = History()
    assert history.elapsed() == 0
    await trio.sleep(1.5)
    moment = history.note("desk-1", "read", "200 in time", good=True, took=0.25, status=200)
    assert moment == Moment(1.5, "desk-1", "read", "200 in time", True, 0.25, {"status": 200})
    assert history.moments == [moment] and history.elapsed() == 1.5


async def test_a_watcher_sees_each_moment_as_it_is_written_and_none_from_before(autojump_clock):
    history, seen = History(), []
    history.note("desk-1", "before")
    history.watch(lambda moment: seen.append((moment.word, len(history.moments))))
    history.note("desk-1", "first")
    history.note("desk-1", "second")
    assert seen == [("first", 2), ("second", 3)]


async def test_what_was_found_is_a_finding_and_a_bad_moment_of_the_checks(autojump_clock):
    history, seen = History(), []
    history.watch(seen.append)
    await trio.sleep(2)
    history.found("in-time", "1.2 s")
    assert history.findings == [Finding(2.0, "in-time", "1.2 s")]
    assert history.moments == seen == [Moment(2.0, CHECKS, "in-time", "1.2 s", good=False)]


async def test_a_history_without_an_end_is_ended(autojump_clock, monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 2)
    history = History()
    history.note("desk-1", "a")
    history.note("desk-1", "b")
    with pytest.raises(TooLong, match="2 moments"):
        history.note("desk-1", "c")
    assert len(history.moments) == 2
