"""Which ledger a command reads by itself: that of the `bff up` on a data folder, or one elsewhere by BFF_… variables.

It goes around the server on purpose: who proves what a server has written does not ask that server for it.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from bff.cli.instance import RUN, NoInstance
from bff.config import BadSetting, Secret, audit_key
from bff.model import Down, TenantId
from bff.stores.border import open_border
from bff.stores.migrate import checked
from bff.stores.postgres import open_ledger
from bff.writes.seal import private_key, public_key
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from bff.stores.postgres import PostgresLedger

T = TypeVar("T")

HERE: Final = Path(".bff")
PUBLIC_KEY: Final = "BFF_AUDIT_PUBLIC_KEY"
ANSWERS_WITHIN: Final = 10.0  # seconds, each time it is asked
LEDGER: Final = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help=f"Of the `bff up` whose ledger it is; BFF_POSTGRES_URL says one elsewhere.  [default: {HERE}]",
)
NO_LEDGER: Final = (NoInstance, BadSetting)  # one line, exit 2
SIGNED: Final = "SELECT DISTINCT tenant_id FROM audit_checkpoints"


class _Run(msgspec.Struct, rename="camel"):
    postgres: str
    audit_public_key: str
    pids: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ledger is, and the key that its checkpoints were signed with, where anybody knows it."""

    postgres: Secret
    key: Ed25519PublicKey | None


def place(data: Path | None, env: Mapping[str, str] = os.environ) -> Place:
    """The ledger of `data` where that is said; else the one in `env`; else that of `HERE`.

    Raises `NoInstance` where nothing runs there, `BadSetting` for a variable that cannot be used.
    """
    url = env.get("BFF_POSTGRES_URL")
    if not url or data is not None:
        return _on(data or HERE)
    try:
        return Place(Secret(checked(url)), _key(env))
    except BadSetting:
        raise
    except ValueError as error:
        raise BadSetting(f"BFF_POSTGRES_URL cannot be used: {error}") from None


def _on(data: Path) -> Place:
    try:
        run = msgspec.json.decode((data / RUN).read_bytes(), type=_Run)
        os.kill(run.pids["up"], 0)
        return Place(Secret(run.postgres), public_key(run.audit_public_key))
    except (OSError, ValueError, KeyError, TypeError):
        how = "give the folder of a `bff up` with --data, or set BFF_POSTGRES_URL"
        raise NoInstance(f"nothing runs on {data}: {how}") from None


def _key(env: Mapping[str, str]) -> Ed25519PublicKey | None:
    if words := env.get(PUBLIC_KEY):
        try:
            return public_key(words)
        except ValueError:
            raise BadSetting(f"{PUBLIC_KEY} should be the 32 bytes of an Ed25519 key in base64url") from None
    seed = audit_key(env)
    return None if seed is None else private_key(seed).public_key()


@asynccontextmanager
async def opened(where: Place) -> AsyncIterator[PostgresLedger]:
    """The ledger. Raises `NoInstance` where its schema is not there, or nothing is."""
    async with open_border() as border, open_ledger(border, where.postgres.value) as ledger:
        await answer(ledger.ping)
        yield ledger


async def answer(verb: Callable[[], Awaitable[T | Down]]) -> T:
    """What the ledger says to `verb`. Raises `NoInstance` where it says nothing."""
    with within(ANSWERS_WITHIN):
        said = await verb()
        if isinstance(said, Down):
            raise NoInstance(f"the ledger does not answer: {said.why}")
        return said
    raise NoInstance(f"the ledger did not answer within {ANSWERS_WITHIN:.0f} s")


async def trails(ledger: PostgresLedger) -> tuple[TenantId, ...]:
    """Every trail there is, or of which a checkpoint says that it was: one that was taken away whole is missed."""

    async def signed(connection: Any) -> set[TenantId]:
        return {TenantId(row["tenant_id"]) for row in await connection.fetch(SIGNED)}

    there = {end.tenant for end in await answer(ledger.ends_of_trails)}
    return tuple(sorted(there | await answer(lambda: ledger.transact("signed trails", signed))))
