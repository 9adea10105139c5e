"""The killing spree at a hotel that runs: real workers are killed, and PostgreSQL with them (F-20, F-27, F-32)."""

import json

# Who dies with a key in hand leaves it to its lease, of ten seconds: all the time that the calm lasts is needed.
SMALL = """
plan        Workers are killed while 16 desks change everything
owner       platform
lasts       2.2, then 10.6 of calm
work        spree desks=16
work        killer every=0.6
work        inspector every=0.3
fault       postgres kill from 1.3 until 1.6
always      prompt one-answer sane complete chained
eventually  answered-all within 10.6
eventually  settled within 10.6
eventually  once within 10.6
eventually  audited within 10.6
eventually  told within 10.6
"""


def test_as_many_effects_as_keys_when_workers_and_postgresql_are_killed_under_16_desks_f20(open_hotel, tmp_path):
    plan = tmp_path / "small.plan"
    plan.write_text(SMALL, encoding="utf-8")
    hotel = open_hotel(tmp_path / "data", "--workers", "2")
    workers = set(hotel.pids()["workers"])
    code, out, err = hotel.run("gameday", "run", str(plan), "--no-record", "--json")
    assert out, err
    record = json.loads(out)
    assert (code, record["findings"]) == (0, []), err
    told = record["figures"]
    assert told["processes killed"] >= 2
    assert told["keys"] >= told["keys answered with success"] == told["effects"] > 100
    assert told["answered from the record"] > 0 and told["tries that nobody answered"] > 0
    assert told["least completeness"] == 1.0 and told["trail rows about locks"] > 10
    assert not workers & set(hotel.pids()["workers"])
