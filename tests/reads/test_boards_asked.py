"""What a desk may read, and how it asks: whose a thing is, which property, which day, and what is an id at all."""

import re
from datetime import date
from urllib.parse import quote, unquote

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from bff.routes import Found, find
from bff.upstreams.services import FOLIO
from chaos.hotel.checks.reads import KEPT, OF_A_PROPERTY, PROPERTY, READS, code, look, look_at_all
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from nurseries import within

SERRA = "resort-serra"
MINE = {"propertyId": PROPERTY}


def calls(world, service):
    return sum(count.calls for count in world.estate.doors[service].service.counts.values())


# -- whose it is -------------------------------------------------------------------------------------------------------


async def test_who_sees_one_property_sees_nothing_of_the_other_one_f30(autojump_clock):
    async with open_world() as world:
        ines, tiago = [await world.desk(person) for person in world.hotel.by_tenant["resort"].operators]
        theirs = world.hotel.by_property[SERRA].present()[0].folio_id
        assert (await ines.get(f"/v1/folios/{theirs}")).body["propertyId"] == SERRA
        for name in OF_A_PROPERTY:  # kept by now, under the tenant
            assert (await ines.get(READS[name].path, {"propertyId": SERRA})).body["propertyId"] == SERRA
            with pytest.raises(Refused) as refused:
                await tiago.get(READS[name].path, {"propertyId": SERRA})
            assert code(refused.value) == (403, "PROPERTY_OUT_OF_SCOPE")
            assert (await tiago.get(READS[name].path, MINE)).body["propertyId"] == PROPERTY
        with pytest.raises(Refused) as refused:
            await tiago.get(f"/v1/folios/{theirs}")
        assert code(refused.value) == (404, "NOT_FOUND")


async def test_a_folio_of_another_tenant_or_property_reads_as_one_that_never_was_f30(autojump_clock, monkeypatch):
    async with open_world() as world:
        desk = await world.desk(world.hotel.by_tenant["resort"].operators[1])
        folios = [world.hotel.by_property[house].present()[0].folio_id for house in ("city-baixa", SERRA)]

        async def said(folio):
            with pytest.raises(Refused) as refused:
                await desk.get(f"/v1/folios/{folio}")
            return {name: value for name, value in refused.value.problem.items() if name != "requestId"}

        never = await said("f-never-was")
        assert (never["status"], never["code"]) == (404, "NOT_FOUND")
        assert [await said(folio) for folio in folios] == [never, never]
        # Billing forgets to look at the scope it is told: the server does not.
        monkeypatch.setattr("chaos.hotel.estate.grounds.sees", lambda call, house: house.tenant_id == call.tenant)
        assert [await said(folio) for folio in folios] == [never, never]


async def test_two_tenants_with_the_same_property_never_meet_in_what_is_kept_f30(autojump_clock):
    async with open_world() as world:
        desk = await world.desk(device="front")
        other = await world.desk(world.hotel.by_tenant["city"].operators[0], device="front")
        colliding = {"sub": desk.session.operator_id, "props": [PROPERTY], "did": "front"}
        other.session.access_token = world.authority.mint(other.session.access_token, colliding, {})
        await look_at_all(desk)
        await world.quiet()
        for said, _ in (await look_at_all(other)).values():
            assert code(said) == (404, "NOT_FOUND")
        for read in READS.values():
            world.inject(read.service, "down")
        for said, _ in (await look_at_all(other)).values():
            assert code(said) == (502, "UPSTREAM_UNAVAILABLE")
        for name in KEPT:
            assert (await look(desk, name))[0]["stale"] is True


# -- what is asked -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_A_PROPERTY)
@pytest.mark.parametrize(
    "params", [{}, {"propertyId": ""}, {"propertyId": [PROPERTY, PROPERTY]}, {"propertyId": [PROPERTY, SERRA]}]
)
async def test_a_property_is_asked_for_once_or_nothing_is_asked_of_anybody(autojump_clock, name, params):
    async with open_world() as world:
        desk = await world.desk()
        before = calls(world, READS[name].service)
        with pytest.raises(Refused) as refused:
            await desk.get(READS[name].path, params)
        assert code(refused.value) == (400, "VALIDATION_FAILED")
        assert [error["path"] for error in refused.value.problem["errors"]] == ["propertyId"]
        assert calls(world, READS[name].service) == before


DAYS = st.dates(date(2014, 1, 1), date(2017, 1, 1)).map(date.isoformat)
NO_DAYS = st.text(max_size=12) | st.sampled_from(
    [
        "",
        "today",
        "20150815",
        "2015-W33-6",
        "2015-02-30",
        "2015-8-15",
        " 2015-08-15",
        "2015-08-15T00:00:00Z",
        "０１５-08-15",
    ]
)


def is_day(text):
    try:
        return bool(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text)) and bool(date.fromisoformat(text))
    except ValueError:
        return False


@settings(max_examples=8, deadline=None)
@given(st.lists(DAYS | NO_DAYS, min_size=4, max_size=12))
def test_a_date_is_a_day_of_the_calendar_or_refused_with_its_path(texts):
    async def main():
        async with open_world() as world:
            desk = await world.desk()
            for text in texts:
                said, _ = await look(desk, "workbench", date=text)
                if is_day(text):
                    assert said["date"] == text
                else:
                    assert code(said) == (400, "VALIDATION_FAILED")
                    assert [error["path"] for error in said.problem["errors"]] == ["date"]

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_of_two_dates_none_is_taken_and_what_is_not_known_is_not_looked_at(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        with pytest.raises(Refused) as refused:
            await desk.get("/v1/workbench", MINE | {"date": ["2015-08-15", "2015-08-16"]})
        assert code(refused.value) == (400, "VALIDATION_FAILED")
        assert refused.value.problem["errors"] == [{"path": "date", "message": "it is given once"}]
        assert (await desk.get("/v1/workbench", MINE | {"colour": ["red", "blue"]})).body["date"] == "2015-08-15"


BAD = ["", ".", "..", "%2e", "%2E%2e", ".%2e", "a%2Fb", "%2F", "..%2F..%2Ftenants", "a%00", "%0d%0a", "%20", "%ff", "é"]


@pytest.mark.parametrize("segment", [*BAD, "x" * 129, "f-00870/", "f-00870/charges/x"])
async def test_what_is_no_id_is_no_path_and_reaches_nobody(autojump_clock, segment):
    path = f"/v1/folios/{segment}"
    assert find("GET", path) == ()
    async with open_world() as world:
        before = calls(world, "billing")
        stranger = world.client("stranger")
        with within(1):
            answer = await stranger.get(f"http://bff{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
        assert calls(world, "billing") == before


@given(st.text(st.characters(codec="utf-8"), max_size=12) | st.text("./%\\?#&;:@ f0", max_size=6))
def test_an_id_of_a_path_is_one_segment_upstream_and_reads_there_as_it_did_here(name):
    found = find("GET", f"/v1/folios/{quote(name, safe='')}")
    if isinstance(found, Found):
        target = FOLIO.target(found.fields)
        empty, folios, segment = target.decode("ascii").split("/")
        assert (empty, folios, unquote(segment)) == ("", "folios", name)
        assert re.fullmatch(r"[\w.~%-]+", segment) and segment not in {".", ".."}
    else:
        assert found == ()
        assert not re.fullmatch(r"[!-.0-~]+", name) or name in {".", ".."}


@given(st.from_regex(r"\A[a-z]{1,3}-[0-9A-Za-z_~.-]{1,20}\Z"))
def test_every_plain_id_has_its_row(name):
    found = find("GET", f"/v1/folios/{name}")
    assert isinstance(found, Found) and found.fields == {"id": name}
