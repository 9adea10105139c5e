"""FAILURE_MODES 1.4: what only a mistake of the server's own can cause, or only it can stop."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.jobs.probe_replays import ReplayProbe
from bff.jobs.probe_tenants import TenantProbe
from chaos.hotel.catalogue.faults import in_force
from chaos.hotel.estate.service import Call
from chaos.hotel.fleet.changing import Changing
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.ears import Ears
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.instance import PORT
from chaos.hotel.recordings.days import SHORT
from chaos.hotel.recordings.scene import HOUR, Day, Scene
from chaos.hotel.recordings.scenes.told import BLIP, blip, breaks, staged
from chaos.hotel.recordings.works import looks
from chaos.hotel.stage import signed_in
from nurseries import within

if TYPE_CHECKING:
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.recordings.scene import Set

P1: Final = 180.0
LONG: Final = 900.0
STALLED: Final = 9.0  # seconds
LEAKS: Final = 8 << 20  # bytes a minute, of
HOLDS: Final = 200 << 20

NOBODY: Final = Day()
PROBED: Final = Day(calm=HOUR)  # the probe of tenants is about to look


async def _hangs(probe: type[ReplayProbe | TenantProbe], _: Set) -> None:
    """A probe never comes to an end; this process is ours alone, and ends with the scene."""

    async def never(_: object) -> None:
        await trio.sleep_forever()

    setattr(probe, "look", never)  # noqa: B010 -- in the place of a method
    await trio.lowlevel.checkpoint()


async def _a_thief_at_another_server(here: Set) -> None:
    """A read is shown to two servers while the session tier is away, which then is back."""
    await here.world.serve("bff-2")
    desk = await signed_in(here.stage, "robbed", 0)
    here.world.inject("redis-session", "kill")
    for server in ("bff", "bff-2"):
        await _shown(here, desk, server)
    here.world.clear("redis-session")


async def _shown(here: Set, desk: Desk, server: str) -> None:
    assert desk.session is not None
    token = desk.session.access_token
    proof = make_proof(desk.key, "GET", "http://bff/v1/session", token=token, now=here.world.now(), jti="stolen")
    said = {"host": "bff", "dpop": proof, "authorization": f"DPoP {token}", "x-device-id": desk.device}
    head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    async with await here.world.network.host("thief").connect(server, PORT, None) as stream:
        with within(5.0):
            await stream.send_all(f"GET /v1/session HTTP/1.1\r\n{head}\r\n".encode())
            await stream.receive_some(4096)


async def listens(here: Set) -> None:
    """A desk with a stream, for as long as it lasts."""
    desk = await signed_in(here.stage, "listener", 0)
    while True:
        await Ears(desk, here.world.network.host(desk.device).connect).listen()
        await trio.sleep(1.0)


async def _logged_out(here: Set) -> None:
    """By another server than the one at which he listens."""
    who = here.stage.person(0)
    platform = await here.stage.platform(1)
    with within(5.0):
        await platform.insist("force-logout", "m-1", who.tenant, operatorId=who.operator)


async def _logged_out_while_deaf(here: Set) -> None:
    """His server hears nothing, and right after the word the session tier is away for a while."""
    async with in_force("F-34", here.world):
        await _logged_out(here)
        here.world.inject("redis-session", "kill")
        await trio.sleep(STALLED)
    here.world.clear("redis-session")


async def _somebody_else_s_preferences(here: Set) -> None:
    """Preferences are changed at tenant-service, and nobody tells this server."""
    who = here.stage.person(0)
    desk = await signed_in(here.stage, "prefers", 0)
    await desk.change("/v1/preferences", {"version": 1, "values": {"n": 1}}, "p-1", method="PUT")
    service = here.world.estate.doors["tenant"].service
    (save,) = (one for one in service.operations if one.name == "preferences" and one.method != "GET")
    wanted = {"version": 2, "values": {"n": 2}}
    service.answer(save, Call(save.name, who.tenant, who.operator, None, {"id": who.operator}, {}, wanted, None))


async def _memory_leaks(here: Set) -> None:
    """Eight megabytes a minute; a real one would take hours, and so would the film."""
    here.world.held = HOLDS

    async def leaks() -> None:
        while True:
            await trio.sleep(60.0)
            here.world.held += LEAKS

    here.nursery.start_soon(leaks)


async def _holds(here: Set) -> None:
    here.world.held = HOLDS
    await trio.lowlevel.checkpoint()


async def _counted(here: Set) -> None:
    """A server that knows where services count what they change."""
    here.world.count_changes()
    await here.world.serve()


async def _charged_twice(here: Set) -> None:
    """An answer is lost, the desk asks again, and billing does not know that it has done it."""
    desk, billing = await here.world.desk(), here.world.estate.doors["billing"].service
    change = Changing(here.world.hotel.operators[0]).next("folio.charge")
    here.world.inject("billing", "lose-answer")
    with suppress(Refused):
        await desk.change(change.path, change.body, "twice")
    here.world.clear("billing")
    billing.forgetful = True
    await desk.change(change.path, change.body, "twice")
    billing.forgetful = False


LISTENING: Final = Day(works=(listens,))

APPLICATION: Final = (
    staged("F-27", "a row is taken out of the locks' audit trail", SHORT, P1),
    blip("F-27", "lock-integration", "lose-answer", SHORT),
    staged("F-28", "no proof is remembered", SHORT, P1, sign="probe"),
    Scene(
        row="F-28", sign="passed", what="a thief at two servers", day=SHORT, fault=_a_thief_at_another_server, lasts=P1
    ),
    Scene(row="F-28", sign="silent", what="the probe hangs", day=SHORT, fault=partial(_hangs, ReplayProbe), lasts=LONG),
    blip("F-28", "redis-session", "kill", SHORT, sign="silent", heals=90.0),
    staged("F-29", "second factors are not noted", SHORT, P1),
    staged(
        "F-30",
        "keys of the cache are without their tenant, as the probe of the hour looks",
        PROBED,
        1.1 * HOUR,
        sign="leak",
    ),
    Scene(
        row="F-30",
        sign="unseen",
        what="the probe hangs",
        day=PROBED,
        fault=partial(_hangs, TenantProbe),
        lasts=5 * HOUR,
    ),
    Scene(
        row="F-31",
        what=f"somebody is logged out, and for {STALLED:.0f} s nothing hears or says anything",
        day=LISTENING,
        fault=_logged_out_while_deaf,
        lasts=P1,
    ),
    Scene(
        row="F-31",
        what="somebody is logged out",
        day=LISTENING,
        fault=_logged_out,
        lasts=P1,
        blip=True,
    ),
    staged("F-32", "no key is known again", SHORT, P1, sign="probe"),
    Scene(
        row="F-32",
        sign="duplicates",
        what="billing charges twice for one key",
        day=Day(works=(_counted,), world={"servers": ()}),
        fault=_charged_twice,
        lasts=P1,
    ),
    Scene(row="F-32", sign="silent", what="the probe hangs", day=SHORT, fault=partial(_hangs, ReplayProbe), lasts=LONG),
    blip("F-32", "postgres", "kill", SHORT, sign="silent", heals=90.0),
    breaks("F-33", "pricing", "hang", Day(works=(looks(),)), P1, sign="spike"),
    blip("F-33", "pricing", "hang", Day(works=(looks(),)), sign="spike", heals=BLIP),
    staged("F-34", "the bus is deaf", LISTENING, P1, sign="stalled"),
    staged("F-34", "the bus is deaf for 8 s", LISTENING, 300.0, sign="stalled", heals=8.0),
    staged("F-35", "sync-service moves a cursor unseen", SHORT, LONG),
    Scene(row="F-36", what="preferences are changed unseen", day=SHORT, fault=_somebody_else_s_preferences, lasts=P1),
    Scene(row="F-37", what="a process holds 4 % more each minute", day=NOBODY, fault=_memory_leaks, lasts=2 * HOUR),
    Scene(row="F-37", what="a process holds what it holds", day=NOBODY, fault=_holds, lasts=HOUR, blip=True),
    breaks("F-38", "pubsub", "status code=400", SHORT, LONG),
    blip("F-38", "pubsub", "status code=400", SHORT),
)
