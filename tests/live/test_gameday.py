"""A game-day at a hotel that runs: two servers on the same stores, real faults, and a thief between them (F-28)."""

import json
import os
import signal

HURRY = """
plan        A thief in a hurry, at two servers
owner       security
lasts       4, then 4 of calm
work        looks desks=2 every=0.5
work        thief every=0.2
work        auditor every=0.3
fault       redis-session failover from 0.5
fault       pricing status code=500 from 1 until 2
fault       redis-session kill from 2 until 3
always      in-time honest answered exactly-once no-stranger
eventually  whole within 4
eventually  counted within 4
"""


def written(tmp_path, text):
    path = tmp_path / "hurry.plan"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_thief_at_two_real_servers_gets_no_more_than_the_contract_says_and_it_is_counted_f28(hotel, tmp_path):
    before = set(hotel.begun.marked())
    records = tmp_path / "records"
    code, out, err = hotel.run("gameday", "run", str(written(tmp_path, HURRY)), "--records", str(records), "--json")
    assert out, err
    record = json.loads(out)
    assert (code, record["findings"]) == (0, []), err
    told = record["figures"]
    assert told["reads that passed a second time"] == told["counted by the servers"] > 0
    assert told["of them partial"] > 0
    [skipped] = record["skipped"]
    assert skipped.startswith("redis-session failover from 0.5: failover needs a standby")
    assert record["backlog"] == [f"not exercised here: {skipped}"]
    assert (record["where"], record["seed"]) == ("live", None)
    assert [path.suffix for path in records.iterdir()] == [".json"]
    assert len(hotel.begun.marked()) >= len(before) - 1  # redis has another process, and nobody else has gone
    code, out, _ = hotel.run("chaos", "list")
    assert out == "nothing is wrong\n"


def test_a_game_day_that_is_interrupted_heals_what_it_broke_and_leaves_no_server_behind(hotel, bff, tmp_path):
    long = HURRY.replace("lasts       4", "lasts       300").replace("until 2", "until 290")
    begun = bff("gameday", "run", written(tmp_path, long), "--no-record", "--data", hotel.data)
    assert "takes 304 s" in begun.line("stderr")
    in_force = {}
    while "pricing" not in in_force:
        in_force = json.loads(hotel.run("chaos", "list", "--json")[1])
    family = begun.family()
    os.kill(begun.pid, signal.SIGINT)
    begun.ended()
    assert family.wait(10) == []
    assert hotel.run("chaos", "list")[1] == "nothing is wrong\n"
