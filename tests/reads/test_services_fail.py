"""Each service × each fault: the exact state of each widget, everything else whole, and the answer in time (F-33).

One world per pair, through a whole outage: cold (nothing kept), healed, warm (the last answer kept), healed.
"""

import random
from itertools import product

import pytest
import trio

from bff.facts import DashboardServed, SchemaDrifted
from bff.upstreams.services import SERVICES
from chaos.hotel.checks.answers import TABLE, judge, states, widgets_of, without
from chaos.hotel.world import open_world

FEEDING = [service for service in SERVICES if widgets_of(service)]
SILENT = [service for service in SERVICES if not widgets_of(service)]
LATE, AT_ONCE = (0.7, 0.8), (0.0, 0.0)  # when the answer comes, from and to: at once, or when the time is over

# A fault, what it makes of a widget, and when the answer comes.
FAULTS = {
    "status code=500": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
    "status code=503": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
    "status code=404": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
    "down": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
    "hang": ("UPSTREAM_TIMEOUT", LATE),
    "latency ms=300": ("ok", (0.3, 0.3)),
    "latency ms=1000": ("UPSTREAM_TIMEOUT", LATE),
    "drip": ("UPSTREAM_TIMEOUT", LATE),
    "reset": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
    "reset after=20": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
    "reset after=120": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
    "giant bytes=1100000": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
    "redirect": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
    "garbage": ("SCHEMA_DRIFT", AT_ONCE),
    "drift": ("SCHEMA_DRIFT", AT_ONCE),
    "drift missing=true": ("SCHEMA_DRIFT", AT_ONCE),
    "wrong-tenant": ("SCHEMA_DRIFT", AT_ONCE),
    "lose-answer": ("UPSTREAM_UNAVAILABLE", AT_ONCE),
}


def failing(service, reason, *, kept=False):
    return {} if reason == "ok" else without(service, reason, kept=kept)


def shows(seen):
    """What the widgets show, without the moment at which an answer was made."""
    return {
        name: {field: value for field, value in widget["data"].items() if field != "serverTime"}
        for name, widget in seen.body["widgets"].items()
    }


def each(services):
    """Every fault of each of them: a third by lot, of every service as many, the rest in soak.

    What a widget is under every single one, at every moment, the sweep of the dashboard walks through each time.
    """
    chance = random.Random(20150815)
    for service in services:
        now = set(chance.sample(sorted(FAULTS), len(FAULTS) // 3))
        for toxic in FAULTS:
            yield pytest.param(service, toxic, marks=() if toxic in now else pytest.mark.soak)


@pytest.mark.parametrize(("service", "toxic"), list(each(FEEDING)))
async def test_a_service_fails_and_its_widgets_alone_are_not_what_they_were(autojump_clock, service, toxic):
    reason, (earliest, latest) = FAULTS[toxic]
    async with open_world() as world:
        desk = await world.desk()
        world.inject(service, toxic)
        cold = await desk.dashboard()
        judge(cold, failing(service, reason))
        assert earliest <= cold.took <= latest
        await world.quiet()

        world.clear()
        whole = await desk.dashboard()
        judge(whole, {})
        assert whole.took == 0
        await world.quiet()

        autojump_clock.jump(max(TABLE[name].fresh for name in widgets_of(service)) + 30)
        world.inject(service, toxic)
        warm = await desk.dashboard()
        judge(warm, failing(service, reason, kept=True))
        for name in widgets_of(service):
            if states(warm)[name] == "stale":
                assert warm.body["widgets"][name]["asOf"] == whole.body["widgets"][name]["asOf"]
        await world.quiet()

        world.clear()
        again = await desk.dashboard()
        judge(again, {})
        assert shows(again) == shows(whole)
        await world.quiet()
        assert all(fact.late == 0 for fact in world.facts if isinstance(fact, DashboardServed))
        drifted = {fact.service for fact in world.facts if isinstance(fact, SchemaDrifted)}
        assert drifted == ({service} if reason == "SCHEMA_DRIFT" else set())


@pytest.mark.parametrize(("service", "toxic"), list(each(SILENT)))
async def test_a_service_without_a_widget_fails_and_a_desk_that_is_signed_in_sees_nothing_of_it(
    autojump_clock, service, toxic
):
    async with open_world() as world:
        desk = await world.desk()
        world.inject(service, toxic)
        for number in range(2):  # the second time iam's keys are older than they should be, and still hold
            anew = {"jti": f"renewed-{number}"}  # a token that was not seen before, so that its signature is checked
            desk.session.access_token = world.authority.mint(desk.session.access_token, anew, {})
            seen = await desk.dashboard()
            judge(seen, {})
            assert seen.took == 0
            await world.quiet()
            autojump_clock.jump(301)


@pytest.mark.parametrize("toxic", ["hang", "drip", "latency ms=1000"])
@pytest.mark.parametrize("deadline_ms", [50, 51, 300, 799])
async def test_a_shorter_deadline_is_kept_to_the_microsecond_too(autojump_clock, deadline_ms, toxic):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("pricing", toxic)
        seen = await desk.dashboard(deadline_ms=deadline_ms)
        judge(seen, without("pricing", "UPSTREAM_TIMEOUT"), deadline_ms=deadline_ms)
        assert seen.took >= 0.7 * deadline_ms / 1000
        assert (await desk.dashboard(deadline_ms=9_999)).body["deadlineMs"] == 800


async def test_a_dial_that_is_never_answered_costs_one_widget_and_the_time(autojump_clock):
    async with open_world(answers_take=(0.005, 0.05)) as world:
        desk = await world.desk()
        with world.network.black_hole("billing.estate"):
            seen = await desk.dashboard()
        judge(seen, without("billing", "UPSTREAM_TIMEOUT"))
        assert seen.took > 0.7


async def test_answers_spread_over_time_are_waited_for_and_no_longer_than_the_last_of_them(autojump_clock):
    async with open_world(answers_take=(0.005, 0.05)) as world:
        desk = await world.desk()
        await desk.dashboard()
        await world.quiet()
        seen = await desk.dashboard()  # over kept connections: a way there and a way back
        judge(seen, {})
        assert 0.005 <= seen.took <= 0.05


PAIRS = [
    ((one, toxic), (other, second))
    for (one, toxic), (other, second) in product(product(FEEDING, FAULTS), repeat=2)
    if one < other
]


SOME = [
    pytest.param(*pair, marks=pytest.mark.soak if number >= 20 else ())
    for number, pair in enumerate(random.Random(20150815).sample(PAIRS, 120))
]


@pytest.mark.parametrize(("first", "second"), SOME)
async def test_two_services_fail_at_once_and_each_widget_says_its_own_reason(autojump_clock, first, second):
    async with open_world(answers_take=(0.0, 0.05)) as world:
        desk = await world.desk()
        for service, toxic in (first, second):
            world.inject(service, toxic)
        seen = await desk.dashboard()
        judge(seen, failing(first[0], FAULTS[first[1]][0]) | failing(second[0], FAULTS[second[1]][0]))


@pytest.mark.parametrize("toxic", [one for one in FAULTS if FAULTS[one][0] != "ok"])
async def test_all_services_fail_and_the_answer_still_comes_in_time(autojump_clock, toxic):
    async with open_world() as world:
        desk = await world.desk()
        for service in SERVICES:
            world.inject(service, toxic)
        otherwise = {}
        for service in FEEDING:
            otherwise |= without(service, FAULTS[toxic][0])
        judge(await desk.dashboard(), otherwise)


async def series(clock, seed, toxic, looks):
    """What becomes of one widget whose service fails every other time, too far apart for a breaker."""
    async with open_world(seed=seed) as world:
        desk = await world.desk()
        world.inject("pricing", f"{toxic} rate=0.5")
        found = []
        for _ in range(looks):
            seen = await desk.dashboard()
            state = states(seen)["rateSnapshot"]
            judge(seen, {} if state == "ok" else {"rateSnapshot": state})
            found.append(state)
            clock.jump(11)
        return found


async def test_a_fault_on_half_of_the_answers_is_seen_on_half_of_them_and_on_the_same_ones_from_the_same_seed(
    autojump_clock,
):
    one, again, other = [await series(autojump_clock, seed, "status code=500", 40) for seed in (1, 1, 2)]
    assert one == again != other
    assert set(one) == {"ok", "UPSTREAM_UNAVAILABLE"}
    assert 8 <= one.count("ok") <= 32


@pytest.mark.parametrize("toxic", ["down", "hang", "drip", "reset", "garbage", "wrong-tenant", "lose-answer"])
async def test_a_fault_that_comes_and_goes_leaves_every_other_answer_what_it_was(autojump_clock, toxic):
    found = await series(autojump_clock, 3, toxic, 16)
    assert set(found) == {"ok", FAULTS[toxic][0]}


@pytest.mark.parametrize(
    ("field", "path"),
    [("tiles.0.value", "$.tiles[0].value"), ("tiles.1", "$.tiles[1]"), ("tiles.2.label", "$.tiles[2].label")],
)
async def test_a_tile_of_analytics_that_drifts_is_a_skeleton_among_tiles_that_are_ok(autojump_clock, field, path):
    """F-14, F-15: one call, tiles with a status each; the widget is ok, and on-call hears which field it was."""
    async with open_world() as world:
        desk = await world.desk()
        world.inject("analytics", f"drift field={field}")
        seen = await desk.dashboard()
        judge(seen, {})
        shown = [tile["status"] for tile in seen.body["widgets"]["kpis"]["data"]["tiles"]]
        assert shown.count("skeleton") == 1 < len(shown)
        (drift,) = [fact for fact in world.facts if isinstance(fact, SchemaDrifted)]
        assert drift.path == path


async def test_a_desk_that_leaves_before_its_answer_leaves_nothing_behind(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("pricing", "hang")
        with trio.move_on_after(0.1) as impatient:
            await desk.dashboard()
        assert impatient.cancelled_caught
        world.inject("billing", "down")
        await world.quiet()
        world.clear()
        judge(await desk.dashboard(), {})
