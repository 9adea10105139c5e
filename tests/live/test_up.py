import json
import os
import signal
import stat
import time
import urllib.request

import pytest
from click.testing import CliRunner

from bff.cli.main import bff as bff_itself
from chaos.hotel import up as ups
from chaos.hotel.ready import running
from chaos.live import folder as folders
from chaos.live.folder import claim, in_use
from chaos.live.ports import hold, number
from chaos.live.process import LiveError

FREE = ("--port", "0", "--ops-port", "0", "--estate-port", "0")
WIDGETS = 14


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def worker(hotel):
    [pid] = hotel.pids()["workers"]
    return pid


def test_its_first_line_says_all_that_runs(hotel):
    said = hotel.said
    assert said.keys() == {
        "edge",
        "ops",
        "estate",
        "chaos",
        "postgres",
        "postgresAdmin",
        "redisSession",
        "redisCache",
        "internalToken",
        "pids",
        "operators",
    }
    assert said["pids"].keys() == {"up", "workers", "postgres", "redisSession", "redisCache", "estate"}
    assert [url.partition("://")[0] for url in (said["edge"], said["chaos"], said["postgres"])] == [
        "http",
        "ws",
        "postgresql",
    ]
    assert said["pids"]["up"] == hotel.begun.pid
    assert {len(one["properties"]) for one in said["operators"]} == {1, 2}
    assert {one["tenant"] for one in said["operators"]} == {"resort", "city"}
    assert all(one.keys() == {"tenant", "operator", "password", "mfaCode", "properties"} for one in said["operators"])


def test_it_is_ready_when_it_says_so(hotel):
    lines = get(f"{hotel.said['ops']}/readyz").splitlines()
    assert {line.split()[0]: line.split()[1] for line in lines if line.startswith(("postgres", "redis"))} == {
        "postgres": "up",
        "redis-session": "up",
        "redis-cache": "up",
    }


def test_other_commands_find_it_by_its_folder_and_nobody_else_can_read_that(hotel):
    assert running(hotel.data).edge == hotel.said["edge"]
    assert stat.S_IMODE((hotel.data / "run.json").stat().st_mode) == 0o600


def test_a_desk_sees_fourteen_widgets_of_a_real_day(hotel):
    code, out, err = hotel.type("desk", "--json")
    assert (code, err) == (0, "")
    seen = json.loads(out)
    assert len(seen["widgets"]) == WIDGETS
    assert {widget["status"] for widget in seen["widgets"].values()} == {"ok"}
    assert seen["widgets"]["property"]["data"]["businessDate"] == "2015-08-15"
    assert seen["widgets"]["arrivals"]["data"]["items"]


def test_a_desk_that_is_no_terminal_shows_one_picture_and_ends(hotel):
    code, out, err = hotel.run("desk", "--tenant", "city", "--operator", "rui")
    assert code == 0, err
    assert "City Baixa" in out
    assert "whole" in out


def test_one_broken_upstream_is_one_skeleton_in_time_and_healed_it_is_whole_again(hotel):
    assert hotel.type("chaos", "inject", "pricing", "hang") == (0, "pricing: hang\n", "")
    seen = hotel.dashboard()
    missing = {name: widget["reason"] for name, widget in seen["widgets"].items() if widget["status"] != "ok"}
    assert missing == {"rateSnapshot": "UPSTREAM_TIMEOUT"}
    assert (len(seen["widgets"]), seen["partial"]) == (WIDGETS, True)
    assert hotel.run("chaos", "list", "--json") == (0, '{"pricing":["hang"]}\n', "")
    assert hotel.run("chaos", "clear", "pricing") == (0, "nothing is wrong\n", "")
    assert hotel.dashboard()["widgets"]["rateSnapshot"]["status"] == "ok"


def test_a_fault_with_a_time_heals_by_itself(hotel):
    began = time.monotonic()
    assert hotel.run("chaos", "inject", "billing", "status", "code=500", "--for", "900ms")[0] == 0
    assert hotel.run("chaos", "list") == (0, "billing: status code=500\n", "")
    while hotel.run("chaos", "list") != (0, "nothing is wrong\n", ""):
        assert time.monotonic() < began + 10
    assert time.monotonic() - began > 0.9


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["inject", "nowhere", "hang"], "no service is called 'nowhere'"),
        (["inject", "pricing", "hand"], "no toxic is called 'hand'"),
        (["inject", "pricing", "hang", "--for", "soon"], "--for is 'soon': it should be like 30s, 2m or 500ms"),
        (["inject", "pricing", "kill"], "kill is for stores"),
        (["inject", "postgres", "failover"], "failover needs a standby, and postgres has none here"),
        (["inject", "postgres", "garbage"], "garbage is for services; for a store there are down, hang, latency,"),
        (["inject", "postgres", "kill", "rate=0.5"], "kill: a process has no rate"),
        (["clear", "nowhere"], "no service is called 'nowhere'"),
    ],
)
def test_a_fault_that_cannot_be_is_one_line_and_exit_2(hotel, words, line):
    code, out, err = hotel.run("chaos", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"bff: {line}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("fault", "store"), [("kill", "postgres"), ("stop", "redis-session"), ("kill", "redis-cache")])
def test_a_store_that_is_broken_leaves_reads_whole_and_clear_starts_it_again(hotel, fault, store):
    assert hotel.run("chaos", "inject", store, fault) == (0, f"{store}: {fault}\n", "")
    seen = hotel.dashboard()
    assert len(seen["widgets"]) == WIDGETS
    assert {name: widget["reason"] for name, widget in seen["widgets"].items() if widget["status"] != "ok"} == {}
    assert seen["partial"] is False
    assert hotel.run("chaos", "clear") == (0, "nothing is wrong\n", "")
    assert hotel.run("chaos", "inject", store, "start") == (0, "nothing is wrong\n", "")


def test_a_store_that_somebody_else_killed_is_told_as_it_is_and_cleared_all_the_same(hotel):
    before = hotel.pids()
    hotel.kill(before["redisCache"])
    assert hotel.run("chaos", "list") == (0, "redis-cache: kill\n", "")
    assert hotel.run("chaos", "clear", "redis-cache") == (0, "nothing is wrong\n", "")
    after = hotel.pids()
    assert after["redisCache"] != before["redisCache"]
    assert {**after, "redisCache": 0} == {**before, "redisCache": 0}


def test_a_server_that_dies_is_replaced_at_its_address_and_sessions_hold(hotel):
    before = worker(hotel)
    os.kill(before, signal.SIGKILL)
    assert hotel.begun.line("stderr") == "bff: the server ended (signal 9), and is started again"
    assert hotel.begun.line("stderr") == "bff: the server is there again"
    assert worker(hotel) != before
    assert running(hotel.data).edge == hotel.said["edge"]
    assert hotel.dashboard()["partial"] is False


def test_an_estate_that_was_killed_stays_dead_and_is_told_and_stores_can_still_be_healed(shared, open_hotel, tmp_path):
    hotel = open_hotel(tmp_path, **shared.ledger())
    os.kill(hotel.pids()["estate"], signal.SIGKILL)
    assert "every upstream is gone" in hotel.begun.line("stderr")
    assert hotel.run("chaos", "inject", "redis-cache", "kill") == (0, "estate: kill\nredis-cache: kill\n", "")
    assert hotel.run("chaos", "clear", "redis-cache") == (0, "estate: kill\n", "")
    code, _, err = hotel.run("chaos", "clear")
    assert (code, err.count("\n")) == (2, 1)
    hotel.begun.process.send_signal(signal.SIGTERM)
    assert hotel.begun.ended() == 0


def test_two_side_by_side_do_not_meet_and_the_end_of_one_is_whole(hotel, open_hotel, tmp_path):
    other = open_hotel(tmp_path / "other")
    mine, theirs = (json.dumps(one.said) for one in (hotel, other))
    for name in ("edge", "ops", "estate", "chaos", "postgres", "redisSession", "redisCache"):
        assert hotel.said[name] != other.said[name], (mine, theirs)
    assert other.run("chaos", "inject", "pricing", "down")[0] == 0
    assert hotel.dashboard()["partial"] is False
    assert other.dashboard()["partial"] is True
    family = other.begun.family()
    began = time.monotonic()
    other.begun.process.send_signal(signal.SIGTERM)
    other.begun.process.send_signal(signal.SIGINT)  # impatience changes nothing
    assert other.begun.ended() == 0
    assert time.monotonic() - began < 10
    assert family.wait(0) == []
    assert not in_use(other.data)
    assert other.run("desk", "--json")[0] == 2
    assert hotel.dashboard()["partial"] is False


def test_its_own_kill_leaves_nobody_behind_frozen_ones_neither_and_what_it_kept_is_there_again(open_hotel, tmp_path):
    first = open_hotel(tmp_path)
    for store in ("postgres", "redis-session"):
        assert first.run("chaos", "inject", store, "stop")[0] == 0
    os.kill(worker(first), signal.SIGSTOP)
    family = first.begun.family()
    assert len(family) >= 10
    first.begun.process.kill()
    assert family.wait(10) == []
    assert not in_use(tmp_path)
    with pytest.raises(LiveError, match="nothing runs on"):
        running(tmp_path)
    passwords = (tmp_path / "stores.json").read_bytes()
    second = open_hotel(tmp_path)
    assert second.dashboard()["partial"] is False
    assert (tmp_path / "stores.json").read_bytes() == passwords
    second.begun.process.send_signal(signal.SIGINT)
    assert second.begun.ended() == 0


@pytest.fixture
def refused(monkeypatch):
    """`refused(*words, **env)`: what a command that cannot be says in its one line."""
    for name in [name for name in os.environ if name.startswith("BFF_")]:
        monkeypatch.delenv(name)

    def said(*words, **env):
        done = CliRunner().invoke(bff_itself, [str(word) for word in words], env=env)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("bff: ")
        assert done.stderr.count("\n") == 1
        return done.stderr.removeprefix("bff: ").strip()

    return said


@pytest.mark.parametrize("option", ["--port", "--ops-port", "--estate-port"])
def test_a_busy_port_is_one_line_that_names_its_option(refused, tmp_path, option):
    ports = {"--port": 0, "--ops-port": 0, "--estate-port": 0}
    with hold() as busy:
        busy.listen()
        ports[option] = number(busy)
        words = [str(word) for pair in ports.items() for word in pair]
        line = refused("up", *words, "--data", tmp_path / "data")
    assert line == f"port {number_of(line)} cannot be had (Address already in use): choose another with {option}"


def number_of(line):
    return line.split()[1]


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("BFF_POSTGRES_URL", "mysql://u:hush@127.0.0.1/x", "BFF_POSTGRES_URL: the URL of postgres should be"),
        ("BFF_POSTGRES_URL", "postgresql://u:hush@127.0.0.1:1/x", "BFF_POSTGRES_URL: the ledger's schema was not"),
        ("BFF_POSTGRES_ADMIN_URL", "postgresql://u:hush@127.0.0.1:1/x", "BFF_POSTGRES_ADMIN_URL is set and"),
        ("BFF_REDIS_SESSION_URL", "http://:hush@127.0.0.1", "the server did not start: BFF_REDIS_SESSION_URL should"),
        ("BFF_REDIS_CACHE_URL", "redis://:hush@127.0.0.1:1/0", "BFF_REDIS_CACHE_URL: the server says redis-cache"),
        ("BFF_ESTATE_URL", "http://127.0.0.1:1", "BFF_ESTATE_URL is 'http://127.0.0.1:1': no estate answers there"),
        ("BFF_UPSTREAM_PRICING_URL", "ftp://x", "the server did not start: BFF_UPSTREAM_PRICING_URL is 'ftp://x'"),
    ],
)
def test_a_variable_that_cannot_be_used_is_one_line_without_its_password(
    refused, shared, tmp_path, variable, value, line, monkeypatch
):
    monkeypatch.setattr(ups, "FIT_WITHIN", 0.5)
    # What is not at stake is given, so that it need not be started.
    given = {**shared.given(), variable: value}
    if variable.startswith("BFF_POSTGRES"):
        given = {variable: value, **{name: url for name, url in given.items() if "POSTGRES" not in name}}
    said = refused("up", *FREE, "--data", tmp_path / "data", **given)
    assert said.startswith(line)
    assert "hush" not in said


def test_a_hotel_on_given_stores_and_a_given_estate_starts_none_of_its_own(open_hotel, shared, tmp_path):
    other = open_hotel(tmp_path, **shared.given())
    assert other.pids().keys() == {"up", "workers"}
    code, _, err = other.run("chaos", "inject", "postgres", "kill")
    assert (code, err) == (2, "bff: postgres was given by its URL, and is not ours to break\n")
    assert other.run("chaos", "inject", "postgres", "latency", "ms=1") == (0, "postgres: latency ms=1\n", "")
    assert other.run("chaos", "clear", "postgres") == (0, "nothing is wrong\n", "")
    assert other.run("desk")[0] == 2
    other.begun.process.send_signal(signal.SIGTERM)
    assert other.begun.ended() == 0


def test_a_data_folder_that_cannot_be_or_is_in_use_is_one_line(refused, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    line = refused("up", *FREE, "--data", tmp_path / "file")
    assert line == f"the data folder {tmp_path / 'file'} cannot be used (File exists): choose another with --data"
    monkeypatch.setattr(folders, "EARLIER_RUN_ENDS_WITHIN", 0.05)
    with claim(tmp_path / "data"):
        line = refused("up", *FREE, "--data", tmp_path / "data")
    assert line == f"the data folder {tmp_path / 'data'} is in use: choose another with --data"


@pytest.mark.parametrize("words", [["desk"], ["chaos", "list"], ["chaos", "clear"]])
def test_a_command_that_finds_nothing_running_says_how_to_start_it(refused, tmp_path, words):
    line = refused(*words, "--data", tmp_path)
    assert line == f"nothing runs on {tmp_path}: start it with `bff up --data {tmp_path}`"


def test_the_ledger_is_brought_up_to_date_as_often_as_one_likes(bff, hotel, refused):
    for _ in range(2):
        done = bff("migrate", BFF_POSTGRES_ADMIN_URL=hotel.said["postgresAdmin"])
        assert done.ended() == 0
        assert done.line() == "the ledger is up to date"
    assert refused("migrate").startswith("set BFF_POSTGRES_ADMIN_URL")
    assert refused("migrate", BFF_POSTGRES_URL="postgresql://127.0.0.1:1/x").startswith("the ledger's schema")


def test_every_command_can_be_asked_what_it_does(bff):
    done = bff("--help")
    assert done.ended() == 0
    said = done.process.stdout.read().decode()
    assert all(f"\n  {name} " in said for name in ("up", "serve", "desk", "chaos", "migrate"))
