"""The house put together: every room from its parts, without a socket.

`compose` touches nothing outside of its arguments, which is why the virtual world puts together the very same house
from a simulated outside and simulated stores. `serve.py` puts it together from real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from bff.app import Room, make_app
from bff.config import BadSetting, variable
from bff.gate.ladder import Gate, Knocked, Pass, make_gate
from bff.gate.session import Sessions
from bff.meters import Meters
from bff.model import Answer
from bff.openapi import document
from bff.ops.listener import Ops
from bff.ops.readiness import Readiness
from bff.outside import fraction
from bff.reads.boards import HOUSEKEEPING, INBOX, MAINTENANCE, Boards
from bff.reads.dashboard import Dashboard
from bff.reads.widgets import Whose
from bff.upstreams.client import Upstreams
from bff.upstreams.services import SERVICES
from bff.welcome import PAGE
from bff.wire.exchange import DEFAULT_PORTS, Origin
from bff.wire.pool import Pool, PoolLimits
from nurseries import BreakerRule, Owner, task_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bff.app import Visit
    from bff.config import Settings
    from bff.outside import Outside
    from bff.problem import Problem
    from bff.reads.boards import Board
    from bff.stores.cache import Cache
    from bff.stores.ledger import Ledger
    from bff.stores.tier import SessionTier
    from bff.wire.asgi import ASGI3

# The three calls that a dashboard makes to reservation-service, for as many desks at once as look at it in one moment.
POOL: Final = PoolLimits(per_origin=128, waiting=512, idle=1024)


@dataclass(frozen=True, slots=True)
class Stores:
    """What the server keeps things in, real or simulated."""

    tier: SessionTier
    cache: Cache
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class House:
    """The server without its sockets: `app` for the edge, `ops` for the platform."""

    app: ASGI3
    ops: ASGI3
    gate: Gate
    upstreams: Upstreams
    pool: Pool
    readiness: Readiness
    meters: Meters

    def keep_going(self, owner: Owner, outside: Outside) -> None:
        """Begin the services that a house needs, under `owner`."""
        jitter = partial(fraction, outside.entropy)
        owner.supervise("pool", self.pool.serve, jitter=jitter)
        owner.supervise("readiness", self.readiness.serve, jitter=jitter)
        owner.supervise("recount", self.gate.recount.serve, jitter=jitter)
        owner.start(self.gate.warm, name="first keys")

    def drain(self) -> None:
        """Say that the end has begun: to whoever sends work here, and to whoever still comes."""
        self.readiness.draining = True
        self.gate.admission.draining = True


def compose(told: Settings, outside: Outside, stores: Stores, owner: Owner) -> House:
    """The house from its parts. Raises `BadSetting` for an upstream's address that cannot be used."""
    pool = Pool(outside.connect, limits=POOL)
    upstreams = Upstreams(pool, _origins(told.upstreams), outside, owner, BreakerRule())
    gate = make_gate(told, outside, stores.tier, upstreams, owner)
    sessions = Sessions(gate, upstreams, owner)
    dashboard = Dashboard(upstreams, stores.cache, outside, owner)
    boards = Boards(upstreams, stores.cache, outside, owner)
    readiness = Readiness(
        outside,
        {"postgres": stores.ledger.ping, "redis-session": stores.tier.ping, "redis-cache": stores.cache.ping},
        SERVICES,
    )
    readiness.watch(upstreams.breakers)
    meters = Meters()
    ops = Ops(outside, readiness, metrics=meters.shown, tasks=task_tree, token=told.ops_token)
    app = make_app(outside, gate, {**_rooms(sessions, dashboard), **_reads(boards)})
    return House(app, ops.serve, gate, upstreams, pool, readiness, meters)


def _rooms(sessions: Sessions, dashboard: Dashboard) -> dict[str, Room]:
    """Who answers, by the routes' names for it: what a room needs of the visit, and no more, is handed on here."""
    contract = Answer(200, document())

    async def sign_in(visit: Visit) -> Answer | Problem:
        return await sessions.sign_in(_knocked(visit), visit.body, visit.journey)

    async def refresh(visit: Visit) -> Answer | Problem:
        return await sessions.refresh(_knocked(visit), visit.body, visit.journey)

    async def sign_out(visit: Visit) -> Answer | Problem:
        return await sessions.sign_out(_passed(visit), visit.journey)

    async def in_hand(visit: Visit) -> Answer | Problem:
        return sessions.in_hand(_passed(visit))

    async def show(visit: Visit) -> Answer | Problem:
        return await dashboard.answer(_whose(visit), visit.journey, deadline_ms=visit.deadline_ms)

    async def openapi(_: Visit) -> Answer | Problem:
        return contract

    async def welcome(_: Visit) -> Answer | Problem:
        return PAGE

    return {
        "sign_in": sign_in,
        "refresh": refresh,
        "sign_out": sign_out,
        "in_hand": in_hand,
        "dashboard": show,
        "openapi": openapi,
        "welcome": welcome,
    }


def _reads(boards: Boards) -> dict[str, Room]:
    """Who answers what a desk reads beside its dashboard."""

    def page(board: Board) -> Room:
        async def show(visit: Visit) -> Answer | Problem:
            return await boards.board(board, _whose(visit), visit.journey)

        return show

    async def workbench(visit: Visit) -> Answer | Problem:
        return await boards.workbench(_whose(visit), visit.query.date or None, visit.journey)

    async def folio(visit: Visit) -> Answer | Problem:
        return await boards.folio(_passed(visit).claims, visit.found.fields["id"], visit.journey)

    return {
        "workbench": workbench,
        "housekeeping_board": page(HOUSEKEEPING),
        "maintenance_board": page(MAINTENANCE),
        "folio": folio,
        "alerts": page(INBOX),
    }


def _whose(visit: Visit) -> Whose:
    who = _passed(visit)
    assert who.property is not None, "the route's row asks for it"
    return Whose(who.claims, who.property)


def _knocked(visit: Visit) -> Knocked:
    assert isinstance(visit.who, Knocked), "the route's row says so"
    return visit.who


def _passed(visit: Visit) -> Pass:
    assert isinstance(visit.who, Pass), "the route's row says so"
    return visit.who


def _origins(urls: Mapping[str, str]) -> dict[str, Origin]:
    return {service: _origin(service, url) for service, url in urls.items()}


def _origin(service: str, url: str) -> Origin:
    parts = urlsplit(url)
    origin = Origin(parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
    try:
        origin.authority()
    except httpx.LocalProtocolError:
        raise BadSetting(f"{variable(service)} is {url!r}: it should be http(s)://HOST[:PORT]") from None
    return origin
