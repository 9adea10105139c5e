"""Chance that can be had again: every draw of a virtual world comes from its seed and from what the draw is for.

Who draws does so from a stream of its own, named by `about`: so that one more draw in one place changes nothing in any
other, and a run that is cut down to find a fault stays the run it was.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random


def chance(seed: int, *about: str | int) -> Random:
    """The generator that belongs to `seed` and to what is drawn. Seeded with text, which no hash seed changes."""
    return Random(repr((seed, *about)))


def entropy(seed: int, *about: str | int) -> Callable[[int], bytes]:
    """What `os.urandom` is to a process: `n` bytes per call, the same ones in every run of the same seed."""
    return chance(seed, *about).randbytes


def between(least: float, most: float, seed: int, *about: str | int) -> Callable[[], float]:
    """Seconds from `least` to `most`, evenly: a latency for a link. Raises `ValueError` for what is no span."""
    if not 0 <= least <= most:
        raise ValueError(f"from {least} to {most} seconds is no span")
    generator = chance(seed, *about)
    return lambda: generator.uniform(least, most)
