"""The estate as the process that `bff up` starts."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from chaos.hotel.estate.hotel import build_hotel

COMMAND = (sys.executable, "-m", "chaos.hotel.estate", "--token-ttl", "60")
SERVICES = 15


@pytest.fixture
def start():
    """Starts one and waits for its line; ends what is still there afterwards."""
    begun = []

    def start(port=0):
        child = subprocess.Popen([*COMMAND, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        begun.append(child)
        return child, child.stdout.readline()

    yield start
    for child in begun:
        child.kill()
        child.communicate()


def got(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        return json.load(answer)


def posted(url, body):
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=5) as answer:
        return json.load(answer)


def test_it_says_on_one_line_where_everything_is_and_who_may_sign_in_and_ends_when_told(start):
    child, said = start()
    line = json.loads(said)
    assert set(line) == {"control", "services", "operators"}
    assert got(f"{line['control']}/_estate/services") == line["services"]
    assert len(line["services"]) == SERVICES
    assert [(one["tenant"], one["operator"], one["properties"]) for one in line["operators"]] == [
        (operator.tenant_id, operator.operator_id, list(operator.properties)) for operator in build_hotel().operators
    ]
    for one in line["operators"]:
        who = {name: one[name] for name in ("tenant", "operator", "password")}
        signed = posted(f"{line['services']['iam']}/sessions", who | {"deviceId": "d", "jkt": "k"})
        assert signed["expiresIn"] == 60
        assert one["mfaCode"]
    pid = line["operators"][0]["properties"][0]
    occupancy = got(f"{line['services']['inventory']}/properties/{pid}/occupancy", **{"x-tenant-id": "resort"})
    assert occupancy["date"] == "2015-08-15"
    child.send_signal(signal.SIGTERM)
    assert child.wait(5) == 0
    assert child.communicate() == (b"", b"")


def test_ctrl_c_ends_it_as_quietly_and_two_of_them_do_not_collide(start):
    (one, first), (other, second) = start(), start()
    assert not set(json.loads(first)["services"].values()) & set(json.loads(second)["services"].values())
    for child in (one, other):
        child.send_signal(signal.SIGINT)
        assert child.wait(5) == 0
        assert child.communicate() == (b"", b"")


def test_a_taken_port_is_one_line_on_standard_error_and_exit_2(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        child, said = start(taken.getsockname()[1])
    assert said == b""
    assert child.wait(5) == 2
    (complaint,) = child.stderr.read().decode().splitlines()
    assert "port" in complaint
    assert "in use" in complaint


@pytest.mark.parametrize("wrong", [["--port", "70000"], ["--port", "x"], ["--token-ttl", "0"]])
def test_an_option_that_cannot_be_is_exit_2(wrong):
    ended = subprocess.run([*COMMAND, *wrong], capture_output=True, timeout=10, check=False)
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
