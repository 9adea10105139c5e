"""Sweeps: every case once, in whatever parts; stopped at any byte of the journal, it goes on from there."""

import os
import sys
from dataclasses import dataclass

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from chaos.journal import Journal, OtherJournal, entry_of, identity, line_of, read_journal
from chaos.marks import Marks, told
from chaos.shards import ShardFailed, join_shards
from chaos.sweep import (
    Fault,
    FaultCase,
    Ran,
    Reached,
    Shard,
    Tally,
    batches,
    entries,
    pairs,
    parse_shard,
    singles,
    sliced,
)
from chaos.toxics import Down, Drip, Hang
from nurseries import listening, tell

FAULTS = [Fault(target, toxic) for target in ("pricing", "billing", "sync") for toxic in (Hang(), Down())]
ONSETS = ("before", "later")
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
RAN = st.builds(Ran, WORDS, st.floats(0, 1e4).map(lambda seconds: round(seconds, 6)), st.just("") | WORDS)
ENTRIES = st.lists(RAN | st.builds(Reached, WORDS), max_size=12)


def test_every_fault_is_tried_at_every_onset():
    cases = singles(FAULTS, ONSETS)
    assert len(cases) == len({case.name for case in cases}) == 6 * 2
    assert cases[0].name == "pricing hang at before"
    assert FaultCase((Fault("sync", Down()),), "later") in cases


def test_every_two_faults_of_different_targets_are_tried_and_no_two_of_one():
    cases = pairs(FAULTS, ONSETS)
    assert len(cases) == len({case.name for case in cases}) == 12 * 2  # 3 pairs of targets, 4 of toxics, 2 onsets
    assert all(one.target != other.target for one, other in (case.faults for case in cases))
    drip = pairs([Fault("pricing", Hang()), Fault("billing", Drip(bytes_per_second=3.0))], ["before"])
    assert [case.name for case in drip] == ["pricing hang + billing drip bytes-per-second=3 at before"]


@given(st.integers(0, 60), st.integers(0, 2**32))
def test_a_slice_is_so_many_of_them_in_their_order_and_the_same_ones_from_the_same_seed(number, seed):
    cases = singles(FAULTS, map(str, range(8)))
    part = sliced(cases, number, seed)
    assert part == sliced(cases, number, seed)
    assert len(part) == len(set(part)) == min(number, len(cases))
    assert part == [case for case in cases if case in set(part)]


def test_two_seeds_slice_differently():
    cases = singles(FAULTS, map(str, range(8)))
    assert sliced(cases, 10, 1) != sliced(cases, 10, 2)


@given(st.integers(1, 7), st.integers(1, 5))
def test_all_shards_together_are_all_cases_and_none_is_in_two(of, most):
    cases = singles(FAULTS, map(str, range(8)))
    whole = batches(cases, lambda case: case.faults[0].target, most=most)
    assert all(len(batch) <= most and len({case.faults[0].target for case in batch}) == 1 for batch in whole)
    parts = [case for number in range(1, of + 1) for batch in Shard(number, of).part(whole) for case in batch]
    assert sorted(case.name for case in parts) == sorted(case.name for case in cases)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "½/1"])
def test_what_is_no_shard_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r"a shard is like 1/2, not .*\Z"):
        parse_shard(text)


def test_a_shard_reads_what_it_prints():
    assert parse_shard(str(Shard(2, 3))) == Shard(2, 3)


@dataclass(frozen=True)
class Happened:
    what: str


class Toy:
    """A sweep whose every third case is broken, and whose last one reaches its mark."""

    name, about = "toy", "nothing"

    def cases(self, *, pairs):
        return singles(FAULTS, ONSETS)

    def together(self, case):
        return case.faults[0]

    def marks(self):
        return Marks([told(Happened, what="the last")])

    def run(self, batch, seed, marks):
        for case in batch:
            if case == self.cases(pairs=False)[-1]:
                marks.heard(Happened("the last"))
            yield Ran(case.name, 0.25, "is wrong" if case.faults[0].toxic == Hang() else "")


def swept(cases, *, whole):
    toy = Toy()
    marks = toy.marks()
    tally = Tally(len(cases), marks)
    for entry in entries(toy, batches(cases, toy.together), 0, marks):
        tally.add(entry)
    return tally.swept(whole=whole)


def test_an_account_says_what_was_run_what_was_broken_and_how_fast():
    account = swept(Toy().cases(pairs=False), whole=True)
    assert (account.cases, account.worked, account.per_second) == (12, 3.0, 4.0)
    assert [ran.name for ran in account.broken][:2] == ["pricing hang at before", "pricing hang at later"]
    assert len(account.broken) == 6
    assert account.missing == ()
    assert not account.held


def test_a_whole_sweep_without_a_mark_does_not_hold_and_a_part_of_one_does():
    good = [case for case in Toy().cases(pairs=False) if case.faults[0].toxic == Down()][:-1]
    assert swept(good, whole=True).missing == ("Happened what=the last",)
    assert not swept(good, whole=True).held
    assert swept(good, whole=False).held
    assert swept([], whole=False).per_second == 0.0


def test_what_is_told_twice_counts_once_and_as_told_last():
    tally = Tally(1, Marks([]))
    tally.add(Ran("a", 1.0, "was wrong"))
    tally.add(Ran("a", 2.0))
    account = tally.swept(whole=True)
    assert (account.cases, account.worked, account.broken) == (1, 2.0, ())


@given(RAN | st.builds(Reached, WORDS))
def test_a_line_of_a_journal_reads_as_it_was_written(entry):
    line = line_of(entry)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert entry_of(line.removesuffix("\n")) == entry


def test_an_error_of_several_lines_is_one_line_in_a_journal():
    assert entry_of(line_of(Ran("a", 1.0, "one\n\ttwo\r\n")).strip()) == Ran("a", 1.0, "one two")


@given(ENTRIES, st.data())
def test_a_journal_that_was_cut_at_any_byte_goes_on_with_every_whole_line(tmp_path_factory, written, data):
    path = tmp_path_factory.mktemp("cut") / "journal"
    with Journal(path, "toy") as journal:
        for entry in written:
            journal.write(entry)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = tuple(written[: max(0, whole[:cut].count(b"\n") - 1)])
    assert read_journal(path, "toy") == kept
    with Journal(path, "toy") as journal:
        assert journal.entries == kept
        journal.write(Ran("and on", 1.0))
    assert read_journal(path, "toy") == (*kept, Ran("and on", 1.0))


def test_a_journal_of_another_sweep_another_seed_or_no_journal_is_refused_in_one_line(tmp_path):
    path = tmp_path / "journal"
    names = ["a", "b"]
    with Journal(path, identity("toy", 1, names)):
        pass
    before = path.read_bytes()
    for other in (identity("toy", 2, names), identity("dashboard", 1, names), identity("toy", 1, ["a", "c"])):
        with pytest.raises(OtherJournal, match="is the journal of another sweep") as refused:
            Journal(path, other)
        assert "\n" not in str(refused.value)
    assert path.read_bytes() == before
    for text in ("dear diary\n", "dear diary", "sweep\ttoy\nok\tsoon\ta\n", "sweep\ttoy\nwhatever\n"):
        path.write_text(text)
        with pytest.raises(OtherJournal, match=r"no journal|damaged"):
            Journal(path, "toy")
        assert path.read_text() == text


def shard(code):
    return [sys.executable, "-c", code]


async def test_what_shards_say_is_heard_line_by_line_whoever_says_it():
    heard = []
    said = [shard(f"print('ok\\t0.5\\tcase {number}'); print('reached\\tmark {number}')") for number in (1, 2)]
    await join_shards(said, heard.append)
    assert sorted(map(repr, heard)) == sorted(
        repr(entry) for number in (1, 2) for entry in (Ran(f"case {number}", 0.5), Reached(f"mark {number}"))
    )


async def test_a_shard_that_breaks_off_is_told_in_one_line_and_the_others_end(tmp_path):
    there = tmp_path / "there"
    os.mkfifo(there)  # whoever reads it waits for whoever writes
    lasting = shard(f"import signal; open({str(there)!r}, 'w').close(); signal.pause()")
    waiting = (
        f"import sys; open({str(there)!r}).read()\n"
        "print('ok\\t0.5\\tcase 1', flush=True); sys.exit('no room\\nfor two')"
    )
    heard = []
    began = trio.current_time()
    with pytest.raises(ShardFailed, match=r"a shard ended with 1: for two\Z"):
        await join_shards([lasting, shard(waiting)], heard.append)
    assert heard == [Ran("case 1", 0.5)]
    assert trio.current_time() - began < 30


async def test_what_is_told_while_a_sweep_listens_is_heard_by_its_marks(autojump_clock):
    marks = Toy().marks()
    with listening(marks.heard):
        tell(Happened("the last"))
    tally = Tally(0, marks)
    assert tally.swept(whole=True).missing == ()
