"""`bff up`, `bff desk`, `bff chaos`: the commands that run a whole hotel, look at it, and break it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bff.cli.main import Trouble, run
from bff.outside import real
from bff.wire.dial import connect
from chaos.hotel.asking import a_client
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.looking import Choice, Looking
from chaos.hotel.fleet.screen import screen
from chaos.hotel.ready import Ready, running
from chaos.live.hatch import tell_hatch
from chaos.live.process import LiveError
from chaos.toxics import BadToxic, parse

if TYPE_CHECKING:
    from collections.abc import Callable

HERE: Final = Path(".bff")
ENDLESS: Final = 1000  # lines of what is no terminal
DATA = click.option("--data", type=click.Path(path_type=Path), default=HERE, show_default=True, help="Its folder.")
PORT = click.IntRange(0, 65535)


@click.command("up")
@click.option("--port", type=PORT, default=8080, show_default=True, help="The edge, for desktops; 0 is any free one.")
@click.option("--ops-port", type=PORT, default=9090, show_default=True, help="Health, metrics, tasks.")
@click.option("--estate-port", type=PORT, default=9100, show_default=True, help="The estate's control.")
@click.option("--fresh", is_flag=True, help="Throw its data away first.")
@click.option("--token-ttl", type=click.IntRange(1, 86400), default=900, show_default=True, help="Seconds.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that serve.")
@click.option("--json", "as_json", is_flag=True, help="Say what runs as one JSON line.")
@DATA
def up(
    port: int, ops_port: int, estate_port: int, fresh: bool, token_ttl: int, workers: int, as_json: bool, data: Path
) -> None:
    """Run everything on this machine, until Ctrl-C: stores, the estate of stand-in services, the server."""
    from chaos.hotel.up import Heard, Options, hotel

    def announce(ready: Ready, seconds: float) -> None:
        if as_json:
            sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
            sys.stdout.flush()
        else:
            Console(highlight=False).print(_welcome(ready, data, seconds))

    def warn(line: str) -> None:
        click.secho(f"bff: {line}", fg="yellow", err=True)

    options = Options(port, ops_port, estate_port, data, fresh, token_ttl, workers)
    run(partial(trio.run, hotel, options, dict(os.environ), Heard(announce, warn)), LiveError)


def _welcome(ready: Ready, data: Path, seconds: float) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, address, what in (
        ("edge", ready.edge, "desktops"),
        ("ops", ready.ops, "/livez /readyz /metrics /tasks /switches"),
        ("estate", ready.estate, "the stand-in services"),
        ("chaos", ready.chaos, "faults on demand"),
        ("data", str(data), "ledger, sessions, logs"),
    ):
        table.add_row(f"  {name}", address, Text(what, style="dim"))
    where = "" if data == HERE else f" --data {data}"
    bff = _typed()
    return Group(
        Text(f"The hotel is open ({seconds:.1f} s). Ctrl-C closes it.", style="bold green"),
        table,
        Text(f"\nIn a second terminal:\n  {bff} desk{where}\n  {bff} chaos inject pricing hang --for 30s{where}"),
    )


def _typed() -> str:
    """What to type for `bff` in a terminal like this one."""
    asked = Path(sys.argv[0])
    found = shutil.which("bff")
    if asked.name != "bff" or (found and Path(found).resolve() == asked.resolve()):
        return "bff"
    return os.path.relpath(asked) if asked.is_relative_to(Path.cwd()) else str(asked)


@click.command("desk")
@DATA
@click.option("--tenant", help="Whose desk; the first operator of `bff up` where not said.")
@click.option("--operator", help="Who signs in.")
@click.option("--property", "place", help="Which property; the operator's first where not said.")
@click.option(
    "--every", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--deadline-ms", type=click.IntRange(50), help="A deadline shorter than the route's.")
@click.option("--json", "as_json", is_flag=True, help="Print one dashboard as JSON and end.")
def desk(
    data: Path,
    tenant: str | None,
    operator: str | None,
    place: str | None,
    every: float,
    deadline_ms: int | None,
    as_json: bool,
) -> None:
    """Sign in as a desk does, and show the hotel's day, live in this terminal."""
    choice = Choice(tenant, operator, place, deadline_ms)
    run(partial(trio.run, _show, data, choice, every, as_json), LiveError, Refused)


async def _show(data: Path, choice: Choice, every: float, as_json: bool) -> None:
    console = Console()
    async with a_client() as client:
        looking = Looking(data, choice, client, real(connect))
        if as_json or not console.is_terminal:
            seen = await looking.first()
            if as_json:
                click.echo(msgspec.json.format(msgspec.json.encode(seen.body)).decode())
            else:
                console.print(screen(seen, width=console.width, height=ENDLESS))
            with suppress(Refused):  # it has been seen; the session ends by itself
                await looking.leave()
            return
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(looking.follow)
                nursery.start_soon(_look_on, looking, console, every, nursery.cancel_scope)
                await anext(signals)
                nursery.cancel_scope.cancel(reason="asked to end")
        if looking.over:
            click.echo(f"bff: {looking.over}")


async def _look_on(looking: Looking, console: Console, every: float, all_of_it: trio.CancelScope) -> None:
    """Draw what there is to see, until there is nothing more; then everything ends."""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        due = True
        while not looking.over:
            if due:
                await looking.again()
            live.update(looking.picture(*console.size), refresh=True)
            due = await looking.rest(every)
    all_of_it.cancel(reason="there is nothing more to see")


@click.group("chaos")
def chaos() -> None:
    """Break things in a running `bff up`, and heal them."""


@chaos.command("inject")
@click.argument("service")
@click.argument("toxic")
@click.argument("values", nargs=-1)
@click.option("--for", "span", help="Heal it after this long: 30s, 2m, 500ms.")
@DATA
def inject(service: str, toxic: str, values: tuple[str, ...], span: str | None, data: Path) -> None:
    """Put TOXIC in force on SERVICE; VALUES are key=value. Returns when it is in force."""

    def message() -> dict[str, Any]:
        fault = parse(toxic, values)
        seconds = None if span is None else _seconds(span)
        return {"do": "inject", "target": service, "toxic": str(fault), "for": seconds}

    _tell(data, message, as_json=False)


@chaos.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@DATA
def list_(as_json: bool, data: Path) -> None:
    """What is wrong now."""
    _tell(data, lambda: {"do": "list"}, as_json=as_json)


@chaos.command("clear")
@click.argument("service", required=False)
@DATA
def clear(service: str | None, data: Path) -> None:
    """Heal SERVICE, or everything."""
    _tell(data, lambda: {"do": "clear", "target": service}, as_json=False)


def _tell(data: Path, message: Callable[[], dict[str, Any]], *, as_json: bool) -> None:
    in_force = run(lambda: trio.run(tell_hatch, running(data).chaos, message()), LiveError, BadToxic)
    if as_json:
        click.echo(msgspec.json.encode(in_force).decode())
    elif not in_force:
        click.echo("nothing is wrong")
    for service, toxics in {} if as_json else in_force.items():
        click.echo(f"{service}: {', '.join(toxics)}")


def _seconds(span: str) -> float:
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("", 1.0)):
        number = span.removesuffix(unit) if unit else span
        if span.endswith(unit) and number.replace(".", "", 1).isdigit():
            return float(number) * factor
    raise Trouble(f"--for is {span!r}: it should be like 30s, 2m or 500ms")
