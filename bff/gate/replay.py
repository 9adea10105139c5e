"""The process's own memory of proofs: a proof that was accepted once is not accepted again (F-28), tier up or down.

A proof holds from `WINDOW` before its `iat` to `WINDOW` after it, so it must be remembered for twice that from the
moment it was first accepted; `keep` is a little more. The memory is cut into slices by time: a claim looks into each of
the few there are and writes into the youngest, and a slice is dropped as a whole, once no proof in it can hold any
more. Nothing is ever searched through, and there is nothing to await: between the question and the note no other task
can come.

Only a digest is kept, of 15 bytes, since Python stores those in the memory of 8: 120 bits, so that nobody's proof is
refused for another's.

The clock is POSIX time, as the proofs' own is, and may be set. Forward, nothing is lost that could hold. Back, proofs
hold again that held before, and some of them may be forgotten already: until the clock has passed what was forgotten,
nothing new is accepted. A step of up to `keep` less twice `WINDOW` (5 s) costs nothing; a larger one costs as long as
it was, in which honest desks, whose clocks went on, are in the future for this server anyway.

At its bound it is full and says so: what cannot be remembered must be refused (F-41).
"""

from __future__ import annotations

import math
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from bff.facts import WindowFull
from bff.gate.proof import WINDOW
from nurseries import tell

if TYPE_CHECKING:
    from bff.model import Jkt

SLICES: Final = 8  # per `keep`: a proof is kept at most a quarter longer than it must be
MOST_SLICES: Final = 3 * SLICES  # whatever the clock does; then the youngest slice is stretched
DIGEST: Final = 15  # bytes


class Verdict(Enum):
    """What the window knows of a proof."""

    FRESH = "fresh"  # and it is remembered from now on
    SEEN = "seen"
    FULL = "full"  # it cannot be remembered, or may have been forgotten: refuse it


class _Slice:
    """Digests of what was accepted till `last`; begun at `since`. POSIX seconds."""

    __slots__ = ("digests", "last", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.last = now
        self.digests: set[bytes] = set()


class ReplayWindow:
    """Remembers at most `bound` proofs, each for at least `keep` seconds: twice `WINDOW`, or more."""

    __slots__ = ("_forgotten", "_slices", "bound", "keep")

    def __init__(self, *, keep: float = 125.0, bound: int = 400_000) -> None:
        assert keep >= 2 * WINDOW, "a proof that still holds would be forgotten"
        self.keep = keep
        self.bound = bound
        self._slices: list[_Slice] = []
        self._forgotten = -math.inf  # until when what was accepted may not be remembered any more

    def __len__(self) -> int:
        return sum(len(part.digests) for part in self._slices)

    def claim(self, jkt: Jkt, jti: str, now: float) -> Verdict:
        """Note the proof `jti` of the key `jkt`, accepted `now` (POSIX seconds), unless it was noted before."""
        # A thumbprint has no NUL, so no two pairs are written alike.
        digest = blake2b(f"{jkt}\0{jti}".encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()
        youngest = self._youngest(now)
        for part in self._slices:
            if digest in part.digests:
                return Verdict.SEEN
        size = len(self)
        if size >= self.bound:
            tell(WindowFull(size))
            return Verdict.FULL
        if now <= self._forgotten + 2 * WINDOW:
            return Verdict.FULL
        youngest.digests.add(digest)
        youngest.last = max(youngest.last, now)
        return Verdict.FRESH

    def _youngest(self, now: float) -> _Slice:
        """The slice for what is claimed now; when a new one begins, those that nobody needs any more are dropped."""
        if self._slices:
            youngest = self._slices[-1]
            # A request may bring the time at which it began: what comes from a little before is kept a little longer.
            if abs(now - youngest.since) < self.keep / SLICES:
                return youngest
        self._drop(now)
        if len(self._slices) < MOST_SLICES:
            self._slices.append(_Slice(now))
        return self._slices[-1]

    def _drop(self, now: float) -> None:
        kept = []
        for part in self._slices:
            if part.last + self.keep >= now:
                kept.append(part)
            elif part.digests:
                self._forgotten = max(self._forgotten, part.last)
        self._slices = kept
