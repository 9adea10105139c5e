"""The line to PostgreSQL, by asyncpg: transactions, each on a connection of its own.

A transaction is one coroutine on the asyncio side and one crossing: driven step by step from Trio, a cancellation
between two steps left connections in the middle of transactions until there were none (FINDINGS, section 2). So a verb
is a function of a connection, and cancelling its caller cuts the connection: the server rolls back within half a
second, and a connection whose state is in doubt is never used again.

Connections are dialled when they are needed, at most `CONNECTIONS`; callers wait for a place on the Trio side, where
waiting costs nothing and ends at their deadline.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg
import trio

from bff.facts import StoreChanged, StoreTakenOver
from bff.model import Down
from bff.stores import PATIENCE
from bff.stores.migrate import checked, steps
from nurseries import Full, described, required, tell, within

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bff.stores.border import Border, Work

T = TypeVar("T")
Transaction: TypeAlias = "Callable[[Any], Coroutine[Any, Any, T]]"  # given an asyncpg.Connection

STORE: Final = "postgres"
CONNECTIONS: Final = 10
WAITING: Final = 1024
PINGS_WITHIN: Final = 0.4  # seconds: readiness gives up after half a second, and should hear why

# A server that is in the middle of a statement, or waits for a lock, does not notice by itself that we have cut the
# connection, and keeps the locks it has.
SESSION: Final = {"application_name": "bff", "client_connection_check_interval": "500ms"}

STARTED: Final = "SELECT pg_postmaster_start_time()"  # no two servers at one address share it

# What the world can cause. Any other error of PostgreSQL's is a bug of ours, and raised.
DOWN: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, a query cancelled
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,  # there is no such database
    asyncpg.ReadOnlySQLTransactionError,  # a standby
)


class Hold:
    """The connection of one crossing; `cut` ends whatever is awaited of it, without asking the server."""

    __slots__ = ("connection",)

    def __init__(self) -> None:
        self.connection: Any = None

    def cut(self) -> None:
        """Drop the connection, if there is one yet."""
        if self.connection is not None:
            self.connection.terminate()


class Line:
    """Transactions on one PostgreSQL, whether it is there or not; which of the two, it tells (`StoreChanged`)."""

    def __init__(self, border: Border, url: str) -> None:
        self._border = border
        self._url = checked(url)
        self._newest = steps()[-1]
        self._places = trio.CapacityLimiter(CONNECTIONS)
        self._free: list[Any] = []
        self._closed = False
        self._told: bool | None = None
        self._server: object = None  # when the one that answers was started

    async def ping(self) -> Down | None:
        """One round trip; a schema older than this server's counts as down."""
        required(STORE)
        with within(PINGS_WITHIN):
            version = await self.transact("ping", _version)
            return version if isinstance(version, Down) else self._judged(version)
        return self._fell(f"no answer within {PINGS_WITHIN * 1000:.0f} ms")

    def _judged(self, version: int) -> Down | None:
        needed = self._newest.version
        if version < needed:
            return self._fell(f"the schema is at {version} and should be at {needed}: run `bff migrate`")
        self._turn(None)
        return None

    async def transact(self, what: str, work: Transaction[T]) -> T | Down:
        """Do `work` with a connection of its own; `Down` leaves open whether it was done."""
        hold = Hold()
        return await self._crossed(what, partial(self._with_connection, work, hold), hold)

    async def _crossed(self, what: str, crossing: Work[T], hold: Hold) -> T | Down:
        if self._places.statistics().tasks_waiting >= WAITING:
            await trio.lowlevel.checkpoint()
            return Down("too many wait")
        async with self._places:
            try:
                return await self._border.run(f"{STORE} {what}", crossing, cut=hold.cut)
            except DOWN as error:
                return self._fell(_said(error))
            except Full as full:
                return Down(str(full))

    async def _with_connection(self, work: Transaction[T], hold: Hold) -> T:
        connection = await self._connected(hold)
        try:
            result = await work(connection)
        except BaseException:  # it may have failed in the middle of a message, or of a transaction
            connection.terminate()
            raise
        if self._closed:
            connection.terminate()
        else:
            self._free.append(connection)
        return result

    async def _connected(self, hold: Hold) -> Any:
        """A connection of `hold`: one that is free, or a new one, which says first who answers on it."""
        while self._free:
            hold.connection = connection = self._free.pop()
            if not connection.is_closed():
                return connection
        hold.connection = connection = await asyncpg.connect(self._url, timeout=PATIENCE, server_settings=SESSION)
        try:
            self._meet(await connection.fetchval(STARTED, timeout=PATIENCE))
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _meet(self, server: object) -> None:
        """Who answers on a new connection: somebody else than before (F-20)?"""
        if self._server is not None and server != self._server:
            tell(StoreTakenOver(STORE))
        self._server = server

    def _fell(self, why: str) -> Down:
        down = Down(why)
        self._turn(down)
        return down

    def _turn(self, down: Down | None) -> None:
        if self._told is not (down is None):
            self._told = down is None
            tell(StoreChanged(STORE, down is None, down.why if down else ""))

    def close(self) -> None:
        """Drop the connections, those in use when they come back. For `postgres.open_ledger` alone."""
        self._closed = True
        while self._free:
            self._free.pop().terminate()


def done(statement: str, *given: object) -> Transaction[None]:
    """A transaction of one statement, of which nothing is read."""

    async def work(connection: Any) -> None:
        await connection.execute(statement, *given)

    return work


def value(statement: str, *given: object) -> Transaction[Any]:
    """A transaction of one statement: the first column of its first row, None where there is no row."""

    async def work(connection: Any) -> Any:
        return await connection.fetchval(statement, *given)

    return work


def rows(read: Callable[[Any], T], statement: str, *given: object) -> Transaction[tuple[T, ...]]:
    """A transaction of one statement: what `read` makes of each of its rows, in their order."""

    async def work(connection: Any) -> tuple[T, ...]:
        return tuple(map(read, await connection.fetch(statement, *given)))

    return work


def first(found: tuple[T, ...] | Down) -> T | Down | None:
    """The first of `rows`, where there is one."""
    if isinstance(found, Down):
        return found
    return found[0] if found else None


def _said(error: Exception) -> str:
    return f"no connection within {PATIENCE * 1000:.0f} ms" if isinstance(error, TimeoutError) else described(error)


async def _version(connection: Any) -> int:
    """The newest migration applied; 0 before the first."""
    try:
        version: int | None = await connection.fetchval("SELECT max(version) FROM schema_version")
    except asyncpg.UndefinedTableError:
        return 0
    return version or 0
