"""Asks `promtool`, Prometheus's own, what rules do with a recording."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

FAILED: Final = re.compile(r'expr: "(?P<expression>(?:[^"\\]|\\.)*)", time: (?P<time>\S+),')
PART: Final = re.compile(r"(\d+)(h|m|s)")
SECONDS: Final = {"h": 3600, "m": 60, "s": 1}


class NoPromtool(Exception):
    """It is not here: it comes with Debian's package `prometheus`."""


def promtool(*words: str | Path) -> tuple[int, str]:
    """Its exit code and all that it says. Raises `NoPromtool`."""
    where = shutil.which("promtool")
    if where is None:
        raise NoPromtool("promtool is not here: it comes with Debian's package `prometheus`")
    done = subprocess.run([where, *map(str, words)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def unmet(said: str) -> frozenset[float]:
    """The moments, in seconds, at which an expression was not what a test expected."""
    return frozenset(seconds(one["time"]) for one in FAILED.finditer(said))


def seconds(duration: str) -> float:
    """`1h2m15s` in seconds."""
    return float(sum(int(number) * SECONDS[unit] for number, unit in PART.findall(duration)))


def duration(at: float) -> str:
    """In seconds, as promtool reads it."""
    return f"{at:.0f}s"
