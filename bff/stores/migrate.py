"""The ledger's schema, brought up to date by numbered SQL files (`stores/sql/`), each in one transaction.

    take the lock      of this transaction: of two who migrate at once, one waits and then finds the work done
    compare            every file applied must still be what it was when it was applied
    apply              the first file that is not, and write down that it was
    commit             the lock goes with the transaction; begin again, till there is none

What a file did is never changed by changing the file: the next number does it. A database that knows more files than
this program is left as it is: in a rolling deployment the older instance runs on.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg

from bff.stores.border import open_border
from nurseries import described

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

LOCK: Final = 7_220_814_601  # any number, so long as it stays the same
CONNECTS_WITHIN: Final = 5.0  # seconds
LEAVES_WITHIN: Final = 1.0
MADE: Final = "SELECT to_regclass('schema_version') IS NOT NULL"
MAKE: Final = """
    CREATE TABLE schema_version (
        version integer PRIMARY KEY,
        name text NOT NULL,
        sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""


class MigrationError(Exception):
    """The schema is not up to date; the message is one line, without the password."""


@dataclass(frozen=True, slots=True)
class Step:
    """One file: `version` is the number that its name begins with."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def steps() -> tuple[Step, ...]:
    """Every file that this program knows, in order; their numbers are 1, 2, 3 and so on."""
    files = [file for file in (resources.files("bff.stores") / "sql").iterdir() if file.name.endswith(".sql")]
    known = [Step(int(file.name[:4]), file.name, file.read_text(encoding="utf-8")) for file in files]
    known.sort(key=lambda step: step.version)
    assert [step.version for step in known] == list(range(1, len(known) + 1)), "a number is missing, or there twice"
    return tuple(known)


def checked(url: str) -> str:
    """`url` as it is. Raises `ValueError`, without a word of it, where no ledger can be at it."""
    try:
        parts = urlsplit(url)
        parse_qs(parts.query, strict_parsing=bool(parts.query))
        hosts = parts.netloc.rpartition("@")[2].split(",")
        if parts.scheme in {"postgresql", "postgres"} and all(map(_host_and_port, hosts)):
            return url
    except ValueError:
        pass  # its text has a part of the URL in it
    shape = "postgresql://[USER:PASSWORD@]HOST[:PORT][,HOST...][/DATABASE]"
    raise ValueError(f"the URL of postgres should be {shape}, special characters percent-encoded")


def _host_and_port(text: str) -> bool:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        return bool(text)
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) <= 65_535


async def migrate(url: str, known: Sequence[Step] | None = None) -> list[str]:
    """Apply what is missing, of `known` or of all files: the names of those applied now, in order.

    Raises `MigrationError`, and `nurseries.Unbounded` without a deadline around it: it waits for whoever migrates now.
    """
    try:
        work = partial(_bring_up_to_date, checked(url), steps() if known is None else known)
    except ValueError as error:
        raise MigrationError(str(error)) from None
    try:
        async with open_border() as border:
            return await border.run("migrate", work)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise MigrationError(f"the ledger's schema was not brought up to date: {described(error)}") from None


async def _bring_up_to_date(url: str, known: Sequence[Step]) -> list[str]:
    applied: list[str] = []
    async with _connected(url) as connection:
        while (step := await _apply_next(connection, known)) is not None:
            applied.append(step.name)
    return applied


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url, timeout=CONNECTS_WITHIN)
    try:
        yield connection
        await connection.close(timeout=LEAVES_WITHIN)
    finally:
        connection.terminate()


async def _apply_next(connection: Any, known: Sequence[Step]) -> Step | None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if not await connection.fetchval(MADE):
            await connection.execute(MAKE)
        rows = await connection.fetch("SELECT version, name, sha256 FROM schema_version")
        applied = {row["version"]: row for row in rows}
        for step in known:
            if step.version not in applied:
                await connection.execute(step.sql)
                told = "INSERT INTO schema_version (version, name, sha256) VALUES ($1, $2, $3)"
                await connection.execute(told, step.version, step.name, step.sha256)
                return step
            if applied[step.version]["sha256"] != step.sha256:
                raise MigrationError(f"{step.name} is not what was applied: put it back, and add a file instead")
    return None
