"""FAILURE_MODES section 3: while each failure is in force, what still works is done, and what is gone says why."""

from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from bff.outside import Outside
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.hotel.catalogue import ROWS
from chaos.hotel.catalogue.deeds import DEEDS, WORKS, done_once, ready
from chaos.hotel.catalogue.faults import KNOWN_AS, STAGED, in_force, injection
from chaos.hotel.catalogue.front import behind_tls
from chaos.hotel.catalogue.radius import (
    FROZEN,
    HALTED,
    LASTS,
    LOCKS,
    MUTATIONS,
    NO_LEDGER,
    NO_TIER,
    NOBODY,
    RADIUS,
    UNAVAILABLE,
    UNKNOWN,
    WALLED,
    WITHOUT_IAM,
    aged,
)
from chaos.hotel.catalogue.staged import FRONT
from chaos.hotel.fleet.desk import Desk, Operator, Refused
from chaos.hotel.world import open_world
from chaos.sim.clock import simulate
from chaos.sim.entropy import entropy

TWO = ("bff", "other")
OVER_THE_BUS = {"F-31", "F-34"}  # what is said at one server is heard at the other
PLAYED = [row.id for row in ROWS if row.id != "F-23"]  # which needs a handshake, whose bytes are not the seed's

# What no desk can see, in the words of section 1 and why that is enough.
UNSEEN = {
    "F-17": "higher upstream load; latency rises",
    "F-19": "< 30 s elevated latency; sessions preserved",
    "F-21": "none visible; storage pressure",
    "F-22": "none visible",
    "F-26": "instance count climbs; cost spike",
    "F-30": "catastrophic: operator sees another tenant's data",  # he does not: what is read names its tenant
    "F-37": "pod restarts (acceptable, no user impact via Cloud Run min-instances)",
    "F-38": "none",
    "F-39": "none directly",
    "F-40": "none",
}

# Section 3, row by row: what is broken here, what that does, and whether it does so to every tenant.
SECTION_3 = {
    "Memorystore down": ("F-18", dict.fromkeys(MUTATIONS, NO_TIER), True),
    "Cloud SQL down": ("F-20", dict.fromkeys(MUTATIONS, NO_LEDGER), True),
    "iam-service down": (("iam", "down"), WITHOUT_IAM, True),
    "reservation-service down": (("reservation", "down"), {"check-in": UNKNOWN, "workbench": UNAVAILABLE}, True),
    "lock-integration-service down": (("lock-integration", "down"), dict.fromkeys(LOCKS, UNAVAILABLE), True),
    "sync-service down": (("sync", "down"), {"handshake": UNAVAILABLE, "dashboard": aged("sync")}, True),
    "TLS cert expiry on backoffice domain": ("F-23", dict.fromkeys(DEEDS, NOBODY), True),
    "WAF false positive": ("F-24", dict.fromkeys(DEEDS, WALLED), False),
    "DPoP replay bypass": ("F-28", dict.fromkeys(DEEDS, HALTED), False),
    "cross-tenant cache leak": ("F-30", {}, False),
}


def shown(found):
    return {name: str(outcome) for name, outcome in found.items() if outcome != WORKS}


def wanted(radius, *, lasting=False):
    return shown(radius.expected(lasting=lasting))


def other_tenant(world):
    mine = world.hotel.operators[0].tenant_id
    return next(one for one in world.hotel.operators if one.tenant_id != mine)


async def met(row, *, after, device="desk-2"):
    """What a desk can do so many seconds after the row's failure began."""
    servers = TWO if row in OVER_THE_BUS else TWO[:1]
    async with open_world(servers=servers, known_as=KNOWN_AS) as world, trio.open_nursery() as nursery:
        bench = await ready(world, nursery, device=device)
        async with in_force(row, world):
            await trio.sleep(after)
            found = shown(await done_once(bench))
        nursery.cancel_scope.cancel()
    return found


async def test_while_nothing_is_wrong_a_desk_of_either_tenant_can_do_everything(autojump_clock):
    async with open_world() as world, trio.open_nursery() as nursery:
        for person in (world.hotel.operators[0], other_tenant(world)):
            bench = await ready(world, nursery, device=f"at-{person.tenant_id}", person=person)
            assert shown(await done_once(bench)) == {}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("row", PLAYED)
async def test_what_works_is_done_and_what_is_gone_says_so_while_each_failure_is_in_force(autojump_clock, row):
    assert await met(row, after=RADIUS[row].after) == wanted(RADIUS[row])


@pytest.mark.soak
@pytest.mark.parametrize("row", [row for row in PLAYED if row != "F-26"])
async def test_ten_minutes_later_what_was_kept_is_gone_and_what_worked_still_does(autojump_clock, row):
    assert await met(row, after=LASTS) == wanted(RADIUS[row], lasting=True)


async def test_whom_the_wall_lets_through_can_do_everything_f24(autojump_clock):
    assert await met("F-24", after=3.0, device="desk-1") == {}


def test_whoever_comes_by_tls_is_let_in_until_the_certificate_has_ended_and_offline_from_then_on_f23():
    assert simulate(behind_the_front, 36_500.0) == ("", "")
    code, why = simulate(behind_the_front, -1.0)
    assert (code, "certificate has expired" in why) == (NOBODY.said, True)


async def behind_the_front(days):
    """What a desk is told that trusts whoever signed it, and why; '' where it is let in, and looks."""
    async with open_world(known_as={"public": f"https://{FRONT}"}) as world:
        seen, told = [], ""
        async with behind_tls(world, FRONT, "bff", days=days) as trusts:

            async def dialled(host, port, tls):
                try:
                    return await world.network.host("desk-1").connect(host, port, trusts if tls else None)
                except OSError as error:
                    seen.append(str(error))
                    raise

            outside = Outside(world.now, entropy(0, "desk-1"), dialled)
            person = world.hotel.operators[0]
            async with httpx.AsyncClient(transport=TrioTransport(Pool(dialled)), trust_env=False) as client:
                desk = Desk(client, f"https://{FRONT}", outside, device="desk-1")
                try:
                    await desk.sign_in(Operator(person.tenant_id, person.operator_id, person.password))
                    assert not (await desk.dashboard()).body["partial"]
                except Refused as refused:
                    told = f"{refused.status} {refused.code}"
        return told, " ".join(seen)


# -- section 3 --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def injected(world, service, toxic):
    world.inject(service, toxic)
    yield
    world.clear(service)


@pytest.mark.parametrize("failure", [name for name, (how, _, every) in SECTION_3.items() if every and how != "F-23"])
async def test_it_reaches_the_desks_of_every_tenant_as_the_specification_says(autojump_clock, failure):
    how, does, _ = SECTION_3[failure]
    async with open_world() as world, trio.open_nursery() as nursery:
        people = (world.hotel.operators[0], other_tenant(world))
        benches = [await ready(world, nursery, device=f"at-{one.tenant_id}", person=one) for one in people]
        async with in_force(how, world) if isinstance(how, str) else injected(world, *how):
            await trio.sleep(3.0)
            found = [await done_once(bench) for bench in benches]
        nursery.cancel_scope.cancel()
    for one in found:
        assert {name: one[name] for name in does} == dict(does)
        assert one["telemetry"] == WORKS
        reads = ("housekeeping board", "maintenance board", "folio", "inbox", "preferences")
        assert {name: one[name] for name in reads} == dict.fromkeys(reads, WORKS), "sessions hold, and desks look on"


def test_the_matrix_says_of_each_row_of_section_3_what_the_specification_says():
    for how, does, _ in SECTION_3.values():
        if isinstance(how, str):
            expected = RADIUS[how].expected()
            assert {name: expected[name] for name in does} == dict(does)
    assert RADIUS["F-27"].expected()["lock issue"] == FROZEN


# -- the matrix and the catalogue -------------------------------------------------------------------------------------


def test_the_matrix_has_every_row_in_order_and_each_can_be_put_in_force():
    assert list(RADIUS) == [row.id for row in ROWS]
    assert set(STAGED) <= set(RADIUS)
    for row in ROWS:
        assert (injection(row) is None) is (row.id in STAGED)


def test_who_sees_nothing_of_a_failure_is_said_to_in_the_catalogue():
    unseen = {row.id: row.impact for row in ROWS if not RADIUS[row.id].soon}
    assert unseen == UNSEEN
    assert all(RADIUS[row.id].soon for row in ROWS if row.impact not in UNSEEN.values())


def test_the_matrix_names_only_what_a_desk_can_do():
    for radius in RADIUS.values():
        assert {*radius.soon, *radius.later} <= set(DEEDS)
