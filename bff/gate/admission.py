"""Rung 0: draining, overloaded, or too fast. Judged before anything is verified, since it must be cheap.

    draining      this instance leaves: another one answers
    overloaded    as many requests are under way as this process can answer in time; signing in has places kept, since a
                  desk that cannot renew its session loses the other requests too
    too fast      more than `rate` a second from one (address, device), or from one address

A stream of events is let in by the same rule, with numbers of its own: so many may be opened at once, so that a fleet
that comes back in one moment (F-26) takes no place from reads and mutations, and so many may be open. Whoever is turned
away is told a moment of his own to come again at, since an address may be a whole hotel.

Of those that are being opened a few climb the ladder, and the others stand in line, for a while. In each of its steps
the scheduler runs all that can run, and a dashboard is answered in some twenty steps: were hundreds of openings worked
on side by side, each step would be theirs, and a read would take as long as twenty of them. A few keep a core as busy.

Rates are token buckets on Trio's clock, kept as one number per key. A key names the address *and* the device, so that
nobody can use up what a foreign device may do; the device is only claimed here (rung 4 judges it), which is why it is
counted with the address that claims it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import trio

from bff.config import STREAMS
from bff.problem import Code, Problem
from nurseries import Bulkhead, BulkheadPermit, required, within

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextlib import ExitStack

    from bff.config import Rates

OPENING: Final = 256  # streams that are being opened at once, most of them in line
TURNS: Final = 4  # of them that climb
IN_LINE: Final = 2.0  # seconds that one stands in line at most: of the five that an opening has
STREAM_BURST: Final = 5.0  # of a device, whatever its rate
STREAM_AGAIN: Final = 4.0  # seconds over which those come again who were turned away
IN_FLIGHT: Final = 512  # requests under way at once: at 1.8 ms of CPU each, more could not be answered within 0.8 s
KEPT: Final = 64  # of them for signing in, renewing and signing out
KEYS: Final = 16_384  # keys a table remembers
DEVICE_BYTES: Final = 128  # of a claimed device id that count: a head may hold 32 KiB of it
BURST: Final = 2.0  # seconds' worth of requests that may come at once
MINUTE: Final = 60.0  # seconds in which so many wrong passwords of one operator's may come, and
QUARTER: Final = 900.0  # of an hour, so many wrong codes of his second factor
TRY_AGAIN: Final = 1.0  # seconds, where nobody can know better
_DUST: Final = 1e-9  # seconds: sums of floats may be off by less

K = TypeVar("K", bound="Hashable")


class Buckets(Generic[K]):
    """A token bucket per key: `rate` a second, `burst` at once. A `rate` of 0 limits nothing.

    At most `keys` are remembered. A bucket that is full again holds nothing to remember and is forgotten; while all are
    in use the one that was used longest ago is, which gives its key a full one: a flood of keys costs memory for `keys`
    of them, makes the limit looser, and never refuses anybody else.
    """

    __slots__ = ("_full_at", "_keys", "_patience", "_step")

    def __init__(self, rate: float, burst: float, *, keys: int = KEYS) -> None:
        self._step = 1.0 / rate if rate else 0.0
        self._patience = (max(1.0, burst) - 1.0) * self._step + _DUST
        self._keys = keys
        self._full_at: OrderedDict[K, float] = OrderedDict()  # the Trio time at which a bucket will be full again

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at)

    def wait(self, key: K) -> float:
        """Seconds until `key` has a token; 0.0 when it has one now. Takes nothing."""
        missing = self._full_at.get(key, 0.0) - trio.current_time() - self._patience
        return max(0.0, missing)

    def take(self, key: K) -> bool:
        """Take one, if there is one."""
        if not self._step:
            return True
        now = trio.current_time()
        full_at = max(self._full_at.get(key, now), now)
        if full_at - now > self._patience:
            return False
        self._full_at[key] = full_at + self._step
        self._full_at.move_to_end(key)
        self._forget(now)
        return True

    def _forget(self, now: float) -> None:
        oldest = next(iter(self._full_at.values()))
        while oldest <= now or len(self._full_at) > self._keys:
            self._full_at.popitem(last=False)
            oldest = next(iter(self._full_at.values()))


class Admission:
    """Who is let in to the gate at all. `draining` is set when the instance begins to leave.

    `streams` has a place for each that is open, which its room holds. `passwords` and `codes` count what was guessed
    wrong, by (tenant, operator). `lot` gives a number from 0 to 1.
    """

    def __init__(
        self,
        rates: Rates,
        *,
        in_flight: int = IN_FLIGHT,
        kept: int = KEPT,
        streams: int = STREAMS,
        lot: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.draining = False
        self.places = Bulkhead("requests", in_flight, kept=kept)
        self.opening = Bulkhead("streams being opened", OPENING, kept=0)
        self.streams = Bulkhead("streams", streams, kept=0)
        self._turns = trio.Semaphore(TURNS)
        self._lot = lot
        self._new_streams: Buckets[tuple[str, bytes]] = Buckets(rates.streams, STREAM_BURST)
        self.passwords: Buckets[tuple[str, str]] = Buckets(rates.passwords / MINUTE, rates.passwords)
        self.codes: Buckets[tuple[str, str]] = Buckets(rates.codes / QUARTER, rates.codes)
        self._devices: Buckets[tuple[str, bytes]] = Buckets(rates.requests, rates.requests * BURST)
        self._addresses: Buckets[str] = Buckets(rates.address, rates.address * BURST)

    def enter(
        self, address: str, device: bytes, *, urgent: bool = False, stream: bool = False
    ) -> BulkheadPermit | Problem:
        """A place for as long as the request lasts, or why not. Never waits; a refusal takes no token."""
        if self.draining:
            return Problem(Code.DRAINING, "this instance is shutting down", retry_after=TRY_AGAIN)
        place = self._room_for_a_stream() if stream else self.places.enter(urgent=urgent)
        if place is None and stream:
            return self.crowded()
        if place is None:
            return Problem(Code.OVERLOADED, "as many requests as can be answered are under way", retry_after=TRY_AGAIN)
        who = (address, device[:DEVICE_BYTES])
        wait = max(self._devices.wait(who), self._addresses.wait(address))
        if stream:
            wait = max(wait, self._new_streams.wait(who))
        if wait:
            place.leave()
            again = wait + (self._spread() if stream else 0.0)
            return Problem(Code.RATE_LIMITED, "the device or its address asks too fast", retry_after=again)
        self._devices.take(who)
        self._addresses.take(address)
        if stream:
            self._new_streams.take(who)
        return place

    async def turn(self, held: ExitStack) -> Problem | None:
        """Wait for the turn of a stream that has its place, in order of arrival, or say why it does not come.

        It lasts as long as `held`. Raises `nurseries.Unbounded` without a deadline above it.
        """
        required("turn")
        with within(IN_LINE):
            await self._turns.acquire()
            held.callback(self._turns.release)
            return None
        return self.crowded()

    def crowded(self) -> Problem:
        """No room for one more stream: each comes again at another moment."""
        again = TRY_AGAIN + self._spread()
        return Problem(Code.OVERLOADED, "as many streams as there is room for are open", retry_after=again)

    def _spread(self) -> float:
        return STREAM_AGAIN * self._lot()

    def _room_for_a_stream(self) -> BulkheadPermit | None:
        return self.opening.enter() if self.streams.in_use < self.streams.limit else None
