"""A virtual run that goes on in several ways from one moment: what happened until then is simulated once.

    for way in ways:
        said = in_a_fork(partial(go_on, way))        in a process of its own, which ends with it
        ...                                          here, no virtual time has gone by

A run in virtual time has no threads, and waits for no socket: its clock jumps. So its process may be copied while it
stands between two steps. Of the two, one waits for the other; they share nothing that is read again.
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import trio

T = TypeVar("T")

_run: Final[Any] = trio._core._run  # which run a process is in has no public name


class Forked(Exception):
    """The other process ended without a word; what became of it, it has written to standard error."""


async def in_a_fork(go_on: Callable[[], Awaitable[T]]) -> T:
    """What `go_on` gives where it goes on from here. It must be possible to pickle that. Raises `Forked`."""
    way_in, way_out = os.pipe()
    there = dict(vars(_run.GLOBAL_RUN_CONTEXT))  # trio-asyncio forgets it in a child
    child = os.fork()
    if child == 0:
        vars(_run.GLOBAL_RUN_CONTEXT).update(there)
        os.close(way_in)
        await _gone_on(go_on, way_out)
    os.close(way_out)
    said = _all_of(way_in, child)
    if not said:
        raise Forked("a fork of a virtual run has failed")
    found: T = pickle.loads(said)  # noqa: S301 -- of this very program
    await trio.lowlevel.checkpoint()
    return found


async def _gone_on(go_on: Callable[[], Awaitable[T]], way_out: int) -> None:
    """Never returns: what is above it belongs to the other process."""
    code = 1
    try:
        said = pickle.dumps(await go_on())
        with open(way_out, "wb") as out:  # noqa: ASYNC230 -- a pipe, and the other side waits for it
            out.write(said)  # noqa: ASYNC232
        code = 0
    except BaseException:  # noqa: ASYNC103 -- whatever it is, it must not run on here
        traceback.print_exc()
    finally:
        os._exit(code)


def _all_of(way_in: int, child: int) -> bytes:
    """What the other process says until it has ended. Everything stands still meanwhile, and is meant to."""
    with open(way_in, "rb") as said:
        every = said.read()
    os.waitpid(child, 0)
    return every
