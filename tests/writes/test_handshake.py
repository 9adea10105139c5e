"""The sync handshake: where a device is, by its authority, and in every copy (F-13, F-35)."""

import json

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bff.facts import SchemaDrifted
from bff.model import DeviceId, TenantId
from bff.writes.handshake import HandshakeBody
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from nurseries import within

PATH = "/v1/sync/handshake"
UNAVAILABLE, DRIFT = (502, "UPSTREAM_UNAVAILABLE"), (502, "SCHEMA_DRIFT")
FAULTS = {
    "status code=500": UNAVAILABLE,
    "status code=404": UNAVAILABLE,
    "status code=429": UNAVAILABLE,
    "down": UNAVAILABLE,
    "hang": UNAVAILABLE,
    "drip": UNAVAILABLE,
    "reset": UNAVAILABLE,
    "redirect": UNAVAILABLE,
    "lose-answer": UNAVAILABLE,
    "garbage": DRIFT,
    "drift": DRIFT,
    "wrong-tenant": DRIFT,
}
SLOW = {"hang", "drip"}
DEADLINE, PATIENCE = 5.0, 0.3


async def shake(desk, cursor, **headers):
    """The answer, or the refusal, and how many seconds it took."""
    began = trio.current_time()
    try:
        said = (await desk.ask("POST", PATH, body={"cursor": cursor}, headers=headers)).json()
    except Refused as refused:
        said = refused
    return said, trio.current_time() - began


async def shown(desk):
    """The dashboard's widget: its status, its cursor, its hint."""
    widget = (await desk.dashboard()).body["widgets"]["sync"]
    return widget["status"], widget["data"]["cursor"], widget["data"]["staleSync"]


async def recorded(world):
    with within(1):
        kept = await world.stores.ledger.session().cursor(TenantId("resort"), DeviceId("desk-1"))
    return kept and (kept.cursor, kept.diverged, kept.as_of)


def in_session(world):
    (blob,) = world.stores.tier.blobs
    return blob.cursor


def handshakes(world):
    count = world.estate.doors["sync"].service.counts.get("handshake")
    return (count.calls, count.effects) if count else (0, 0)


async def test_a_device_hears_where_it_is_and_whether_it_had_lost_its_way(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        first, took = await shake(desk, None)
        assert first == {"cursor": "c-000002", "serverTime": "2015-08-15T07:00:00Z", "staleSync": False}
        assert took == 0
        assert (await shake(desk, first["cursor"]))[0] == first | {"cursor": "c-000003"}
        assert (await shake(desk, "c-000001"))[0] == first | {"cursor": "c-000004", "staleSync": True}


async def test_every_copy_of_the_cursor_is_reset_before_the_answer_leaves_f35(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        assert await shown(desk) == ("ok", "c-000001", False)
        await world.quiet()
        (before,) = world.stores.tier.blobs
        autojump_clock.jump(600)
        await shake(desk, "c-000001")
        assert await recorded(world) == ("c-000002", False, world.now())
        (after,) = world.stores.tier.blobs
        assert (after.cursor, after.expires_at, after.session) == ("c-000002", before.expires_at, before.session)
        assert await shown(desk) == ("ok", "c-000002", False)


async def test_a_session_s_copy_lives_as_long_as_its_session_did_and_is_handed_on_when_it_is_renewed_f35(
    autojump_clock,
):
    async with open_world() as world:
        desk = await world.desk()
        autojump_clock.jump(890)
        await shake(desk, None)
        autojump_clock.jump(69)
        assert in_session(world) == "c-000002"
        autojump_clock.jump(1)
        assert world.stores.tier.blobs == ()
    async with open_world() as world:
        desk = await world.desk()
        await shake(desk, None)
        await desk.renew()
        assert in_session(world) == "c-000002"


async def test_the_last_known_cursor_in_an_outage_is_the_handshake_s_f35(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await shown(desk)
        await world.quiet()
        autojump_clock.jump(0.5)  # in which the kept answer would not be written again if it were the same
        await shake(desk, None)
        world.inject("sync", "down")
        assert await shown(desk) == ("stale", "c-000002", True)


async def test_a_handshake_whose_answer_was_lost_shows_as_a_hint_until_the_next_one_f35(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await shake(desk, None)
        world.inject("sync", "lose-answer")
        assert (await shake(desk, "c-000002"))[0].code == "UPSTREAM_UNAVAILABLE"
        world.clear()
        assert (await recorded(world))[0] == in_session(world) == "c-000002"  # what is not known is not kept
        assert await shown(desk) == ("ok", "c-000003", True)
        assert (await shake(desk, "c-000002"))[0]["staleSync"] is True
        assert await shown(desk) == ("ok", "c-000004", False)


@pytest.mark.parametrize("toxic", FAULTS)
async def test_a_handshake_that_fails_says_when_to_try_again_is_in_time_and_is_made_once_f13(autojump_clock, toxic):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("sync", toxic)
        said, took = await shake(desk, None)
        assert (said.status, said.code) == FAULTS[toxic]
        assert (said.problem["retryAfterMs"], said.problem["retryable"], said.problem["upstream"]) == (
            *(30_000, True),
            "sync",
        )
        assert (4.0 if toxic in SLOW else 0) <= took <= (DEADLINE if toxic in SLOW else 0)
        assert max(handshakes(world)) <= 1
        assert (await recorded(world), in_session(world)) == (None, None)
        assert bool([one for one in world.facts if isinstance(one, SchemaDrifted)]) == (FAULTS[toxic] == DRIFT)
        world.clear()
        assert "cursor" in (await shake(desk, None))[0]


@pytest.mark.parametrize("fault", ["down", "stop"])
@pytest.mark.parametrize("failing", ["ledger", "tier", "cache", "ledger tier cache"])
async def test_a_store_that_fails_is_done_without_and_the_other_copies_are_reset_f35(autojump_clock, failing, fault):
    async with open_world() as world:
        desk = await world.desk()
        await shown(desk)
        await world.quiet()
        stores = failing.split()
        for store in stores:
            getattr(getattr(world.stores, store), fault)()
        said, took = await shake(desk, None)
        assert said["cursor"] == "c-000002"
        gate = 0.1 if "tier" in stores and fault == "stop" else 0  # what the gate itself waits for the tier
        assert took <= gate + (PATIENCE if fault == "stop" else 0) + 1e-6
        if "ledger" not in stores:
            assert (await recorded(world))[0] == "c-000002"
        if "tier" not in stores:
            assert in_session(world) == "c-000002"
        if "cache" not in stores:
            world.inject("sync", "down")
            assert (await shown(desk))[:2] == ("stale", "c-000002")


@pytest.mark.parametrize("deadline_ms", [50, 400])
async def test_a_shorter_deadline_is_kept_and_is_a_502_like_everything_else_f13(autojump_clock, deadline_ms):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("sync", "hang")
        for store in (world.stores.ledger, world.stores.cache):
            store.stop()
        said, took = await shake(desk, None, **{"x-deadline-ms": str(deadline_ms)})
        assert (said.status, said.code, said.problem["retryAfterMs"]) == (*UNAVAILABLE, 30_000)
        assert took <= deadline_ms / 1000


async def test_a_breaker_that_is_open_asks_for_the_same_pause_f13(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("sync", "status code=503")
        while (said := (await shake(desk, None))[0]).problem["detail"] != "sync: not asked: it failed before":
            pass
        assert (said.status, said.code, said.problem["retryAfterMs"]) == (*UNAVAILABLE, 30_000)


async def test_a_body_that_is_none_is_refused_and_nobody_is_asked(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        for body in ({}, {"cursor": ""}, {"cursor": None, "more": 1}, [], {"cursor": "a\n"}):
            with pytest.raises(Refused) as refused:
                await desk.ask("POST", PATH, body=body)
            assert (refused.value.status, refused.value.code) == (400, "VALIDATION_FAILED")
        assert handshakes(world) == (0, 0)


@given(st.dictionaries(st.sampled_from(["cursor", "cursors"]), st.none() | st.text(max_size=260) | st.integers()))
def test_a_body_is_taken_exactly_if_its_cursor_is_null_or_a_text_that_can_be_kept(body):
    cursor = body.get("cursor")
    fits = list(body) == ["cursor"] and (cursor is None or (isinstance(cursor, str) and 1 <= len(cursor) <= 256))
    if isinstance(cursor, str):
        fits = fits and not any(ord(letter) < 32 or ord(letter) == 127 for letter in cursor)
    try:
        taken = msgspec.json.decode(json.dumps(body), type=HandshakeBody)
    except msgspec.MsgspecError:
        assert not fits
    else:
        assert fits
        assert taken.cursor == cursor
