"""How the session tier remembers proofs that were used, and what that costs it (F-41).

    exact     a key per proof, for as long as any proof may hold: 125 s
    trimmed   a key per proof, for as long as this very proof may hold: about half of that for an honest clock
    bloom     a few bits per proof in a bitmap of fixed size, and a key for the few seconds in which our own client may
              ask again under its nonce

The mode is a key beside the proofs, read in the same step in which a proof is judged and noted: no two instances ever
go by two modes. Whatever the mode, a proof is looked for in all three places, so that what was noted under another mode
is known until its time is over. Hence no mode, and no change of it, lets a proof in twice.

A bitmap is a generation. There are three slots for it, taken in turn by the store's own clock, `turns` seconds each;
bits are set in the youngest and looked for in all that are there. A slot goes by its time to live, which is never less
than what the last proof in it needs: at most two are there at once, so `false_positives` is twice that of one.

The filter is never wrong in the direction of letting in. It may call a fresh proof used: of `CAPACITY` proofs in
`GENERATION`, which is 8,388 a second, fewer than one in a million. Such a desk is answered 401 `DPOP_INVALID` as for a
replay, and the proof of its next try has another `jti`. Beyond that it gets worse gradually: `fill` says how far it is.

Positions are the words of one SHA-512 of the key's thumbprint and the `jti`. No tenant is in it, as none is in the key
of a proof: at sign-in there is a proof before there is a tenant, and a thumbprint is one device's and nobody else's.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from bff.model import Jkt

JtiMode: TypeAlias = Literal["exact", "trimmed", "bloom"]
MODES: Final[tuple[JtiMode, ...]] = ("exact", "trimmed", "bloom")

POSITIONS: Final = 16  # bits per proof: words of 32 bits in a SHA-512
BITS: Final = 2**25  # of one generation: 4 MiB
PER_PROOF: Final = 32  # bits of a bitmap for each proof that it is meant for
CAPACITY: Final = BITS // PER_PROOF  # proofs in one generation
GENERATION: Final = 125.0  # seconds
STATED: Final = 1e-6  # fresh proofs that may be called used, of all, up to CAPACITY
NONCE_SECONDS: Final = 10.0  # that a proof's nonce is kept in the mode bloom: longer than a request may take
SAMPLE: Final = 65_536  # bytes of a bitmap that are counted to know how full it is: to within a third of a per cent


@dataclass(frozen=True, slots=True)
class Filter:
    """The size of a generation in bits, a power of two, and for how many seconds it is written into."""

    bits: int = BITS
    turns: float = GENERATION


FILTER: Final = Filter()


@dataclass(frozen=True, slots=True)
class JtiMemory:
    """How proofs are remembered: the `mode`, for how many seconds it has been so, and how full the filter is.

    `lasted` is infinite where the mode was never turned. `fill` is 1 where a generation holds what it is meant for.
    """

    mode: JtiMode
    lasted: float
    fill: float


def marks(jkt: Jkt, jti: str) -> bytes:
    """Where the bits of a proof are: sixteen numbers of four bytes, of each of which the low bits count."""
    # A thumbprint has no NUL, so no two pairs are written alike.
    return hashlib.sha512(f"{jkt}\0{jti}".encode("utf-8", "surrogatepass")).digest()


def offsets(words: bytes, bits: int) -> tuple[int, ...]:
    """The same as places in a bitmap."""
    return tuple(int.from_bytes(words[at : at + 4], "big") % bits for at in range(0, len(words), 4))


def fill(part: float) -> float:
    """How full a generation is, of whose bits that `part` is set; infinite where all are."""
    return -PER_PROOF / POSITIONS * math.log1p(-part) if part < 1 else math.inf


def false_positives(filled: float) -> float:
    """Which part of fresh proofs two generations that are so full call used."""
    one: float = (1 - math.exp(-filled * POSITIONS / PER_PROOF)) ** POSITIONS
    return 1 - (1 - one) ** 2
