"""Becomes another program that cannot outlive its parent. Run as a script, in isolated mode, by `chaos.live.process`.

    leash.py PARENT SIGNAL USER PROGRAM [ARGUMENT ...]

`PARENT` is the process id that must still be ours, `SIGNAL` what the kernel sends when it dies, `USER` one of `-`
(stay), `UID:GID` (become that user) or `map:UID` (keep the rights of who we are, and look like `UID` to ourselves).

Why a program between `Popen` and the real one, and no `preexec_fn`: code that runs between fork and exec of a process
with threads can deadlock, and the order matters here. Changing the user clears the death signal, so it is asked for
last; and a parent that died before it was asked for is found by looking once more who our parent is.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000


def _checked(done: int, what: str) -> None:
    if done != 0:
        error = ctypes.get_errno()
        sys.exit(f"{what}: {os.strerror(error)}")


def _look_like(libc: ctypes.CDLL, uid: int) -> None:
    inside = {"uid_map": f"{uid} {os.geteuid()} 1", "setgroups": "deny", "gid_map": f"{uid} {os.getegid()} 1"}
    _checked(
        libc.unshare(CLONE_NEWUSER), "PostgreSQL refuses root, and here is no user namespace: choose another --data"
    )
    for name, text in inside.items():
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _become(libc: ctypes.CDLL, user: str) -> None:
    if user.startswith("map:"):
        _look_like(libc, int(user.removeprefix("map:")))
    elif user != "-":
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def main(parent: int, death: int, user: str, program: list[str]) -> None:
    """Does the steps in their order, and does not return."""
    libc = ctypes.CDLL(None, use_errno=True)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what is ignored stays so through exec
    if sys.platform == "linux":
        _become(libc, user)
        _checked(libc.prctl(PR_SET_PDEATHSIG, death, 0, 0, 0), "a signal at the parent's death")
        if os.getppid() != parent:
            sys.exit(0)
    os.execv(program[0], program)  # noqa: S606 - to become that program is what this file is for


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
