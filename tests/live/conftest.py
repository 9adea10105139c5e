"""Real processes: a whole `bff up` that the tests of a session share, and ways to wait for what processes do.

Nothing here sleeps: what is waited for is a line of output, or the end of a process. Every process begun by a test has
a mark in its environment, which its children inherit, so that whoever is left behind is found.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from bff.cli.main import bff as commands
from chaos.live.process import descendants

PATIENCE = 20.0  # seconds; only a failure waits that long
BFF = (sys.executable, "-P", "-m", "bff")
FREE = ("--port", "0", "--ops-port", "0", "--estate-port", "0")


class Begun:
    """A process begun by a test, with its output by lines. `mark` finds it and all its descendants, orphans too."""

    def __init__(self, *argv, **env):
        self.mark = f"BEGUN_BY={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        given = {key: text for key, text in os.environ.items() if not key.startswith(("BFF_", "PG"))}
        self.process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**given, name: value, **env},
        )
        self._rest = {"stdout": b"", "stderr": b""}

    @property
    def pid(self):
        return self.process.pid

    def line(self, name="stdout"):
        """The next line of standard output, or of `stderr`; '' at its end."""
        end = time.monotonic() + PATIENCE
        pipe = getattr(self.process, name)
        while b"\n" not in self._rest[name]:
            ready, _, _ = select.select([pipe], [], [], max(0, end - time.monotonic()))
            assert ready, f"no line on {name} within {PATIENCE:.0f} s"
            piece = os.read(pipe.fileno(), 65536)
            if not piece:
                break
            self._rest[name] += piece
        line, _, self._rest[name] = self._rest[name].partition(b"\n")
        return line.decode()

    def line_with(self, words, name="stderr"):
        """The next line that has `words` in it."""
        while line := self.line(name):
            if words in line:
                return line
        raise AssertionError(f"{name} ended without {words!r}")

    def marked(self):
        """The ids of every process with the mark; PostgreSQL and Redis write their titles over it."""
        found = []
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if self.mark.encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
        return found

    def family(self):
        """The ends of it and of all that is below it now."""
        return Ends([self.pid, *descendants(self.pid), *self.marked()])

    def ended(self):
        """Its return code, once it has ended."""
        return self.process.wait(PATIENCE)

    def close(self):
        """Nothing of it is left."""
        for pid in (*descendants(self.pid), self.pid, *self.marked()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


class Ends:
    """Waits for the end of processes, whosever children they are."""

    def __init__(self, pids):
        self._open = {}
        for pid in dict.fromkeys(pids):
            with contextlib.suppress(ProcessLookupError):
                self._open[os.pidfd_open(pid)] = pid

    def __len__(self):
        return len(self._open)

    def wait(self, seconds):
        """The ids of those that have not ended after so many seconds."""
        end = time.monotonic() + seconds
        for descriptor in list(self._open):
            if select.select([descriptor], [], [], max(0, end - time.monotonic()))[0]:
                del self._open[descriptor]
                os.close(descriptor)
        left = list(self._open.values())
        while self._open:
            os.close(self._open.popitem()[0])
        return left


@pytest.fixture
def begin():
    """`begin(*argv, **env)` is a process; at the end of the test nothing of it is left."""
    begun = []

    def one(*argv, **env):
        begun.append(Begun(*argv, **env))
        return begun[-1]

    yield one
    for process in begun:
        process.close()


@pytest.fixture
def bff(begin):
    """`bff(*words, **env)`: a command, as a person types it."""
    return lambda *words, **env: begin(*BFF, *words, **env)


class Hotel:
    """A `bff up` that is ready."""

    def __init__(self, begun, data):
        self.begun = begun
        self.data = data
        line = begun.line()
        assert line, begun.process.stderr.read().decode()
        self.said = json.loads(line)

    def ledger(self):
        """The variables that give its PostgreSQL to another one, which is then begun sooner."""
        return {"BFF_POSTGRES_URL": self.said["postgres"], "BFF_POSTGRES_ADMIN_URL": self.said["postgresAdmin"]}

    def given(self):
        """The variables that give all that it runs to another one."""
        return {
            **self.ledger(),
            "BFF_REDIS_SESSION_URL": self.said["redisSession"],
            "BFF_REDIS_CACHE_URL": self.said["redisCache"],
            "BFF_ESTATE_URL": self.said["estate"],
        }

    def pids(self):
        """The process ids as they are now."""
        return json.loads((self.data / "run.json").read_bytes())["pids"]

    def kill(self, pid):
        """Kill it, and wait until it is dead, which is a little later."""
        ends = Ends([pid])
        os.kill(pid, signal.SIGKILL)
        assert ends.wait(PATIENCE) == []

    def run(self, *words):
        """A command on this hotel, in this process: its exit code, output and errors."""
        done = CliRunner().invoke(commands, [*words, "--data", str(self.data)])
        return done.exit_code, done.stdout, done.stderr

    def type(self, *words):
        """The same in a process of its own, as a person has it."""
        done = subprocess.run([*BFF, *words, "--data", self.data], capture_output=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def dashboard(self):
        """What `bff desk --json` prints."""
        code, out, err = self.run("desk", "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def open_hotel(bff):
    """`open_hotel(data, *options)`: a hotel of the test's own."""
    return lambda data, *options, **env: Hotel(bff("up", *FREE, "--data", data, "--json", *options, **env), data)


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """One hotel for all tests that leave it as they found it."""
    data = tmp_path_factory.mktemp("hotel")
    begun = Begun(*BFF, "up", *FREE, "--data", data, "--json")
    yield Hotel(begun, data)
    begun.close()


@pytest.fixture
def hotel(shared):
    """The shared hotel, whole again after the test."""
    yield shared
    code, out, err = shared.run("chaos", "clear")
    assert (code, out) == (0, "nothing is wrong\n"), err
