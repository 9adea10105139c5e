"""`bff catalogue`: the failures that the hotel is built to survive, and what stands for each of them."""

from __future__ import annotations

import click
import msgspec
from rich.console import Console

from bff.cli.main import Trouble
from chaos.hotel.catalogue import ROWS, SECTIONS
from chaos.hotel.catalogue.evidence import Sources, look
from chaos.hotel.catalogue.show import listed, table

WIDTH = 100  # of what is no terminal


@click.command("catalogue")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with all that is declared of each row.")
def catalogue(as_json: bool) -> None:
    """Show the 41 failures, and the tests, game-days, metrics, alerts and runbooks that are there for each.

    Exit 1 when a row claims what is not there.
    """
    sources = Sources()
    if not sources.here:
        raise Trouble("the catalogue is compared with the sources, and they are not here: run it from a clone")
    found = {row.id: look(row, sources) for row in ROWS}
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(listed(SECTIONS, found))).decode())
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = WIDTH
        console.print(table(SECTIONS, found))
    if any(evidence.wrong for evidence in found.values()):
        raise click.exceptions.Exit(1)
