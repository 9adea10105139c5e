"""The data folder of one run: claimed by one at a time, and its secrets readable by its owner alone.

    lock         locked by whoever runs on the folder, and by every process that it has given the descriptor to
    stores.json  the stores' passwords, made once
    logs/        what each child says

The lock belongs to an open file, not to a process: a store inherits it, so a folder whose `bff up` was killed is free
again exactly when the last of its stores has ended, and not a moment earlier.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos.live.process import LiveError

EARLIER_RUN_ENDS_WITHIN: Final = 5.0  # seconds
LOOK_AGAIN: Final = 0.02
LOCK: Final = "lock"
PASSWORDS: Final = "stores.json"

# What a run leaves in its folder. `fresh` takes these away and nothing else: a folder may be given by mistake.
OURS: Final = ("postgres", "postgres.new", "redis-session", "redis-cache", "logs", PASSWORDS, "run.json")


@dataclass(frozen=True, slots=True)
class Folder:
    """A data folder that is ours. `lock` is the descriptor to hand on to whoever writes into it."""

    path: Path
    lock: int

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def password(self, name: str) -> str:
        """The password called `name`: made when it is first asked for, the same for ever after. No quoting needed."""
        kept = self._kept()
        if name not in kept:
            kept[name] = secrets.token_urlsafe(24).replace("-", "x")
            write_private(self.path / PASSWORDS, json.dumps(kept, indent=2).encode())
        return kept[name]

    def knows(self, name: str) -> bool:
        """Whether there is such a password already."""
        return name in self._kept()

    def _kept(self) -> dict[str, str]:
        try:
            kept: dict[str, str] = json.loads((self.path / PASSWORDS).read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            raise LiveError(f"{self.path / PASSWORDS} cannot be read: use --fresh, or another --data") from None
        return kept


@contextmanager
def claim(path: Path, *, fresh: bool = False) -> Iterator[Folder]:
    """The folder for as long as the block lasts; `fresh` takes away what earlier runs left in it.

    An earlier run that is still ending is waited for, `EARLIER_RUN_ENDS_WITHIN` seconds at most: this blocks. Raises
    `LiveError` for a folder that is in use, or cannot be.
    """
    path = path.absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        _locked(path, lock)
        folder = Folder(path, lock)
        try:
            if fresh:
                _emptied(path)
            folder.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from None
        yield folder
    finally:
        os.close(lock)


def in_use(path: Path) -> bool:
    """Whether anybody holds the folder at this moment."""
    try:
        lock = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, readable by its owner alone from its first byte on."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # its mode would be kept
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)


def _locked(path: Path, lock: int) -> None:
    end = time.monotonic() + EARLIER_RUN_ENDS_WITHIN
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise LiveError(f"the data folder {path} is in use: choose another with --data") from None
            time.sleep(LOOK_AGAIN)


def _emptied(path: Path) -> None:
    for name in OURS:
        place = path / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def _unusable(path: Path, error: OSError) -> LiveError:
    return LiveError(f"the data folder {path} cannot be used ({error.strerror}): choose another with --data")
