import json
import time
import urllib.request

import pytest
from click.testing import CliRunner

from bff.cli.main import bff as commands

BINDS = {"BFF_EDGE_BIND": "127.0.0.1:0", "BFF_OPS_BIND": "127.0.0.1:0"}
WHY = "the [auditor] asked"
PATIENCE = 20


def run(*words):
    done = CliRunner().invoke(commands, ["switches", *words])
    return done.exit_code, done.stdout, done.stderr


def test_a_switch_turned_at_one_worker_is_off_at_every_worker_and_every_instance_within_a_second(bff, shared):
    serving = bff("serve", "--workers", "2", "--json", **shared.given(), **BINDS)
    ops = json.loads(serving.line())["ops"]
    try:
        code, out, err = run("mutations", "off", "--why", WHY, "--by", "ann", "--ops", ops)
        turned = time.monotonic()
        assert (code, out.startswith("mutations is off since 20"), err) == (0, True, "")
        off = set()
        while len(off) < 2:
            with urllib.request.urlopen(f"{ops}/metrics", timeout=PATIENCE) as answer:
                lines = answer.read().decode().splitlines()
            off = {line for line in lines if line.startswith("bff_switch_off{") and line.endswith('"mutations"} 1.0')}
            assert time.monotonic() < turned + PATIENCE
        assert time.monotonic() < turned + 3, "a second, on a machine that is busy with other things"
        _, listed, _ = shared.run("switches", "--json")
        (there,) = [one for one in json.loads(listed) if one["name"] == "mutations"]
        assert (there["value"], there["by"], there["why"]) == ("off", "ann", WHY)
        _, table, _ = shared.run("switches")
        (row,) = [line for line in table.splitlines() if line.startswith("mutations")]
        assert row.split()[:2] == ["mutations", "off"]
        assert WHY in " ".join(table.split()), "as it was said, and no markup"
    finally:
        code, _, err = shared.run("switches", "mutations", "on", "--why", "it is over")
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["brakes", "off", "--why", "x"], "bff: there is no switch 'brakes': there are traffic, mutations, locks"),
        (["no/such one", "off", "--why", "x"], "bff: there is no switch 'no/such one'"),
        (["traffic", "maybe", "--why", "x"], "bff: traffic cannot be 'maybe': it should be one of on, off"),
        (["traffic", "off"], "bff: it is bff switches, or bff switches NAME VALUE --why TEXT"),
        (["--by", "ann"], "bff: it is bff switches, or"),
        (["--ops", "http://127.0.0.1:1"], "bff: http://127.0.0.1:1 does not answer"),
        (["--ops", "nowhere"], "bff: nowhere does not answer"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(shared, words, line):
    code, out, err = shared.run("switches", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)


def test_where_nothing_runs_there_is_nothing_to_turn(tmp_path):
    code, out, err = run("--data", str(tmp_path))
    assert (code, out) == (2, "")
    assert err == f"bff: nothing runs on {tmp_path}: give the folder of a `bff up` with --data, or --ops URL\n"
