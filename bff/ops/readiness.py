"""Whether this instance may be sent work, and what is wrong where: one line per dependency (CONTRACT section 1).

    postgres       down   not ready: mutations cannot be recorded
    redis-session  down   not ready: sessions and replays cannot be judged
    bus            down   not ready (F-34): it delivers nothing, though the tier may answer; desks are told, and poll
    redis-cache    down   ready, degraded (F-17): what is missing is asked for again
    outbox         old    ready, degraded (F-21): letters wait for too long, or cannot be said; no desk notices
    an upstream    down   ready, degraded: one dead upstream does not take every instance out
    iam            unread ready, degraded: an instance that began while iam was away has none of its keys yet, and
                          answers 502; were it not ready for that, iam's outage would take every new instance out
    traffic        down   not ready: a person, or a job, has halted it (F-28); there is a line only while it is so
    requests,      full   ready, degraded: four fifths of the places are taken, and beyond the last one is shed; there
    listeners             is a line only while it is so, which is before anybody is turned away
    streams        few    ready, degraded: there is room for fewer than were asked for; there is a line only if so

Stores are asked each second by a service of their own; of an upstream the breakers say how it is, since a probe would
be one more call to what may be drowning.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from bff.model import Down
from bff.outside import rfc3339
from nurseries import State, within

if TYPE_CHECKING:
    from bff.outside import Outside
    from bff.stores.switches import Switches
    from nurseries import Breaker, Bulkhead

Ping = Callable[[], Awaitable[Down | None]]

EVERY: Final = 1.0  # seconds between two pings
PATIENCE: Final = 0.5  # seconds until a store that does not answer counts as down
VITAL: Final = frozenset({"postgres", "redis-session", "bus"})
NOT_ASKED: Final = "not asked yet"
CROWDED: Final = 0.8  # of the places that are for everybody


@dataclass(frozen=True, slots=True)
class Standing:
    """How a dependency is: `state` up, degraded or down, `since` in POSIX seconds, `detail` one line or ''."""

    state: str
    since: float
    detail: str = ""


class Readiness:
    """What is known of every dependency. `stores` maps a name to its ping."""

    def __init__(self, outside: Outside, stores: Mapping[str, Ping], services: Iterable[str]) -> None:
        self._outside = outside
        self._stores = stores
        now = outside.now()
        self._known = {name: Standing("down", now, NOT_ASKED) for name in stores}
        self._known.update({name: Standing("up", now) for name in services})
        self._breakers: Mapping[str, Breaker] = {}
        self._switches: Switches | None = None
        self._doubts: Mapping[str, Callable[[], str]] = {}
        self._places: Mapping[str, Bulkhead] = {}
        self._crowded: dict[str, float] = {}  # since when
        self.draining = False
        self._lacking: dict[str, Standing] = {}

    def watch(self, breakers: Mapping[str, Breaker]) -> None:
        """Judge upstreams by `breakers`, called `service.operation`."""
        self._breakers = breakers

    def obey(self, switches: Switches) -> None:
        """Not be ready while `traffic` is off."""
        self._switches = switches

    def doubt(self, doubts: Mapping[str, Callable[[], str]]) -> None:
        """Ask that of an upstream, too: what is amiss with it that no breaker can know, or ''."""
        self._doubts = doubts

    def count(self, places: Mapping[str, Bulkhead]) -> None:
        """Say when so many of `places` are taken that somebody may soon be turned away."""
        self._places = places

    def lacks(self, name: str, detail: str) -> None:
        """Say for good that this instance has less of something than it should."""
        self._lacking[name] = Standing("degraded", self._outside.now(), detail)

    async def serve(self) -> None:
        """Ask the stores for ever; a service for an owner."""
        while True:
            self._judge_upstreams()
            self._count_places()
            async with trio.open_nursery() as nursery:
                for name, ping in self._stores.items():
                    nursery.start_soon(self._ask, name, ping)
            await trio.sleep(EVERY)

    async def _ask(self, name: str, ping: Ping) -> None:
        answer: Down | None = Down(f"no answer within {PATIENCE * 1000:.0f} ms")
        with within(PATIENCE):
            answer = await ping()
        if answer is None:
            self._turn(name, "up", "")
        else:
            self._turn(name, "down" if name in VITAL else "degraded", answer.why)

    def _turn(self, name: str, state: str, detail: str) -> None:
        known = self._known[name]
        since = known.since if known.state == state else self._outside.now()
        self._known[name] = Standing(state, since, detail)

    def _judge_upstreams(self) -> None:
        failing: dict[str, list[str]] = {}
        for name, breaker in self._breakers.items():
            if breaker.state is not State.CLOSED:
                service, _, operation = name.partition(".")
                failing.setdefault(service, []).append(f"{operation} {breaker.state.value}")
        for service, doubt in self._doubts.items():
            if why := doubt():
                failing.setdefault(service, []).append(why)
        for name in self._known:
            if name in self._stores:
                continue
            troubles = failing.get(name)
            self._turn(name, "degraded" if troubles else "up", ", ".join(troubles or ()))

    def _count_places(self) -> None:
        for name, places in self._places.items():
            if places.in_use >= CROWDED * (places.limit - places.kept):
                self._crowded.setdefault(name, self._outside.now())
            else:
                self._crowded.pop(name, None)

    @property
    def ready(self) -> bool:
        """Whether this instance may be sent work."""
        if self.draining or self._halted():
            return False
        return all(self._known[name].state != "down" for name in VITAL & self._known.keys())

    def lines(self) -> str:
        """The body of `/readyz`: one line per dependency, `name up|degraded|down since=… detail`."""
        self._judge_upstreams()
        self._count_places()
        rows = []
        for name, standing in (*self._known.items(), *self._lacking.items()):
            detail = f" {standing.detail}" if standing.detail else ""
            rows.append(f"{name} {standing.state} since={rfc3339(standing.since)}{detail}")
        return "\n".join([*rows, *self._crowds(), *self._halted()]) + "\n"

    def _crowds(self) -> list[str]:
        """A line for each kind of place of which few are left."""
        return [
            f"{name} degraded since={rfc3339(since)} {self._places[name].in_use} under way; beyond"
            f" {self._places[name].limit - self._places[name].kept} others are turned away"
            for name, since in self._crowded.items()
        ]

    def _halted(self) -> list[str]:
        """The line of `traffic` while it is off, else none."""
        if self._switches is None or not self._switches.off("traffic"):
            return []
        switch = self._switches.switch("traffic")
        return [f"traffic down since={rfc3339(switch.since)} halted by {switch.by}: {switch.why}"]
