"""`bff catalogue`: the failures that the hotel is built to survive, and what stands for each of them."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click
import msgspec
from rich.console import Console

from bff.cli.main import Trouble, run
from chaos.hotel.catalogue import ROWS, SECTIONS, boards
from chaos.hotel.catalogue.evidence import Sources, look
from chaos.hotel.catalogue.golden import golden
from chaos.hotel.catalogue.show import listed, table
from chaos.live.process import LiveError

WIDTH = 100  # of what is no terminal
OBJECTIVES = ("rpo", "rto", "mttd", "mtta", "mttm", "lock-audit", "idempotency", "force-logout")


@click.command("catalogue")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with all that is declared of each row.")
@click.option(
    "--board",
    type=click.Choice(["golden", "catalogue"]),
    help="Print a dashboard of Grafana's instead: what deploy/grafana/ keeps.",
)
@click.option(
    "--objectives", is_flag=True, help="Measure the recovery objectives instead, now: it takes half a minute."
)
@click.option("--only", multiple=True, type=click.Choice(OBJECTIVES), help="Of the objectives, only that one.")
@click.option("--live", is_flag=True, help="Measure what is real also at the `bff up` that runs.")
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path(".bff"), show_default=True, help="Of the `bff up` to use."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What decides each tie.")
def catalogue(
    as_json: bool, board: str | None, objectives: bool, only: tuple[str, ...], live: bool, data: Path, seed: int
) -> None:
    """Show the 41 failures, and the tests, game-days, metrics, alerts and runbooks that are there for each.

    With --objectives: what the recovery objectives are, measured now. Exit 1 when a row claims what is not there, or
    when an objective is missed.
    """
    if objectives:
        _measure(as_json, only, seed, data if live else None)
        return
    if board is not None:
        shown = golden() if board == "golden" else boards.catalogue(SECTIONS)
        click.echo(msgspec.json.format(msgspec.json.encode(shown)).decode())
        return
    sources = Sources()
    if not sources.here:
        raise Trouble("the catalogue is compared with the sources, and they are not here: run it from a clone")
    found = {row.id: look(row, sources) for row in ROWS}
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(listed(SECTIONS, found))).decode())
    else:
        _console().print(table(SECTIONS, found))
    if any(evidence.wrong for evidence in found.values()):
        raise click.exceptions.Exit(1)


def _measure(as_json: bool, only: tuple[str, ...], seed: int, data: Path | None) -> None:
    from chaos.hotel.catalogue import show_objectives  # they bring the whole hotel with them
    from chaos.hotel.catalogue.objectives import measured

    found = run(partial(measured, only, seed, data, _say), LiveError)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(show_objectives.listed(found))).decode())
    else:
        _console().print(show_objectives.table(found))
    if any(one.met is False for one in found):
        raise click.exceptions.Exit(1)


def _say(line: str) -> None:
    if sys.stderr.isatty():
        click.secho(f"bff: {line}", fg="bright_black", err=True)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console
