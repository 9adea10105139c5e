"""Kills a process and all below it when whoever holds the other end of standard input is gone. Run as a script.

    warden.py PID

A process that is stopped cannot hear that its parent died, unless what it is sent is SIGKILL; and PostgreSQL wants a
gentler signal, so that its files need no recovery. So a frozen one gets a warden. It waits on a pipe, not for a signal:
the pipe is broken however its holder ends, also before this program has begun to read.
"""

import contextlib
import os
import select
import signal
import sys


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(") ")[2].split()[1])
    except OSError:
        return 0


def _below(pid: int) -> list[int]:
    parents = {int(name): _parent(name) for name in os.listdir("/proc") if name.isdecimal()}
    found, waiting = [], [pid]
    while waiting:
        above = waiting.pop()
        children = [child for child, parent in parents.items() if parent == above]
        found += children
        waiting += children
    return found


def main(pid: int) -> None:
    """Waits for the end of standard input, and ends what it was given."""
    watched = os.pidfd_open(pid)
    sys.stdin.buffer.read()
    ended, _, _ = select.select([watched], [], [], 0)
    if ended:  # its number may be another's by now
        return
    for child in (*_below(pid), pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    with contextlib.suppress(ProcessLookupError):
        main(int(sys.argv[1]))
