"""`bff switches`: what is turned off, by whom and why; and turning it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import httpx
import msgspec
import trio
from rich.console import Console
from rich.table import Table

from bff.cli.instance import DATA, OPS, Instance, NoInstance, found, said
from bff.cli.main import Trouble, run

PATH: Final = "/switches"
USAGE: Final = "bff switches, or bff switches NAME VALUE --why TEXT [--by WHO]"


@click.command("switches")
@click.argument("name", required=False)
@click.argument("value", required=False)
@click.option("--why", help="The reason, one line: it is kept, and audited.")
@click.option("--by", help="Who wants it so; 'ops' where not said.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@DATA
@OPS
def switches(
    name: str | None, value: str | None, why: str | None, by: str | None, as_json: bool, data: Path, ops: str | None
) -> None:
    """Show the switches, or turn NAME to VALUE on every instance, within a second."""
    turn = (name, value, why)
    if None in turn and any(word is not None for word in (*turn, by)):
        raise Trouble(f"it is {USAGE}")
    instance: Instance = run(partial(found, data, ops), NoInstance)
    if name is None:
        shown = _answer(instance, "GET", PATH)
    else:
        body = {"value": value, "why": why, **({} if by is None else {"by": by})}
        shown = _answer(instance, "POST", f"{PATH}/{quote(name, safe='')}", body)
    if as_json:
        click.echo(msgspec.json.encode(shown).decode())
    elif name is None:
        _print(shown)
    else:
        click.echo(f"{shown['name']} is {shown['value']} since {shown['since']}, by {shown['by']}: {shown['why']}")


def _answer(instance: Instance, method: str, path: str, body: Any = None) -> Any:
    """What it answers, or one line and exit 2."""
    answer: httpx.Response = run(partial(trio.run, instance.ask, method, path, body), NoInstance)
    if not answer.is_success:
        raise Trouble(said(answer))
    return answer.json()


def _print(shown: list[dict[str, Any]]) -> None:
    table = Table("switch", "value", "since", "by", "why", box=None, header_style="bold", pad_edge=False)
    for one in shown:
        table.add_row(one["name"], one["value"], one["since"] or "", one["by"], one["why"])
    Console(highlight=False, markup=False, emoji=False).print(table)
