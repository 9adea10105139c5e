"""The parts of a sweep in processes of their own, and what they say joined as it comes.

A shard writes the lines of a journal on its standard output, and nothing else. Leaving, however it happens, ends every
process that was begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from subprocess import PIPE
from typing import TYPE_CHECKING, Final

import trio

from chaos.journal import entry_of

if TYPE_CHECKING:
    from chaos.sweep import Entry

SHOWN: Final = 400  # characters of what a process said before it failed


class ShardFailed(RuntimeError):
    """A process of a sweep broke off; the message is one line."""


async def join_shards(commands: Sequence[Sequence[str]], heard: Callable[[Entry], None]) -> None:
    """Run all `commands` at once, and tell `heard` each entry as it comes. Raises `ShardFailed` for the first to fail.

    There is no deadline: a sweep takes as long as it takes, and each of its cases has an end of its own.
    """
    try:
        async with trio.open_nursery() as nursery:
            for command in commands:
                nursery.start_soon(_shard, command, heard)
    except ExceptionGroup as group:
        failed, rest = group.split(ShardFailed)
        if rest is not None or failed is None:
            raise
        raise ShardFailed(str(_first(failed))) from None


def _first(group: BaseException) -> BaseException:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group


async def _shard(command: Sequence[str], heard: Callable[[Entry], None]) -> None:
    said = bytearray()
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, list(command), stdout=PIPE, stderr=PIPE, check=False)
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None and process.stderr is not None
        nursery.start_soon(_keep, process.stderr, said)
        await _lines(process.stdout, heard)
    if process.returncode:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise ShardFailed(f"a shard ended with {process.returncode}: {last[0][-SHOWN:]}")


async def _lines(stdout: trio.abc.ReceiveStream, heard: Callable[[Entry], None]) -> None:
    rest = b""
    async for piece in stdout:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            heard(entry_of(line.decode()))


async def _keep(stderr: trio.abc.ReceiveStream, said: bytearray) -> None:
    async for piece in stderr:
        said += piece
        del said[:-16_384]
