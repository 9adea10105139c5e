import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest

from chaos.live.process import state

BINDS = {"BFF_EDGE_BIND": "127.0.0.1:0", "BFF_OPS_BIND": "127.0.0.1:0"}
PATIENCE = 20


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()


def until_ready(ops):
    end = time.monotonic() + PATIENCE
    while get(f"{ops}/readyz")[0] != 200:  # listening, it has not heard of its stores yet
        assert time.monotonic() < end


def frozen(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + PATIENCE
    while any(state(pid) != "T" for pid in pids):
        assert time.monotonic() < end


@pytest.fixture
def serving(bff, shared):
    """`bff serve` with two workers on what the shared hotel runs, and its first line."""
    begun = bff("serve", "--workers", "2", "--json", **shared.given(), **BINDS)
    return begun, json.loads(begun.line())


def test_who_kills_a_worker_finds_the_edge_answering_every_try_and_another_in_its_place(open_hotel, shared, tmp_path):
    hotel = open_hotel(tmp_path, "--workers", "2", **shared.ledger())
    first, second = hotel.said["pids"]["workers"]
    assert hotel.pids()["workers"] == [first, second]
    os.kill(first, signal.SIGKILL)
    while hotel.pids()["workers"] == [first, second]:
        assert get(hotel.said["edge"])[0] == 200
    third = hotel.pids()["workers"][0]
    assert hotel.pids()["workers"] == [third, second]
    assert hotel.begun.line("stderr") == f"bff: worker {first} ended, and {third} is there instead"
    _, metrics = get(f"{hotel.said['ops']}/metrics")
    assert all(f'worker="{number}"' in metrics for number in (1, 2))
    assert "\nbff_workers_replaced_total 1\n" in metrics
    assert hotel.dashboard()["partial"] is False
    family = hotel.begun.family()
    assert len(family) >= 7
    began = time.monotonic()
    hotel.begun.process.send_signal(signal.SIGINT)
    assert hotel.begun.ended() == 0
    assert time.monotonic() - began < 10
    assert family.wait(0) == []


def test_who_waits_to_be_accepted_when_every_worker_is_killed_is_answered_by_another(serving):
    begun, said = serving
    frozen(said["workers"])
    host, port = said["edge"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: desk\r\nConnection: close\r\n\r\n")
        for pid in said["workers"]:
            os.kill(pid, signal.SIGKILL)
        assert waiting.recv(65_536).startswith(b"HTTP/1.1 200 ")
    begun.line()
    replaced = json.loads(begun.line())
    assert replaced.keys() == {"workers"}
    assert not set(replaced["workers"]) & set(said["workers"])
    begun.process.send_signal(signal.SIGTERM)
    assert begun.ended() == 0


def test_its_own_kill_leaves_no_worker_behind_a_frozen_one_neither(serving):
    begun, said = serving
    frozen(said["workers"][:1])
    until_ready(said["ops"])  # one of them is enough
    status, lines = get(f"{said['ops']}/readyz")
    assert status == 200
    assert lines.splitlines()[-1].startswith("worker-1 down since=")
    family = begun.family()
    assert len(family) == 3
    begun.process.kill()
    assert family.wait(5) == []


def test_what_no_worker_can_use_is_one_line_and_exit_2_as_of_a_server_alone(bff, shared, tmp_path):
    (tmp_path / "no.pem").touch()
    tls = {name: str(tmp_path / "no.pem") for name in ("BFF_TLS_CERT", "BFF_TLS_KEY")}
    begun = bff("serve", "--workers", "2", **shared.given(), **BINDS, **tls)
    assert begun.ended() == 2
    assert begun.marked() == []
    assert begun.line("stderr").startswith("bff: TLS needs a certificate and its key")
    assert begun.line("stderr") == ""
