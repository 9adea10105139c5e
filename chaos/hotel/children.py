"""The two processes of a hotel that are Python's: the estate and the server. Each says in one line that it is ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import trio

from chaos.hotel.asking import asked
from chaos.live.process import Child, LiveError, spawn, stop_all
from nurseries import within

STARTS_WITHIN: Final = 20.0  # seconds for a child to say that it is ready
SERVER_ENDS_WITHIN: Final = 7.0  # with the estate's and the stores' less than ten, which CONTRACT section 7 gives
ESTATE_ENDS_WITHIN: Final = 0.5
LONGEST_LINE: Final = 65_536

# `-P`: a folder called `bff` or `chaos` where the command is typed is none of ours.
PYTHON: Final = (sys.executable, "-P", "-m")

T = TypeVar("T")


class EstateLine(msgspec.Struct, rename="camel"):
    """What the estate's process prints when it is ready."""

    control: str
    services: dict[str, str]
    operators: list[dict[str, Any]] = []


class ServerLine(msgspec.Struct):
    """What `bff serve --json` prints when it is ready."""

    edge: str
    ops: str


class Ended(Exception):
    """A child ended and nobody had asked it to; the text is its last word."""


async def said(child: Child, kind: type[T]) -> T:
    """The line a child prints when it is ready. Raises `LiveError` with its own last words where there is none."""
    line = bytearray()
    with _speaking(child) as speaking, within(STARTS_WITHIN):
        while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
            piece = await speaking.receive_some(4096)
            if not piece:
                await child.ended()
                raise LiveError(f"the {child.name} did not start: {child.why().removeprefix('bff: ')}")
            line += piece
    try:
        return msgspec.json.decode(bytes(line), type=kind)
    except msgspec.MsgspecError:
        raise LiveError(f"the {child.name} was not ready within {STARTS_WITHIN:.0f} s: {child.why()}") from None


@contextmanager
def _speaking(child: Child) -> Iterator[trio.lowlevel.FdStream]:
    """Its standard output; afterwards nobody listens any more."""
    assert child.process.stdout is not None, "spawned with speaks=True"
    stream = trio.lowlevel.FdStream(os.dup(child.process.stdout.fileno()))
    child.process.stdout.close()
    try:
        yield stream
    finally:
        stream.close()


@contextmanager
def begun_estate(port: int, token_ttl: int, env: Mapping[str, str], log: Path) -> Iterator[Child | None]:
    """The stand-ins, begun; None where `BFF_ESTATE_URL` says that they run elsewhere. Raises `LiveError`."""
    if env.get("BFF_ESTATE_URL"):
        yield None
        return
    argv = [*PYTHON, "chaos.hotel.estate", "--port", str(port), "--token-ttl", str(token_ttl)]
    child = spawn(argv, name="estate", env=env, log=log, speaks=True)
    try:
        yield child
    finally:
        stop_all([child], ESTATE_ENDS_WITHIN)


async def estate_line(child: Child | None, env: Mapping[str, str]) -> EstateLine:
    """Where the stand-ins are, once they are ready. Raises `LiveError`."""
    if child is not None:
        return await said(child, EstateLine)
    url = env["BFF_ESTATE_URL"].rstrip("/")
    try:
        answer = await asked("GET", f"{url}/_estate/services")
        return EstateLine(url, msgspec.json.decode(answer.content, type=dict[str, str]))
    except (LiveError, msgspec.MsgspecError):
        raise LiveError(f"BFF_ESTATE_URL is {url!r}: no estate answers there") from None


class Server:
    """`bff serve` as a child: begun once, and begun again, as it was told, whenever it has ended.

    `warn` gets a line for a person; `replaced` is called when another process has taken the place of one.
    """

    def __init__(self, env: Mapping[str, str], log: Path, warn: Callable[[str], None]) -> None:
        self._env = env
        self._log = log
        self._warn = warn
        self.child: Child | None = None
        self.replaced: Callable[[], object] = lambda: None

    def begin(self) -> None:
        """A process that is not ready yet. Raises `LiveError`."""
        argv = [*PYTHON, "bff", "serve", "--json"]
        self.child = spawn(argv, name="server", env=self._env, log=self._log, speaks=True)

    async def ready(self) -> ServerLine:
        """Wait till it listens. Raises `LiveError` with what it said instead."""
        assert self.child is not None, "begun"
        return await said(self.child, ServerLine)

    async def stay(self) -> None:
        """Until it ends, which it should not; begun anew where it has ended already. A service for an owner."""
        if self.child is None or not self.child.alive:
            await self._begin_again()
        assert self.child is not None
        code = await self.child.ended()
        self._warn(f"the server ended ({_told(code)}), and is started again")
        raise Ended(f"return code {code}")

    async def _begin_again(self) -> None:
        try:
            self.begin()
            await self.ready()
        except LiveError as error:
            self._warn(str(error))
            raise
        self.replaced()
        self._warn("the server is there again")

    def stop(self) -> None:
        """Let it drain, then end it. Blocks."""
        if self.child is not None:
            stop_all([self.child], SERVER_ENDS_WITHIN)


def _told(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"return code {code}"
