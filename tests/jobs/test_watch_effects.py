"""A service that does again what it has done is found by its own counters, and mutations are halted (F-32)."""

import pytest
import trio

from bff.facts.probes import DuplicatesFound, EffectsCompared, EffectsUnseen, Tripped
from bff.jobs.watch_effects import EVERY, MOVES
from bff.meters import Meters
from chaos.hotel.fleet.changes import tried_by
from chaos.hotel.world import open_world
from nurseries import within

CHARGE = ("/v1/folios/f-00870/charges", {"amountMinor": 700, "currency": "EUR", "description": "Minibar"})
TAKEN = ("/v1/reservations/r-00870/check-in", {})  # in house already: an answer of 409
TURN = EVERY + 1.0


class Hotel:
    """A server that knows where the estate counts, and a desk."""

    def __init__(self, world, desk):
        self.world = world
        self.desk = desk
        self.billing = world.estate.doors["billing"].service

    def told(self, kind):
        return [fact for fact in self.world.facts if isinstance(fact, kind)]

    async def change(self, change, key, desk=None):
        return (await tried_by(desk or self.desk, *change, key)).status

    async def charged_twice(self, key):
        """The answer is lost, the desk asks again, and the service does not know that it has done it."""
        self.world.inject("billing", "lose-answer")
        assert await self.change(CHARGE, key) == 504
        self.world.clear("billing")
        self.billing.forgetful = True
        assert await self.change(CHARGE, key) == 201
        self.billing.forgetful = False

    def halted(self, server="bff"):
        return self.world.servers[server].house.switches.off("mutations")


async def hotel_of(world, *servers):
    world.count_changes()
    for name in servers:
        await world.serve(name)
    return Hotel(world, await world.desk(server=servers[0]))


async def test_a_service_that_charges_twice_for_a_key_is_found_at_the_next_turn_and_halts_mutations_f32(autojump_clock):
    async with open_world(servers=()) as world:
        hotel = await hotel_of(world, "bff")
        await trio.sleep(TURN)
        await hotel.charged_twice("k-1")
        await trio.sleep(TURN)
        assert hotel.told(DuplicatesFound) == [DuplicatesFound("billing", "charge", 1)]
        assert hotel.told(Tripped) == [Tripped("mutations", "watch-effects")]
        assert hotel.halted()
        assert "billing charge 1" in world.servers["bff"].house.switches.switch("mutations").why
        assert await hotel.change(CHARGE, "k-2") == 503
        meters = Meters()
        for fact in world.facts:
            meters.hear(fact)
        series = 'bff_idempotency_duplicates_total{operation="charge",service="billing"} 1.0'
        assert series in meters.shown()[0].decode()


async def test_what_was_found_once_is_not_found_again_and_what_is_done_twice_afterwards_is_f32(autojump_clock):
    async with open_world(servers=()) as world:
        hotel = await hotel_of(world, "bff")
        await trio.sleep(TURN)
        await hotel.charged_twice("k-1")
        await trio.sleep(TURN)
        switches = world.servers["bff"].house.switches
        with within(5):
            await switches.turn("mutations", "on", by="ann", why="billing is at its old revision")
        await trio.sleep(MOVES + TURN)
        assert not hotel.halted()
        assert await hotel.change(CHARGE, "k-2") == 201
        await hotel.charged_twice("k-3")
        await trio.sleep(TURN)
        assert hotel.halted()
        assert len(hotel.told(DuplicatesFound)) == 2


async def test_refusals_do_not_hide_what_was_done_twice_f32(autojump_clock):
    """Each is a key at the service for which nothing is changed: as if there were room for one change more."""
    async with open_world(servers=()) as world:
        hotel = await hotel_of(world, "bff")
        await trio.sleep(TURN)
        for number in range(3):
            body = {**CHARGE[1], "amountMinor": 700, "currency": "USD"}
            assert 400 <= await hotel.change((CHARGE[0], body), f"refused-{number}") < 500
        assert hotel.billing.counts["charge"].keys == 3
        await hotel.charged_twice("k-1")
        await trio.sleep(TURN)
        assert hotel.told(DuplicatesFound) == [DuplicatesFound("billing", "charge", 1)]


async def test_a_quiet_service_is_not_found_whatever_is_lost_refused_or_asked_again_f32(autojump_clock):
    async with open_world(servers=()) as world:
        hotel = await hotel_of(world, "bff")
        other = await world.desk()
        for turn in range(14):
            for number in range(3):
                key = f"k-{turn}-{number}"
                await trio.sleep(EVERY / 7)
                if number == 1:
                    world.inject("billing", ("lose-answer", "status code=503", "hang", "status code=404")[turn % 4])
                first = await hotel.change(CHARGE, key)
                world.clear("billing")
                if first >= 500:
                    await hotel.change(CHARGE, key)
                await hotel.change(CHARGE, key)
                await hotel.change(TAKEN, f"t-{key}", other)
        await trio.sleep(TURN)
        assert len(hotel.told(EffectsCompared)) >= 5
        assert (hotel.told(DuplicatesFound), hotel.told(Tripped)) == ([], [])


async def test_what_others_change_at_a_service_is_their_own_affair_f32(autojump_clock):
    async with open_world(servers=()) as world:
        hotel = await hotel_of(world, "bff")
        await trio.sleep(TURN)
        client = world.client("elsewhere")
        scope = ",".join(one["id"] for one in hotel.desk.session.properties)
        headers = {"x-tenant-id": "resort", "x-operator-id": "somebody", "x-property-scope": scope}
        for number in range(5):
            with within(5):
                url = f"{world.estate.doors['billing'].url}/folios/f-00870/charges"
                said = await client.post(url, json=CHARGE[1], headers={**headers, "idempotency-key": f"x{number}"})
            assert said.status_code == 201
            assert await hotel.change(CHARGE, f"k-{number}") == 201
        await trio.sleep(TURN)
        assert hotel.told(DuplicatesFound) == []


async def test_a_service_that_counts_from_nothing_is_looked_at_from_there_f32(autojump_clock):
    async with open_world(servers=()) as world:
        hotel = await hotel_of(world, "bff")
        assert await hotel.change(CHARGE, "k-0") == 201
        await trio.sleep(TURN)
        count = hotel.billing.counts["charge"]
        count.keys = count.effects = 0
        await trio.sleep(TURN)
        assert hotel.told(DuplicatesFound) == []
        await hotel.charged_twice("k-1")
        await trio.sleep(TURN)
        assert hotel.told(DuplicatesFound) == [DuplicatesFound("billing", "charge", 1)]


async def test_another_leader_goes_on_looking_and_while_nobody_can_nothing_is_halted_f32(autojump_clock):
    async with open_world(servers=()) as world:
        hotel = await hotel_of(world, "bff", "bff-2")
        await trio.sleep(TURN)
        await world.servers["bff"].end()
        await trio.sleep(TURN)
        desk = await world.desk(server="bff-2")
        hotel.desk = desk
        world.inject("postgres", "down")
        await trio.sleep(3 * EVERY)
        assert hotel.told(Tripped) == []
        world.clear("postgres")
        await trio.sleep(2 * TURN)
        await hotel.charged_twice("k-1")
        await trio.sleep(TURN)
        assert hotel.halted("bff-2")


async def test_a_server_that_is_not_told_where_changes_are_counted_compares_nothing(autojump_clock):
    async with open_world() as world:
        await trio.sleep(3 * EVERY)
        assert not [fact for fact in world.facts if isinstance(fact, EffectsCompared | EffectsUnseen)]


@pytest.mark.parametrize("toxic", ["", "garbage", "status code=503", "hang", "down", "giant"])
async def test_counters_that_cannot_be_read_are_told_and_halt_nothing(autojump_clock, toxic):
    async with open_world(servers=()) as world:
        world.counters = f"{world.estate.doors['pricing'].url}/_estate/counters"  # it has none
        await world.serve("bff")
        if toxic:
            world.inject("pricing", toxic)
        await trio.sleep(3 * TURN)
        kinds = [type(fact) for fact in world.facts if isinstance(fact, EffectsCompared | EffectsUnseen | Tripped)]
        assert len(kinds) >= 3 and set(kinds) == {EffectsUnseen}
        world.clear("pricing")
