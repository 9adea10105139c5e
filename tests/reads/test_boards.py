"""What a desk reads beside its dashboard: the workbench, the boards, the inbox, a folio. Whole, and in each failure."""

import json

import pytest
import trio

from bff.facts import SchemaDrifted
from bff.openapi import document
from bff.routes import ROUTES, Asks
from chaos.hotel.checks.reads import DEADLINE, FOLIO, KEPT, PROPERTY, READS, code, content, look, look_at_all
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from nurseries import BreakerRule

MINE = {"propertyId": PROPERTY}
MICROSECOND = 1e-6  # virtual times are sums of floats
RESERVATION = {"id", "status", "guest", "roomId", "folioId", "lockId", "arrival", "departure"}
LATE, AT_ONCE = (1.9, DEADLINE), (0.0, 0.0)  # when the answer comes, from and to: when the time is over, or at once

# A fault, what it makes of a read, and when the answer comes.
FAULTS = {
    "status code=500": ((502, "UPSTREAM_UNAVAILABLE"), AT_ONCE),
    "status code=503": ((502, "UPSTREAM_UNAVAILABLE"), AT_ONCE),
    "status code=409": ((502, "UPSTREAM_UNAVAILABLE"), AT_ONCE),
    "down": ((502, "UPSTREAM_UNAVAILABLE"), AT_ONCE),
    "hang": ((504, "UPSTREAM_TIMEOUT"), LATE),
    "latency ms=1000": ("ok", (1.0, 1.0)),
    "latency ms=2000": ((504, "UPSTREAM_TIMEOUT"), LATE),
    "drip": ((504, "UPSTREAM_TIMEOUT"), LATE),
    "reset": ((502, "UPSTREAM_UNAVAILABLE"), AT_ONCE),
    "reset after=120": ((502, "UPSTREAM_UNAVAILABLE"), AT_ONCE),
    "giant bytes=1100000": ((502, "UPSTREAM_UNAVAILABLE"), AT_ONCE),
    "redirect": ((502, "UPSTREAM_UNAVAILABLE"), AT_ONCE),
    "garbage": ((502, "SCHEMA_DRIFT"), AT_ONCE),
    "drift": ((502, "SCHEMA_DRIFT"), AT_ONCE),
    "drift missing=true": ((502, "SCHEMA_DRIFT"), AT_ONCE),
    "wrong-tenant": ((502, "SCHEMA_DRIFT"), AT_ONCE),
    "lose-answer": ((502, "UPSTREAM_UNAVAILABLE"), AT_ONCE),
}


def calls(world, service):
    return sum(count.calls for count in world.estate.doors[service].service.counts.values())


# -- whole -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEPT)
async def test_a_board_is_what_the_contract_says_and_what_the_dashboard_shows(autojump_clock, name):
    async with open_world() as world:
        desk = await world.desk()
        seen = await desk.get(READS[name].path, MINE)
        widget = (await desk.dashboard()).body["widgets"][name]
        assert seen.body.keys() == {"propertyId", READS[name].lists, "asOf", "stale"}
        assert (seen.body["propertyId"], seen.body["stale"], seen.took) == (PROPERTY, False, 0)
        assert seen.body["asOf"] == widget["asOf"] == "2015-08-15T07:00:00.000Z"
        items = seen.body[READS[name].lists]
        assert items == widget["data"][READS[name].lists]
        state = "acknowledged" if name == "alerts" else "status"
        assert items and all({"id", state} <= item.keys() for item in items)
        assert READS[name].service in seen.timing and "cache" in seen.timing


async def test_a_workbench_is_what_the_contract_says_with_its_house_beside_it(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        day = (await desk.get("/v1/workbench", MINE | {"date": "2015-08-15"})).body
        parts = {"arrivals", "departures", "inHouse", "rooms"}
        assert day.keys() == {"propertyId", "date", "property", *parts}
        assert (day["propertyId"], day["date"]) == (PROPERTY, "2015-08-15")
        widgets = (await desk.dashboard()).body["widgets"]
        for part in parts - {"rooms"}:
            assert all(one.keys() >= RESERVATION for one in day[part])
            assert len(day[part]) == widgets[part]["data"]["total"] > 0
            assert day[part][:8] == widgets[part]["data"]["items"]
        assert all(room.keys() == {"id", "number", "lockId", "status"} for room in day["rooms"])
        assert {"taken", "free"} <= {room["status"] for room in day["rooms"]}
        assert len(day["rooms"]) == day["property"]["data"]["rooms"]
        assert day["property"]["status"] == "ok"
        assert (await desk.get("/v1/workbench", MINE)).body == day  # the business day, where no day is said


async def test_a_workbench_of_another_day_is_that_day_s(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        day = (await desk.get("/v1/workbench", MINE | {"date": "2015-08-16"})).body
        assert day["date"] == "2015-08-16"
        assert day["arrivals"] and {one["arrival"] for one in day["arrivals"]} == {"2015-08-16"}
        assert day["departures"] and {one["departure"] for one in day["departures"]} == {"2015-08-16"}


async def test_a_folio_is_what_the_contract_says_and_its_lines_are_its_balance(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        folio = (await desk.get(f"/v1/folios/{FOLIO}")).body
        assert folio.keys() == {
            *("id", "propertyId", "reservationId", "guest", "currency", "balanceMinor", "lines"),
        }
        assert (folio["id"], folio["propertyId"], folio["currency"]) == (FOLIO, PROPERTY, "EUR")
        assert folio["lines"] and folio["balanceMinor"] == sum(line["amountMinor"] for line in folio["lines"])
        assert all(line.keys() == {"id", "amountMinor", "description", "at"} for line in folio["lines"])
        assert all(line["at"].endswith("Z") for line in folio["lines"])


async def test_the_examples_of_the_contract_document_work_on_a_fresh_estate(autojump_clock):
    paths = json.loads(document())["paths"]
    rows = [route for route in ROUTES if route.method == "GET" and route.gate is Asks.CLIMB and not route.stream]
    assert {read.path.replace(FOLIO, "{id}") for read in READS.values()} <= {row.path for row in rows}
    async with open_world() as world:
        desk = await world.desk()
        for row in rows:
            said = paths[row.path]["get"]["parameters"]
            filled = row.path.format_map({one["name"]: one["example"] for one in said if one["in"] == "path"})
            params = {one["name"]: one["example"] for one in said if one["in"] == "query"}
            assert (await desk.ask("GET", filled, params=params)).status_code == row.status


# -- a service fails ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("toxic", FAULTS)
async def test_a_service_fails_and_its_read_says_so_exactly_and_in_time_or_shows_what_was_kept(autojump_clock, toxic):
    """F-4, F-7, F-8, F-9, F-12, F-15: cold (nothing kept), healed, warm (the last answer kept), healed."""
    expected, (earliest, latest) = FAULTS[toxic]
    async with open_world() as world:
        desk = await world.desk()
        services = {read.service for read in READS.values()}
        whole = {}
        for kept in (False, True):
            for service in services:
                world.inject(service, toxic)
            for name, (said, took) in (await look_at_all(desk)).items():
                assert earliest <= took <= latest
                if expected == "ok":
                    assert said.get("stale", False) is False
                elif kept and READS[name].keep:
                    assert said == whole[name] | {"stale": True}
                else:
                    assert code(said) == expected
                    assert said.problem["upstream"] == READS[name].service
                    assert said.problem["retryable"] is True
            await world.quiet()
            world.clear()
            autojump_clock.jump(2)
            again = {name: said for name, (said, _) in (await look_at_all(desk)).items()}
            assert {name: content(said) for name, said in again.items()} == {
                name: content(said) for name, said in (whole or again).items()
            }
            assert not any(said.get("stale") for said in again.values())
            whole = again
            await world.quiet()
        drifted = {fact.service for fact in world.facts if isinstance(fact, SchemaDrifted)}
        assert drifted == (services if expected == (502, "SCHEMA_DRIFT") else set())


async def test_a_service_that_knows_no_such_thing_has_answered_and_nothing_kept_is_shown_against_its_word(
    autojump_clock,
):
    async with open_world() as world:
        desk = await world.desk()
        await look_at_all(desk)
        await world.quiet()
        for read in READS.values():
            world.inject(read.service, "status code=404")
        for said, _ in (await look_at_all(desk)).values():
            assert code(said) == (404, "NOT_FOUND")
            assert said.problem["retryable"] is False


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize(
    ("toxic", "expected"), [("down", (502, "UPSTREAM_UNAVAILABLE")), ("hang", (504, "UPSTREAM_TIMEOUT"))]
)
async def test_a_board_is_stale_to_the_last_millisecond_of_its_keep_and_then_a_problem(
    autojump_clock, name, toxic, expected
):
    """F-7, F-8, F-12: ages are judged when the answer is made, after all the time that a hanging service took."""
    read = READS[name]
    async with open_world() as world:
        desk = await world.desk()
        for beyond in (-0.001, 0.001):
            whole, _ = await look(desk, name)
            as_of = world.now()
            await world.quiet()
            world.inject(read.service, toxic)
            spent = 1.96 if toxic == "hang" else 0
            autojump_clock.jump(as_of + read.keep + beyond - spent - world.now())
            said, took = await look(desk, name)
            assert took == pytest.approx(spent)
            if beyond < 0:
                assert said == whole | {"stale": True}
            else:
                assert code(said) == expected
            world.clear()


@pytest.mark.parametrize("name", KEPT)
async def test_what_a_dashboard_has_seen_is_what_a_board_shows_in_an_outage_and_the_other_way_round(
    autojump_clock, name
):
    read = READS[name]
    async with open_world() as world:
        desk = await world.desk()
        first = (await desk.dashboard()).body["widgets"][name]
        await world.quiet()
        autojump_clock.jump(5)
        world.inject(read.service, "status code=503")
        stale, _ = await look(desk, name)
        assert (stale["stale"], stale["asOf"]) == (True, first["asOf"])
        world.clear()
        whole, _ = await look(desk, name)
        await world.quiet()
        world.inject(read.service, "status code=503")
        widget = (await desk.dashboard()).body["widgets"][name]
        assert (widget["status"], widget["asOf"]) == ("stale", whole["asOf"])
        assert whole["asOf"] > first["asOf"]


@pytest.mark.parametrize("name", READS)
async def test_a_breaker_that_is_open_is_an_answer_at_once_that_says_when_to_come_again(autojump_clock, name):
    read, rule = READS[name], BreakerRule()
    async with open_world() as world:
        desk = await world.desk()
        world.inject(read.service, "hang")
        for _ in range(rule.consecutive):
            assert code((await look(desk, name))[0]) == (504, "UPSTREAM_TIMEOUT")
        said, took = await look(desk, name)
        assert (code(said), took) == ((502, "UPSTREAM_UNAVAILABLE"), 0)
        assert 0 < said.problem["retryAfterMs"] <= 1000 * rule.open_for
        world.clear()
        await trio.sleep(rule.open_for)
        assert not isinstance((await look(desk, name))[0], Refused)


@pytest.mark.parametrize("deadline_ms", [50, 300, 1999])
async def test_a_shorter_deadline_is_kept_and_what_is_kept_is_shown_within_it(autojump_clock, deadline_ms):
    async with open_world() as world:
        desk = await world.desk()
        await look(desk, "alerts")
        await world.quiet()
        for read in READS.values():
            world.inject(read.service, "hang")
        for name in READS:
            said, took = await look(desk, name, deadline_ms=deadline_ms)
            assert 0.7 * deadline_ms <= 1000 * took <= deadline_ms
            if name == "alerts":
                assert said["stale"] is True
            else:
                assert code(said) == (504, "UPSTREAM_TIMEOUT")


# -- the house's metadata ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("toxic", [one for one in FAULTS if "latency" not in one] + ["status code=404"])
async def test_without_its_house_s_metadata_a_workbench_is_whole_and_says_so_f16(autojump_clock, toxic):
    """Nothing kept: a skeleton; kept and no longer fresh: stale; and nobody waits for it as long as for the work."""
    async with open_world() as world:
        desk = await world.desk()
        world.inject("property", toxic)
        cold, took = await look(desk, "workbench")
        reason = "UPSTREAM_UNAVAILABLE" if "404" in toxic else FAULTS[toxic][0][1]
        assert cold["property"] == {"status": "skeleton", "reason": reason}
        assert took <= 0.8
        world.clear()
        whole, _ = await look(desk, "workbench")
        assert content(whole) == content(cold)
        await world.quiet()
        autojump_clock.jump(301)
        world.inject("property", toxic)
        warm, took = await look(desk, "workbench")
        assert warm["property"] == whole["property"] | {"status": "stale"}
        assert took <= 0.8


async def test_metadata_that_hangs_is_no_longer_waited_for_once_its_breaker_has_learnt_f16(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("property", "hang")
        for _ in range(BreakerRule().consecutive):
            assert (await look(desk, "workbench"))[0]["property"]["reason"] == "UPSTREAM_TIMEOUT"
        said, took = await look(desk, "workbench")
        assert (said["property"], took) == ({"status": "skeleton", "reason": "BREAKER_OPEN"}, 0)


async def test_fresh_metadata_is_not_asked_for_and_is_shared_with_the_dashboard_f16(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        widget = (await desk.dashboard()).body["widgets"]["property"]
        await world.quiet()
        before = calls(world, "property")
        world.inject("property", "hang")
        said, took = await look(desk, "workbench")
        assert (said["property"], took, calls(world, "property")) == (widget, 0, before)


async def test_metadata_that_is_there_makes_no_workbench_without_reservation_f4(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await look(desk, "workbench")
        await world.quiet()
        world.inject("reservation", "status code=503")
        assert code((await look(desk, "workbench"))[0]) == (502, "UPSTREAM_UNAVAILABLE")


# -- a store fails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "at_most"), [("down", 0.0), ("stop", 0.1 + MICROSECOND)])
async def test_without_the_cache_tier_every_read_is_whole_and_an_outage_is_one_at_once_f17(
    autojump_clock, fault, at_most
):
    async with open_world() as world:
        desk = await world.desk()
        before = await look_at_all(desk)
        await world.quiet()
        getattr(world.stores.cache, fault)()
        for name, (said, took) in (await look_at_all(desk)).items():
            assert content(said) == content(before[name][0])
            assert took <= at_most
        for read in READS.values():
            world.inject(read.service, "status code=500")
        for said, took in (await look_at_all(desk)).values():
            assert code(said) == (502, "UPSTREAM_UNAVAILABLE")
            assert took <= at_most


@pytest.mark.parametrize(("fault", "at_most"), [("down", 0.0), ("stop", 0.1 + MICROSECOND)])
async def test_without_the_session_tier_every_read_goes_on_f18(autojump_clock, fault, at_most):
    async with open_world() as world:
        desk = await world.desk()
        getattr(world.stores.tier, fault)()
        for said, took in (await look_at_all(desk)).values():
            assert not isinstance(said, Refused)
            assert took <= at_most


async def test_both_tiers_hang_and_the_services_too_and_every_answer_is_in_time(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.stores.tier.stop()
        world.stores.cache.stop()
        for read in READS.values():
            world.inject(read.service, "hang")
        for said, took in (await look_at_all(desk)).values():
            assert code(said) == (504, "UPSTREAM_TIMEOUT")
            assert took <= DEADLINE
