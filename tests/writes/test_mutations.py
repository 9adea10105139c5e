"""Mutations through the whole server, in virtual time: once, in order, in time and on the record, whatever fails."""

import json
from collections import Counter
from copy import copy
from itertools import pairwise

import pytest
import trio

from bff.facts import MutationConcluded
from bff.model import TenantId
from bff.writes.mutation import DOMAIN_EVENTS, LEASE
from chaos.hotel.fleet.changes import MUTATION_SECONDS, tried_by
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.world import open_world
from nurseries import listening, within

CHARGE = ("/v1/folios/f-00870/charges", {"amountMinor": 700, "currency": "EUR", "description": "Minibar"})
OTHER_CHARGE = (CHARGE[0], {**CHARGE[1], "amountMinor": 800})
REFUND = ("/v1/folios/f-00870/refunds", {"amountMinor": 5, "currency": "EUR", "reason": "not ordered"})
ISSUE = ("/v1/locks/lock-praia-103/keys", {"reservationId": "r-00870", "validUntil": "2015-08-16T12:00:00Z"})
MOVE = "/v1/housekeeping/tasks/t-praia-103/transition"
COLUMNS = ("cleaning", "clean", "inspected", "dirty")
BILLING, LOCKS, HOUSEKEEPING = "billing", "lock-integration", "housekeeping"
TWO = ("bff", "bff-2")

# What a charge, and a lock action, are answered with; and what the trail says of the latter.
SAID = {
    "hang": (504, 504, "uncertain"),
    "drip": (504, 504, "uncertain"),
    "giant": (504, 504, "uncertain"),
    "garbage": (504, 504, "uncertain"),
    "drift field=tenantId": (504, 504, "uncertain"),
    "wrong-tenant": (504, 504, "uncertain"),
    "redirect": (504, 504, "uncertain"),
    "lose-answer": (504, 504, "uncertain"),
    "status code=503": (504, 502, "failure"),
    "down": (504, 502, "failure"),
}


def count_of(world, service, operation):
    return world.estate.doors[service].service.counts[operation]


async def rows_of(world, key):
    """What the trail says of a key."""
    with within(1.0):
        rows = await world.stores.ledger.session().trail(TenantId("resort"), after=0, limit=1000)
    entries = [json.loads(row.entry) for row in rows]
    return [entry.get("outcome") or entry["kind"] for entry in entries if entry["key"] == key]


async def at_once(asks):
    """What came of each, in their order; all begin in one moment."""
    came = [None] * len(asks)

    async def one(number, ask):
        came[number] = await ask()

    async with trio.open_nursery() as nursery:
        for number, ask in enumerate(asks):
            nursery.start_soon(one, number, ask)
    return came


def asking(desk, change, key, **more):
    return lambda: tried_by(desk, *change, key, **more)


async def until_answered(desk, change, key):
    """Tried as an outbox does."""
    with within(6 * LEASE):
        while True:
            tried = await tried_by(desk, *change, key)
            if tried.again is None:
                return tried
            await trio.sleep(tried.again)
    raise AssertionError("no answer in a minute")


@pytest.mark.parametrize("fault", SAID)
async def test_an_answer_comes_in_time_and_says_what_is_known_whatever_the_service_does_f4_f10(autojump_clock, fault):
    async with open_world() as world:
        desk = await world.desk()
        world.inject(BILLING, fault)
        world.inject(LOCKS, fault)
        charged, issued = await at_once([asking(desk, CHARGE, "k-1"), asking(desk, ISSUE, "k-2")])
        assert (charged.status, issued.status, await rows_of(world, "k-2")) == (
            *SAID[fault][:2],
            ["intent", SAID[fault][2]],
        )
        assert max(charged.took, issued.took) <= MUTATION_SECONDS
        assert charged.told and issued.told  # when to come again
        world.clear()
        for change, key in ((CHARGE, "k-1"), (ISSUE, "k-2")):
            assert (await until_answered(desk, change, key)).status == 201
        assert count_of(world, BILLING, "charge").effects == count_of(world, LOCKS, "issueKey").effects == 1
        assert (await rows_of(world, "k-2"))[-1] == "success"


async def test_a_key_that_is_in_flight_is_told_so_at_once_by_every_server_f32(autojump_clock):
    async with open_world(servers=TWO) as world:
        desks = [await world.desk(), await world.desk(), await world.desk(server="bff-2")]
        world.inject(BILLING, "hang")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asking(desks[0], CHARGE, "k-1"))
            await trio.sleep(1.0)
            for desk in desks[1:]:
                waits = await tried_by(desk, *CHARGE, "k-1")
                assert (waits.status, waits.code, waits.took) == (409, "IDEMPOTENCY_IN_PROGRESS", 0.0)
                assert (waits.told, waits.again) == (True, LEASE - 1.0)


@pytest.mark.parametrize("servers", [1, 2])
async def test_32_at_once_with_one_key_have_one_effect_and_one_answer_f32(autojump_clock, servers):
    async with open_world(servers=TWO, answers_take=(0.05, 0.05)) as world:
        desks = [await world.desk(server=TWO[number % servers]) for number in range(32)]
        came = await at_once([asking(desk, CHARGE, "k-1") for desk in desks])
        answers = [tried for tried in came if tried.again is None]
        assert {tried.code for tried in came} <= {"", "IDEMPOTENCY_IN_PROGRESS"}
        assert [tried.status for tried in answers if not tried.replayed] == [201]
        assert len({tried.body for tried in answers}) == 1
        assert (count_of(world, BILLING, "charge").calls, count_of(world, BILLING, "charge").effects) == (1, 1)


async def test_those_who_came_in_the_same_moment_with_a_key_hear_at_once_that_it_is_in_flight_f32(autojump_clock):
    async with open_world() as world:
        desks = [await world.desk() for _ in range(8)]
        world.inject(BILLING, "hang")
        came = await at_once([asking(desk, CHARGE, "k-1") for desk in desks])
        assert sorted(tried.status for tried in came) == [*[409] * 7, 504]
        assert {tried.took for tried in came if tried.status == 409} == {0.0}


@pytest.mark.seeds(3)
async def test_what_is_sent_in_one_moment_over_many_connections_is_done_in_the_order_in_which_it_was_sent(
    autojump_clock, seed, monkeypatch
):
    async with open_world(seed=seed, answers_take=(0.05, 0.05)) as world:
        desk = await world.desk()
        service, keys = world.estate.doors[HOUSEKEEPING].service, []
        heard = service.answer
        monkeypatch.setattr(service, "answer", lambda *asked: keys.append(asked[1].key) or heard(*asked))
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(asking(desk, (MOVE, {"to": COLUMNS[number % 4]}), f"k-{number}"))
                await trio.testing.wait_all_tasks_blocked()
            assert trio.current_time() == began
        assert keys == [f"k-{number}" for number in range(20)]
        assert count_of(world, HOUSEKEEPING, "transition").effects == 20


async def test_over_two_servers_one_aggregate_is_changed_by_one_at_a_time(autojump_clock):
    spans = []

    def heard(fact):
        if isinstance(fact, MutationConcluded):
            spans.append((trio.current_time() - fact.seconds, trio.current_time()))

    async with open_world(servers=TWO, answers_take=(0.05, 0.05)) as world:
        desks = [await world.desk(server=server) for server in TWO]
        with listening(heard):
            moves = [(MOVE, {"to": COLUMNS[number % 4]}) for number in range(12)]
            came = await at_once([asking(desks[n % 2], move, f"k-{n}") for n, move in enumerate(moves)])
        assert [tried.status for tried in came] == [200] * 12
        spans.sort()
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans)), spans
        assert len(spans) == 12


@pytest.mark.parametrize("server", TWO)
async def test_what_still_waits_when_its_time_is_over_has_claimed_nothing(autojump_clock, server):
    async with open_world(servers=TWO) as world:
        desk, other = await world.desk(), await world.desk(server=server)
        world.inject(BILLING, "hang")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asking(desk, CHARGE, "k-1"))
            await trio.sleep(0.5)
            began = trio.current_time()
            headers = {"idempotency-key": "k-2", "x-deadline-ms": "1000"}
            with pytest.raises(Refused, match="UPSTREAM_TIMEOUT: it still waited") as refused:
                await other.ask("POST", CHARGE[0], headers=headers, body=CHARGE[1])
            assert refused.value.problem["retryable"]
            assert trio.current_time() - began <= 1.0
        world.clear()
        assert (await tried_by(other, *OTHER_CHARGE, "k-2")).status == 201


@pytest.mark.parametrize("fault", ["down", "stop"])
async def test_without_the_ledger_nothing_is_sent_and_the_desk_hears_it_in_time(autojump_clock, fault):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("postgres", fault)
        for change in (CHARGE, ISSUE):
            tried = await tried_by(desk, *change, f"k {change[0]}".replace(" ", "-"))
            assert (tried.status, tried.code, tried.told) == (503, "STORE_UNAVAILABLE", True)
            assert tried.took <= MUTATION_SECONDS
        assert count_of(world, BILLING, "charge").calls == count_of(world, LOCKS, "issueKey").calls == 0
        world.clear("postgres")
        for change in (CHARGE, ISSUE):
            assert (await until_answered(desk, change, f"k {change[0]}".replace(" ", "-"))).status == 201
        assert count_of(world, BILLING, "charge").effects == count_of(world, LOCKS, "issueKey").effects == 1


async def test_without_the_session_tier_no_mutation_is_let_in_and_its_key_stays_free(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        world.inject("redis-session", "down")
        tried = await tried_by(desk, *CHARGE, "k-1")
        assert (tried.status, tried.code, tried.told) == (503, "CACHE_UNAVAILABLE", True)
        world.clear("redis-session")
        assert (await tried_by(desk, *OTHER_CHARGE, "k-1")).status == 201
        assert count_of(world, BILLING, "charge").calls == 1


async def test_what_belongs_to_a_property_outside_his_scope_is_not_there_for_an_operator(autojump_clock):
    async with open_world() as world:
        tiago = await world.desk(world.hotel.operators[1])  # who sees resort-praia alone
        serra = ("/v1/locks/lock-serra-101/keys", {**ISSUE[1], "reservationId": "r-00981"})
        for change, key in ((serra, "k-1"), (("/v1/folios/f-00981/charges", CHARGE[1]), "k-2")):
            tried = await tried_by(tiago, *change, key)
            assert (tried.status, tried.code, tried.again) == (404, "NOT_FOUND", None)
        assert count_of(world, LOCKS, "issueKey").effects == count_of(world, BILLING, "charge").effects == 0
        assert await rows_of(world, "k-1") == ["intent", "failure"]


async def test_what_cannot_be_recorded_in_time_is_recorded_behind_the_answer_as_soon_as_it_can(autojump_clock):
    async with open_world(answers_take=(0.2, 0.2)) as world:
        desk = await world.desk()

        async def breaks():
            await trio.sleep(0.1)
            world.inject("postgres", "down")

        tried, _ = await at_once([asking(desk, CHARGE, "k-1"), breaks])
        assert (tried.status, tried.code) == (503, "STORE_UNAVAILABLE")
        assert count_of(world, BILLING, "charge").effects == 1
        await trio.sleep(2.0)
        world.clear("postgres")
        await trio.sleep(3.0)  # the lease has not ended: nobody else has gone on with it
        assert world.authority.pubsub.published(DOMAIN_EVENTS).distinct == 1
        again = await tried_by(desk, *CHARGE, "k-1")
        assert (again.status, again.replayed) == (201, True)
        assert count_of(world, BILLING, "charge").calls == 1


async def test_a_second_factor_is_good_for_one_of_32_keys_at_once_f29(autojump_clock):
    async with open_world(servers=TWO, answers_take=(0.02, 0.02)) as world:
        desk = await world.desk()
        attestation = await desk.step_up("folio.refund", "f-00870", world.hotel.operators[0].mfa_code)
        elsewhere = copy(desk)
        elsewhere.base = "http://bff-2"
        desks = [desk, elsewhere]
        came = await at_once([asking(desks[n % 2], REFUND, f"k-{n}", attestation=attestation) for n in range(32)])
        assert Counter(tried.code for tried in came) == {"": 1, "MFA_INVALID_OR_USED": 31}
        assert count_of(world, BILLING, "refund").calls == 1


async def test_the_other_desks_of_the_property_hear_of_it_and_the_own_device_is_left_out(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await desk.change(*CHARGE, "k-1")
        await desk.change(MOVE, {"to": "cleaning"}, "k-2")
        await trio.sleep(1.0)
        told = [json.loads(one.data) for one in world.authority.pubsub.published(DOMAIN_EVENTS).messages]
    whose = {"tenantId": "resort", "propertyId": "resort-praia", "exceptDeviceId": desk.device}
    assert sorted(told, key=lambda one: one["type"], reverse=True) == [
        {"type": "dashboard-stale", **whose, "data": {"action": "folio.charge", "changed": ["folio:f-00870"]}},
        {"type": "board-changed", **whose, "data": {"action": "task.transition", "changed": ["task:t-praia-103"]}},
    ]
