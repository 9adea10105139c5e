"""Secrets that are kept in files: `BFF_OPS_TOKEN_FILE` names the one that has `BFF_OPS_TOKEN`.

An orchestrator gives secrets as files, and whoever looks at how a container was begun does not see what is in them.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from bff import tracing
from bff.config import LONGEST_URL, BadSetting, kept_in

IN_FILES: Final = (  # and addresses with a password in them
    "BFF_INTERNAL_TOKEN",
    "BFF_OPS_TOKEN",
    "BFF_POSTGRES_ADMIN_URL",
    "BFF_POSTGRES_URL",
    "BFF_REDIS_CACHE_URL",
    "BFF_REDIS_SESSION_URL",
    tracing.HEADERS,
)


def take_files(env: MutableMapping[str, str]) -> None:
    """Put in place what files hold: `BFF_OPS_TOKEN_FILE` names the one that has `BFF_OPS_TOKEN`, and goes.

    Raises `BadSetting`, without a word of what is there, for a file with nothing to use, and where both are set.
    """
    for name in IN_FILES:
        path = env.pop(f"{name}_FILE", "")
        if not path:
            continue
        if env.get(name):
            raise BadSetting(f"{name} and {name}_FILE are both set: set one of them")
        kept = kept_in(Path(path), LONGEST_URL + 1)
        if not 0 < len(kept) <= LONGEST_URL or not kept.isprintable():
            raise BadSetting(f"{name}_FILE is {path!r}: it should be a file of one line, with {name} in it")
        env[name] = kept
