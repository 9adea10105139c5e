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

from bff.app import make_app
from bff.config import BadSetting, variable
from bff.events.backstop import Backstop
from bff.events.bus import EventBus
from bff.events.event import Event
from bff.events.intake import PATH as EVENTS_PATH
from bff.events.intake import Intake
from bff.events.poll import Polls
from bff.events.push import PushDoor
from bff.events.registry import Registry
from bff.events.streams import Streams
from bff.gate.ladder import Gate, make_gate
from bff.gate.session import Sessions
from bff.gate.step_up import StepUp
from bff.jobs.deadletters import DeadLetters
from bff.jobs.probe_edge import EdgeProbe
from bff.jobs.probe_replays import ReplayProbe
from bff.jobs.probe_tenants import TenantProbe
from bff.jobs.probing import Probe
from bff.jobs.relay import Relay
from bff.jobs.roster import Service, begin
from bff.jobs.send_spans import SpanSender, sender
from bff.jobs.settle_claims import SettleClaims
from bff.jobs.settle_mirrors import SettleMirrors
from bff.jobs.sinks import ToDesks, ToPubSub
from bff.jobs.tidy import Tidy
from bff.jobs.watch_budgets import BudgetWatch
from bff.jobs.watch_effects import EffectsWatch
from bff.jobs.watch_locks import LockWatch
from bff.jobs.watch_memory import MemoryWatch
from bff.jobs.watch_outbox import OutboxWatch
from bff.jobs.watch_redis import RedisWatch
from bff.meters import Meters
from bff.ops.dead_letters import PATH as DEAD_LETTERS_PATH
from bff.ops.dead_letters import Morgue
from bff.ops.listener import Ops
from bff.ops.probes import PATH as PROBES_PATH
from bff.ops.probes import Bench
from bff.ops.readiness import Ping, Readiness
from bff.ops.switches import PATH as SWITCHES_PATH
from bff.ops.switches import Panel
from bff.outside import fraction
from bff.reads.boards import Boards
from bff.reads.dashboard import Dashboard
from bff.reads.preferences import PreferencesRoom
from bff.reads.widgets import kept_cursor
from bff.rooms import Inside, rooms
from bff.stores.bus import Ended, Superseded
from bff.stores.switches import Switches
from bff.upstreams.client import Upstreams
from bff.upstreams.counters import Counters
from bff.upstreams.pubsub import SERVICE as PUBSUB
from bff.upstreams.pubsub import MetadataToken, Publisher
from bff.upstreams.push_keys import push_keys
from bff.upstreams.services import SERVICES
from bff.wire.exchange import DEFAULT_PORTS, Origin
from bff.wire.pool import Pool, PoolLimits
from bff.writes.handshake import Handshakes
from bff.writes.mutation import DESKS, Mutations
from bff.writes.seal import private_key
from bff.writes.settling import Settling
from bff.writes.telemetry import Telemetry
from nurseries import BreakerRule, Owner, task_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bff.app import View
    from bff.config import Settings
    from bff.model import Down, SessionId, TenantId
    from bff.outside import Outside
    from bff.stores.bus import Bus
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
    bus: Bus


@dataclass(frozen=True, slots=True)
class Events:
    """What desks are told without having asked, and how it comes here."""

    bus: EventBus
    registry: Registry
    streams: Streams
    polls: Polls
    backstop: Backstop
    intake: Intake

    def drain(self) -> None:
        """Every desk is told when to come back, and who waits is answered now."""
        self.streams.drain()
        self.polls.drain()


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
    switches: Switches
    telemetry: Telemetry
    events: Events
    jobs: Mapping[str, Service]
    spans: SpanSender | None

    def keep_going(self, owner: Owner, outside: Outside) -> None:
        """Begin the services that a house needs, under `owner`."""
        jitter = partial(fraction, outside.entropy)
        owner.supervise("pool", self.pool.serve, jitter=jitter)
        owner.supervise("readiness", self.readiness.serve, jitter=jitter)
        owner.supervise("recount", self.gate.recount.serve, jitter=jitter)
        owner.supervise("marks", self.gate.marks.serve, jitter=jitter)
        owner.supervise("switches", self.switches.serve, jitter=jitter)
        owner.supervise("telemetry", self.telemetry.serve, jitter=jitter)
        owner.supervise("bus", self.events.bus.serve, jitter=jitter)
        owner.supervise("registry", self.events.registry.serve, jitter=jitter)
        owner.supervise("backstop", self.events.backstop.serve, jitter=jitter)
        begin(owner, self.jobs, jitter=jitter)
        if self.spans is not None:
            owner.supervise("spans", self.spans.serve, jitter=jitter)
        owner.start(self.gate.warm, name="first keys")

    def drain(self) -> None:
        """Say that the end has begun: to whoever sends work here, and to whoever still comes."""
        self.readiness.draining = True
        self.gate.admission.draining = True
        self.events.drain()


def compose(told: Settings, outside: Outside, stores: Stores, owner: Owner) -> House:
    """The house from its parts. Raises `BadSetting` for an upstream's address that cannot be used."""
    pool = Pool(outside.connect, limits=POOL)
    upstreams = Upstreams(pool, _origins(told.upstreams), outside, owner, BreakerRule())
    gate = make_gate(told, outside, stores.tier, stores.ledger, upstreams, owner)
    sessions = Sessions(gate, upstreams, owner)
    switches = Switches(stores.ledger, outside.now)
    events = _events(told, outside, stores.bus, gate, sessions, lambda: switches.number("sse-timeout"))
    to_desks = {DESKS: ToDesks(events.bus, outside.now)}
    publisher = _publisher(told, pool)
    relay = Relay(stores.ledger, ToPubSub(publisher), to_desks, jitter=partial(fraction, outside.entropy))
    outbox = OutboxWatch(stores.ledger, lambda: relay.failing)
    probes = _probes(told, outside, stores, gate, switches)
    readiness = _readiness(outside, stores, events, outbox, upstreams, gate)
    readiness.obey(switches)
    meters = Meters()
    ops = Ops(
        outside,
        readiness,
        metrics=meters.shown,
        tasks=task_tree,
        token=told.ops_token,
        mounted={
            SWITCHES_PATH: Panel(switches).answer,
            EVENTS_PATH: events.intake.answer,
            PROBES_PATH: Bench({name.removeprefix("probe-"): probe.look for name, probe in probes.items()}).answer,
            DEAD_LETTERS_PATH: Morgue(DeadLetters(stores.ledger, relay.nudge)).answer,
        },
    )
    telemetry = Telemetry(stores.ledger, outside, lambda: switches.number("telemetry-sample"))
    mutations = Mutations(upstreams, stores.ledger, switches, outside, owner, relay.nudge)
    inside = Inside(
        sessions=sessions,
        step_up=StepUp(gate, upstreams),
        dashboard=Dashboard(upstreams, stores.cache, outside, owner),
        boards=Boards(upstreams, stores.cache, outside, owner),
        preferences=PreferencesRoom(upstreams, stores.cache, stores.ledger, outside, owner),
        mutations=mutations,
        handshakes=Handshakes(upstreams, stores.ledger, stores.tier, stores.cache, outside, owner, kept_cursor),
        telemetry=telemetry,
        streams=events.streams,
        polls=events.polls,
    )
    signs = private_key(told.audit_key) if told.audit_key is not None else None
    jobs = {
        "relay": relay.serve,
        "watch-outbox": outbox.serve,
        "lock-audit": LockWatch(stores.ledger, switches, outside.now, signs).serve,
        **{name: probe.serve for name, probe in probes.items()},
        **_settlers(stores.ledger, Settling(mutations, upstreams, outside), upstreams, outside),
        **_watchers(told, outside, stores, events.streams, publisher),
        "watch-effects": EffectsWatch(_counters(told, pool), stores.ledger, switches).serve,
    }
    events.bus.ears.append(partial(_heed, gate))
    mounted = _mounted(told, outside, pool, events.intake, owner)
    app = make_app(outside, gate, rooms(inside), told, open_to_all=lambda: not switches.off("traffic"), mounted=mounted)
    spans = sender(told.traces, pool, outside)
    return House(app, ops.serve, gate, upstreams, pool, readiness, meters, switches, telemetry, events, jobs, spans)


def _readiness(
    outside: Outside, stores: Stores, events: Events, outbox: OutboxWatch, upstreams: Upstreams, gate: Gate
) -> Readiness:
    """Who is asked each second, and what else it looks at."""
    pings: dict[str, Ping] = {
        "postgres": stores.ledger.ping,
        "redis-session": stores.tier.ping,
        "redis-cache": stores.cache.ping,
        "bus": events.bus.ping,
        "outbox": outbox.ping,
    }
    readiness = Readiness(outside, pings, SERVICES)
    readiness.watch(upstreams.breakers)
    readiness.doubt({"iam": lambda: "" if gate.keys.known else "its keys were not read yet"})
    readiness.count({"requests": gate.admission.places, "listeners": gate.admission.streams})
    return readiness


def _probes(told: Settings, outside: Outside, stores: Stores, gate: Gate, switches: Switches) -> dict[str, Probe]:
    """Jobs that look at this very server."""
    known = {"public": told.public_origin, "fallback": told.public_fallback}
    names = {name: origin for name, origin in known.items() if origin is not None}
    cache, tier, bus, ledger = stores.cache, stores.tier, stores.bus, stores.ledger
    return {
        "probe-edge": EdgeProbe(names, ledger, outside),
        "probe-replays": ReplayProbe(gate, ledger, switches, outside),
        "probe-tenants": TenantProbe(cache, tier, bus, ledger, switches, outside, halts=told.probe_halts),
    }


def _watchers(
    told: Settings, outside: Outside, stores: Stores, streams: Streams, publisher: Publisher
) -> dict[str, Service]:
    """Jobs that look at what this server costs."""
    budgets = BudgetWatch(
        stores.tier,
        stores.ledger,
        told.budgets,
        outside,
        streams=lambda: (len(streams), told.streams),
        sent=lambda: publisher.sent,
    )
    return {
        "watch-budgets": budgets.serve,
        "watch-memory": MemoryWatch(outside.memory).serve,
        "watch-redis": RedisWatch(stores.tier, stores.cache, stores.ledger).serve,
    }


def _settlers(ledger: Ledger, settling: Settling, upstreams: Upstreams, outside: Outside) -> dict[str, Service]:
    """Jobs that bring to an end what is left in the ledger."""
    return {
        "settle-claims": SettleClaims(ledger, settling).serve,
        "settle-mirrors": SettleMirrors(ledger, upstreams, outside).serve,
        "tidy": Tidy(ledger).serve,
    }


def _events(
    told: Settings, outside: Outside, bus: Bus, gate: Gate, sessions: Sessions, lifetime: Callable[[], float]
) -> Events:
    reader = EventBus(bus, outside, outside.identifier())
    registry = Registry(bus, outside)
    places = gate.admission.streams
    streams = Streams(reader, registry, outside, places, lifetime=lifetime, over=sessions.over)
    polls = Polls(reader, outside, places, sessions.over)
    backstop = Backstop(gate.tier, streams, polls)
    sessions.hear_of_ends(partial(_end, backstop, reader))
    return Events(
        bus=reader,
        registry=registry,
        streams=streams,
        polls=polls,
        backstop=backstop,
        intake=Intake(reader, gate.tier, outside, told.internal_token, sessions.revoke_all),
    )


def _mounted(told: Settings, outside: Outside, pool: Pool, intake: Intake, owner: Owner) -> dict[str, View]:
    """What the edge has beside the routes of desks: Pub/Sub's push, where it is told whom to believe."""
    if told.push is None:
        return {}
    keys = push_keys(pool, told.push.keys_url, owner, outside)
    return {EVENTS_PATH: PushDoor(told.push, keys, intake, outside).answer}


async def _end(here: Backstop, reader: EventBus, tenant: TenantId, session: SessionId) -> Down | None:
    """Somebody has signed out: his stream ends at once where it is here, and by the word where it is elsewhere."""
    here.end_session(tenant, session)
    return await reader.say(Ended(tenant, session))


def _heed(gate: Gate, tenant: TenantId, said: Event | Superseded | Ended) -> None:
    """What the gate makes of what goes by on the bus: a tenant's status is rung 5's at once, and an end is rung 3's.

    The tier's mark alone could be lost: it is among what a failover takes with it (F-19).
    """
    if isinstance(said, Ended):
        gate.ended.add(tenant, said.session)
    elif isinstance(said, Event) and said.said is not None and said.said.type == "tenant-status":
        gate.tenants.told(tenant, "suspended" if said.said.suspends else "active")


def _counters(told: Settings, pool: Pool) -> Counters | None:
    return Counters(pool, told.counters) if told.counters else None


def _publisher(told: Settings, pool: Pool) -> Publisher:
    tokens = MetadataToken(pool, told.pubsub_token) if told.pubsub_token else None
    return Publisher(pool, _origin(PUBSUB, told.pubsub), project=told.pubsub_project, tokens=tokens)


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
