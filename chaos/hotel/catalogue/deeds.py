"""What a desk can do, each thing done once, and what came of it: how far the blast of a failure reaches.

    bench = await ready(world, nursery)    desks that have come in, and have seen all there is to see
    async with in_force("F-4", world):
        found = await done_once(bench)     sign-in, dashboard, check-in, ... : Outcome

A thing works, or it is degraded and says how, or it is gone and the answer says why. Each is asked for over a
connection of its own, as by a desk that comes just now, at the world's first server. Whoever has something to say to
desks says it at the last one, so that it takes the bus to be heard. Nobody here knows which fault is in force.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import httpx
import trio

from bff.outside import Outside
from bff.wire.pool import Pool, PoolLimits
from bff.wire.transport import TrioTransport
from chaos.hotel.catalogue.deeds_heard import events, force_logout, poll
from chaos.hotel.fleet.desk import Desk, Operator, Refused
from chaos.hotel.fleet.ears import Ears
from chaos.hotel.stage import VirtualStage
from chaos.sim.entropy import entropy

if TYPE_CHECKING:
    from chaos.hotel.estate import hotel as day
    from chaos.hotel.fleet.platform import Platform
    from chaos.hotel.world import World

UNTIL: Final = "2015-08-16T12:00:00Z"
NO_KEEPING: Final = PoolLimits(idle=0)
UNREACHABLE: Final = "0 UNREACHABLE"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`said` is how it is degraded, or status and code of the answer of what is gone."""

    state: Literal["works", "degraded", "gone"]
    said: str = ""

    def __str__(self) -> str:
        return f"{self.state} {self.said}".rstrip()


WORKS: Final = Outcome("works")


def degraded(said: str) -> Outcome:
    """It works, but for what `said` says."""
    return Outcome("degraded", said)


def gone(status: int, code: str) -> Outcome:
    """It is answered so, or by nobody (0)."""
    return Outcome("gone", f"{status} {code}")


@dataclass(slots=True)
class Bench:
    """`desk` does everything but what ends a session, which `goer` does: it listens, and is logged out.

    `work` is what there was to do when they came: ids by what they are for. `number` goes up with each key.
    """

    world: World
    person: day.Operator
    desk: Desk
    goer: Desk
    ears: Ears
    platform: Platform
    work: Mapping[str, str]
    number: int = field(default=0)

    def key(self) -> str:
        """A new idempotency key, or name of an event."""
        self.number += 1
        return f"{self.desk.device}-{self.number}"

    async def change(
        self, path: str, body: object, *, method: str = "POST", attests: tuple[str, str] = ("", "")
    ) -> str:
        """A mutation, with the second factor that it needs."""
        attestation = None
        if attests[0]:
            attestation = await self.desk.step_up(*attests, self.person.mfa_code)
        await self.desk.change(path, body, self.key(), method=method, attestation=attestation)
        return ""


Deed: TypeAlias = Callable[[Bench], Awaitable[str]]


async def ready(
    world: World, nursery: trio.Nursery, *, device: str = "desk-2", person: day.Operator | None = None
) -> Bench:
    """Two desks that are in, one of which listens; the other has looked at everything, and so all is kept that is.

    `person` sits at both of them, the hotel's first operator where nobody is said.
    """
    person = person or world.hotel.operators[0]
    desk, goer = [await _arrived(world, name, person) for name in (device, f"goer-{device}")]
    ears = Ears(goer, world.network.host(goer.device).connect)
    nursery.start_soon(ears.listen)
    await ears.live.wait()
    work = {"property": person.properties[0], **await _work(desk, {"propertyId": person.properties[0]})}
    platform = await VirtualStage(world).platform(len(world.servers) - 1)
    return Bench(world, person, desk, goer, ears, platform, work)


async def _work(desk: Desk, house: dict[str, str]) -> dict[str, str]:
    await desk.dashboard(house["propertyId"])
    stays = (await desk.get("/v1/workbench", house)).body
    tasks = (await desk.get("/v1/housekeeping/board", house)).body["tasks"]
    orders = (await desk.get("/v1/maintenance/board", house)).body["orders"]
    alerts = (await desk.get("/v1/alerts", house)).body["alerts"]
    preferences = (await desk.get("/v1/preferences")).body
    said = (await desk.ask("POST", "/v1/sync/handshake", body={"cursor": None})).json()
    guest = next(one for one in stays["inHouse"] if one["lockId"])
    return {
        "stay": guest["id"],
        "folio": guest["folioId"],
        "lock": guest["lockId"],
        "arrival": next(one["id"] for one in stays["arrivals"] if one["status"] == "expected" and one["roomId"]),
        "task": next(one["id"] for one in tasks if one["status"] == "dirty"),
        "order": next(one["id"] for one in orders if one["status"] == "open"),
        "alert": next(one["id"] for one in alerts if not one["acknowledged"]),
        "version": str(preferences["version"]),
        "cursor": said["cursor"],
    }


async def _arrived(world: World, device: str, person: day.Operator) -> Desk:
    """A desk for which every request is a new connection."""
    way = world.network.host(device).connect
    client = httpx.AsyncClient(transport=TrioTransport(Pool(way, limits=NO_KEEPING)), trust_env=False)
    desk = Desk(client, "http://bff", Outside(world.now, entropy(world.seed, device), way), device=device)
    await desk.sign_in(Operator(person.tenant_id, person.operator_id, person.password))
    return desk


# -- sessions ----------------------------------------------------------------------------------------------------------


async def _sign_in(bench: Bench) -> str:
    await _arrived(bench.world, f"new-{bench.number}-{bench.desk.device}", bench.person)
    return ""


async def _refresh(bench: Bench) -> str:
    await bench.desk.renew()
    return ""


async def _step_up(bench: Bench) -> str:
    await bench.desk.step_up("folio.refund", bench.work["folio"], bench.person.mfa_code)
    return ""


# -- looking -----------------------------------------------------------------------------------------------------------


async def _dashboard(bench: Bench) -> str:
    body = (await bench.desk.dashboard(bench.work["property"])).body
    widgets: Mapping[str, Any] = body["widgets"]
    skeletons = [name for name, one in widgets.items() if one["status"] == "skeleton"]
    assert body["partial"] is bool(skeletons), "partial says whether anything is a skeleton"
    stale = [name for name, one in widgets.items() if one["status"] == "stale" or _behind(one)]
    hidden = [] if "ai" in widgets else ["ai"]
    said = {"without": [*skeletons, *hidden], "stale": stale}
    return "; ".join(f"{word} {' '.join(sorted(names))}" for word, names in said.items() if names)


def _behind(widget: Mapping[str, Any]) -> bool:
    return widget["status"] == "ok" and bool(widget["data"].get("staleSync"))


def _reading(path: str, *, of_a_house: bool = True) -> Deed:
    async def read(bench: Bench) -> str:
        params = {"propertyId": bench.work["property"]} if of_a_house else None
        body = (await bench.desk.get(path.format(**bench.work), params)).body
        return "stale" if body.get("stale") or body.get("property", {}).get("status", "ok") != "ok" else ""

    return read


# -- changing ----------------------------------------------------------------------------------------------------------


async def _check_in(bench: Bench) -> str:
    return await bench.change(f"/v1/reservations/{bench.work['arrival']}/check-in", {})


async def _task(bench: Bench) -> str:
    return await bench.change(f"/v1/housekeeping/tasks/{bench.work['task']}/transition", {"to": "cleaning"})


async def _order(bench: Bench) -> str:
    return await bench.change(f"/v1/maintenance/orders/{bench.work['order']}/transition", {"to": "in-progress"})


async def _charge(bench: Bench) -> str:
    body = {"amountMinor": 700, "currency": "EUR", "description": "Minibar"}
    return await bench.change(f"/v1/folios/{bench.work['folio']}/charges", body)


async def _refund(bench: Bench) -> str:
    body = {"amountMinor": 5, "currency": "EUR", "reason": "not ordered"}
    folio = bench.work["folio"]
    return await bench.change(f"/v1/folios/{folio}/refunds", body, attests=("folio.refund", folio))


async def _issue(bench: Bench) -> str:
    body = {"reservationId": bench.work["stay"], "validUntil": UNTIL}
    return await bench.change(f"/v1/locks/{bench.work['lock']}/keys", body)


async def _revoke(bench: Bench) -> str:
    lock, key = bench.work["lock"], f"k-{bench.work['stay'].removeprefix('r-')}"  # the key of the morning
    attests = ("lock.revoke", f"{lock}/{key}")
    return await bench.change(f"/v1/locks/{lock}/keys/{key}/revoke", {"reason": "lost"}, attests=attests)


async def _acknowledge(bench: Bench) -> str:
    return await bench.change(f"/v1/alerts/{bench.work['alert']}/ack", {})


async def _save(bench: Bench) -> str:
    body = {"version": int(bench.work["version"]), "values": {"language": "pt"}}
    return await bench.change("/v1/preferences", body, method="PUT")


async def _telemetry(bench: Bench) -> str:
    event = {"name": "looked", "at": UNTIL, "attributes": {}}
    await bench.desk.ask("POST", "/v1/telemetry", body={"events": [event]})
    return ""


async def _handshake(bench: Bench) -> str:
    body = {"cursor": bench.work["cursor"]}
    answer = (await bench.desk.ask("POST", "/v1/sync/handshake", body=body)).json()
    return "stale sync" if answer["staleSync"] else ""


DEEDS: Final[Mapping[str, Deed]] = {
    "sign-in": _sign_in,
    "refresh": _refresh,
    "step-up": _step_up,
    "dashboard": _dashboard,
    "workbench": _reading("/v1/workbench"),
    "housekeeping board": _reading("/v1/housekeeping/board"),
    "maintenance board": _reading("/v1/maintenance/board"),
    "folio": _reading("/v1/folios/{folio}", of_a_house=False),
    "inbox": _reading("/v1/alerts"),
    "preferences": _reading("/v1/preferences", of_a_house=False),
    "check-in": _check_in,
    "task": _task,
    "order": _order,
    "charge": _charge,
    "refund": _refund,
    "lock issue": _issue,
    "lock revoke": _revoke,
    "alert ack": _acknowledge,
    "save preferences": _save,
    "handshake": _handshake,
    "telemetry": _telemetry,
    "events": events,
    "poll": poll,
    "force-logout": force_logout,
}


async def done_once(bench: Bench) -> dict[str, Outcome]:
    """Each of `DEEDS`, one after the other."""
    return {name: await _outcome(deed, bench) for name, deed in DEEDS.items()}


async def _outcome(deed: Deed, bench: Bench) -> Outcome:
    try:
        said = await deed(bench)
    except Refused as refused:
        return gone(refused.status, refused.code)
    return degraded(said) if said else WORKS
