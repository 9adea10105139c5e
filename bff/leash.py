"""What a worker does first because it is one: end with its supervisor, and take over the sockets it was left."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable

PR_SET_PDEATHSIG: Final = 1


def leash(parent: int) -> None:
    """Die when process `parent` does, however it does; or at once, where it has already. Linux alone knows how.

    The kernel is asked for a signal first, and then who our parent is: of one that died before, nobody would tell. The
    signal follows the thread that spawned us, and is SIGKILL, which reaches who is frozen too.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "a signal at the parent's death")
    if os.getppid() != parent:
        raise SystemExit(0)


def inherited(descriptors: Iterable[int]) -> list[trio.SocketListener]:
    """Listening sockets that whoever started this process left open for it, by their file descriptors."""
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    return [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in sockets]
