"""A record is written beside those that are there, and read again as it was."""

import math
from dataclasses import replace

import pytest

from chaos.history import Finding, Moment
from chaos.record import Record, load_records, save_record

RECORD = Record(
    name="dpop-replay",
    title="A thief with a stolen proof",
    owner="security",
    date="2026-03-01T10:00:00Z",
    where="virtual",
    seed=7,
    digest="ab" * 16,
    plan="plan x\nlasts 5\n",
    seconds=70.5,
    figures={"proofs": 12, "p95": 0.25, "worst": "none"},
    findings=(Finding(3.5, "once", "twice"),),
    skipped=("redis kill from 1: not here",),
    backlog=("alert on it",),
    moments=(Moment(1.0, "thief", "replay", "401", True, 0.01, {"status": 401}),),
)


def test_a_record_is_read_as_it_was_written(tmp_path):
    path = save_record(RECORD, tmp_path / "records")
    assert path.name == "20260301T100000-dpop-replay-virtual.json"
    assert load_records(path.parent) == [RECORD]
    assert path.read_text(encoding="utf-8").count("\n") > 20, "a person may read it, and a difference shows"
    live = replace(RECORD, where="live", seed=None)
    save_record(live, path.parent)
    assert load_records(path.parent) == [live, RECORD]


def test_it_held_when_nothing_was_found():
    assert not RECORD.held and replace(RECORD, findings=()).held


def test_a_second_run_in_the_same_second_takes_nothing_from_the_first(tmp_path):
    paths = [save_record(replace(RECORD, seed=seed), tmp_path) for seed in (1, 2, 3)]
    assert len(set(paths)) == 3
    assert {record.seed for record in load_records(tmp_path)} == {1, 2, 3}


@pytest.mark.parametrize(("figure", "said"), [(math.inf, "inf"), (math.nan, "nan")])
def test_a_figure_that_json_cannot_say_is_said_in_a_word(tmp_path, figure, said):
    save_record(replace(RECORD, figures={"p95": figure, "proofs": 12}), tmp_path)
    (record,) = load_records(tmp_path)
    assert record.figures == {"p95": said, "proofs": 12}


def test_records_come_the_eldest_first_and_what_is_none_is_passed_over(tmp_path):
    for day in ("03", "01", "02"):
        save_record(replace(RECORD, date=f"2026-03-{day}T10:00:00Z"), tmp_path)
    (tmp_path / "00-notes.json").write_text("{}", encoding="utf-8")
    (tmp_path / "01-torn.json").write_bytes(b'{"name": "\xff')
    (tmp_path / "02-folder.json").mkdir()
    (tmp_path / "README.md").write_text("not one of them", encoding="utf-8")
    assert [record.date[8:10] for record in load_records(tmp_path)] == ["01", "02", "03"]
    assert load_records(tmp_path / "nowhere") == []
