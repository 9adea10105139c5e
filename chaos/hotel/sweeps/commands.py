"""`bff sweep`: everything that can go wrong, one case after the other, on as many cores as there are."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bff.cli.main import Trouble, run
from chaos.hotel.sweeps import SWEEPS
from chaos.journal import Journal, OtherJournal, identity, line_of, read_journal
from chaos.shards import ShardFailed, join_shards
from chaos.sweep import Ran, Shard, Tally, batches, entries, parse_shard, sliced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.sweep import Entry, Sweep, Swept

SHOWN: Final = 20  # broken cases; who has more begins with these


class _ShardType(click.ParamType[Shard]):
    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        if isinstance(value, Shard):
            return value
        try:
            return parse_shard(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group("sweep")
def sweep() -> None:
    """Try everything that can go wrong in the virtual world, one case after the other."""


@sweep.command("list")
def list_() -> None:
    """What can be swept."""
    for name, one in SWEEPS.items():
        click.echo(f"{name:12} {one.about}")


@sweep.command("cases")
@click.argument("name")
@click.option("--pairs", is_flag=True, help="Every two faults at once, too.")
def cases_(name: str, pairs: bool) -> None:
    """The names of a sweep's cases, a line each; some sweeps find out by a run which there are."""
    for case in _sweep(name).cases(pairs=pairs):
        click.echo(case.name)


def _sweep(name: str) -> Sweep[Any]:
    if name not in SWEEPS:
        raise Trouble(f"no sweep is called {name!r}: there are {', '.join(SWEEPS)}")
    return SWEEPS[name]


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a sweep is asked for."""

    name: str
    pairs: bool
    seed: int
    slice: int | None
    shard: Shard

    @property
    def sweep(self) -> Sweep[Any]:
        return _sweep(self.name)

    @property
    def whole(self) -> bool:
        """Nothing is left out, so that every mark must be reached."""
        return self.slice is None and self.shard.of == 1

    def cases(self) -> Sequence[Any]:
        """All of them, or the slice; not yet cut into shards."""
        cases = self.sweep.cases(pairs=self.pairs)
        return cases if self.slice is None else sliced(cases, self.slice, self.seed)

    def part(self, cases: Sequence[Any], done: set[str]) -> list[list[Any]]:
        """The shard's batches, without what is done."""
        mine = self.shard.part(batches(cases, self.sweep.together))
        left = ([case for case in batch if case.name not in done] for batch in mine)
        return [batch for batch in left if batch]

    def words(self, *more: str) -> list[str]:
        """The same as arguments of `bff sweep run`."""
        words = [self.name, "--seed", str(self.seed), *(["--pairs"] if self.pairs else [])]
        return [*words, *([] if self.slice is None else ["--slice", str(self.slice)]), *more]


@sweep.command("run")
@click.argument("name")
@click.option("--pairs", is_flag=True, help="Every two faults at once, too.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides every tie, and the slice.")
@click.option("--slice", "number", type=click.IntRange(1), help="So many of the cases, by lot.")
@click.option("--shard", type=_ShardType(), default="1/1", show_default=True, help="One part of them.")
@click.option("--cores", type=click.IntRange(1, 64), default=1, show_default=True, help="So many shards at once.")
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="Goes on where it says.")
@click.option("--case", help="This one alone, by its name.")
@click.option("--lines", is_flag=True, hidden=True, help="Say what comes as lines of a journal.")
def run_(
    name: str,
    pairs: bool,
    seed: int,
    number: int | None,
    shard: Shard,
    cores: int,
    journal: Path | None,
    case: str | None,
    lines: bool,
) -> None:
    """Run the cases of a sweep; exit 1 when one is broken or a mark is not reached."""
    asked = Asked(name, pairs, seed, number, shard)
    if case is not None:
        _one(asked, case)
    elif lines:
        _as_lines(asked, journal)
    elif cores > 1 and shard.of > 1:
        raise Trouble("--cores makes shards itself: give one of --shard and --cores")
    else:
        run(lambda: _all(asked, cores, journal), OtherJournal, ShardFailed, OSError)


def _one(asked: Asked, name: str) -> None:
    every = (asked.sweep.cases(pairs=pairs) for pairs in (False, True))
    found = next(([case] for cases in every for case in cases if case.name == name), None)
    if found is None:
        raise Trouble(f"{asked.name} has no case {name!r}: `bff sweep cases {asked.name} --pairs` names them all")
    (ran,) = list(asked.sweep.run(found, asked.seed, asked.sweep.marks()))[-1:]
    click.echo(f"{'broken' if ran.error else 'ok'}: {ran.name}" + (f"\n  {ran.error}" if ran.error else ""))
    sys.exit(1 if ran.error else 0)


def _as_lines(asked: Asked, journal: Path | None) -> None:
    """A shard of another process: whole lines, each as soon as there is something to say."""
    cases = asked.cases()
    done = set() if journal is None else _good(read_journal(journal, _whose(asked, cases)))
    for entry in entries(asked.sweep, asked.part(cases, done), asked.seed, asked.sweep.marks()):
        sys.stdout.write(line_of(entry))
        sys.stdout.flush()


def _whose(asked: Asked, cases: Sequence[Any]) -> str:
    return identity(asked.name, asked.seed, [case.name for case in cases])


def _good(said: Sequence[Entry]) -> set[str]:
    """The names of the cases whose last word is good: the others are run again."""
    last = {entry.name: entry for entry in said if isinstance(entry, Ran)}
    return {name for name, ran in last.items() if not ran.error}


def _all(asked: Asked, cores: int, path: Path | None) -> None:
    cases = asked.cases()
    marks = asked.sweep.marks()
    with ExitStack() as stack:
        journal = None if path is None else stack.enter_context(Journal(path, _whose(asked, cases)))
        mine = {case.name for batch in asked.part(cases, set()) for case in batch}
        tally = Tally(len(mine), marks)
        known = () if journal is None else journal.entries
        good = _good(known) & mine
        for entry in known:
            if not isinstance(entry, Ran) or entry.name in good:
                tally.add(entry)
        shown = stack.enter_context(_progress(asked, tally))

        def heard(entry: Entry) -> None:
            tally.add(entry)
            if journal is not None:
                journal.write(entry)
            shown.update(shown.task_ids[0], completed=len(tally.done), broken=_broken(tally))

        if cores == 1:
            for entry in entries(asked.sweep, asked.part(cases, good), asked.seed, marks):
                heard(entry)
        else:
            trio.run(join_shards, [_command(asked, Shard(at + 1, cores), path) for at in range(cores)], heard)
    swept = tally.swept(whole=asked.whole)
    _account(asked, swept)
    sys.exit(0 if swept.held else 1)


def _command(asked: Asked, shard: Shard, journal: Path | None) -> list[str]:
    kept = () if journal is None else ("--journal", str(journal))
    return [sys.executable, "-m", "chaos.hotel.sweeps", "run", *asked.words("--shard", str(shard), "--lines", *kept)]


def _progress(asked: Asked, tally: Tally) -> Progress:
    """A bar on standard error, where that is a terminal; what a sweep says goes to standard output."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[broken]}"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    progress.add_task(asked.name, total=tally.total, completed=len(tally.done), broken=_broken(tally))
    return progress


def _broken(tally: Tally) -> str:
    return f"[red]{len(tally.broken)} broken" if tally.broken else ""


def _account(asked: Asked, swept: Swept) -> None:
    click.echo(
        f"{asked.name}, seed {asked.seed}: {swept.cases} cases, {len(swept.broken)} broken; "
        f"{swept.worked:.1f} s of one core, {swept.per_second:.0f} cases a second"
    )
    for line in _findings(asked, swept):
        click.echo(line)


def _findings(asked: Asked, swept: Swept) -> Iterator[str]:
    for ran in swept.broken[:SHOWN]:
        yield f"\nbroken: {ran.name}"
        yield f"  {ran.error}"
        yield f"  bff sweep run {asked.name} --seed {asked.seed} --case {shlex.quote(ran.name)}"
    if len(swept.broken) > SHOWN:
        yield f"\nand {len(swept.broken) - SHOWN} more"
    if swept.missing:
        yield "\nnever reached, so that this sweep proves less than it should:"
        yield from (f"  {mark}" for mark in swept.missing)
