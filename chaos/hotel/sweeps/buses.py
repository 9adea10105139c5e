"""The sweep of streams: whatever the session tier does as bus and as registry, at every moment of a stream's life.

Two servers, desks at both that listen by stream, by poll and as a desktop does, and somebody who speaks at each of
them. Something happens to a desk, and a second before or in the middle of it the tier fails, in one way or two
(`ailing.py`).

Then all is healed. Each device has heard each event of its scope once and in order, or was told that something is
lost; who had a stream when the bus died knew it within 3 s (F-34), and the bus is back 5 s after it could be; of two
streams of a device one lives (F-26), and who was logged out knows it (F-31).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Final

import trio

from bff.facts.events import BusGap, BusStalled, EventsLost, EventsRestored, StreamEnded
from chaos.hotel.sweeps.ailing import DEAD, FAULTS
from chaos.hotel.sweeps.airing import SERVERS, Seat, open_airing, until
from chaos.hotel.sweeps.batch import in_worlds
from chaos.marks import Mark, Marks, told
from chaos.toxics import Down

if TYPE_CHECKING:
    from chaos.hotel.sweeps.airing import Airing
    from chaos.hotel.sweeps.batch import One
    from chaos.hotel.sweeps.listeners import Listener
    from chaos.sweep import Ran

APART: Final = 1.5  # seconds from the first fault to one that comes after it
ACTS: Final = 2.2  # seconds of quiet speech before anything happens
SPEAKS: Final = 7.0  # seconds from then on in which somebody speaks
EVERY: Final = 0.37  # seconds between two events of one speaker
STALL_SECONDS: Final = 3.0  # CONTRACT section 5
BACK_SECONDS: Final = 5.0
HEARS_WITHIN: Final = 45.0  # seconds, when all is well again: nobody has given up a silent stream by then
BROKEN: Final = 0.1  # seconds in which a server cannot be reached


@dataclass(frozen=True, slots=True)
class StreamCase:
    """What the tier does, and when: `later`, the second fault comes after the first; the moment is a word and a lag."""

    faults: tuple[str, ...]
    moment: str
    lag: str
    later: bool = False

    @property
    def name(self) -> str:
        """`kill before drain`, `kill then failover-lost amid resume`, `stop with overrun amid live`."""
        return f"{(' then ' if self.later else ' with ').join(self.faults)} {self.lag} {self.moment}"


class StreamSweep:
    """`chaos.sweep.Sweep` of `StreamCase`."""

    name = "streams"
    about = "every fault of the session tier, and every two, at every moment of a stream: nothing lost, nothing twice"

    def cases(self, *, pairs: bool) -> Sequence[StreamCase]:
        """Moment by moment; with pairs every two faults at once, and every one after every other, too."""
        alone = [StreamCase((fault,), moment, lag) for moment, lag, fault in product(MOMENTS, LAGS, FAULTS)]
        if not pairs:
            return alone
        words = list(FAULTS)
        both = [
            StreamCase((one, other), moment, lag, later)
            for moment, lag, one, other, later in product(MOMENTS, LAGS, words, words, (False, True))
            if later or words.index(one) < words.index(other)
        ]
        return [*alone, *both]

    def together(self, case: StreamCase) -> Hashable:
        return case.moment

    def marks(self) -> Marks:
        """All that the bus has against its faults was needed."""
        needed = (BusStalled, BusGap, EventsLost, EventsRestored)
        ends = ("superseded", "drained", "logged-out")
        kinds = [Mark(kind.__name__, partial(_is_a, kind)) for kind in needed]
        return Marks([*kinds, *(told(StreamEnded, why=why) for why in ends)])

    def run(self, batch: Sequence[StreamCase], seed: int, marks: Marks) -> Iterator[Ran]:
        """Each in a world of its own."""
        for case in batch:
            yield from in_worlds([case], partial(_open_case, seed), marks, choices=lambda: None, seed=seed)


def _is_a(kind: type, fact: object) -> bool:
    return isinstance(fact, kind)


@asynccontextmanager
async def _open_case(seed: int) -> AsyncIterator[One[StreamCase]]:
    async with open_airing(seed) as airing:
        yield _Episode(airing).case


class _Episode:
    """One case in its world."""

    def __init__(self, airing: Airing) -> None:
        self.air = airing
        self.world = airing.world
        self.operators = airing.world.hotel.operators
        self.early = ""  # an id from before anything was said
        self.first: dict[Listener | Seat, int] = {}  # of all that was said, where one begins who has not all to hear

    async def case(self, case: StreamCase) -> None:
        """Raises `AssertionError` for what a device was told that it must not, or was not that it must."""
        await self._sit_down()
        async with trio.open_nursery() as nursery:
            for server in SERVERS:
                nursery.start_soon(self._speak, server, trio.current_time() + ACTS + SPEAKS)
            await trio.sleep(ACTS)
            lead, lag = LAGS[case.lag]
            nursery.start_soon(self._break, case, lag)
            await trio.sleep(lead)
            await MOMENTS[case.moment](self)
        await trio.sleep(BACK_SECONDS)
        self._is_back()
        await self._last_words()
        await self._judge(case)

    # -- who is there -------------------------------------------------------------------------------------------

    async def _sit_down(self) -> None:
        """At each server one who listens, one who polls, one who follows; and at the first one of another house."""
        ines, tiago = self.operators[:2]
        foreign = next(one for one in self.operators if one.tenant_id != ines.tenant_id)
        desks = [await self.air.desk(ines, server, f"{way}-{server}") for way in _WAYS for server in SERVERS]
        desks += [await self.air.desk(tiago, "one", "tiago-one"), await self.air.desk(foreign, "one", "foreign-one")]
        self.ids = {desk.device: await self.air.now_at(desk) for desk in desks}
        for desk in desks:
            self._sit(desk.device)
        self.late = [await self.air.desk(ines, server, f"late-{server}") for server in SERVERS]
        self.early = self.ids["stream-one"]
        await trio.sleep(1.0)
        assert all(one.live for one in self.air.listeners if not one.desk.device.startswith("poll")), "not all listen"

    def _sit(self, device: str) -> None:
        desk = next(desk for desk in self.world.desks if desk.device == device)
        if device.startswith("follow"):
            self.air.follow(desk, last_id=self.ids[device])
        else:
            self.air.listen(desk, last_id=self.ids[device], polls=device.startswith("poll"))

    def of(self, device: str) -> Listener | Seat:
        """Who listens as that device, the first where there are two."""
        return next(one for one in self.air.listeners if one.desk.device == device)

    async def _speak(self, server: str, ends: float) -> None:
        """To the house, to a person, to another house, to one device."""
        ines, tiago = self.operators[:2]
        foreign = next(one.tenant_id for one in self.operators if one.tenant_id != ines.tenant_id)
        scopes: tuple[dict[str, str], ...] = (
            {},
            {"operatorId": ines.operator_id},
            {"tenant": foreign},
            {},
            {"deviceId": "stream-one"},
            {"operatorId": tiago.operator_id},
        )
        number = SERVERS.index(server)
        while trio.current_time() < ends:
            await self.air.say(server, **scopes[number % len(scopes)])
            number += 1
            await trio.sleep(EVERY)

    async def _last_words(self) -> None:
        for server in SERVERS:
            for scope in ({}, {"tenant": self.operators[-1].tenant_id}):
                await self.air.say(server, **scope)

    # -- what breaks --------------------------------------------------------------------------------------------

    async def _break(self, case: StreamCase, lag: float) -> None:
        await trio.sleep(lag)
        async with trio.open_nursery() as nursery:
            for at, word in enumerate(case.faults):
                nursery.start_soon(self._fault, word, APART * at * case.later)
            if len(case.faults) == 1 and case.faults[0] in DEAD:
                nursery.start_soon(self._is_known, DEAD[case.faults[0]])
        self.world.stores.tier.clear()

    async def _fault(self, word: str, after: float) -> None:
        await trio.sleep(after)
        await FAULTS[word](self.air)

    async def _is_known(self, servers: Sequence[str]) -> None:
        """That the bus is dead, to all who have had a stream there for so long."""
        died = trio.current_time()
        await trio.sleep(STALL_SECONDS)
        for one in self.air.listeners:
            where = one.desk.base.removeprefix("http://")
            knows = one.stalled or not one.live or one.live_at > died or where not in servers
            assert knows, f"{one.desk.device} is not told that the bus is dead"

    def _is_back(self) -> None:
        for server in SERVERS:
            bus = self.world.servers[server].house.events.bus
            assert bus.in_step and not bus.stalled, f"{server} is not back"

    # -- what must be so ----------------------------------------------------------------------------------------

    async def _judge(self, case: StreamCase) -> None:
        await until(lambda: not any(self.air.lacks(one) for one in self.air.listeners), HEARS_WITHIN)
        self.air.judge(self.first)
        for one in self.air.listeners:
            expected = {"force-logout": "tiago-one", "supersession": "-"}.get(case.moment, "nobody")
            assert not one.over or expected in one.desk.device, f"{one.desk.device} ended: {one.over}"
        if case.moment == "supersession":
            self._one_lives()
        if case.moment == "force-logout":
            assert self.of("tiago-one").over in {"logged-out", "session-over"}, "he was never logged out"

    def _one_lives(self) -> None:
        for device in _TWICE:
            older, newer = [one for one in self.air.listeners if one.desk.device == device]
            assert bool(older.over) is not bool(newer.over), f"{device}: of two streams not one lives"
            loser = older if older.over else newer
            assert loser.over == "superseded", f"{device} ended: {loser.over}"


_WAYS: Final = ("stream", "poll", "follow")
_TWICE: Final = ("stream-one", "follow-one")


LAGS: Final[Mapping[str, tuple[float, float]]] = {  # seconds until it happens, and until the fault
    "before": (1.0, 0.0),
    "amid": (0.0, 0.022),
}


# -- what happens -------------------------------------------------------------------------------------------------


async def _open(here: _Episode) -> None:
    """Two more come, that were there before anything was said."""
    one, two = here.late
    here.air.listen(one, last_id=here.early)
    here.air.follow(two, last_id=here.early)
    await trio.lowlevel.checkpoint()


async def _nothing(_: _Episode) -> None:
    await trio.lowlevel.checkpoint()


async def _resume(here: _Episode) -> None:
    """All connections of the first server break, and all desks come again."""
    with here.world.network.inject("one", Down()):
        await trio.sleep(BROKEN)


async def _supersede(here: _Episode) -> None:
    """Somebody else listens as the devices of the first server, at the second."""
    for device in _TWICE:
        older = here.of(device)
        desk = await here.air.desk(here.operators[0], "two", device)
        last = older.last_id
        newer = here.air.follow(desk, last_id=last) if isinstance(older, Seat) else here.air.listen(desk, last_id=last)
        here.first[newer] = here.air.place(last) + 1


async def _drain(here: _Episode) -> None:
    """The first server leaves, and another comes in its place."""
    await here.world.servers["one"].end()
    await here.air.serve("one")


async def _log_out(here: _Episode) -> None:
    """A person, everywhere."""
    await here.air.say("two", "force-logout", operatorId=here.operators[1].operator_id)


MOMENTS: Final[Mapping[str, Callable[[_Episode], Awaitable[None]]]] = {
    "opening": _open,
    "live": _nothing,
    "resume": _resume,
    "supersession": _supersede,
    "drain": _drain,
    "force-logout": _log_out,
}
