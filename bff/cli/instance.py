"""Which running server a command speaks to: the one on a data folder, or one elsewhere by its ops listener's URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import httpx
import msgspec

from bff.config import Secret
from bff.wire.dial import connect
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from nurseries import described, within

RUN: Final = "run.json"  # what a running `bff up` leaves in its folder
ASKED_WITHIN: Final = 8.0  # seconds: more than a supervisor takes to ask a worker

DATA: Final = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path(".bff"),
    show_default=True,
    help="Of the `bff up` to speak to.",
)
OPS: Final = click.option(
    "--ops", metavar="URL", help="The ops listener of one elsewhere; BFF_OPS_TOKEN is its token, where it has one."
)


class NoInstance(Exception):
    """There is nobody to speak to; the text is one line."""


class _Run(msgspec.Struct):
    ops: str
    pids: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Instance:
    """A running server: the URL of its ops listener, and the token that it may ask for."""

    ops: str
    token: Secret | None

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """One answer of its ops listener, whatever its status; `body` goes as JSON. Raises `NoInstance` without one."""
        headers = {"authorization": f"Bearer {self.token.value}"} if self.token is not None else {}
        with within(ASKED_WITHIN):
            async with httpx.AsyncClient(transport=TrioTransport(Pool(connect)), trust_env=False) as client:
                try:
                    return await client.request(method, f"{self.ops}{path}", headers=headers, json=body)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise NoInstance(f"{self.ops} does not answer ({described(error)})") from None
        raise NoInstance(f"{self.ops} did not answer within {ASKED_WITHIN:.0f} s")


def found(data: Path, ops: str | None, env: Mapping[str, str] = os.environ) -> Instance:
    """The instance at `ops`, or else on `data`. Raises `NoInstance` where nothing runs there."""
    token = env.get("BFF_OPS_TOKEN")
    return Instance(ops.rstrip("/") if ops else _on(data), Secret(token) if token else None)


def _on(data: Path) -> str:
    try:
        run = msgspec.json.decode((data / RUN).read_bytes(), type=_Run)
        os.kill(run.pids["up"], 0)
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        raise NoInstance(f"nothing runs on {data}: give the folder of a `bff up` with --data, or --ops URL") from None
    return run.ops


def said(answer: httpx.Response) -> str:
    """Why it refused, in one line: a problem's detail, or the text that it is."""
    try:
        detail: str = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text
    return next(iter(detail.splitlines()), f"status {answer.status_code}")
