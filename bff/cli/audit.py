"""`bff audit`: the trails proved, each to its last row or to the first that is not what it was, and the key for it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
import trio
from rich.console import Console
from rich.table import Table

from bff.cli.ledger import LEDGER, NO_LEDGER, PUBLIC_KEY, answer, opened, place, trails
from bff.cli.main import Trouble, run
from bff.config import AUDIT_KEY, BadSetting, audit_key
from bff.model import TenantId
from bff.stores.trail import HOUSE
from bff.writes.proving import Proof, Prover
from bff.writes.seal import private_key, words

if TYPE_CHECKING:
    from pathlib import Path

    from bff.cli.ledger import Place
    from bff.config import Secret
    from bff.stores.trail import Trail

BATCH: Final = 1000  # rows
SHOWN_AS: Final = {HOUSE: "(house)"}
BROKEN: Final = 1


@click.group("audit")
def audit() -> None:
    """The audit trail: what was done to locks and switches, by whom."""


@audit.command("verify")
@click.option("--tenant", help="Of this tenant alone; '' is the house's own.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@LEDGER
def verify(tenant: str | None, as_json: bool, data: Path | None) -> None:
    """Prove every trail: exit 0 if all are whole, 1 if any is not, and then which row is the first that is wrong.

    The chain of hashes is held against the checkpoints that the server has signed. The key for that is known of a
    `bff up`; of a ledger elsewhere it is BFF_AUDIT_PUBLIC_KEY, or follows from BFF_AUDIT_KEY.
    """
    if tenant is not None and not tenant.isprintable():  # PostgreSQL could not be asked for it
        raise Trouble(f"there is no trail of {tenant!a}")
    where: Place = run(partial(place, data), *NO_LEDGER)
    proofs, seconds = run(partial(trio.run, _proved, where, tenant), *NO_LEDGER)
    if tenant is not None and not any(proof.rows or proof.checkpoints for proof in proofs):
        raise Trouble(f"there is no trail of {tenant!r}")
    rate = round(sum(proof.rows for proof in proofs) / seconds) if seconds > 0 else 0
    if as_json:
        click.echo(msgspec.json.encode(_json(proofs, rate, checked=where.key is not None)).decode())
    else:
        _print(proofs, seconds, rate, checked=where.key is not None)
    if any(proof.broken for proof in proofs):
        raise SystemExit(BROKEN)


@audit.command("public-key")
def public() -> None:
    """Print the public key of BFF_AUDIT_KEY: what a ledger is proved with, and kept apart from it."""
    seed: Secret | None = run(partial(audit_key, os.environ), BadSetting)
    if seed is None:
        raise Trouble(f"{AUDIT_KEY} is not set")
    click.echo(words(private_key(seed).public_key()))


async def _proved(where: Place, tenant: str | None) -> tuple[list[Proof], float]:
    """What was found of each trail, or of one, and the seconds that it took."""
    async with opened(where) as ledger:
        began = trio.current_time()
        wanted = await trails(ledger) if tenant is None else (TenantId(tenant),)
        proofs = [await _one(ledger, one, where) for one in wanted]
        return proofs, trio.current_time() - began


async def _one(ledger: Trail, tenant: TenantId, where: Place) -> Proof:
    # The checkpoints first: what they speak of is there already, while the trail may grow for as long as it is read.
    prover = Prover(tenant, await answer(partial(ledger.checkpoints, tenant)), where.key)
    after = 0
    while True:
        rows = await answer(partial(ledger.trail, tenant, after=after, limit=BATCH))
        if not prover.follow(rows):
            return prover.proof(ended=False)
        if len(rows) < BATCH:
            return prover.proof(ended=True)
        after = rows[-1].seq


def _json(proofs: list[Proof], rate: int, *, checked: bool) -> dict[str, Any]:
    return {
        "trails": [
            {
                "tenant": proof.tenant,
                "rows": proof.rows,
                "checkpoints": proof.checkpoints,
                "whole": proof.broken is None,
                "firstBadRow": proof.broken.seq if proof.broken else None,
                "why": proof.broken.why if proof.broken else None,
            }
            for proof in proofs
        ],
        "checkpointsChecked": checked,
        "rowsPerSecond": rate,
    }


def _print(proofs: list[Proof], seconds: float, rate: int, *, checked: bool) -> None:
    if not proofs:
        click.echo("there is no trail yet")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, side in (("trail", "left"), ("rows", "right"), ("checkpoints", "right"), ("", "left")):
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for proof in proofs:
        found = f"row {proof.broken.seq}: {proof.broken.why}" if proof.broken else "whole"
        table.add_row(SHOWN_AS.get(proof.tenant, proof.tenant), str(proof.rows), str(proof.checkpoints), found)  # type: ignore[call-overload]
    Console(highlight=False, markup=False, emoji=False).print(table)
    click.echo(f"{sum(proof.rows for proof in proofs)} rows in {seconds:.2f} s, {rate} a second")
    if not checked:
        click.echo(f"the checkpoints are unchecked: {PUBLIC_KEY} is not set")
