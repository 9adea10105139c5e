"""One connection to a Redis, and the line of callers who wait for it.

    Trio side                              asyncio side: one worker
    ask(*calls)  --> [call, call, ...] --> takes all that wait, sends them as one packed batch, reads the replies,
                 <-- its replies       <-- wakes each caller

Whatever Trio tasks ask in one turn of the scheduler travels together, so that the price of a crossing and of a system
call is shared by all who ask at once (FINDINGS, section 2). Its states:

    connecting  at first: callers wait, since it takes a millisecond
    up          callers wait for their replies
    down        callers are told so at once; the worker goes on trying, after pauses that grow to half a second

A batch is answered within `PATIENCE`, and nobody waits longer than the deadline around the call. A caller who leaves
nulls its place in the line: its reply, if it was sent, is read and dropped, so that no later caller can ever get it.
What breaks:

    the connection  all that is repeatable, and everything here is, goes once more over a new one: whether the first
                    time was done is unknown. The second time it is `Down`
    no reply        for `PATIENCE`: the connection is cut, and everybody who waits is told `Down`. Nothing is repeated,
                    because time is what there is not
    an error reply  is its caller's alone (out of memory); but where it says that this server is not the one to ask
                    (a demoted primary, one without our scripts) the connection counts as broken

Each connection asks who it is that answers: a server that was started, or promoted, is another one than before, however
the address is the same (`StoreTakenOver`, F-19). One that does not say is nobody in particular.

redis-py's connection does the protocol, the handshake, TLS and the URL. Its retrying client is not used: ten retries
by default made `SET NX` answer "seen" to its first caller (FINDINGS, section 3).
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

import redis
import trio
from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import MasterDownError, NoScriptError

from bff.facts import StoreChanged, StoreTakenOver, Surprised
from bff.model import Down
from bff.stores import PATIENCE
from nurseries import Backoff, described, required, tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from redis.asyncio.connection import AbstractConnection

    from bff.stores.border import Border

Call: TypeAlias = tuple[bytes | str | int, ...]  # a Redis command and its arguments
Reply: TypeAlias = Any  # bytes, int, None or a list of them

WAITING: Final = 4096  # callers in line
HELD: Final = 33_554_432  # bytes that they hold
BATCH_CALLS: Final = 256
BATCH_BYTES: Final = 1_048_576
PAUSES: Final = Backoff(first=0.05, most=0.5)

FORESEEN: Final = (redis.RedisError, OSError)  # a timeout is an OSError
ELSEWHERE: Final = (redis.ReadOnlyError, NoScriptError, MasterDownError)
WHO: Final[Call] = ("INFO", "server")
NAMED: Final = re.compile(rb"^run_id:(\S+)", re.MULTILINE)  # random, and another one for each life of a server
IN_A_SCRIPT: Final = "-READONLY "  # where a script meets it, 6.2 quotes it within an error of its own
NO_ANSWER: Final = Down(f"no answer within {PATIENCE * 1000:.0f} ms")
CROWDED: Final = Down("too many wait")
CLOSED: Final = Down("closed")


class Place:
    """A caller's place in the line: what to send, how many replies that has, and who waits for them."""

    __slots__ = ("answer", "caller", "expects", "packed")

    def __init__(self, packed: bytes, expects: int) -> None:
        self.packed = packed
        self.expects = expects
        self.caller: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        self.answer: list[Reply] | Down = CLOSED

    def end(self, answer: list[Reply] | Down) -> None:
        """Wake the caller with it, if there still is one."""
        caller, self.caller = self.caller, None
        if caller is not None:
            self.answer = answer
            trio.lowlevel.reschedule(caller)

    def leave(self, _: object) -> trio.lowlevel.Abort:
        """The caller was cancelled: whatever comes is for nobody."""
        self.caller = None
        return trio.lowlevel.Abort.SUCCEEDED


class Broken(Exception):
    """The connection broke with a batch under way, and what may go again is in line again."""


class Line:
    """The line for `store`, its name in facts. Made by `open_line`, which keeps its worker running."""

    def __init__(self, border: Border, store: str, url: str, scripts: Sequence[str], speaks: bool) -> None:
        self.store = store
        self._speaks = speaks
        self.connections = 0  # how many have greeted us: another is another server, for all we know
        self._border = border
        self._scripts = scripts
        self._made = _connections(store, url)
        self._packer = self._made()  # never connected: the shape of a command does not depend on a server
        self._waiting: deque[Place] = deque()
        self._held = 0
        self._sent: list[Place] = []
        self._idle: asyncio.Future[None] | None = None
        self._patience: asyncio.Timeout | None = None  # of the batch that is under way
        self._given_up = False
        self._down: Down | None = None
        self._told: bool | None = None
        self._server = b""  # the last one that said who it is

    async def ask(self, *calls: Call) -> list[Reply] | Down:
        """One round trip: a reply per call, in order; `Down` where that could not be had, or a call was refused.

        The calls of one `ask` travel side by side, but a break may come between them. Raises `nurseries.Unbounded`
        without a deadline around it.
        """
        required(self.store)
        packed = b"".join(piece for call in calls for piece in self._packer.pack_command(*call))
        refused = self._down or self._crowded(len(packed))
        if refused is not None:
            await trio.lowlevel.checkpoint()
            return refused
        place = Place(packed, len(calls))
        self._waiting.append(place)
        self._held += len(packed)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        await trio.lowlevel.wait_task_rescheduled(place.leave)
        return place.answer

    def hang_up(self) -> None:
        """Give up the connection, however well it looks. Whoever waits for a reply of it is told `Down`."""
        self._given_up = True
        self._border.soon(self._give_up)

    def _give_up(self) -> None:
        """On the asyncio side. A line that nobody asks anything of gives up with the next batch."""
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    def _crowded(self, size: int) -> Down | None:
        return None if len(self._waiting) < WAITING and self._held + size <= HELD else CROWDED

    async def serve(self) -> None:
        """The worker, on the asyncio side, for ever."""
        breaks = 0
        try:
            while True:
                connection = self._made()
                self._given_up = False
                try:
                    await self._greet(connection)
                    self.connections += 1
                    self._turn(None)
                    while True:
                        await self._answer(connection, await self._batch())
                        breaks = 0
                except Exception as error:  # whatever it was, this connection cannot be used again
                    breaks += 1
                    _tell_of_a_bug(error)
                    if breaks > 1 or not isinstance(error, Broken):
                        self._turn(_why(error))
                finally:
                    await connection.disconnect(nowait=True)  # noqa: ASYNC102 - asyncio's, and waits for nothing
                if self._down is not None:
                    await asyncio.sleep(PAUSES.after(breaks, 0.0))
        finally:
            self._dismiss(self._sent, CLOSED)
            self._dismiss(self._waiting, CLOSED)
            self._down = CLOSED

    async def _greet(self, connection: AbstractConnection) -> None:
        """Connect, and see that it answers: a server that is loading, or wants another password, is not up."""
        calls: list[Call] = [("PING",), *(("SCRIPT LOAD", script) for script in self._scripts)]
        async with asyncio.timeout(PATIENCE):
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_packed_command(connection.pack_commands([*calls, WHO]), check_health=False)
            for _ in calls:
                await connection.read_response()
            self._meet(await _replies(connection, 1))

    def _meet(self, said: list[Reply] | Down) -> None:
        """Who answers now: somebody else than before?"""
        found = None if isinstance(said, Down) or not isinstance(said[0], bytes) else NAMED.search(said[0])
        if found is None:
            return
        if self._server and found[1] != self._server and self._speaks:
            tell(StoreTakenOver(self.store))
        self._server = found[1]

    async def _batch(self) -> list[Place]:
        """What waits, as far as it may travel together; not empty."""
        while True:
            batch: list[Place] = []
            calls = size = 0
            while self._waiting and calls < BATCH_CALLS and size < BATCH_BYTES:
                place = self._waiting.popleft()
                self._held -= len(place.packed)
                if place.caller is not None:
                    batch.append(place)
                    calls += place.expects
                    size += len(place.packed)
            if batch:
                return batch
            self._idle = self._border.future()
            try:
                await self._idle
            finally:
                self._idle = None

    async def _answer(self, connection: AbstractConnection, batch: list[Place]) -> None:
        """Send it and give everybody their replies. Raises `TimeoutError`, or `Broken`."""
        self._sent = batch
        try:
            async with asyncio.timeout(0 if self._given_up else PATIENCE) as self._patience:
                await connection.send_packed_command([place.packed for place in batch], check_health=False)
                for place in batch:
                    place.end(await _replies(connection, place.expects))
        except TimeoutError:
            self._dismiss(batch, NO_ANSWER)
            raise
        except Exception as error:
            self._again(batch)
            raise Broken from error
        finally:
            self._patience = None
        self._sent = []

    def _again(self, batch: list[Place]) -> None:
        """Back into the line, in front; a second break in a row dismisses them with all the others."""
        for place in reversed(batch):
            if place.caller is not None:
                self._waiting.appendleft(place)
                self._held += len(place.packed)

    def _turn(self, down: Down | None) -> None:
        self._down = down
        if self._told is not (down is None):
            self._told = down is None
            tell(StoreChanged(self.store, down is None, down.why if down else ""))
        if down is not None:
            self._dismiss(self._waiting, down)
            self._waiting.clear()
            self._held = 0

    def _dismiss(self, places: Iterable[Place], why: Down) -> None:
        for place in places:
            place.end(why)


async def _replies(connection: AbstractConnection, expected: int) -> list[Reply] | Down:
    """The replies of one place, or the first refusal among them. Raises what says that this is no server for us."""
    replies: list[Reply] = []
    refused: Down | None = None
    for _ in range(expected):
        try:
            replies.append(await connection.read_response())
        except redis.ResponseError as error:
            if isinstance(error, ELSEWHERE) or IN_A_SCRIPT in str(error):
                raise
            refused = refused or _why(error)
    return refused or replies


def _cause(error: Exception) -> BaseException:
    return error.__cause__ or error if isinstance(error, Broken) else error


def _why(error: Exception) -> Down:
    return NO_ANSWER if isinstance(error, TimeoutError) else Down(described(_cause(error)))


def _tell_of_a_bug(error: Exception) -> None:
    cause = _cause(error)
    if not isinstance(cause, FORESEEN):
        tell(Surprised("redis", described(cause)))


def _connections(store: str, url: str) -> Callable[[], AbstractConnection]:
    """What makes a connection to `url`, not yet connected. Raises `ValueError` without a word of the URL in it."""
    try:
        parts = urlsplit(url)
        if parts.scheme != "unix" and not (parts.hostname and (parts.path.strip("/") or "0").isdigit()):
            raise ValueError
        told: dict[str, Any] = {**parse_url(url)}
        kind = told.pop("connection_class", Connection)
        # Time is kept here, for a whole batch: a timer for each reply costs as much as the reply.
        ours = {"socket_timeout": None, "socket_connect_timeout": None, "health_check_interval": 0}
        made: Callable[[], AbstractConnection] = partial(kind, **{**told, **ours, "protocol": 2, "driver_info": None})
        made()
    except (ValueError, TypeError, redis.RedisError):
        shape = "redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER]"
        raise ValueError(f"the URL of {store} should be {shape}, special characters percent-encoded") from None
    return made


@asynccontextmanager
async def open_line(
    border: Border, store: str, url: str, scripts: Sequence[str] = (), *, speaks: bool = True
) -> AsyncIterator[Line]:
    """A line as long as the block lasts, whether anybody is at `url` or not. Raises `ValueError` for a bad URL.

    Of several to one server one `speaks` of who answers there.
    """
    line = Line(border, store, url, scripts, speaks)
    async with border.keeping(store, line.serve):
        yield line
