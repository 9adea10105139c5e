"""What a running `bff up` says of itself: in its first line with `--json`, in `DATA/run.json` to other commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from chaos.live.folder import in_use
from chaos.live.process import LiveError

RUN: Final = "run.json"


class Ready(msgspec.Struct, rename="camel"):
    """What is running (CONTRACT section 7)."""

    edge: str
    ops: str
    estate: str
    chaos: str
    postgres: str
    postgres_admin: str
    redis_session: str
    redis_cache: str
    internal_token: str
    pids: dict[str, Any]
    operators: list[dict[str, Any]]


class Kept(Ready):
    """What other commands find of it in its folder.

    `stores` are the variables by which its own server finds the stores: through the proxy that faults are done to.
    `audit_public_key` is what the signatures of its audit trail are checked with.
    """

    stores: dict[str, str]
    audit_public_key: str


def kept(ready: Ready, stores: dict[str, str], audit_public_key: str) -> Kept:
    """The same, where the stores are for a server, and how its audit trail is checked."""
    return Kept(**msgspec.structs.asdict(ready), stores=stores, audit_public_key=audit_public_key)


def running(data: Path) -> Kept:
    """What runs on `data`. Raises `LiveError` with one line where nothing does."""
    try:
        ready = msgspec.json.decode((data / RUN).read_bytes(), type=Kept)
        os.kill(ready.pids["up"], 0)
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        ready = None
    if ready is None or not in_use(data):  # the number of a process may be another's by now, a lock is nobody else's
        raise LiveError(f"nothing runs on {data}: start it with `bff up --data {data}`")
    return ready
