"""What goes wrong on the way to the stores of a running `bff up`, as its server and a desk see it."""

import json
import socket
import time
import urllib.error
import urllib.request

import pytest

from chaos.live.address import address
from chaos.live.postgres import SSL_REQUEST

WIDGETS = 14
NOTICED_WITHIN = 10.0  # seconds


def readiness(hotel):
    """What the server says of its stores, by name."""
    try:
        with urllib.request.urlopen(f"{hotel.said['ops']}/readyz", timeout=5) as answer:
            said = answer.read().decode()
    except urllib.error.HTTPError as unready:
        said = unready.read().decode()
    return {line.split()[0]: line.split()[1] for line in said.splitlines() if line.startswith(("postgres", "redis"))}


def noticed(hotel, store, state):
    """The server comes to say that of the store."""
    end = time.monotonic() + NOTICED_WITHIN
    while readiness(hotel)[store] != state:
        assert time.monotonic() < end, readiness(hotel)
    return True


def asked(url):
    """Seconds that PostgreSQL took to say whether it speaks TLS, which it says before any login."""
    there = address(url)
    began = time.monotonic()
    with socket.create_connection((there.host, there.port), 5) as session:
        session.sendall(SSL_REQUEST)
        assert session.recv(1) == b"N"
    return time.monotonic() - began


def test_a_session_tier_that_hangs_leaves_reads_whole_and_healed_it_is_up_again(hotel):
    assert hotel.run("chaos", "inject", "redis-session", "hang") == (0, "redis-session: hang\n", "")
    assert noticed(hotel, "redis-session", "down")
    seen = hotel.dashboard()
    assert (len(seen["widgets"]), seen["partial"]) == (WIDGETS, False)
    assert hotel.run("chaos", "clear", "redis-session") == (0, "nothing is wrong\n", "")
    assert noticed(hotel, "redis-session", "up")


def test_the_way_to_the_ledger_is_late_or_down_for_its_server_and_never_for_who_dials_the_address_printed(hotel):
    through = json.loads((hotel.data / "run.json").read_bytes())["stores"]["BFF_POSTGRES_URL"]
    assert hotel.run("chaos", "inject", "postgres", "latency", "ms=150") == (0, "postgres: latency ms=150\n", "")
    assert asked(through) >= 0.15
    assert asked(hotel.said["postgres"]) < 0.15
    assert hotel.run("chaos", "inject", "postgres", "down", "--for", "30s")[1] == "postgres: latency ms=150, down\n"
    with pytest.raises(ConnectionRefusedError):
        asked(through)
    assert noticed(hotel, "postgres", "down")
    assert hotel.run("chaos", "inject", "postgres", "stop")[1] == "postgres: stop, latency ms=150, down\n"
    assert hotel.run("chaos", "clear") == (0, "nothing is wrong\n", "")
    assert noticed(hotel, "postgres", "up")
