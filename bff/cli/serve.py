"""`bff serve`: the server alone, as a container runs it."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import click
import trio

from bff.cli.main import run
from bff.config import BadSetting, settings
from bff.log import logger
from bff.outside import real
from bff.serve import Addresses, located, serve_until_told
from bff.upstreams.services import SERVICES
from bff.wire.dial import connect

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command("serve")
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as one JSON line on standard output.")
def serve(as_json: bool) -> None:
    """Run the server, configured by BFF_… variables, until SIGTERM or Ctrl-C."""
    run(partial(trio.run, _serve, dict(os.environ), as_json), BadSetting)


async def _serve(env: Mapping[str, str], as_json: bool) -> None:
    outside = real(connect)
    log = logger(now=outside.now)

    def announce(where: Addresses) -> None:
        if as_json:
            sys.stdout.write(json.dumps({"edge": where.edge, "ops": where.ops}) + "\n")
            sys.stdout.flush()
        else:
            log.info("ready", edge=where.edge, ops=where.ops)

    found = await located(env, outside)
    await serve_until_told(settings(found, SERVICES), outside, log=log, announce=announce)
