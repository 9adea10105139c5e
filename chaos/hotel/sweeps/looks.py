"""A world in which one dashboard after the other meets a fault, each as if it were the first.

Before each: every connection is kept and idle, nothing is kept of answers (or all of them, for so long), no breaker
has failures to remember. After each: nothing of it is alive, and when the fault is healed the next dashboard is whole,
every call of it answered, and none on a connection that had died.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import trio
from trio.testing import MockClock

from bff.facts import ConnectionClosed, DashboardServed, UpstreamCalled
from chaos.hotel.checks.answers import DEADLINE_MS, TABLE
from chaos.hotel.sweeps.expected import Expected, Heard, Situation, expected, heard, untouched
from chaos.hotel.sweeps.onsets import Anchor, Onset
from chaos.hotel.world import World, no_bugs, open_world
from chaos.sim.clock import simulate
from chaos.toxics import Hang

if TYPE_CHECKING:
    from chaos.hotel.fleet.desk import Desk, Seen
    from chaos.sweep import Fault

HANG: Final = Hang()
LEAD: Final = 0.1  # seconds from setting a fault up to the desk's question
PAUSE: Final = 3.0  # between two dashboards: fewer than a breaker's volume are in its window
RENEW_EVERY: Final = 250.0  # seconds: so that no token grows old while iam fails
IDLE: Final = 30.0  # after so long no connection is kept
FIT: Final = frozenset({"stale", "idle", "crowded out"})  # why a connection that nobody uses may be closed
BESIDES: Final = frozenset({"status", "jwks", "refresh"})  # operations that the server may call for itself
SERVICES: Final = tuple(dict.fromkeys(row.service for row in TABLE.values()))
DEADLINE: Final = DEADLINE_MS / 1000


def way_to(service: str) -> float:
    """Seconds to a service: 5 ms and a little, for a third of them each, so that some answers tie and others do not."""
    return 0.005 + 0.0001 * (SERVICES.index(service) % 3) if service in SERVICES else 0.005


class Looks:
    """One desk in one world, and what has been heard there. Made by `open_looks`.

    `ways` has the seconds to each service, and may be changed: lines that are open are so long from then on.
    """

    def __init__(self, world: World, desk: Desk, reserve: float, ways: dict[str, float] | None = None) -> None:
        self.world = world
        self.desk = desk
        self.reserve = reserve
        self.ways = ways or {name: way_to(name) for name in world.estate.doors}
        self._renew_at = 0.0
        self._moments = {
            Anchor.ASKED: 0.0,
            Anchor.HALF: DEADLINE / 2,
            Anchor.RESERVE: reserve,
            Anchor.DEADLINE: DEADLINE,
        }

    async def case(self, faults: Sequence[Fault], onset: Onset) -> Seen:
        """One dashboard that meets `faults` at `onset`, and the one after it. Raises `AssertionError`."""
        began = len(self.world.facts)
        self._renew(faults)
        await self.settle(onset)
        seen = await self.meeting(faults, onset)
        self.promised(faults, onset).check(seen)
        await self.world.quiet()
        await self.healed()
        self.no_bugs(began)
        return seen

    def promised(self, faults: Sequence[Fault], onset: Onset) -> Expected:
        """What the dashboard must be."""
        calls: dict[str, tuple[Heard, ...]] = {service: (self._untouched(service, onset),) for service in SERVICES}
        at = self._seconds(faults, onset)
        for fault in faults:
            if fault.target in calls:
                calls[fault.target] = self._heard(fault, at, onset)
        return expected(calls, reserve=self.reserve, age=onset.age)

    def _heard(self, fault: Fault, at: float, onset: Onset) -> tuple[Heard, ...]:
        """Of a fault; the one connection that is kept to tenant may have been taken to ask for its standing."""
        ways = (True, False) if onset.connected and fault.target == "tenant" else (onset.connected,)
        return tuple(
            one
            for connected in ways
            for one in heard(fault.toxic, Situation(self.ways[fault.target], at, onset.held, connected))
        )

    def _untouched(self, service: str, onset: Onset) -> Heard:
        """Of a service that works."""
        quick = untouched(Situation(self.ways[service], connected=onset.connected))
        slow = untouched(Situation(self.ways[service], connected=onset.connected and service != "tenant"))
        return Heard(quick.word, quick.earliest, slow.latest)

    def _seconds(self, faults: Sequence[Fault], onset: Onset) -> float:
        return onset.seconds(self.ways[faults[0].target], self._moments) if faults else 0.0

    def _renew(self, faults: Sequence[Fault]) -> None:
        """Where iam fails, the token is one that was not seen yet, so that it is verified."""
        session = self.desk.session
        if session is not None and any(fault.target == "iam" for fault in faults):
            anew = {"jti": f"renewed-{len(self.world.facts)}"}
            session.access_token = self.world.authority.mint(session.access_token, anew, {})

    async def settle(self, onset: Onset) -> None:
        """Let what is kept become as old as the onset says, or forget it; and connections idle, or gone."""
        pause = PAUSE if onset.connected else IDLE
        await self.later(onset.age or pause)
        if onset.age is None:
            self.world.stores.cache.flush()

    async def later(self, seconds: float) -> None:
        """So many seconds later: the clock is put forward, and whoever waited for something by then wakes up once."""
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock), "in virtual time alone"
        clock.jump(seconds - LEAD)
        await trio.sleep(LEAD)

    async def meeting(self, faults: Sequence[Fault], onset: Onset) -> Seen:
        """One dashboard; the faults come at their time, also when it has been answered by then."""
        asked = trio.current_time() + LEAD
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fall, faults, onset, asked)
            await trio.sleep_until(asked)
            answer = await self.desk.dashboard()
        return answer  # noqa: RET504 - a return inside of a nursery's block is one that waits (ASYNC121)

    async def _fall(self, faults: Sequence[Fault], onset: Onset, asked: float) -> None:
        if onset.held:
            for fault in faults:
                self.world.inject(fault.target, HANG)
        await trio.sleep_until(asked + self._seconds(faults, onset))
        for fault in faults:
            self.world.inject(fault.target, fault.toxic)
            if onset.held and fault.toxic != HANG:
                self.world.clear(fault.target, HANG)

    async def healed(self) -> Seen:
        """All is healed: a whole dashboard, of answers that came now, each over a connection that was fit."""
        self.world.clear()
        self.world.stores.cache.flush()
        if trio.current_time() >= self._renew_at:
            await self.desk.renew()
            self._renew_at = trio.current_time() + RENEW_EVERY
        began = len(self.world.facts)
        seen = await self.desk.dashboard()
        calls = {service: (self._after(service),) for service in SERVICES}
        expected(calls, reserve=self.reserve).check(seen)
        await self.world.quiet()
        self._all_fit(self.world.facts[began:])
        return seen

    def _after(self, service: str) -> Heard:
        """At once, over a kept connection; a new one takes a dial more."""
        return Heard("ok", 2 * self.ways[service], 4 * self.ways[service])

    def _all_fit(self, facts: Sequence[object]) -> None:
        called = [fact for fact in facts if isinstance(fact, UpstreamCalled)]
        calls = [fact.outcome for fact in called if fact.operation not in BESIDES]
        closed = {
            f"{fact.host} {fact.why}" for fact in facts if isinstance(fact, ConnectionClosed) and fact.why not in FIT
        }
        assert not closed, f"healed, and used a connection that was not fit: {', '.join(sorted(closed))}"
        assert calls == ["ok"] * len(TABLE), f"healed, and its calls are {calls}"

    def no_bugs(self, began: int) -> None:
        """Raises `AssertionError` for a bug that was told since then, or a dashboard that was composed too late."""
        told = self.world.facts[began:]
        no_bugs(told)
        late = [fact.late for fact in told if isinstance(fact, DashboardServed) and fact.late]
        assert not late, f"composed {late} s after the deadline"


@asynccontextmanager
async def open_looks(seed: int, *, reserve: float) -> AsyncIterator[Looks]:
    """A world with a desk that has seen one whole dashboard. `reserve` is what `composed_at()` gives."""
    with ExitStack() as delays:
        async with open_world(seed=seed) as world:
            ways = {name: way_to(name) for name in world.estate.doors}
            for name, door in world.estate.doors.items():
                delays.enter_context(world.network.delay(door.host, partial(ways.__getitem__, name)))
            looks = Looks(world, await world.desk(), reserve, ways)
            await looks.healed()
            yield looks


@cache
def composed_at() -> float:
    """When an answer comes that a service never answered for, in seconds after the question.

    Found out once, in a run of its own: to be called outside of any.
    """

    async def hung() -> float:
        async with open_world() as world:
            desk = await world.desk()
            world.inject("pricing", HANG)
            return (await desk.dashboard()).took

    took = simulate(hung)
    assert 0.9 * DEADLINE <= took <= DEADLINE, f"composed after {took} s, which wastes time or is too late"
    return took
