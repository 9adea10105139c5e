"""How many streams so many open files are enough for, and how many this process may have."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.config import STREAMS
from bff.wire.files import BESIDE_STREAMS, OWN, Room, room_for


@pytest.mark.parametrize("files", [STREAMS + BESIDE_STREAMS + OWN, 1_048_576])
def test_with_enough_files_all_streams_have_room_and_everything_else_beside_them(files):
    assert room_for(STREAMS, files) == Room(files, STREAMS + BESIDE_STREAMS, STREAMS)


@pytest.mark.parametrize(
    ("files", "connections", "streams"),
    [(19_455, 16_383, 12_287), (16_384, 13_312, 9_216), (4_096, 3_072, 1_536), (1_024, 768, 384), (256, 192, 96)],
)
def test_with_fewer_there_is_room_for_fewer_streams_and_still_for_the_rest_f26(files, connections, streams):
    assert room_for(STREAMS, files) == Room(files, connections, streams)


@given(streams=st.integers(1, 1_000_000), files=st.integers(8, 1_100_000))
def test_whatever_is_asked_for_no_more_files_are_promised_than_there_are(streams, files):
    room = room_for(streams, files)
    assert 1 <= room.streams <= streams
    assert room.streams < room.connections < files
    more = room_for(streams, files + 1)
    assert (more.streams, more.connections) >= (room.streams, room.connections)


LIMITS = """
import resource
from bff.wire.files import allow_many_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
print(allow_many_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_process_takes_all_the_files_that_it_may_have():
    said = subprocess.run([sys.executable, "-P", "-c", LIMITS], capture_output=True, check=True, timeout=20).stdout
    assert said.split() == [b"512", b"512", b"512"]
