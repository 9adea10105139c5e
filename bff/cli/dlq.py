"""`bff dlq`: what the relay could not say, why, and saying it after all."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import httpx
import msgspec
import trio
from rich.console import Console
from rich.table import Table

from bff.cli.instance import DATA, OPS, Instance, NoInstance, found, said
from bff.cli.main import Trouble, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PATH: Final = "/dead-letters"
PAGE: Final = 500  # letters asked for, or raised, at once
SHORT: Final = 40  # characters of a name in a table
JSON: Final = click.option("--json", "as_json", is_flag=True, help="As JSON.")
NUMBER: Final = click.IntRange(0)


@click.group("dlq")
def dlq() -> None:
    """The dead letters: what could not be published. They are kept for 7 days."""


@dlq.command("list")
@JSON
@DATA
@OPS
def list_(as_json: bool, data: Path, ops: str | None) -> None:
    """List the dead letters."""
    letters = list(_all(_instance(data, ops)))
    if as_json:
        _say_json(letters)
    elif letters:
        _print(letters)
    else:
        click.echo("no dead letters")


@dlq.command("show")
@click.argument("number", type=NUMBER)
@JSON
@DATA
@OPS
def show(number: int, as_json: bool, data: Path, ops: str | None) -> None:
    """Show dead letter NUMBER, with what it says."""
    letter = _answer(_instance(data, ops), "GET", f"{PATH}/{number}")
    if as_json:
        _say_json(letter)
        return
    for name in ("number", "topic", "orderingKey", "kind", "messageId", "died", "reason"):
        click.echo(f"{name:<12} {letter[name]}")
    click.echo(f"\n{letter['payload']}")


@dlq.command("replay")
@click.argument("numbers", type=NUMBER, nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All of them, as without a number.")
@click.option("--dry-run", is_flag=True, help="Only say which it would be.")
@JSON
@DATA
@OPS
def replay(numbers: tuple[int, ...], all_: bool, dry_run: bool, as_json: bool, data: Path, ops: str | None) -> None:
    """Publish dead letters after all: those of NUMBERS, or all there are; each under its old message id."""
    if numbers and all_:
        raise Trouble("give numbers, or --all, not both")
    instance = _instance(data, ops)
    there = {letter["number"]: letter for letter in _all(instance)}
    if missing := [str(number) for number in numbers if number not in there]:
        raise Trouble(f"there is no dead letter {', '.join(missing)}: nothing was replayed")
    chosen = [there[number] for number in dict.fromkeys(numbers or there)]
    raised = 0 if dry_run else sum(_raise(instance, part) for part in _parts(chosen))
    if as_json:
        _say_json(chosen)
        return
    if chosen and dry_run:
        _print(chosen)
    click.echo(f"{len(chosen)} would be published again" if dry_run else f"{raised} will be published again")


def _raise(instance: Instance, letters: Sequence[dict[str, Any]]) -> int:
    numbers = [letter["number"] for letter in letters]
    raised: int = _answer(instance, "POST", f"{PATH}/replay", {"numbers": numbers})["raised"]
    return raised


def _parts(letters: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    return (letters[at : at + PAGE] for at in range(0, len(letters), PAGE))


def _all(instance: Instance) -> Iterator[dict[str, Any]]:
    """Every dead letter, page by page."""
    after, page = 0, None
    while page is None or len(page) == PAGE:
        page = _answer(instance, "GET", f"{PATH}?after={after}&limit={PAGE}")
        yield from page
        after = page[-1]["number"] if page else after


def _instance(data: Path, ops: str | None) -> Instance:
    instance: Instance = run(partial(found, data, ops), NoInstance)
    return instance


def _answer(instance: Instance, method: str, path: str, body: Any = None) -> Any:
    """What it answers, or one line and exit 2."""
    answer: httpx.Response = run(partial(trio.run, instance.ask, method, path, body), NoInstance)
    if not answer.is_success:
        raise Trouble(said(answer))
    return answer.json()


def _say_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value).decode())


def _print(letters: Sequence[dict[str, Any]]) -> None:
    """For people: what fits in a line; all of it is in `show`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("number", justify="right")
    table.add_column("died", no_wrap=True)
    table.add_column("topic", no_wrap=True)
    table.add_column("key", overflow="fold")
    table.add_column("reason", overflow="fold")
    for one in letters:
        died = one["died"][: len("2015-08-15T07:30")].replace("T", " ")
        table.add_row(str(one["number"]), died, _short(one["topic"]), _short(one["orderingKey"]), one["reason"])
    Console(highlight=False, markup=False, emoji=False).print(table)


def _short(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"
