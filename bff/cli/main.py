"""`bff`: its commands are entry points of the group `bff.commands`, so that the server never imports what drives it.

What a person got wrong, or what the machine does not have, is one line on standard error and exit 2; a command says so
by raising `click.ClickException` or one of `ONE_LINE`, named here by where they come from.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Final, NoReturn

import click

from bff.config import BadSetting
from bff.kept import take_files

GROUP: Final = "bff.commands"


class Trouble(click.ClickException):
    """Usage, a setting or the machine: one line, exit 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """`bff: …` on standard error."""
        click.echo(f"bff: {self.format_message()}", file=file or sys.stderr, err=True)


class Commands(click.Group):
    """Loads a command when it is asked for: `bff serve` does not import what `bff up` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name."""
        del ctx
        return sorted(point.name for point in entry_points(group=GROUP))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None where there is none."""
        del ctx
        for point in entry_points(group=GROUP, name=cmd_name):
            command: click.Command = point.load()
            return command
        return None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bff-backoffice")
def bff() -> None:
    """A hotel desk's one online door: it answers in time, whatever breaks behind it."""
    run(partial(take_files, os.environ), BadSetting)


def one_line(group: Exception, kinds: tuple[type[Exception], ...]) -> str | None:
    """What a command says of an error: the first of `kinds` in it, however deep in groups; None where there is none."""
    if isinstance(group, ExceptionGroup):
        return next((line for error in group.exceptions if (line := one_line(error, kinds)) is not None), None)
    return str(group) if isinstance(group, kinds) else None


def run(work: Callable[[], Any], *kinds: type[Exception]) -> Any:
    """What `work` gives; an error of `kinds` becomes one line and exit 2."""
    try:
        return work()
    except Exception as error:
        line = one_line(error, kinds)
        if line is None:
            raise
        raise Trouble(line) from None


def main() -> NoReturn:
    """The `bff` command."""
    try:
        bff()
    finally:
        for late in (signal.SIGINT, signal.SIGTERM):
            signal.signal(late, signal.SIG_IGN)  # what the exit code is has been decided
    raise SystemExit(0)
