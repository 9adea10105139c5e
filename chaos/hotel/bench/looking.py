"""Dashboards that a few desks look at, again and again, from a process of their own.

    python -m chaos.hotel.bench.looking EDGE FILE        operators as JSON on standard input; 'ready' once they look

A crowd that opens thousands of streams is busy: were it asked how long its own dashboards take, it would count how long
it takes to look at the clock. Here nobody is in between. Each desk asks when it is time to, whether the answer of
before has come or not; each answer is a line of `FILE`: when it was asked for on the clock that all processes of a
machine have, and the seconds it took.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TextIO

import msgspec
import trio

from bff.outside import real
from bff.wire.dial import connect
from bff.wire.exchange import Prepared
from bff.wire.pool import Pool
from chaos.hotel.bench.serving import cpu_of
from chaos.hotel.fleet.crowd import open_crowd
from chaos.hotel.fleet.desk import Operator
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.stage import parted
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaos.hotel.fleet.hearing import Device

LOOKERS: Final = 8  # desks
LOOKS_EVERY: Final = 0.2  # seconds, each
PATIENCE: Final = 30.0  # seconds for one dashboard
LIMIT: Final = 3_600.0  # seconds after which nobody looks any more

now = time.perf_counter


@dataclass(frozen=True, slots=True)
class Looks:
    """What they saw so far."""

    process: subprocess.Popen[bytes]
    file: Path

    def between(self, began: float, ended: float) -> list[float]:
        """How long those took, in seconds and in that order, that were asked for from `began` to `ended` of `now()`."""
        lines = [line.split() for line in self.file.read_text(encoding="ascii").splitlines(keepends=True)]
        whole = [(float(line[0]), float(line[1])) for line in lines if len(line) == 3]
        return sorted(took for at, took in whole if began <= at < ended)

    def cpu(self) -> float:
        """CPU seconds of theirs so far."""
        return cpu_of(self.process.pid)


@contextmanager
def looking(edge: str, people: Sequence[Operator]) -> Iterator[Looks]:
    """They look for as long as the block lasts, and have begun."""
    with TemporaryDirectory(prefix="bff-looks-") as folder:
        file = Path(folder, "looks")
        command = [sys.executable, "-P", "-m", "chaos.hotel.bench.looking", edge, str(file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(msgspec.json.encode(people))
                process.stdin.close()
                assert process.stdout.readline() == b"ready\n"
                yield Looks(process, file)
            finally:
                process.kill()


async def look(edge: str, file: TextIO, people: Sequence[Operator]) -> None:
    """Until it is ended from outside."""
    with within(LIMIT):
        async with open_crowd(edge, real(connect), streams=LOOKERS) as crowd:
            desks = await crowd.sign_in([f"{os.getpid()}-{number}" for number in range(LOOKERS)], people)
            pool = Pool(connect)
            print("ready", flush=True)
            async with trio.open_nursery() as nursery:
                for desk in cycle(desks):
                    nursery.start_soon(_look, edge, pool, desk, file)
                    await trio.sleep(LOOKS_EVERY / LOOKERS)


async def _look(edge: str, pool: Pool, desk: Device, file: TextIO) -> None:
    path, token, outside = "/v1/dashboard", desk.session.access_token, real(connect)
    proof = make_proof(desk.key, "GET", f"{edge}{path}", token=token, now=outside.now(), jti=outside.identifier())
    headers = (
        (b"authorization", f"DPoP {token}".encode()),
        (b"dpop", proof.encode()),
        (b"x-device-id", desk.name.encode()),
    )
    target = f"{path}?propertyId={desk.session.properties[0]['id']}".encode()
    began = now()
    with within(PATIENCE):
        reply = await pool.fetch(Prepared(parted(edge), b"GET", target, headers, repeatable=True))
        assert reply.status == 200, reply.body
        print(f"{began:.6f} {now() - began:.6f} .", file=file, flush=True)


def main(edge: str, path: str) -> None:
    """Look at `edge`, and write into the file at `path`."""
    people = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Operator])
    with Path(path).open("w", encoding="ascii") as file:
        trio.run(look, edge, file, people)


if __name__ == "__main__":
    main(*sys.argv[1:])
