"""Copies are compared with whoever is the authority for them (F-35, F-36)."""

import msgspec
import pytest
import trio

from bff.facts import CursorsCompared, MirrorDiverged
from bff.jobs import settle_mirrors
from chaos.hotel.estate.service import Call
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from nurseries import within

ROUND = 2 * settle_mirrors.EVERY + 1.0


def told(world):
    return [fact.what for fact in world.facts if isinstance(fact, MirrorDiverged)]


def diverging(world):
    return [fact.diverged for fact in world.facts if isinstance(fact, CursorsCompared)][-1]


async def mirrored(world):
    with within(5):
        kept = await world.stores.ledger.session().mirrored("resort", "ines")
        return kept.version, msgspec.json.decode(kept.values)
    raise AssertionError("no answer")


def behind_our_back(world, service, operation, fields, body):
    """Somebody else's change: not through this server."""
    one = world.estate.doors[service].service
    (found,) = [row for row in one.operations if row.name == operation and row.method != "GET"]
    call = Call(operation, "resort", "ines", None, fields, {}, body, None)
    assert one.answer(found, call).status == 200


async def test_preferences_that_somebody_else_changed_are_found_and_healed_f36(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.change("/v1/preferences", {"version": 1, "values": {"language": "de"}}, "k-1", method="PUT")
        await trio.sleep(ROUND)
        assert told(world) == []
        wanted = {"version": 2, "values": {"language": "fr"}}
        behind_our_back(world, "tenant", "preferences", {"id": "ines"}, wanted)
        await trio.sleep(ROUND)
        assert (told(world), await mirrored(world)) == (["preferences"], (3, {"language": "fr"}))
        await trio.sleep(ROUND)
        assert told(world) == ["preferences"]


async def test_an_authority_that_does_not_answer_is_no_divergence_f36(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.change("/v1/preferences", {"version": 1, "values": {"language": "de"}}, "k-1", method="PUT")
        for toxic in ("down", "hang", "status code=500", "drift"):
            world.inject("tenant", toxic)
            await trio.sleep(ROUND)
            world.clear("tenant")
        assert (told(world), await mirrored(world)) == ([], (2, {"language": "de"}))


async def test_an_uncertain_change_of_preferences_leaves_the_mirror_and_is_settled_f36(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.change("/v1/preferences", {"version": 1, "values": {"language": "de"}}, "k-1", method="PUT")
        world.inject("tenant", "lose-answer")
        with pytest.raises(Refused, match="UPSTREAM_TIMEOUT"):
            await desk.change("/v1/preferences", {"version": 2, "values": {"language": "fr"}}, "k-2", method="PUT")
        world.clear("tenant")
        assert await mirrored(world) == (2, {"language": "de"})
        await trio.sleep(60)
        assert await mirrored(world) == (3, {"language": "fr"})


async def test_a_cursor_that_is_not_the_authority_s_is_marked_once_and_reset_by_a_handshake_f35(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        first = (await desk.ask("POST", "/v1/sync/handshake", body={"cursor": None})).json()["cursor"]
        await trio.sleep(ROUND)
        assert told(world) == []
        behind_our_back(world, "sync", "handshake", {"did": desk.device}, {"cursor": first})
        await trio.sleep(3 * ROUND)
        assert (told(world), diverging(world)) == (["cursor"], 1)
        assert (await desk.dashboard()).body["widgets"]["sync"]["data"]["staleSync"] is True
        said = (await desk.ask("POST", "/v1/sync/handshake", body={"cursor": first})).json()
        assert said["staleSync"] is True
        with within(5):
            kept = await world.stores.ledger.session().cursor("resort", desk.device)
        assert (kept.cursor, kept.diverged) == (said["cursor"], False)
        await trio.sleep(ROUND)
        assert diverging(world) == 0
        assert (await desk.dashboard()).body["widgets"]["sync"]["data"]["staleSync"] is False
