"""Requests that carry one and the same proof, all at once, at one server or at two on the same session tier."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
import trio

from bff.gate.ladder import Demands, climb
from bff.problem import Problem
from bff.wire.asgi import Request
from bff.wire.pool import Pool
from bff.wire.trace import ServerTiming
from bff.wire.transport import TrioTransport
from chaos.choices import Replayed
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.instance import DESK_SIDE
from chaos.hotel.world import open_world
from nurseries import described, within

if TYPE_CHECKING:
    import ssl

    from chaos.choices import Choices
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.world import World

PATH: Final = "/v1/session"
SERVERS: Final = ("bff", "bff-2")
SECONDS: Final = 5.0
REST: Final = 0.2503  # seconds between two races: nothing of the house falls due in the moment of a race
BEGINS: Final = 0.1371
MOST: Final = 8  # proofs
LOST: Final = 1.0  # seconds of writes that a failover loses
REPLAYED: Final = "401 DPOP_INVALID"
ACCEPTED: Final = "200"


class Held:
    """Decides plainly, and without a record, but for a race: then `by` does."""

    def __init__(self) -> None:
        self.by: Choices | None = None
        self.taken: list[int] = []
        self.options: list[int] = []

    def choose(self, options: int) -> int:
        """`chaos.choices.Choices`."""
        return 0 if self.by is None else self.by.choose(options)


@dataclass(frozen=True, slots=True)
class Race:
    """`proofs` that are equal come at once, at the `ladder` or over the `wire` of one server, or in turn of two.

    Each comes `lag` checkpoints after the one before. With `trouble` the tier fails, `moment` checkpoints in.
    """

    where: str
    servers: int
    proofs: int
    lag: int = 0
    trouble: str = ""
    moment: int = 0

    def __str__(self) -> str:
        """`2 at ladder 2 lag 1`, `8 at wire 1 lag 0 down after 3`."""
        trouble = f" {self.trouble} after {self.moment}" if self.trouble else ""
        return f"{self.proofs} at {self.where} {self.servers} lag {self.lag}{trouble}"


class Track:
    """A world in which races are run, one after the other. Made by `open_track`."""

    def __init__(self, world: World, desk: Desk, held: Held, clients: AsyncExitStack) -> None:
        self._world = world
        self._desk = desk
        self._held = held
        self._open = clients
        self._clients: dict[tuple[str, int], httpx.AsyncClient] = {}
        self._number = 0

    async def run(self, race: Race, choices: Choices) -> None:
        """Run it, by `choices`. Raises `AssertionError` when more or fewer were accepted than may be."""
        judge(race, await self.said(race, choices))

    async def said(self, race: Race, choices: Choices) -> Sequence[tuple[int, str]]:
        """What each was told: the server's number, and `200` or a status and a code."""
        headers = self._headers()
        said: list[tuple[int, str]] = []
        await trio.sleep(REST)
        self._held.by = choices
        try:
            async with trio.open_nursery() as nursery:
                for number in range(race.proofs):
                    nursery.start_soon(self._one, race, number, headers, said)
                if race.trouble:
                    nursery.start_soon(self._fail, race)
        finally:
            self._held.by = None
            self._world.stores.heal()
        return said

    async def alone(self) -> None:
        """One request at each server: they have heard of the tenant, and have nothing to ask in a race."""
        for server in SERVERS:
            said = await self._climb(server, self._headers())
            assert said == ACCEPTED, f"alone at {server}, and told {said}"
            await trio.sleep(REST)

    def _headers(self) -> dict[str, str]:
        desk, self._number = self._desk, self._number + 1
        assert desk.session is not None, "signed in"
        now, token = self._world.now(), desk.session.access_token
        jti = f"proof-{self._number}"
        proof = make_proof(desk.key, "GET", f"http://bff{PATH}", token=token, now=now, jti=jti)
        return {"host": "bff", "authorization": f"DPoP {token}", "dpop": proof, "x-device-id": desk.device}

    async def _one(self, race: Race, number: int, headers: dict[str, str], said: list[tuple[int, str]]) -> None:
        for _ in range(number * race.lag):
            await trio.lowlevel.checkpoint()
        server = number % race.servers
        if race.where == "ladder":
            said.append((server, await self._climb(SERVERS[server], headers)))
        else:
            said.append((server, await self._ask(SERVERS[server], number, headers)))

    async def _climb(self, server: str, headers: dict[str, str]) -> str:
        raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
        request = Request("GET", PATH, "", raw, "http", DESK_SIDE[0])
        with ExitStack() as stay, within(SECONDS):
            gate = self._world.servers[server].house.gate
            try:
                result = await climb(gate, request, Demands(), stay=stay, timing=ServerTiming())
            except Exception as error:  # a bug of a rung is an answer too: the wrong one
                return described(error)
        return f"{result.status} {result.code.word}" if isinstance(result, Problem) else ACCEPTED

    async def _ask(self, server: str, number: int, headers: dict[str, str]) -> str:
        client = self._clients.get((server, number)) or await self._dialling(server, number)
        with within(SECONDS):
            answer = await client.get(f"http://bff{PATH}", headers=headers)
            return ACCEPTED if answer.is_success else f"{answer.status_code} {answer.json()['code']}"
        return "no answer"

    async def _dialling(self, server: str, number: int) -> httpx.AsyncClient:
        """Rider `number`, whom somebody in between sends to `server`, whatever name he dials."""
        dial = self._world.network.host(f"rider-{number}").connect

        async def connect(host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:  # noqa: ARG001  wherever he means to go
            return await dial(server, port, tls)

        client = httpx.AsyncClient(transport=TrioTransport(Pool(connect)), trust_env=False)
        self._clients[server, number] = await self._open.enter_async_context(client)
        return client

    async def _fail(self, race: Race) -> None:
        """Nothing but a step at a time is between the tier and its trouble."""
        for _ in range(race.moment):
            await trio.lowlevel.checkpoint()
        tier = self._world.stores.tier
        if race.trouble == "failover":
            tier.failover(lost=LOST)
        else:
            getattr(tier, race.trouble)()


def judge(race: Race, said: Sequence[tuple[int, str]]) -> None:
    """Raises `AssertionError` where a proof was accepted twice that may be accepted once, or nobody's was."""
    strange = sorted({word for _, word in said} - {ACCEPTED, REPLAYED})
    assert not strange, f"told {', '.join(strange)}"
    assert len(said) == race.proofs, f"{race.proofs} came, and {len(said)} were told something"
    accepted = [server for server, word in said if word == ACCEPTED]
    most = race.servers if race.trouble else 1
    assert accepted, "nobody was accepted"
    twice = len(set(accepted)) < len(accepted)
    assert not twice and len(accepted) <= most, f"{len(accepted)} of {race.proofs} equal proofs accepted"


@asynccontextmanager
async def open_track(seed: int, held: Held, where: str) -> AsyncIterator[Track]:
    """A world with two servers and one desk, for races at `where`; `held` decides in its run."""
    async with open_world(seed=seed, servers=SERVERS) as world, AsyncExitStack() as clients:
        track = Track(world, await world.desk(), held, clients)
        await track.alone()
        for servers in (1, 2):
            await track.said(Race(where, servers, MOST), Replayed(()))  # lines are open by then
        await trio.sleep(BEGINS)
        yield track
