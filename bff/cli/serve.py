"""`bff serve`: the server alone, as a container runs it; with several workers, their supervisor, and each of them."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import trio

from bff.cli.main import one_line, run
from bff.config import BadSetting, settings
from bff.leash import inherited, leash
from bff.log import logger
from bff.outside import real
from bff.serve import Addresses, located, serve_until_told
from bff.upstreams.services import SERVICES
from bff.wire.dial import connect
from bff.workers import Ended, supervise_until_told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bff.outside import Outside

MOST: Final = 64


@click.command("serve")
@click.option(
    "--workers",
    type=click.IntRange(1, MOST),
    default=1,
    show_default=True,
    help="Processes that serve; from two on a supervisor replaces those that die.",
)
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as one JSON line on standard output.")
@click.option("--as-worker", hidden=True)
def serve(workers: int, as_json: bool, as_worker: str | None) -> None:
    """Run the server, configured by BFF_… variables, until SIGTERM or Ctrl-C."""
    if as_worker is not None:
        _be_worker(as_worker)
    else:
        run(partial(trio.run, _serve, dict(os.environ), workers, as_json), BadSetting, Ended)


async def _serve(env: Mapping[str, str], workers: int, as_json: bool) -> None:
    outside = real(connect)
    log = logger(now=outside.now)

    def announce(where: Addresses) -> None:
        if as_json:
            _say({"edge": where.edge, "ops": where.ops, "workers": where.workers})
        else:
            log.info("ready", edge=where.edge, ops=where.ops, workers=where.workers)

    def changed(pids: tuple[int, ...]) -> None:
        if as_json:
            with suppress(BrokenPipeError):  # whoever wanted the first line alone has gone, and work goes on
                _say({"workers": pids})

    found = await located(env, outside)
    told = settings(found, SERVICES)
    if workers == 1:
        await serve_until_told(told, outside, log=log, announce=announce)
    else:
        await supervise_until_told(workers, told, found, outside, log=log, announce=announce, changed=changed)


def _be_worker(told: str) -> None:
    """One worker of a supervisor, which says `PARENT:SOCKET[,SOCKET…]` and hears where, or why not, in one line."""
    parent, _, sockets = told.partition(":")
    leash(int(parent))
    outside = real(connect)
    log = logger(now=outside.now).bind(pid=os.getpid())

    def announce(where: Addresses) -> None:
        _say({"ops": where.ops})

    try:
        edge = [int(descriptor) for descriptor in sockets.split(",")]
        trio.run(partial(_work, edge, outside, log, announce))
    except Exception as error:
        line = one_line(error, (BadSetting,))
        if line is None:
            raise
        _say({"cannot": line})
        raise SystemExit(2) from None


async def _work(descriptors: list[int], outside: Outside, log: Any, announce: Callable[[Addresses], None]) -> None:
    told = settings(os.environ, SERVICES)
    await serve_until_told(told, outside, log=log, announce=announce, edge=inherited(descriptors))


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
