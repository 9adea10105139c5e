"""The two processes of a hotel that are Python's: the estate and the server. Each says in one line that it is ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
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
    workers: list[int]


class WorkersLine(msgspec.Struct):
    """What `bff serve --json` prints when one of several workers was replaced: all of them, in order."""

    workers: list[int]


class Ended(Exception):
    """A child ended and nobody had asked it to; the text is its last word."""


class Voice:
    """A child's standard output, by lines. Made once; when it is closed nobody listens any more."""

    def __init__(self, child: Child) -> None:
        assert child.process.stdout is not None, "spawned with speaks=True"
        self._child = child
        self._stream = trio.lowlevel.FdStream(os.dup(child.process.stdout.fileno()))
        self._heard = bytearray()
        child.process.stdout.close()

    async def line(self) -> bytes:
        """The next one; b'' when it has said its last, or more in one line than anybody listens to."""
        while b"\n" not in self._heard:
            piece = await self._stream.receive_some(4096) if len(self._heard) < LONGEST_LINE else b""
            if not piece:
                return b""
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        return bytes(line)

    async def first(self, kind: type[T]) -> T:
        """The line a child prints when it is ready. Raises `LiveError` with its last words where there is none."""
        name = self._child.name
        with within(STARTS_WITHIN):
            line = await self.line()
            if not line:
                await self._child.ended()
                raise LiveError(f"the {name} did not start: {self._child.why().removeprefix('bff: ')}")
            try:
                return msgspec.json.decode(line, type=kind)
            except msgspec.MsgspecError as error:
                raise LiveError(f"the {name} says {line[:80]!r} when it starts: {error}") from None
        raise LiveError(f"the {name} was not ready within {STARTS_WITHIN:.0f} s: {self._child.why()}")

    def close(self) -> None:
        self._stream.close()


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
        with closing(Voice(child)) as voice:
            return await voice.first(EstateLine)
    url = env["BFF_ESTATE_URL"].rstrip("/")
    try:
        answer = await asked("GET", f"{url}/_estate/services")
        return EstateLine(url, msgspec.json.decode(answer.content, type=dict[str, str]))
    except (LiveError, msgspec.MsgspecError):
        raise LiveError(f"BFF_ESTATE_URL is {url!r}: no estate answers there") from None


class Server:
    """`bff serve` as a child: begun once, and begun again, as it was told, whenever it has ended.

    With several workers it replaces those that die itself, and says so. `warn` gets a line for a person; `replaced` is
    called when another process has taken the place of one; `workers` are the process ids of those that serve.
    """

    def __init__(self, env: Mapping[str, str], log: Path, warn: Callable[[str], None], *, workers: int = 1) -> None:
        self._env = env
        self._log = log
        self._warn = warn
        self._count = workers
        self._voice: Voice | None = None
        self.child: Child | None = None
        self.workers: list[int] = []
        self.replaced: Callable[[], object] = lambda: None

    def begin(self) -> None:
        """A process that is not ready yet. Raises `LiveError`."""
        argv = [*PYTHON, "bff", "serve", "--json", "--workers", str(self._count)]
        self._hush()
        self.child = spawn(argv, name="server", env=self._env, log=self._log, speaks=True)
        self._voice = Voice(self.child)

    async def ready(self) -> ServerLine:
        """Wait till it listens. Raises `LiveError` with what it said instead."""
        assert self._voice is not None, "begun"
        line = await self._voice.first(ServerLine)
        self.workers = line.workers
        return line

    async def stay(self) -> None:
        """Until it ends, which it should not; begun anew where it has ended already. A service for an owner."""
        if self.child is None or not self.child.alive:
            await self._begin_again()
        assert self.child is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            code = await self.child.ended()
            nursery.cancel_scope.cancel(reason="it says no more")
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

    async def _listen(self) -> None:
        """Hear of every worker that it has replaced, until it says no more."""
        assert self._voice is not None, "begun"
        while line := await self._voice.line():
            before, self.workers = self.workers, msgspec.json.decode(line, type=WorkersLine).workers
            self.replaced()
            for gone, come in zip(before, self.workers, strict=True):
                if gone != come:
                    self._warn(f"worker {gone} ended, and {come} is there instead")

    def stop(self) -> None:
        """Let it drain, then end it. Blocks."""
        self._hush()
        if self.child is not None:
            stop_all([self.child], SERVER_ENDS_WITHIN)

    def _hush(self) -> None:
        if self._voice is not None:
            self._voice.close()
            self._voice = None


def _told(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"return code {code}"
