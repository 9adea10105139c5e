"""A bulkhead: so many at once, the last places for what is urgent, and no queue.

    in use   0 ......... limit - kept ......... limit
    admits   everyone                 urgent    nobody

Who is not admitted is shed at once. A queue at the door would only turn an overload into late answers: whoever waits
there spends the deadline that it needs inside, and is worked on when nobody listens any more.

Why the limit is a fixed number: limits that adapt (Vegas, gradient) read the load out of latency, and take a service
that has become slow for one that is overloaded. Here latency belongs to somebody else. One hanging upstream takes every
dashboard from 50 to 800 ms while this process idles, and each of them is still answered in time (F-33): an adaptive
limit would shed exactly those. What the number protects is memory and the scheduler, which are the same at noon.
"""

from __future__ import annotations

from dataclasses import dataclass

from nurseries.facts import tell


@dataclass(frozen=True, slots=True)
class BulkheadShed:
    """No place at the bulkhead called `name`: one was turned away, `urgent` or not."""

    name: str
    urgent: bool


class BulkheadPermit:
    """One place, held until `leave`, or until the block is left."""

    __slots__ = ("_bulkhead",)

    def __init__(self, bulkhead: Bulkhead) -> None:
        self._bulkhead: Bulkhead | None = bulkhead

    def leave(self) -> None:
        """Give the place back; doing it twice gives one back."""
        if self._bulkhead is not None:
            bulkhead, self._bulkhead = self._bulkhead, None
            bulkhead.in_use -= 1

    def __enter__(self) -> BulkheadPermit:
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()


class Bulkhead:
    """At most `limit` at once, of which the last `kept` places are for urgent work; `in_use` is how many there are.

    Raises `ValueError` unless `0 <= kept < limit`.
    """

    __slots__ = ("in_use", "kept", "limit", "name")

    def __init__(self, name: str, limit: int, *, kept: int) -> None:
        if not 0 <= kept < limit:
            raise ValueError(f"{name}: of {limit} places {kept} cannot be kept")
        self.name = name
        self.limit = limit
        self.kept = kept
        self.in_use = 0

    def enter(self, *, urgent: bool = False) -> BulkheadPermit | None:
        """A place, or None when there is none for this kind of work: then `BulkheadShed` is told. Never waits."""
        if self.in_use >= (self.limit if urgent else self.limit - self.kept):
            tell(BulkheadShed(self.name, urgent))
            return None
        self.in_use += 1
        return BulkheadPermit(self)
