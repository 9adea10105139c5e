"""`bff migrate`: the ledger's schema, up to date."""

from __future__ import annotations

import os

import click
import trio

from bff.cli.main import Trouble, run
from bff.stores.migrate import MigrationError
from bff.stores.migrate import migrate as bring_up_to_date
from nurseries import within

SECONDS = 60.0


@click.command("migrate")
def migrate() -> None:
    """Bring the ledger's schema up to date; safe to run twice, and by two at once."""
    url = os.environ.get("BFF_POSTGRES_ADMIN_URL") or os.environ.get("BFF_POSTGRES_URL")
    if not url:
        raise Trouble("set BFF_POSTGRES_ADMIN_URL (or BFF_POSTGRES_URL) to the ledger's postgresql://… address")
    applied: list[str] = run(lambda: trio.run(_migrate, url), MigrationError)
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("the ledger is up to date")


async def _migrate(url: str) -> list[str]:
    with within(SECONDS):
        return await bring_up_to_date(url)
    raise MigrationError(f"not done within {SECONDS:.0f} s")
