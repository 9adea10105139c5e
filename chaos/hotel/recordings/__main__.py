"""`python -m chaos.hotel.recordings [F-4 …]`: film the scenes of those rows, or of all, and write tests of rules."""

from __future__ import annotations

from itertools import groupby

import click

from chaos.hotel.catalogue import ROWS
from chaos.hotel.recordings.filming import Cut, Unheard, judged, write, write_quiet
from chaos.hotel.recordings.promtool import NoPromtool
from chaos.hotel.recordings.rules import Rule, load
from chaos.hotel.recordings.scene import Scene, film
from chaos.hotel.recordings.scenes import QUIET, SCENES
from chaos.hotel.recordings.tape import Tape
from chaos.sim.fork import Forked


@click.command("recordings")
@click.argument("rows", nargs=-1, metavar="[F-N …]")
@click.option("--dry", is_flag=True, help="Write nothing, and say how long it takes until each alert fires.")
def main(rows: tuple[str, ...], dry: bool) -> None:
    """Film what breaks, and write tests for the rules of Prometheus.

    Exit 1 where a rule does not fire, or fires for nothing.
    """
    rules = load()
    known = [row.id for row in ROWS]
    chosen = sorted((one for one in SCENES if not rows or one.row in rows), key=lambda one: known.index(one.row))
    made: dict[Scene, Cut | str] = {}
    for day in dict.fromkeys(scene.day for scene in chosen):
        played = [scene for scene in chosen if scene.day is day]
        film(day, played, lambda scene, tape: made.update({scene: _judged(scene, rules, tape)}))
    for row, group in groupby(chosen, key=lambda one: one.row):
        scenes = list(group)
        for scene in scenes:
            _tell(scene, made[scene])
        cuts = [one for scene in scenes if isinstance(one := made[scene], Cut)]
        if len(cuts) == len(scenes) and not dry:
            write(row, cuts, rules)
    if not rows and not dry:
        film(QUIET.day, (QUIET,), lambda _, tape: write_quiet(rules, tape))
    if any(isinstance(one, str) for one in made.values()):
        raise click.exceptions.Exit(1)


def _judged(scene: Scene, rules: tuple[Rule, ...], tape: Tape | Forked) -> Cut | str:
    if isinstance(tape, Forked):
        return str(tape)
    try:
        return judged(scene, rules, tape.series())
    except (Unheard, NoPromtool) as why:
        return str(why)


def _tell(scene: Scene, made: Cut | str) -> None:
    name = f"{scene.row:5} {scene.sign:9}"
    if isinstance(made, str):
        click.echo(f"{name}  wrong       {made}")
    elif made.took is None:
        click.echo(f"{name}  stays calm  {scene.what}")
    else:
        click.echo(f"{name}  {made.severity} {made.took:6.0f} s  {scene.what}")


main()
