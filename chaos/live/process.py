"""Children of this process: spawned so that they cannot outlive it, watched, stopped, frozen, killed.

Why not `trio.run_process`: the death signal of Linux follows the *thread* that spawned, not the process, and Trio
spawns in worker threads, which leave after ten idle seconds and take the child with them. So `spawn` is plain `Popen`,
allowed on the main thread only, and takes some milliseconds; waiting is Trio's, over a pidfd.

A child is the leader of a session of its own: a Ctrl-C in the terminal reaches the parent alone, which then decides in
which order things end. `freeze` and `kill` mean the whole tree below the child, because a PostgreSQL whose postmaster
alone is stopped goes on committing in its backends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

LEASH = Path(__file__).with_name("leash.py")
STDERR = 2
FATAL = "FATAL:"
RUNS = frozenset("RSD")
ENDED = frozenset({"", "X", "Z"})
STOPS_WITHIN = 1.0  # seconds
LOOK_AGAIN = 0.0002
LOG_TAIL = 4096  # bytes of a log that are read to say why a child ended


class LiveError(Exception):
    """Something of the real world is not as it must be; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process that is ours. `log` is the file that its output goes to, from byte `since` on; None: it has ours."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None
    graceful: signal.Signals
    since: int = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, frozen or not; asking reaps it."""
        return self.process.poll() is None

    def terminate(self) -> None:
        """Ask it to end, with the signal that it takes as one, and wait for nothing."""
        self._signal(self.graceful)

    def kill(self) -> None:
        """SIGKILL to it and all below it, as a power cut would: nobody runs on while the others die."""
        for pid in reversed(self.freeze()):
            signalled(pid, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> tuple[int, ...]:
        """SIGSTOP to it, then to everything below it: connections stay open and nothing answers. Gives their ids.

        In force when this returns: what is stopped begins no more children, so each look finds the last ones.
        """
        frozen: list[int] = []
        found = [self.pid] if self.alive else []  # else its id may be another's
        while found:
            for pid in found:
                signalled(pid, signal.SIGSTOP)
            _until_stopped(found)
            frozen += found
            found = [pid for pid in descendants(self.pid) if pid not in frozen]
        return tuple(frozen)

    def thaw(self) -> None:
        """SIGCONT to it and everything below it."""
        if self.alive:
            for pid in (*descendants(self.pid), self.pid):
                signalled(pid, signal.SIGCONT)

    async def ended(self) -> int:
        """Wait until it has ended; its return code, negative for a signal. Cancellable at any time."""
        while self.process.poll() is None:
            await _readable_once(self.pid)
        return self.process.returncode

    def why(self) -> str:
        """One line on why it ended: its last words in its log, or its return code."""
        return (last_words(self.log, self.since) if self.log else "") or f"return code {self.process.poll()}"

    def _signal(self, what: signal.Signals) -> None:
        if self.alive:
            self.process.send_signal(what)


def spawn(
    argv: Sequence[str | Path],
    *,
    name: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    user: str = "-",
    at_death: signal.Signals = signal.SIGKILL,
    graceful: signal.Signals = signal.SIGTERM,
    keep: Sequence[int] = (),
    speaks: bool = False,
) -> Child:
    """Start `argv` (its first is a path) as a child that gets `at_death` when this process dies, however it dies.

    `env` replaces the environment; output is appended to `log`, or goes to this process's standard error; with `speaks`
    standard output is a pipe instead, `process.stdout`, that the caller reads. `user` is as `leash` has it; `keep` are
    file descriptors that the child inherits. Raises `LiveError` where the program cannot be started, `RuntimeError` off
    the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(f"{name} must be spawned on the main thread: the death signal follows the thread")
    output = open(log, "ab") if log else None  # noqa: SIM115 - closed below, after the child has its own
    since = output.tell() if output else 0
    try:
        process = subprocess.Popen(
            leashed(argv, user=user, at_death=at_death),
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if speaks else output or STDERR,
            stderr=output or STDERR,
            pass_fds=keep,
            start_new_session=True,
        )
    except OSError as error:
        raise LiveError(f"{name} cannot be started: {error}") from None
    finally:
        if output:
            output.close()
    return Child(name, process, log, graceful, since)


def leashed(argv: Sequence[str | Path], *, user: str, at_death: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command that becomes `argv` as `user`, and gets `at_death` when the thread that started it is gone."""
    ours = (sys.executable, "-I", "-S", LEASH, os.getpid(), int(at_death), user)
    return [str(word) for word in (*ours, *argv)]


def stop_all(children: Iterable[Child], grace: float) -> tuple[str, ...]:
    """Ask all to end, wait `grace` seconds for all of them together, then kill: the names that had to be killed.

    Blocks; a frozen child is thawed first, so that it can hear.
    """
    asked = tuple(children)
    for child in asked:
        child.terminate()
        child.thaw()
    end = time.monotonic() + grace
    killed = []
    for child in asked:
        try:
            child.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            killed.append(child.name)
        if child.process.stdout is not None:
            child.process.stdout.close()
    return tuple(killed)


def descendants(pid: int) -> tuple[int, ...]:
    """Every process below `pid`, parents before children; what has just ended is left out.

    Out of one look at the whole process table: the kernel's own list of children is not there in every build of it.
    """
    below: dict[int, list[int]] = {}
    for child, parent in _parents():
        below.setdefault(parent, []).append(child)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = below.get(waiting.pop(0), [])
        found += children
        waiting += children
    return tuple(found)


def state(pid: int) -> str:
    """The kernel's letter for what a process does (R, S, T for stopped, Z for ended and not yet waited for), or ''."""
    return _stat(pid)[:1]


def _until_stopped(pids: Sequence[int]) -> None:
    """A signal is sent at once and obeyed when its process next runs, which may be in the middle of a write."""
    end = time.monotonic() + STOPS_WITHIN
    while any(state(pid) in RUNS for pid in pids) and time.monotonic() < end:
        time.sleep(LOOK_AGAIN)


def _parents() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            fields = _stat(int(name)).split()
            if fields:
                yield int(name), int(fields[1])


def _stat(pid: int) -> str:
    """What /proc says of a process after its name, which may hold anything: its state first, its parent next."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2]
    except OSError:
        return ""


def signalled(pid: int, what: signal.Signals) -> None:
    """Send a signal to whoever has that id; nobody may have it any more."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


async def _readable_once(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def last_words(log: Path, since: int = 0) -> str:
    """The last line of a log that says something, written from byte `since` on, or ''; PostgreSQL's is its last FATAL.

    After that one it still says, in more lines, that it is shutting down.
    """
    try:
        with open(log, "rb") as file:
            file.seek(max(since, os.fstat(file.fileno()).st_size - LOG_TAIL))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").split("\n") if line.strip()]
    except OSError:
        return ""
    fatal = [line[line.index(FATAL) + len(FATAL) :].strip() for line in lines if FATAL in line]
    return (fatal or lines or [""])[-1]
