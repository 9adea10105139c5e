"""An operator's preferences: the authority's word, or the newest copy of it, marked (F-3, F-36)."""

import json
import math

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bff.model import OperatorId, TenantId
from bff.stores.cache import CacheKey, Entry, Kept
from bff.stores.mirrors import Mirror
from bff.upstreams.schemas.preferences import PreferencesBody, as_copy, of_copy
from chaos.hotel.checks.reads import code
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from nurseries import within

PATH = "/v1/preferences"
TENANT, OPERATOR = TenantId("resort"), OperatorId("ines")
KEY = CacheKey(TENANT, "preferences", (OPERATOR,))
HER_OWN = {"language": "pt", "startPage": "dashboard"}
DEADLINE = 2.0
GIVEN_UP = 1.7  # seconds: no call that hangs is given up before, whatever is kept for the copies

UNAVAILABLE, TIMEOUT, DRIFT = (502, "UPSTREAM_UNAVAILABLE"), (504, "UPSTREAM_TIMEOUT"), (502, "SCHEMA_DRIFT")
FAULTS = {
    "status code=500": UNAVAILABLE,
    "status code=409": UNAVAILABLE,
    "down": UNAVAILABLE,
    "hang": TIMEOUT,
    "drip": TIMEOUT,
    "reset after=120": UNAVAILABLE,
    "garbage": DRIFT,
    "drift": DRIFT,
    "drift missing=true": DRIFT,
    "wrong-tenant": DRIFT,
}


async def look(desk, **more):
    """The answer, or the refusal, and how many seconds it took."""
    began = trio.current_time()
    try:
        said = dict((await desk.get(PATH, **more)).body)
    except Refused as refused:
        said = refused
    return said, trio.current_time() - began


async def mirrored(world):
    with within(1):
        return await world.stores.ledger.session().mirrored(TENANT, OPERATOR)


async def mirror(world, version, values):
    with within(1):
        await world.stores.ledger.session().mirror(Mirror(TENANT, OPERATOR, version, as_copy(values), world.now()))


async def cached(world):
    with within(1):
        return (await world.stores.cache.get_many([KEY]))[0]


async def put(world, version, values, operator=OPERATOR, tenant=TENANT):
    said = {"tenantId": tenant, "operatorId": operator, "version": version, "values": values}
    with within(1):
        await world.stores.cache.put_many([Entry(KEY, Kept(world.now(), json.dumps(said).encode()), 3600)])


async def test_they_are_what_the_authority_says_and_both_copies_are_made_to_say_the_same_behind_the_answer(
    autojump_clock,
):
    async with open_world() as world:
        desk = await world.desk()
        assert await look(desk) == ({"version": 1, "values": HER_OWN, "stale": False}, 0)
        await world.quiet()
        kept, copy = await mirrored(world), await cached(world)
        assert (kept.version, of_copy(kept.values), kept.as_of) == (1, HER_OWN, copy.as_of)
        assert json.loads(copy.body)["values"] == HER_OWN
        autojump_clock.jump(600)
        await look(desk)
        await world.quiet()
        assert (await mirrored(world), await cached(world)) == (kept, copy)  # what is the same is not written again


@pytest.mark.parametrize("toxic", FAULTS)
async def test_without_their_authority_they_are_the_last_that_is_known_and_marked_or_else_why_not_f3(
    autojump_clock, toxic
):
    async with open_world() as world:
        desk = await world.desk()
        whole = None
        for kept in (False, True):
            world.inject("tenant", toxic)
            said, took = await look(desk)
            if kept:
                assert said == whole | {"stale": True}
            else:
                assert code(said) == FAULTS[toxic]
                assert (said.problem["upstream"], said.problem["retryable"]) == ("tenant", True)
            assert (
                (GIVEN_UP if FAULTS[toxic] == TIMEOUT else 0) <= took <= (DEADLINE if FAULTS[toxic] == TIMEOUT else 0)
            )
            world.clear()
            autojump_clock.jump(2)
            whole, _ = await look(desk)
            assert whole["stale"] is False
            await world.quiet()


async def test_an_authority_that_knows_no_such_operator_is_believed_over_every_copy(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await look(desk)
        await world.quiet()
        world.inject("tenant", "status code=404")
        said, _ = await look(desk)
        assert code(said) == (404, "NOT_FOUND")
        assert said.problem["retryable"] is False


@pytest.mark.parametrize("fault", ["down", "stop"])
@pytest.mark.parametrize("toxic", ["down", "hang"])
@pytest.mark.parametrize("lost", ["cache", "ledger", "both"])
async def test_either_copy_is_enough_and_with_neither_the_answer_is_still_in_time(autojump_clock, lost, fault, toxic):
    async with open_world() as world:
        desk = await world.desk()
        whole, _ = await look(desk)
        await world.quiet()
        for store in ("cache", "ledger") if lost == "both" else (lost,):
            getattr(getattr(world.stores, store), fault)()
        assert await look(desk) == (whole, 0)  # nobody waits for a store while the authority answers
        world.inject("tenant", toxic)
        said, took = await look(desk)
        if lost == "both":
            assert code(said) == (UNAVAILABLE if toxic == "down" else TIMEOUT)
        else:
            assert said == whole | {"stale": True}
        assert took <= (DEADLINE if toxic == "hang" else 0.2 if fault == "stop" else 0)


@pytest.mark.parametrize(("in_cache", "in_mirror", "shown"), [(7, 8, 8), (8, 7, 8)])
async def test_of_two_copies_the_newer_one_is_shown_so_that_a_change_that_went_through_stays_f36(
    autojump_clock, in_cache, in_mirror, shown
):
    async with open_world() as world:
        desk = await world.desk()
        await put(world, in_cache, {"of": in_cache})
        await mirror(world, in_mirror, {"of": in_mirror})
        world.inject("tenant", "status code=503")
        said, _ = await look(desk)
        assert said == {"version": shown, "values": {"of": shown}, "stale": True}


async def test_a_desk_that_changed_them_sees_the_change_in_an_outage_though_the_cache_is_older_f36(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await look(desk)
        await world.quiet()
        await desk.change(PATH, {"version": 1, "values": {"language": "en"}}, "k-1", method="PUT")
        world.inject("tenant", "down")
        assert (await look(desk))[0] == {"version": 2, "values": {"language": "en"}, "stale": True}
        world.clear()
        await trio.sleep(2)
        assert (await look(desk))[0] == {"version": 2, "values": {"language": "en"}, "stale": False}


async def test_an_answer_that_was_overtaken_by_a_change_puts_no_copy_back_f36(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await put(world, 2, {"new": True})
        await mirror(world, 2, {"new": True})
        await look(desk)
        await world.quiet()
        assert json.loads((await cached(world)).body)["version"] == (await mirrored(world)).version == 2


@pytest.mark.parametrize(("version", "values"), [(1, {"language": "xx"}), (0, HER_OWN)])
async def test_a_mirror_that_says_otherwise_is_set_right_by_the_next_look_f36(autojump_clock, version, values):
    async with open_world() as world:
        desk = await world.desk()
        await mirror(world, version, values)
        await look(desk)
        await world.quiet()
        kept = await mirrored(world)
        assert (kept.version, of_copy(kept.values)) == (1, HER_OWN)


@pytest.mark.parametrize("whose", [{"operator": "tiago"}, {"tenant": "city"}, {"values": {"": 1}}])
async def test_a_copy_in_the_cache_that_is_somebody_else_s_or_cannot_be_read_is_no_copy_f30(autojump_clock, whose):
    async with open_world() as world:
        desk = await world.desk()
        await put(world, 9, **{"values": {"secret": True}} | whose)
        world.inject("tenant", "down")
        assert code((await look(desk))[0]) == UNAVAILABLE


async def test_a_copy_lasts_for_a_day(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await look(desk)
        await world.quiet()
        autojump_clock.jump(86_400 - 10)
        assert await cached(world) is not None
        autojump_clock.jump(10)
        assert await cached(world) is None


@pytest.mark.parametrize("deadline_ms", [50, 700])
async def test_a_shorter_deadline_is_kept_and_the_copy_is_shown_within_it(autojump_clock, deadline_ms):
    async with open_world() as world:
        desk = await world.desk()
        whole, _ = await look(desk)
        await world.quiet()
        world.inject("tenant", "hang")
        said, took = await look(desk, deadline_ms=deadline_ms)
        assert said == whole | {"stale": True}
        assert took <= deadline_ms / 1000


names = st.text(min_size=1, max_size=64) | st.sampled_from(["language", "x" * 64])
texts = st.text(max_size=40) | st.just("y" * 4096)
values = texts | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(names, values, max_size=64))
def test_whatever_values_there_may_be_a_copy_gives_them_back_as_they_were(wanted):
    again = of_copy(as_copy(wanted))
    assert again == wanted
    assert {name: type(value) for name, value in again.items()} == {n: type(v) for n, v in wanted.items()}
    assert as_copy(again) == as_copy(dict(reversed(wanted.items())))


odd = st.sampled_from(["", "z" * 65, "z" * 4097, None, [], {}, -1, 2**53, 0, 3, 1.5, math.inf, "1", True])


@given(
    st.fixed_dictionaries(
        {"version": st.integers(-2, 2**53) | odd, "values": st.dictionaries(names | odd.map(str), values | odd) | odd},
        optional={"stale": st.booleans()},
    ),
    st.integers(0, 70),
)
def test_a_body_is_taken_exactly_if_it_is_what_the_contract_says(body, more):
    if isinstance(body["values"], dict):
        body["values"] |= {f"more {number}": number for number in range(more)}
    is_int = type(body["version"]) is int and 0 <= body["version"] < 2**53
    fits = is_int and "stale" not in body and isinstance(body["values"], dict) and len(body["values"]) <= 64
    if fits:
        fits = all(1 <= len(name) <= 64 for name in body["values"]) and all(map(may_be, body["values"].values()))
    try:
        taken = msgspec.json.decode(json.dumps(body), type=PreferencesBody)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        assert not fits
    else:
        assert fits
        assert taken.values == body["values"]


def may_be(value):
    if isinstance(value, str):
        return len(value) <= 4096
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
