"""`bff gameday`: exercises, virtual and live, their records, and the smallest plan that still breaks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec
import trio
from rich.console import Console
from rich.table import Table

from bff.cli.main import Trouble, run
from chaos.hotel.gamedays import GameDay, find, game_days
from chaos.live.process import LiveError
from chaos.plan import BadPlan
from chaos.record import Record, load_records, save_record
from chaos.report import listing, report
from chaos.timeline import page
from chaos.toxics import BadToxic

RECORDS: Final = Path(__file__).parent / "records"
DATA: Final = click.option(
    "--data", type=click.Path(path_type=Path), default=Path(".bff"), show_default=True, help="Of the `bff up` to use."
)
WHERE: Final = click.option(
    "--records", type=click.Path(path_type=Path), default=RECORDS, help="The folder of records; the project's own."
)
SEED: Final = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="What decides each tie."
)


@click.group("gameday")
def gameday() -> None:
    """Exercises: what a fleet does, what breaks meanwhile, what must hold."""


@gameday.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool) -> None:
    """The game-days that come with the product."""
    there = game_days()
    if as_json:
        said = [{"name": day.name, "about": day.about, "plan": str(day.plan)} for day in there.values()]
        click.echo(msgspec.json.encode(said).decode())
        return
    table = Table("game-day", "what for", "owner", "lasts", box=None, header_style="bold", pad_edge=False)
    for day in there.values():
        table.add_row(day.name, day.about, day.plan.owner, f"{day.plan.lasts + day.plan.calm:g} s")
    Console(highlight=False).print(table)


@gameday.command("run")
@click.argument("name")
@click.option("--virtual", is_flag=True, help="The whole world in this process and in virtual time, from a seed.")
@SEED
@DATA
@WHERE
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as one page, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the record.")
@click.option("--no-record", is_flag=True, help="Leave no record: for trying a plan out.")
def run_(
    name: str, virtual: bool, seed: int, data: Path, records: Path, html: Path | None, as_json: bool, no_record: bool
) -> None:
    """Play NAME, a game-day or a file with a plan. Exit 1 where a promise was broken."""
    day: GameDay = run(partial(find, name), BadPlan)
    record: Record = run(partial(_played, day, virtual, seed, data), BadPlan, LiveError, BadToxic)
    if not no_record:
        run(partial(save_record, record, records), OSError)
    if html is not None:
        run(partial(html.write_text, page(record), encoding="utf-8"), OSError)
    if as_json:
        click.echo(msgspec.json.encode(record).decode())
    else:
        console = Console(highlight=False)
        console.print(report(record, width=console.width))
    raise SystemExit(0 if record.held else 1)


def _played(day: GameDay, virtual: bool, seed: int, data: Path) -> Record:
    from chaos.hotel.gamedays.running import perform, rehearse

    if virtual:
        return rehearse(day, seed)
    _say(f"{day.name} takes {day.plan.lasts + day.plan.calm:g} s")
    return trio.run(perform, day, data, _warn)


def _say(line: str) -> None:
    click.secho(f"bff: {line}", fg="bright_black", err=True)


def _warn(line: str) -> None:
    click.secho(f"bff: {line}", fg="yellow", err=True)


@gameday.command("shrink")
@click.argument("name")
@SEED
def shrink(name: str, seed: int) -> None:
    """Print the smallest plan that still breaks from the seed, as a file to keep."""
    from chaos.hotel.gamedays.running import shrunk

    day: GameDay = run(partial(find, name), BadPlan)
    try:
        plan = shrunk(day, seed)
    except ValueError:
        raise Trouble(f"{day.name} keeps every promise from seed {seed}: there is nothing to shrink") from None
    click.echo(str(plan), nl=False)
    _say(f"keep it as FILE, and have it again: bff gameday run FILE --virtual --seed {seed}")


@gameday.command("report")
@WHERE
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the last one as a page.")
def report_(records: Path, as_json: bool, html: Path | None) -> None:
    """What was played so far: date, owner, outcome, and what is to be done."""
    found = load_records(records)
    if html is not None and found:
        run(partial(html.write_text, page(found[-1]), encoding="utf-8"), OSError)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        Console(highlight=False).print(listing(found))
