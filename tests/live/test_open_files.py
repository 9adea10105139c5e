"""A server that may not have as many files open as streams were asked for."""

import json
import sys
import urllib.error
import urllib.request

BINDS = {"BFF_EDGE_BIND": "127.0.0.1:0", "BFF_OPS_BIND": "127.0.0.1:0"}
FEW = 'ulimit -n 1024 && exec "$0" -P -m bff serve --json'


def readyz(ops):
    try:
        with urllib.request.urlopen(f"{ops}/readyz", timeout=5) as answer:
            return answer.read().decode().splitlines()
    except urllib.error.HTTPError as answer:  # its stores have not answered yet
        with answer:
            return answer.read().decode().splitlines()


def test_it_has_room_for_fewer_streams_and_says_so_in_one_line_and_in_readyz_f26(begin, shared):
    begun = begin("sh", "-c", FEW, sys.executable, **shared.given(), **BINDS)
    ops = json.loads(begun.line())["ops"]
    said = json.loads(begun.line_with("streams capped"))
    assert (said["level"], said["asked"], said["room"], said["files"]) == ("warning", 12_288, 384, 1_024)
    (line,) = [line for line in readyz(ops) if line.startswith("streams ")]
    name, state, since, detail = line.split(maxsplit=3)
    assert (name, state, detail) == ("streams", "degraded", "room for 384 and not 12288, as 1024 files may be open")
    assert since.startswith("since=20")


def test_a_server_that_has_enough_says_nothing_of_it(begin, shared):
    begun = begin("sh", "-c", FEW, sys.executable, **shared.given(), **BINDS, BFF_STREAMS="384")
    ops = json.loads(begun.line())["ops"]
    assert [line for line in readyz(ops) if line.startswith("streams ")] == []
