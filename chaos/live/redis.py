"""A Redis in a data folder: launched at a port, asked whether it answers.

Everything it is told stands in a file of mode 0600: a password on a command line can be read by the whole machine.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos.live import binaries
from chaos.live.folder import Folder, write_private
from chaos.live.ports import LOOPBACK
from chaos.live.process import Child, LiveError, spawn

ANSWERS_WITHIN: Final = 0.25  # seconds
CACHE_SIZE: Final = "64mb"

# An append-only file and no snapshots: a kill loses nothing that was acknowledged. It does not sync the file each
# second, as it would: while the disk is busy with that, what is new waits in memory for up to two, and a kill loses it.
# The machine that would have to die for the sync to matter takes everything with it here.
ALWAYS: Final[Mapping[str, str]] = {
    "bind": LOOPBACK,
    "dir": ".",
    "appendonly": "yes",
    "appendfsync": "no",
    "save": '""',
}
BOUNDED: Final[Mapping[str, str]] = {"maxmemory": CACHE_SIZE, "maxmemory-policy": "allkeys-lru"}


@dataclass(frozen=True, slots=True)
class Redis:
    """One Redis: its program, and what its file says beside the port."""

    name: str
    program: Path
    settings: Mapping[str, str]
    folder: Folder

    def launch(self, port: int) -> Child:
        """Begin to run at `port`; it is not ready yet."""
        place = self.folder.path / self.name
        lines = {**ALWAYS, **self.settings, "port": str(port), "requirepass": self._password}
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            write_private(place / "redis.conf", "".join(f"{name} {value}\n" for name, value in lines.items()).encode())
        except OSError as error:
            raise LiveError(f"{place} cannot be written ({error.strerror}): choose another --data") from None
        return spawn(
            [self.program, "redis.conf"],
            name=self.name,
            cwd=place,
            log=self.folder.logs / f"{self.name}.log",
            at_death=signal.SIGKILL,
            keep=[self.folder.lock],
        )

    def answers(self, child: Child, port: int) -> bool:
        """Whether it does what it is asked, which it does not while it reads its file."""
        del child
        try:
            with socket.create_connection((LOOPBACK, port), ANSWERS_WITHIN) as session, session.makefile("rb") as said:
                session.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                return (said.readline(), said.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        except OSError:
            return False

    def url(self, port: int) -> str:
        """Where it is."""
        return f"redis://:{self._password}@{LOOPBACK}:{port}/0"

    @property
    def _password(self) -> str:
        return self.folder.password("redis")


def session_tier(folder: Folder) -> Redis:
    """The one that must not forget. Raises `LiveError` where there is no redis-server."""
    return Redis("redis-session", binaries.redis_server(), {"maxmemory-policy": "noeviction"}, folder)


def cache_tier(folder: Folder) -> Redis:
    """The one that may: bounded, and what was not asked for longest goes first. Raises `LiveError`."""
    return Redis("redis-cache", binaries.redis_server(), BOUNDED, folder)
