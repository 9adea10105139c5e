"""A trail proved from its first row to its last, against its checkpoints: whole, or the first row that is wrong.

    a row was changed, taken out, swapped      the chain says which one
    everything after it was hashed anew        the first checkpoint after it says so, and names the row that it is of
    rows were taken off the end                the last checkpoint says so, and names the first that is gone
    a checkpoint was forged                    its signature says so, and nothing it claims is believed

What was done to the rows after the last checkpoint, with all hashes made anew, cannot be told: a minute's at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from bff.writes.audit import Broken, Chain, Witness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from bff.stores.trail import Checkpoint, TrailRow


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found of a trail: `rows` were read, `checkpoints` there are, `broken` is the first row that is wrong."""

    tenant: str
    rows: int
    checkpoints: int
    broken: Broken | None


class Prover:
    """A trail that is being proved. `checkpoints` are all there are, read before the first row.

    Without a `key` they are counted and believed in nothing: anybody may have written them.
    """

    def __init__(self, tenant: str, checkpoints: Sequence[Checkpoint], key: Ed25519PublicKey | None) -> None:
        self._chain = Chain(tenant)
        self._checkpoints = checkpoints
        self._rows = 0
        self._broken: list[Broken] = []
        genuine = []
        for one in checkpoints if key is not None else ():
            assert key is not None
            if forged := Witness(tenant, [one], key).forged():
                self._broken.append(forged)
            else:
                genuine.append(one)
        self._witness = Witness(tenant, genuine, key) if key is not None else None

    def follow(self, rows: Sequence[TrailRow]) -> bool:
        """The next rows of it, in order; False where one of them is wrong, and no more need be read."""
        self._rows += len(rows)
        wrong = [self._chain.follow(rows), self._witness.contradicted(rows) if self._witness is not None else None]
        found = [one for one in wrong if one is not None]
        self._broken += found
        return not found

    def proof(self, *, ended: bool) -> Proof:
        """What was found, where the trail has `ended`, or where a row of it was wrong."""
        beyond = self._witness.beyond(self._chain.seq) if ended and self._witness is not None else None
        broken = [*self._broken, *([beyond] if beyond is not None else [])]
        first = min(broken, key=attrgetter("seq"), default=None)
        return Proof(self._chain.tenant, self._rows, len(self._checkpoints), first)
