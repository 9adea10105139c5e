"""Port of the audit trail: rows that are only ever added, each hashed together with the one before it.

A trail belongs to a tenant and is numbered from 1 without gaps; the house's own (switches, above all) is that of the
tenant ''. A row's hash is what `link` gives. What it says is one JSON object, written by `bff.writes.audit`; the ledger
looks at four of its members alone, which are `kind` ("intent", "outcome", or anything else), `operator`, `key` and
`outcome`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Protocol

from bff.model import Down, TenantId

HOUSE: Final = TenantId("")
BEGINNING: Final = bytes(32)  # what the first row of a trail is hashed with
LOOKED_BACK: Final = 8 * 86_400.0  # seconds; as long as keys are kept
GAPS: Final = 100  # of a kind are named; all are counted


@dataclass(frozen=True, slots=True)
class TrailRow:
    """One row as it is kept. `entry` is JSON, `previous` and `hash` are 32 bytes."""

    tenant: TenantId
    seq: int
    entry: str
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trail was so long and ended so, says whoever signed it (Ed25519, 64 bytes) at `at`, in POSIX seconds.

    It can be checked without the server, and says what a trail that was cut short cannot hide.
    """

    tenant: TenantId
    seq: int
    hash: bytes
    at: float
    signature: bytes


@dataclass(frozen=True, slots=True)
class Completeness:
    """How whole the trail of lock actions is: `present` of `expected` rows; `gaps` says which are missing, in lines.

    Expected are an intent for every lock action that was claimed, an outcome for every intent that has had its time,
    and every number from 1 to a trail's last one.
    """

    expected: int
    present: int
    gaps: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """1.0 where nothing is missing."""
        return self.present / self.expected if self.expected else 1.0


def link(tenant: str, seq: int, entry: str, previous: bytes) -> bytes:
    """The hash of a row: SHA-256 over the hash before it, its number (8 bytes), its trail's name and its entry.

    Each of the two texts is preceded by its length (8 bytes, big-endian), so that no two rows are the same bytes.
    """
    name, text = tenant.encode(), entry.encode()
    told = (previous, seq.to_bytes(8, "big"), len(name).to_bytes(8, "big"), name, len(text).to_bytes(8, "big"), text)
    return hashlib.sha256(b"".join(told)).digest()


class Trail(Protocol):
    """Every verb needs a finite deadline above it and raises `nurseries.Unbounded` without one."""

    async def add_to_trail(self, tenant: TenantId, entries: tuple[str, ...]) -> Down | None:
        """Add rows, in one commit. Those of a mutation are added with its claim and its record (`Keys`)."""
        ...

    async def trail(self, tenant: TenantId, *, after: int, limit: int) -> tuple[TrailRow, ...] | Down:
        """Rows numbered above `after`, in order."""
        ...

    async def ends_of_trails(self) -> tuple[TrailRow, ...] | Down:
        """The last row of every trail."""
        ...

    async def sign(self, checkpoint: Checkpoint) -> Down | None:
        """Keep a checkpoint; one for the same row is there once."""
        ...

    async def checkpoints(self, tenant: TenantId) -> tuple[Checkpoint, ...] | Down:
        """Every checkpoint of a trail, in order."""
        ...

    async def lock_completeness(self, *, grace: float) -> Completeness | Down:
        """Look at every lock action of the last eight days; an outcome is due `grace` seconds after its intent.

        A lock action is a claim of which the first aggregate is a `lock:…`. An intent's outcome is a row of its
        operator and key between it and the next intent of them.
        """
        ...
