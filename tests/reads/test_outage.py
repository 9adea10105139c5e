"""What a desk sees over time: kept answers grow old, breakers open and close, one upstream does not let go."""

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from bff.model import Claims
from bff.reads.widgets import WIDGETS, Whose
from bff.stores.cache import Entry
from bff.upstreams.services import SERVICES
from chaos.hotel.checks.answers import TABLE, judge, states, widgets_of, without
from chaos.hotel.fleet.desk import Operator
from chaos.hotel.stores.cache import SimCache
from chaos.hotel.world import SimStores, open_world
from nurseries import BreakerClosed, BreakerHalfOpened, BreakerOpened, BreakerRule, StragglerLetGo, task_tree, within

RULE = BreakerRule()
KEPT = [name for name, row in TABLE.items() if row.keep]
FRESH = [name for name, row in TABLE.items() if row.fresh]


def calls(world, widget):
    """How often the service behind a widget has been asked for it."""
    operation = {"operator": "operator", "property": "property"}[widget]
    return world.estate.doors[TABLE[widget].service].service.counts[operation].calls


async def signed_in_again(desk, world):
    """After a day away no token is left to renew."""
    person = world.hotel.operators[0]
    await desk.sign_in(Operator(person.tenant_id, person.operator_id, person.password))


@pytest.mark.parametrize("name", KEPT)
async def test_what_is_kept_is_stale_to_the_last_millisecond_of_its_keep_and_then_a_skeleton(autojump_clock, name):
    """F-3, F-7, F-8, F-12, F-16, F-35."""
    row = TABLE[name]
    async with open_world() as world:
        desk = await world.desk()
        whole = await desk.dashboard()
        as_of = world.now()
        await world.quiet()
        world.inject(row.service, "down")
        for age, state in ((row.keep - 0.001, "stale"), (row.keep + 0.001, "UPSTREAM_UNAVAILABLE")):
            autojump_clock.jump(as_of + age - world.now())
            if age > 800:
                await signed_in_again(desk, world)
            seen = await desk.dashboard()
            assert states(seen)[name] == state
            if state == "stale":
                assert seen.body["widgets"][name]["asOf"] == whole.body["widgets"][name]["asOf"]
                assert seen.body["widgets"][name]["data"].get("staleSync", True) is True
                assert seen.body["partial"] is False


@pytest.mark.parametrize("name", [name for name in KEPT if name not in FRESH])
async def test_in_an_outage_the_last_answer_that_came_is_shown_and_its_own_age_counts(autojump_clock, name):
    """Looks that follow one another keep what is kept young: a minute of stale is a minute from the last good look."""
    row = TABLE[name]
    async with open_world() as world:
        desk = await world.desk()
        for _ in range(4):
            last = await desk.dashboard()
            as_of = world.now()
            await world.quiet()
            autojump_clock.jump(1.5)
        world.inject(row.service, "down")
        autojump_clock.jump(as_of + min(row.keep, 600) - 0.001 - world.now())
        seen = await desk.dashboard()
        assert states(seen)[name] == "stale"
        assert seen.body["widgets"][name]["asOf"] == last.body["widgets"][name]["asOf"]


@pytest.mark.parametrize("name", FRESH)
async def test_a_service_is_asked_again_when_what_is_kept_is_no_longer_fresh_and_not_before(autojump_clock, name):
    row = TABLE[name]
    async with open_world() as world:
        desk = await world.desk()
        whole = await desk.dashboard()
        as_of, before = world.now(), calls(world, name)
        await world.quiet()
        autojump_clock.jump(as_of + row.fresh - 0.001 - world.now())
        seen = await desk.dashboard()
        judge(seen, {})
        assert seen.body["widgets"][name] == whole.body["widgets"][name]
        assert calls(world, name) == before
        autojump_clock.jump(as_of + row.fresh + 0.001 - world.now())
        seen = await desk.dashboard()
        assert seen.body["widgets"][name]["asOf"] > whole.body["widgets"][name]["asOf"]
        assert calls(world, name) == before + 1


async def test_a_fresh_answer_spares_a_service_that_fails_from_being_asked(autojump_clock):
    """F-3, F-16: the cache absorbs."""
    async with open_world() as world:
        desk = await world.desk()
        await desk.dashboard()
        await world.quiet()
        world.inject("tenant", "hang")
        world.inject("property", "hang")
        seen = await desk.dashboard()
        judge(seen, {})
        assert seen.took == 0


@pytest.mark.parametrize(("toxic", "reason"), [("down", "UPSTREAM_UNAVAILABLE"), ("hang", "UPSTREAM_TIMEOUT")])
async def test_a_breaker_opens_and_the_widget_says_so_at_once_and_closes_when_its_probe_comes_back(
    autojump_clock, toxic, reason
):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("pricing", toxic)
        for _ in range(RULE.consecutive):
            judge(await desk.dashboard(), without("pricing", reason))
        seen = await desk.dashboard()
        judge(seen, without("pricing", "BREAKER_OPEN"))
        assert seen.took == 0
        await trio.sleep(RULE.open_for)
        judge(await desk.dashboard(), without("pricing", reason))  # the probe
        judge(await desk.dashboard(), without("pricing", "BREAKER_OPEN"))
        world.clear()
        judge(await desk.dashboard(), without("pricing", "BREAKER_OPEN"))
        await trio.sleep(RULE.open_for)
        for _ in range(2):
            judge(await desk.dashboard(), {})
        turns = [fact for fact in world.facts if isinstance(fact, BreakerOpened | BreakerHalfOpened | BreakerClosed)]
        assert [type(turn) for turn in turns] == [
            BreakerOpened,
            BreakerHalfOpened,
            BreakerOpened,
            BreakerHalfOpened,
            BreakerClosed,
        ]
        assert {turn.name for turn in turns} == {"pricing.rateSnapshot"}


async def test_a_breaker_that_is_open_leaves_a_kept_answer_to_be_shown(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.dashboard()
        await world.quiet()
        world.inject("notification", "status code=500")
        for _ in range(RULE.consecutive + 2):
            judge(await desk.dashboard(), without("notification", "UPSTREAM_UNAVAILABLE", kept=True))
        assert [fact.name for fact in world.facts if isinstance(fact, BreakerOpened)] == ["notification.inbox"]


async def test_a_desk_in_a_hurry_opens_no_breaker_for_the_others(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("pricing", "latency ms=200")
        for _ in range(2 * RULE.consecutive):
            judge(await desk.dashboard(deadline_ms=100), without("pricing", "UPSTREAM_TIMEOUT"), deadline_ms=100)
        judge(await desk.dashboard(), {})


async def deaf(world, host, released, to, port, tls):
    """A dial that hears no cancellation: a bug in a client, or a call into something that is not Trio's."""
    if to == host:
        with trio.CancelScope(shield=True):
            await released.wait()
    return await world.network.connect(to, port, tls)


@asynccontextmanager
async def letting_go():
    """An event that is set at the end, so that nothing deaf outlives a test that failed."""
    released = trio.Event()
    try:
        yield released
    finally:
        released.set()


async def test_a_call_that_ignores_its_cancellation_cannot_hold_an_answer_back_nor_fill_the_process(autojump_clock):
    """F-33: every answer leaves in time, what does not let go is bounded and can be seen, and then it is over."""
    async with open_world(servers=()) as world, letting_go() as released:
        server = await world.serve(connect=partial(deaf, world, "pricing.estate", released))
        desk = await world.desk()
        for _ in range(32):
            judge(await desk.dashboard(), without("pricing", "UPSTREAM_TIMEOUT"))
        await trio.sleep(1)
        for _ in range(3):
            seen = await desk.dashboard()
            judge(seen, without("pricing", "OVERLOADED"))
            assert seen.took == 0
        await trio.sleep(1)
        assert server.owner.overstaying == {"rateSnapshot": 32}
        assert "overstaying: rateSnapshot 32" in task_tree()
        assert set(server.leftovers()) == {"bff: fan-out", "bff: 32 exchanges"}
        released.set()
        await world.quiet()
        assert sum(isinstance(fact, StragglerLetGo) for fact in world.facts) == 32
        await trio.sleep(RULE.open_for)
        judge(await desk.dashboard(), {})


class DeafCache(SimCache):
    """A cache whose client hears no cancellation."""

    def __init__(self, released):
        super().__init__()
        self.released = released

    async def get_many(self, keys):
        with trio.CancelScope(shield=True):
            await self.released.wait()
        return await super().get_many(keys)


async def test_a_cache_client_that_ignores_its_cancellation_holds_no_widget_back(autojump_clock):
    """F-17, F-33: the two widgets that would be fresh are asked for after a part of the time, as are all the others."""
    async with open_world(servers=()) as world, letting_go() as released:
        world.stores = SimStores(cache=DeafCache(released))
        await world.serve()
        desk = await world.desk()
        for _ in range(3):
            judge(await desk.dashboard(), {})
        released.set()


async def test_a_server_without_room_for_more_says_so_at_once_and_is_whole_again_when_there_is_room(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        owner = world.servers["bff"].owner
        await world.quiet()
        bound, owner.bound = owner.bound, len(owner.live)
        seen = await desk.dashboard()
        assert set(states(seen).values()) == {"OVERLOADED", "absent"}
        assert seen.took == 0
        owner.bound = bound
        judge(await desk.dashboard(), {})


async def test_many_desks_look_at_once_while_a_service_hangs_and_everybody_is_answered_in_time(autojump_clock):
    async with open_world(answers_take=(0.005, 0.05)) as world:
        desks = [await world.desk(world.hotel.operators[number % 2]) for number in range(8)]
        await world.quiet()
        world.inject("analytics", "hang")
        found = []

        async def look(desk):
            found.append(await desk.dashboard())

        async with trio.open_nursery() as nursery:
            for desk in desks:
                nursery.start_soon(look, desk)
        for seen in found:
            judge(seen, without("analytics", "UPSTREAM_TIMEOUT"))


def colliding(world, desk, other):
    """`other`'s token, of its own tenant, in which every other name is that of `desk`'s."""
    said = {
        "sub": desk.session.operator_id,
        "props": [one["id"] for one in desk.session.properties],
        "did": desk.device,
    }
    return world.authority.mint(other.session.access_token, said, {})


async def test_two_tenants_with_the_same_property_operator_and_device_never_meet_in_the_cache(autojump_clock):
    """F-30: the resort's day is kept; the city's desk, by the same names, sees none of it, whatever fails."""
    async with open_world() as world:
        resort, city = world.hotel.tenants
        desk = await world.desk(resort.operators[0], device="front")
        other = await world.desk(city.operators[0], device="front")
        other.session.access_token = colliding(world, desk, other)
        pid = desk.session.properties[0]["id"]
        mine = await desk.dashboard(pid)
        judge(mine, {})
        await world.quiet()
        for toxic in ("", "down", "hang"):
            for service in SERVICES if toxic else ():
                world.inject(service, toxic)
            theirs = await other.dashboard(pid)
            shown = [widget for widget in theirs.body["widgets"].values() if "data" in widget]
            assert all(widget["data"]["tenantId"] == city.id for widget in shown)
            assert set(states(theirs).values()) <= {"ok", "stale", "absent", "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT"}
            assert states(theirs)["property"] != "stale"
            await world.quiet()
        world.clear()
        for service in SERVICES:
            world.inject(service, "down")
        kept = dict.fromkeys(KEPT, "stale") | {"operator": "ok", "property": "ok"}
        again = await desk.dashboard(pid)
        assert {name: states(again)[name] for name in KEPT} == kept
        assert again.body["widgets"]["property"]["data"]["tenantId"] == resort.id


def claims(desk):
    """What of a token names things."""
    session = desk.session
    ids = {"tenant": session.tenant_id, "operator": session.operator_id, "device": desk.device}
    rest = dict.fromkeys(("issuer", "audience", "expires_at", "issued_at", "not_before", "session", "jkt"))
    return Claims(**ids, **rest, properties=tuple(one["id"] for one in session.properties))


async def test_another_tenant_s_answer_under_our_key_is_a_miss_and_not_data(autojump_clock):
    """F-30: if a key ever meets another tenant's answer, nobody is shown it."""
    async with open_world() as world:
        resort, city = world.hotel.tenants
        desks = [await world.desk(tenant.operators[0]) for tenant in (resort, city)]
        for desk in desks:
            await desk.dashboard()
        await world.quiet()
        ours, theirs = (Whose(claims(desk), desk.session.properties[0]["id"]) for desk in desks)
        with within(1):
            for widget in (one for one in WIDGETS if one.cached):
                (kept,) = await world.stores.cache.get_many([widget.key(theirs)])
                assert kept is not None
                await world.stores.cache.put_many([Entry(widget.key(ours), kept, widget.keep)])
        for service in SERVICES:
            world.inject(service, "down")
        seen = await desks[0].dashboard()
        assert set(states(seen).values()) == {"UPSTREAM_UNAVAILABLE", "absent"}


async def test_every_part_of_the_table_is_asked_of_the_service_that_it_names(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.dashboard()
        for service in SERVICES:
            asked = sum(
                count.calls
                for name, count in world.estate.doors[service].service.counts.items()
                if name not in {"status", "signIn", "jwks"}
            )
            assert asked == len(widgets_of(service)), service
