"""The cache tier and the session tier fail, and reads go on (F-17, F-18)."""

import pytest
import trio

from bff.facts import ReplayBlocked
from chaos.hotel.checks.answers import judge, without
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.world import open_world


def readiness(server, store):
    lines = dict(line.split(" ", 1) for line in server.house.readiness.lines().splitlines())
    return lines[store].split()[0]


@pytest.mark.parametrize(("fault", "at_most"), [("down", 0.0), ("stop", 0.1)])
async def test_without_the_cache_tier_every_widget_is_asked_for_and_the_dashboard_is_whole(
    autojump_clock, fault, at_most
):
    """F-17: read-through; readiness says degraded, and ready."""
    async with open_world() as world:
        desk = await world.desk()
        await desk.dashboard()
        await world.quiet()
        getattr(world.stores.cache, fault)()
        for _ in range(3):
            seen = await desk.dashboard()
            judge(seen, {})
            assert seen.took <= at_most
            assert seen.body["widgets"]["operator"]["asOf"] == seen.body["generatedAt"] or at_most
        await trio.sleep(2)
        server = world.servers["bff"]
        assert readiness(server, "redis-cache") == "degraded"
        assert server.house.readiness.ready

        world.stores.cache.start()
        await trio.sleep(2)
        assert readiness(server, "redis-cache") == "up"
        first, second = await desk.dashboard(), await desk.dashboard()
        assert second.body["widgets"]["operator"]["asOf"] == first.body["widgets"]["operator"]["asOf"]


async def test_without_the_cache_tier_a_service_that_fails_is_a_skeleton_even_if_it_was_kept(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.dashboard()
        await world.quiet()
        world.stores.cache.down()
        world.inject("notification", "down")
        judge(await desk.dashboard(), without("notification", "UPSTREAM_UNAVAILABLE"))
        world.stores.cache.start()
        judge(await desk.dashboard(), without("notification", "UPSTREAM_UNAVAILABLE", kept=True))


@pytest.mark.parametrize("toxic", ["hang", "down"])
async def test_a_cache_that_hangs_and_a_service_that_fails_are_still_in_time(autojump_clock, toxic):
    async with open_world() as world:
        desk = await world.desk()
        world.stores.cache.stop()
        world.inject("property", toxic)
        reason = "UPSTREAM_TIMEOUT" if toxic == "hang" else "UPSTREAM_UNAVAILABLE"
        judge(await desk.dashboard(), without("property", reason))
        judge(await desk.dashboard(deadline_ms=100), without("property", reason), deadline_ms=100)


@pytest.mark.parametrize(("fault", "at_most"), [("down", 0.0), ("stop", 0.1)])
async def test_without_the_session_tier_reads_go_on_and_a_replayed_proof_is_still_refused(
    autojump_clock, fault, at_most
):
    """F-18, F-28: no session blob, and the process's own window decides."""
    async with open_world() as world:
        desk = await world.desk()
        getattr(world.stores.tier, fault)()
        for _ in range(3):
            seen = await desk.dashboard()
            judge(seen, {})
            assert seen.took <= at_most
        proof = make_proof(
            desk.key, "GET", "http://bff/v1/session", token=desk.session.access_token, now=world.now(), jti="once"
        )
        assert (await desk.ask("GET", "/v1/session", headers={"dpop": proof})).status_code == 200
        with pytest.raises(Refused) as replayed:
            await desk.ask("GET", "/v1/session", headers={"dpop": proof})
        assert (replayed.value.status, replayed.value.code) == (401, "DPOP_INVALID")
        assert [fact.by for fact in world.facts if isinstance(fact, ReplayBlocked)] == ["window"]
        await trio.sleep(2)
        server = world.servers["bff"]
        assert (readiness(server, "redis-session"), server.house.readiness.ready) == ("down", False)
        world.stores.tier.start()
        await trio.sleep(2)
        assert server.house.readiness.ready


async def test_both_tiers_hang_and_a_service_too_and_the_answer_is_in_time(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.stores.tier.stop()
        world.stores.cache.stop()
        world.inject("reservation", "hang")
        judge(await desk.dashboard(), without("reservation", "UPSTREAM_TIMEOUT"))
        judge(await desk.dashboard(deadline_ms=50), without("reservation", "UPSTREAM_TIMEOUT"), deadline_ms=50)


@pytest.mark.parametrize("seconds", [0.05, 0.0779, 0.0781, 0.3, 0.49, 2.0])
async def test_slow_tiers_cost_a_part_of_the_time_and_never_the_deadline(autojump_clock, seconds):
    async with open_world() as world:
        desk = await world.desk()
        await desk.dashboard()
        await world.quiet()
        world.stores.tier.latency(seconds)
        world.stores.cache.latency(seconds)
        seen = await desk.dashboard()
        judge(seen, {})
        assert seen.took <= 0.16  # a tenth of the deadline for each of them
        world.inject("billing", "hang")
        judge(await desk.dashboard(), without("billing", "UPSTREAM_TIMEOUT"))


@pytest.mark.parametrize("toxic", ["down", "hang", "status code=500", "garbage", "drip", "lose-answer"])
async def test_iam_fails_before_its_keys_were_read_and_nobody_is_called_a_stranger_for_it(autojump_clock, toxic):
    async with open_world() as world:
        desk = await world.desk()
        await world.servers["bff"].kill()
        world.inject("iam", toxic)
        await world.serve("bff")
        began = trio.current_time()
        with pytest.raises(Refused) as refused:
            await desk.dashboard()
        assert trio.current_time() - began <= 0.8
        code = "SCHEMA_DRIFT" if toxic == "garbage" else "UPSTREAM_UNAVAILABLE"
        assert (refused.value.status, refused.value.code) == (502, code)
        world.clear()
        await trio.sleep(10)
        judge(await desk.dashboard(), {})
