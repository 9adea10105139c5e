"""What probes found out about this very server: rows F-23 to F-25 and F-28 to F-30 of the failure catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplayProbed:
    """Something of this server's own was used twice: a `proof`, `attestation` or `key`. `passed`: it counted again.

    A probe that could not be made says nothing.
    """

    what: str
    passed: bool


@dataclass(frozen=True, slots=True)
class TenantsProbed:
    """One tenant looked for what was kept for another, in so many places, and found it in `leaks` of them (F-30)."""

    places: int
    leaks: int


@dataclass(frozen=True, slots=True)
class EdgeProbed:
    """The edge was asked from outside, by its `name`: `public` or `fallback`. `why` is `ok`, or what was wrong."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class CertificateSeen:
    """The certificate shown under that name ends in so many seconds; below 0 it has ended (F-23)."""

    name: str
    left: float


@dataclass(frozen=True, slots=True)
class Tripped:
    """A job has turned a switch by itself, since it found what must not be."""

    switch: str
    job: str


@dataclass(frozen=True, slots=True)
class EffectsCompared:
    """What services changed was compared with the keys they got for it: of so many operations (F-32)."""

    operations: int


@dataclass(frozen=True, slots=True)
class EffectsUnseen:
    """It could not be compared: the counters, or the ledger, gave no answer."""


@dataclass(frozen=True, slots=True)
class DuplicatesFound:
    """An operation of a service made so many changes more than it got keys for: a key was done twice (F-32)."""

    service: str
    operation: str
    count: int
