"""PostgreSQL in a data folder: made once, launched at a port, asked whether it answers.

Made in `postgres.new` and renamed, so that a first start cut short leaves no half of it. Roles, database and passwords
are made in single-user mode before the rename: nothing ever listens that lets in whoever comes.

PostgreSQL refuses to run as root. Then it runs as `nobody` where that user can reach the folder and the programs, else
in a user namespace in which root looks like `nobody` to itself (a checkout under /root, of mode 0700).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos.live import binaries
from chaos.live.folder import PASSWORDS, Folder
from chaos.live.ports import LOOPBACK
from chaos.live.process import ENDED, Child, LiveError, leashed, spawn, state

DATABASE, ADMIN, SERVER = "bff", "bff_admin", "bff_server"
NOBODY: Final = 65534
MADE_WITHIN: Final = 60.0  # seconds
ANSWERS_WITHIN: Final = 0.25

# Anything else is as PostgreSQL has it; above all, what is committed is on the disk. Unix sockets fail on long paths.
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "jit": "off",
}
WHO_MAY_COME: Final = f"host all all {LOOPBACK}/32 scram-sha-256\n"

# The smallest question that PostgreSQL answers before any login, with one byte.
SSL_REQUEST: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
STATUS_LINE: Final = 7  # of postmaster.pid, counted from 0, as pg_ctl reads it
READY: Final = "ready"
SYNCS_AT_ONCE: Final = 14  # the version that learnt it


@dataclass(frozen=True, slots=True)
class Postgres:
    """One PostgreSQL: its programs, its folder, and who it runs as."""

    programs: Path
    place: Path
    user: str
    folder: Folder

    def launch(self, port: int) -> Child:
        """Begin to run at `port`; it is not ready yet."""
        _forget(self.place)
        return spawn(
            [self.programs / "postgres", "-D", self.place, "-c", f"port={port}", *_recovery(self.place)],
            name="postgres",
            env=_environment(),
            log=self.folder.logs / "postgres.log",
            user=self.user,
            at_death=signal.SIGINT,  # its fast shutdown: no recovery at the next start
            graceful=signal.SIGINT,
            keep=[self.folder.lock],
        )

    def answers(self, child: Child, port: int) -> bool:
        """Whether it would take a session now: it says so of itself, and somebody is there at the port."""
        try:
            status = (self.place / "postmaster.pid").read_text(encoding="ascii", errors="replace").split("\n")
        except OSError:
            return False
        if len(status) <= STATUS_LINE or status[0] != str(child.pid) or status[STATUS_LINE].strip() != READY:
            return False
        try:
            with socket.create_connection((LOOPBACK, port), ANSWERS_WITHIN) as session:
                session.sendall(SSL_REQUEST)
                return session.recv(1) in {b"N", b"S"}
        except OSError:
            return False


def _recovery(place: Path) -> list[str]:
    """After a kill all of the folder is synced: at once, and not file by file for seconds."""
    version = (place / "PG_VERSION").read_text(encoding="ascii").strip()
    return ["-c", "recovery_init_sync_method=syncfs"] if int(version) >= SYNCS_AT_ONCE else []


def postgres(folder: Folder) -> Postgres:
    """The PostgreSQL of a data folder, made if it was not there. Blocks (half a second). Raises `LiveError`."""
    place = folder.path / "postgres"
    found = binaries.postgres(_made_by(place))
    one = Postgres(found.folder, place, _user(folder.path, found.folder, place), folder)
    if not place.exists():
        _make(one)
    elif not folder.knows(ADMIN):
        raise LiveError(f"{place} is there, and its passwords are not ({PASSWORDS}): use --fresh, or another --data")
    return one


def url(role: str, password: str, port: int) -> str:
    """Where a role finds the database."""
    return f"postgresql://{role}:{password}@{LOOPBACK}:{port}/{DATABASE}"


def _forget(place: Path) -> None:
    """Take away what a PostgreSQL that is no more says of itself.

    It would find out by itself, but for two cases in which it refuses to start: its number is another process's by now
    (after a restart of the machine), or it has ended and whoever adopted it has not waited for it yet.
    """
    says = place / "postmaster.pid"
    try:
        pid = int(says.read_text(encoding="ascii", errors="replace").partition("\n")[0])
    except (OSError, ValueError):
        return
    if not _runs_in(pid, place):
        says.unlink(missing_ok=True)


def _runs_in(pid: int, place: Path) -> bool:
    if state(pid) in ENDED:
        return False
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", place)
    except PermissionError:
        return True  # another user's: PostgreSQL knows what to make of that
    except OSError:
        return False


def _made_by(place: Path) -> int | None:
    try:
        return int((place / "PG_VERSION").read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LiveError(f"{place} cannot be read ({error}): use --fresh, or another --data") from None


def _make(one: Postgres) -> None:
    fresh = one.place.with_name("postgres.new")
    try:
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        if one.user != "-" and not one.user.startswith("map:"):
            os.chown(fresh, NOBODY, NOBODY)
    except OSError as error:
        raise LiveError(f"{fresh} cannot be made ({error.strerror}): choose another --data") from None
    # Nothing listens while it is open to all; from the first start on it is not.
    made = ["-D", str(fresh), "-U", ADMIN, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    _run(one, "initdb", [*made, *settings])
    (fresh / "pg_hba.conf").write_text(WHO_MAY_COME, encoding="ascii")
    server, admin = one.folder.password(SERVER), one.folder.password(ADMIN)
    statements = (
        f"ALTER ROLE {ADMIN} PASSWORD '{admin}'",
        f"CREATE ROLE {SERVER} LOGIN PASSWORD '{server}'",
        f"CREATE DATABASE {DATABASE}",
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {DATABASE} TO {SERVER}",
    )
    alone = ["--single", "-D", str(fresh), "-c", "exit_on_error=on", "postgres"]
    _run(one, "postgres", alone, ";\n".join(statements) + "\n")
    fresh.rename(one.place)


def _run(one: Postgres, program: str, arguments: Sequence[str], said: str = "") -> None:
    """One of its programs, to its end. Raises `LiveError` with its last line, which is in the log with the others."""
    with open(one.folder.logs / "postgres.log", "ab") as log:
        try:
            done = subprocess.run(
                leashed([one.programs / program, *arguments], user=one.user),
                input=said.encode(),
                stdout=log,
                stderr=subprocess.PIPE,
                env=_environment(),
                pass_fds=[one.folder.lock],
                start_new_session=True,
                timeout=MADE_WITHIN,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LiveError(f"{program}: {error}") from None
        log.write(done.stderr)
    if done.returncode != 0:
        words = [line.strip() for line in done.stderr.decode("utf-8", "replace").split("\n") if line.strip()]
        raise LiveError(f"{program}: {words[-1] if words else f'return code {done.returncode}'}")


def _environment() -> dict[str, str]:
    """Ours, without what would be understood as a wish (`PGPORT`, `PGDATA`), and in English, for the logs."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PG")}, "LC_ALL": "C"}


def _user(folder: Path, programs: Path, place: Path) -> str:
    """Who it runs as, in `leash`'s words. A folder that is there keeps its owner."""
    if os.geteuid() != 0:
        return "-"
    if place.exists():
        return f"{NOBODY}:{NOBODY}" if place.stat().st_uid == NOBODY else f"map:{NOBODY}"
    reachable = all(_open_to_all(path) for path in (folder, programs))
    return f"{NOBODY}:{NOBODY}" if reachable else f"map:{NOBODY}"


def _open_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))
