"""What nobody knows becomes known, whether its desk comes back or not."""

from dataclasses import replace

import msgspec
import pytest
import trio

from bff.facts import ClaimSettled, ClaimsUnsettled, Surprised
from bff.jobs import settle_claims
from bff.writes.mutation import LEASE
from bff.writes.settling import NEVER_CAME
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from nurseries import within

CHARGES = "/v1/folios/f-00870/charges"
CHARGE = {"amountMinor": 700, "currency": "EUR", "description": "Minibar"}
KEYS = "/v1/locks/lock-praia-103/keys"
ISSUE = {"reservationId": "r-00870", "validUntil": "2015-08-16T12:00:00Z"}
TURN = settle_claims.EVERY + 0.1


async def refused(desk, path, body, key):
    with pytest.raises(Refused) as raised:
        await desk.change(path, body, key)
    return raised.value.status


def effects(world, service, operation):
    return world.estate.doors[service].service.counts[operation].effects


async def trail(world):
    """What the trail says: kind, key and outcome of each row, in order."""
    with within(5):
        rows = await world.stores.ledger.session().trail("resort", after=0, limit=100)
        entries = [msgspec.json.decode(row.entry) for row in rows]
        return [(entry["kind"], entry["key"], entry.get("outcome", "")) for entry in entries]
    raise AssertionError("no answer")


async def unsettled(world):
    with within(5):
        return await world.stores.ledger.session().unsettled(older_than=0.0, limit=100)
    raise AssertionError("no answer")


async def test_a_mutation_whose_server_died_is_carried_out_once_though_its_desk_never_comes_back_f32(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("billing", "hang")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused, desk, CHARGES, CHARGE, "k-1")
            await trio.sleep(1.0)
            await world.servers["bff"].kill()
        await world.serve("bff")
        world.clear("billing")
        assert effects(world, "billing", "charge") == 0
        await trio.sleep(LEASE + TURN)
        assert (effects(world, "billing", "charge"), await unsettled(world)) == (1, ())
        again = await desk.change(CHARGES, CHARGE, "k-1")
        assert (again.status, again.replayed, effects(world, "billing", "charge")) == (201, True, 1)


async def test_what_is_uncertain_is_its_desk_s_for_a_while_and_then_settled(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("billing", "lose-answer")
        assert await refused(desk, CHARGES, CHARGE, "k-1") == 504
        world.clear("billing")
        await trio.sleep(settle_claims.DESKS_OWN - 1.0)
        (row,) = await unsettled(world)
        assert (row.id.key, row.before) == ("k-1", "uncertain")
        await trio.sleep(1.0 + TURN)
        assert (await unsettled(world), effects(world, "billing", "charge")) == ((), 1)


async def test_an_uncertain_lock_action_is_asked_for_and_nothing_is_cut_twice_f10(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("lock-integration", "lose-answer")
        assert await refused(desk, KEYS, ISSUE, "k-1") == 504
        world.inject("lock-integration", "down")
        await trio.sleep(600)
        assert len(await unsettled(world)) == 1
        world.clear("lock-integration")
        await trio.sleep(60)
        assert await unsettled(world) == ()
        assert await trail(world) == [
            ("intent", "k-1", ""),
            ("outcome", "k-1", "uncertain"),
            ("outcome", "k-1", "success"),
        ]
        calls = world.estate.doors["lock-integration"].service.counts["issueKey"].calls
        again = await desk.change(KEYS, ISSUE, "k-1")
        assert (again.status, again.replayed) == (201, True)
        assert (calls, effects(world, "lock-integration", "issueKey")) == (1, 1)


async def test_a_lock_action_that_never_arrived_failed_and_may_be_tried_again_f10(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("lock-integration", "hang")
        assert await refused(desk, KEYS, ISSUE, "k-1") == 504
        world.clear("lock-integration")
        await trio.sleep(NEVER_CAME - 5.0)
        assert len(await unsettled(world)) == 1, "it may be under way still"
        await trio.sleep(40)
        assert await unsettled(world) == ()
        assert [outcome for _, _, outcome in await trail(world)] == ["", "uncertain", "failure"]
        again = await desk.change(KEYS, ISSUE, "k-1")
        assert (again.status, again.replayed, effects(world, "lock-integration", "issueKey")) == (201, False, 1)


async def test_a_lock_action_whose_server_died_is_uncertain_in_the_trail_and_then_known_f27(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("lock-integration", "latency ms=2000")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused, desk, KEYS, ISSUE, "k-1")
            await trio.sleep(1.5)
            await world.servers["bff"].kill()
        world.clear("lock-integration")
        await world.serve("bff")
        await trio.sleep(60)
        assert await unsettled(world) == ()
        assert [outcome for _, _, outcome in await trail(world)][:2] == ["", "uncertain"]
        with within(5):
            whole = await world.stores.ledger.session().lock_completeness(grace=30)
        assert whole.ratio == 1.0


async def test_what_cannot_be_settled_now_keeps_nobody_else_waiting(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        for service in ("billing", "lock-integration"):
            world.inject(service, "lose-answer")
        for number in range(4):
            assert await refused(desk, KEYS, ISSUE, f"k-{number}") == 504
        assert await refused(desk, CHARGES, CHARGE, "k-charge") == 504
        world.clear("billing")
        world.inject("lock-integration", "hang")
        await trio.sleep(settle_claims.DESKS_OWN + 3 * TURN)
        assert "k-charge" not in {row.id.key for row in await unsettled(world)}
        counted = [fact.count for fact in world.facts if isinstance(fact, ClaimsUnsettled)]
        assert max(counted) == 5
        world.clear("lock-integration")
        await trio.sleep(60)
        assert (await unsettled(world), effects(world, "lock-integration", "issueKey")) == ((), 4)


async def test_of_two_servers_one_settles_and_no_key_is_asked_for_by_both(autojump_clock):
    async with open_world(servers=("one", "two")) as world:
        desk = await world.desk(server="one")
        world.inject("lock-integration", "lose-answer")
        assert await refused(desk, KEYS, ISSUE, "k-1") == 504
        world.clear("lock-integration")
        await trio.sleep(4 * TURN)
        assert await unsettled(world) == ()
        assert world.estate.doors["lock-integration"].service.counts["outcome"].calls == 1


async def test_an_action_of_another_version_is_left_to_that_one(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("billing", "lose-answer")
        assert await refused(desk, CHARGES, CHARGE, "k-1") == 504
        world.clear("billing")
        rows = world.stores.ledger.keys.pending
        ((key, row),) = rows.items()
        another = replace(row.asked, request=row.asked.request.replace(b"folio.charge", b"folio.mirror"))
        rows.put(key, replace(row, asked=another))
        await trio.sleep(60)
        assert len(await unsettled(world)) == 1
        assert effects(world, "billing", "charge") == 1


async def test_while_mutations_are_off_nothing_is_sent_again_and_lock_actions_are_asked_for_f32(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        for service in ("billing", "lock-integration"):
            world.inject(service, "lose-answer")
        assert await refused(desk, CHARGES, CHARGE, "k-charge") == 504
        assert await refused(desk, KEYS, ISSUE, "k-lock") == 504
        switches = world.servers["bff"].house.switches
        with within(5):
            await switches.turn("mutations", "off", by="ana", why="charges are posted twice")
        world.clear()
        sent = world.estate.doors["billing"].service.counts["charge"].calls
        await trio.sleep(60)
        assert [row.id.key for row in await unsettled(world)] == ["k-charge"]
        assert world.estate.doors["billing"].service.counts["charge"].calls == sent
        with within(5):
            await switches.turn("mutations", "on", by="ana", why="they are not")
        await trio.sleep(TURN)
        assert (await unsettled(world), effects(world, "billing", "charge")) == ((), 1)
        settled = {(fact.action, fact.state) for fact in world.facts if isinstance(fact, ClaimSettled)}
        assert settled == {("folio.charge", "recorded"), ("lock.issue", "recorded")}


async def test_a_row_that_nobody_can_read_is_told_and_costs_no_other_its_turn(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("billing", "lose-answer")
        for key in ("k-1", "k-2"):
            assert await refused(desk, CHARGES, CHARGE, key) == 504
        world.clear("billing")
        rows = world.stores.ledger.keys.pending
        key, row = next((key, row) for key, row in rows.items() if key.key == "k-1")
        rows.put(key, replace(row, asked=replace(row.asked, request=b"{")))
        await trio.sleep(settle_claims.DESKS_OWN + 2 * TURN)
        assert [row.id.key for row in await unsettled(world)] == ["k-1"]
        told = [fact for fact in world.facts if isinstance(fact, Surprised)]
        assert {fact.where for fact in told} == {settle_claims.JOB}
        world.facts[:] = [fact for fact in world.facts if fact not in told]  # it was a bug, and is told as one


async def test_who_leads_no_longer_counts_nothing_any_more(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("billing", "hang")
        assert await refused(desk, CHARGES, CHARGE, "k-1") == 504
        await trio.sleep(TURN)
        world.inject("postgres", "down")
        await trio.sleep(TURN)
        world.clear("postgres")
        with within(5):
            assert isinstance(await world.stores.ledger.session().lead(settle_claims.JOB), int)
        await trio.sleep(3 * TURN)
        counted = [fact.count for fact in world.facts if isinstance(fact, ClaimsUnsettled)]
        assert counted[-2:] == [1, 0]
        world.clear("billing")
