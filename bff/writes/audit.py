"""What is written to the audit trail, and how a trail is proved: the hash chain and its signed checkpoints.

    row 1 ──hash──► row 2 ──hash──► row 3 ──hash──► ...
                       └ checkpoint: "2 rows, ending in this hash", signed

A row that was changed, or taken out of the middle, breaks the chain at its place. One that was taken off the end does
not: but a checkpoint that reached it says so, and nobody can sign another without the key, which is not in the ledger.

An entry is JSON with its members in this file's order. The trail's reader may rely on `kind`: `intent` before a lock
action is sent, `outcome` of it (`success`, `failure` or `uncertain`; one that was uncertain has another when it is
settled), `manual` for a key that a person issued without this server (ADR-0004), `switch` for one that was turned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature

from bff.stores.trail import BEGINNING, Checkpoint, TrailRow, link

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Outcome: TypeAlias = Literal["success", "failure", "uncertain"]

SIGNED_AS: Final = "bff-backoffice audit checkpoint 1"
NUL: Final = re.compile(r"(\\\\)|\\u0000")  # its escape; a backslash that is itself escaped begins none
HASH_BYTES: Final = 32
SEQ_BYTES: Final = 8


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row. `at` is RFC 3339 in UTC; `resource` is what was acted on, such as `lock-1/k-2`.

    `key` is the idempotency key, by which the service can be asked what came of it.
    """

    kind: str
    at: str
    action: str
    operator: str
    key: str
    resource: str
    device: str = ""
    session: str = ""
    outcome: str = ""
    status: int = 0
    detail: str = ""
    reason: str = ""
    reservation: str = ""
    by: str = ""


def written(entry: msgspec.Struct) -> str:
    """An entry as the trail keeps it. A NUL, which PostgreSQL cannot look at, becomes U+FFFD."""
    return NUL.sub(lambda found: found[1] or "\ufffd", msgspec.json.encode(entry).decode())


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row of a trail that is not what it was. `why` is one line."""

    tenant: str
    seq: int
    why: str


class Chain:
    """A trail that is being proved, row by row. `seq` and `hash` are where it is."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.seq = 0
        self.hash = BEGINNING

    def follow(self, rows: Iterable[TrailRow]) -> Broken | None:
        """The next rows of it, in order; the first one that is wrong, if there is one."""
        for row in rows:
            broken = self._wrong(row)
            if broken:
                return Broken(self.tenant, self.seq + 1, broken)
            self.seq, self.hash = row.seq, row.hash
        return None

    def _wrong(self, row: TrailRow) -> str:
        if row.seq != self.seq + 1:
            return f"the row is missing: the next one there is is {row.seq}"
        if row.previous != self.hash:
            return "it does not follow the row before it"
        if row.hash != link(self.tenant, row.seq, row.entry, row.previous):
            return "it is not what it was when it was written"
        return ""


def payload(checkpoint: Checkpoint) -> bytes:
    """What is signed: what this is, the trail's name, how long it was, the hash it ended in, and when, in ms."""
    said: dict[str, Any] = {
        "what": SIGNED_AS,
        "tenant": checkpoint.tenant,
        "seq": checkpoint.seq,
        "hash": checkpoint.hash.hex(),
        "at": round(checkpoint.at * 1000),
    }
    return msgspec.json.encode(said)


def signed(end: TrailRow, at: float, key: Ed25519PrivateKey) -> Checkpoint:
    """A checkpoint of a trail that ends in `end`, at `at` in POSIX seconds."""
    bare = Checkpoint(end.tenant, end.seq, end.hash, round(at, 3), b"")
    return replace(bare, signature=key.sign(payload(bare)))


class Witness:
    """The checkpoints of a trail, against which it is held while it is followed.

    Raises nothing: what a checkpoint says otherwise is a `Broken` of the row it speaks of.
    """

    def __init__(self, tenant: str, checkpoints: Sequence[Checkpoint], key: Ed25519PublicKey) -> None:
        self._tenant = tenant
        self._said = {checkpoint.seq: checkpoint for checkpoint in checkpoints}
        self._key = key

    def forged(self) -> Broken | None:
        """The first checkpoint that was not signed with the key."""
        for seq in sorted(self._said):
            checkpoint = self._said[seq]
            try:
                self._key.verify(checkpoint.signature, payload(checkpoint))
            except InvalidSignature:
                return Broken(self._tenant, seq, "its checkpoint was not signed by this house")
        return None

    def contradicted(self, rows: Iterable[TrailRow]) -> Broken | None:
        """The first of `rows` of which a checkpoint says that it was another."""
        for row in rows:
            said = self._said.get(row.seq)
            if said is not None and said.hash != row.hash:
                return Broken(self._tenant, row.seq, "a signed checkpoint says that it was another")
        return None

    def beyond(self, seq: int) -> Broken | None:
        """Whether a checkpoint knows of rows after `seq`, where the trail ends."""
        last = max(self._said, default=0)
        if last > seq:
            return Broken(self._tenant, seq + 1, f"the trail was cut short: it had {last} rows, says a checkpoint")
        return None
