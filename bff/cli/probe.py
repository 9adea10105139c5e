"""`bff probe`: has a running server look at itself now, and says what it found."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import httpx
import msgspec
import trio

from bff.cli.instance import DATA, OPS, Instance, NoInstance, found, said
from bff.cli.main import Trouble, run

PATH: Final = "/probes"
MARKS: Final = {True: "●", False: "✗", None: "○"}
WANTING: Final = 1  # the exit code where something is not as it should be


@click.command("probe")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@DATA
@OPS
def probe(name: str | None, as_json: bool, data: Path, ops: str | None) -> None:
    """Have the probe NAME look now, or list the probes and what they found when they were asked last.

    Exit 1 where something is not as it should be, or nobody could look.
    """
    instance: Instance = run(partial(found, data, ops), NoInstance)
    ask = partial(instance.ask, "GET", PATH) if name is None else partial(instance.ask, "POST", _path(name), {})
    answer: httpx.Response = run(partial(trio.run, ask), NoInstance)
    if not answer.is_success:
        raise Trouble(said(answer))
    findings: dict[str, list[dict[str, Any]] | None] = answer.json() if name is None else {name: answer.json()}
    if as_json:
        click.echo(msgspec.json.encode(findings if name is None else findings[name]).decode())
    else:
        _print(findings)
    if any(one["good"] is not True for some in findings.values() for one in some or ()):
        sys.exit(WANTING)


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _print(findings: dict[str, list[dict[str, Any]] | None]) -> None:
    for name, some in findings.items():
        if some is None:
            click.echo(f"  {name}: not asked yet")
        elif not some:
            click.echo(f"  {name}: there is nothing to look at")
        for one in some or ():
            click.echo(f"{MARKS[one['good']]} {name}: {one['what']}: {one['said']}")
