"""A gap in the locks' audit trail freezes the lock proxy, until a person has looked (F-27)."""

from dataclasses import replace

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bff.facts import LockAuditMeasured, LockAuditUnseen
from bff.jobs import watch_locks
from bff.jobs.watch_locks import Gaps, LockWatch
from bff.stores.keys import Claiming, KeyId
from bff.stores.switchboard import Switch
from bff.stores.switches import FROZEN, ON, Switches
from bff.stores.trail import Completeness
from bff.writes.audit import Witness
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.world import open_world
from nurseries import within

KEYS = "/v1/locks/lock-praia-103/keys"
ISSUE = {"reservationId": "r-00870", "validUntil": "2015-08-16T12:00:00Z"}
CHARGE = {"amountMinor": 700, "currency": "EUR", "description": "Minibar"}
NOTICED = watch_locks.GRACE + watch_locks.STANDS + watch_locks.EVERY + 1.0


async def issue(desk, key):
    try:
        return (await desk.change(KEYS, ISSUE, key)).status
    except Refused as refused:
        return (refused.status, refused.code)


def lose(world, kind):
    """A row of that kind is taken out behind everybody's back; the newest. It can be put back."""
    rows = world.stores.ledger.trail.rows
    place = [place for place, written in rows.items() if place[0] == "resort" and written.kind == kind][-1]
    return place, rows.drop(place)


def ratio(world):
    counted = [fact for fact in world.facts if isinstance(fact, LockAuditMeasured)][-1]
    return counted.present / counted.expected if counted.expected else 1.0


async def house_trail(world):
    with within(5):
        return [row.entry for row in await world.stores.ledger.session().trail("", after=0, limit=100)]


async def turn(world, value, why="looked at it"):
    with within(5):
        return await world.servers["bff"].house.switches.turn("locks", value, by="ana", why=why)


async def test_while_nothing_is_missing_nothing_is_frozen_f27(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        assert await issue(desk, "k-1") == 201
        await trio.sleep(NOTICED)
        assert ratio(world) == 1.0
        assert await issue(desk, "k-2") == 201


@pytest.mark.parametrize("kind", ["intent", "outcome"])
async def test_a_missing_row_freezes_lock_actions_and_no_others_until_a_person_lifts_it_f27(autojump_clock, kind):
    async with open_world(servers=("bff", "other")) as world:
        desk, elsewhere = await world.desk(), await world.desk(server="other")
        assert await issue(desk, "k-1") == 201
        lose(world, kind)
        await trio.sleep(NOTICED)
        assert ratio(world) < 1.0
        for one in (desk, elsewhere):
            assert await issue(one, "k-2") == (503, "LOCK_PROXY_FROZEN")
            assert (await one.change("/v1/folios/f-00870/charges", CHARGE, f"k-{one.device}")).status == 201
        frozen = world.servers["bff"].house.switches.switch("locks")
        assert (frozen.value, frozen.by) == (FROZEN, watch_locks.JOB)
        assert "missing" in frozen.why
        await turn(world, ON)
        await trio.sleep(1.0)
        assert await issue(elsewhere, "k-2") == 201
        await trio.sleep(3 * NOTICED)
        assert await issue(desk, "k-3") == 201, "a person knew of that gap"
        lose(world, kind)
        await trio.sleep(NOTICED)
        assert await issue(desk, "k-4") == (503, "LOCK_PROXY_FROZEN")
        turned = await house_trail(world)
        assert ['"value":"frozen"' in entry for entry in turned] == [True, False, True], "by one of the two, once each"


async def test_a_gap_that_was_found_again_hides_no_new_one_f27(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        for key in ("k-1", "k-2"):
            assert await issue(desk, key) == 201
        place, row = lose(world, "outcome")
        await trio.sleep(NOTICED)
        await turn(world, ON, why="it is in the backup")
        world.stores.ledger.trail.rows.put(place, row)
        await trio.sleep(2 * watch_locks.EVERY)
        assert (ratio(world), await issue(desk, "k-3")) == (1.0, 201)
        lose(world, "outcome")
        await trio.sleep(NOTICED)
        assert await issue(desk, "k-4") == (503, "LOCK_PROXY_FROZEN")


@pytest.mark.parametrize(("away", "seconds"), [("servers", 31.0), ("down", 56.0), ("down", 68.0)])
async def test_what_an_outage_left_is_settled_and_freezes_nothing_f20_f27(autojump_clock, away, seconds):
    async with open_world() as world:
        desk = await world.desk()
        await trio.sleep(3.0)
        world.inject("lock-integration", "latency ms=1000")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(issue, desk, "k-1")
            await trio.sleep(0.5)
            if away == "servers":
                await world.servers["bff"].kill()
            else:
                world.inject("postgres", away)
        world.clear("lock-integration")
        await trio.sleep(seconds)
        if away == "servers":
            await world.serve()
        world.clear("postgres")
        await trio.sleep(NOTICED)
        assert await house_trail(world) == []
        assert (ratio(world), await issue(desk, "k-2")) == (1.0, 201)


def test_a_gap_stands_when_nobody_lost_sight_of_it_for_long_enough_and_the_new_one_is_named_first_f27():
    gaps, switch = Gaps(), Switch("locks", ON, 1.0, "ana", "known", mark=1)
    old, both = Completeness(9, 8, ("a",)), Completeness(9, 7, ("a", "b"))
    assert [gaps.stand(old, switch, now) for now in (0.0, 60.0)] == [False, False]
    assert [gaps.stand(both, switch, now) for now in (75.0, 104.0)] == [False, False]
    gaps.unseen()
    assert [gaps.stand(both, switch, now) for now in (105.0, 134.0, 135.0)] == [False, False, True]
    assert gaps.newest(both) == ["b", "a"]
    assert gaps.stand(both, replace(switch, mark=2), 150.0) is False


async def test_a_ledger_that_was_away_has_all_its_time_again_and_then_the_gap_is_named_on_one_line_f27(autojump_clock):
    store = SimLedger()
    ledger = store.session()
    with within(5):
        key = KeyId("resort", "in\nes", "k" * 128)
        await ledger.claim(Claiming(key, b"", ("lock:1",), b"", lease=1.0))
    switches = Switches(ledger, trio.current_time)
    watch = LockWatch(ledger, switches, trio.current_time, None)
    values = []
    for look in range(6):
        store.down() if look == 1 else store.clear()
        await watch.turn()
        values.append(switches.value("locks"))
        await trio.sleep_until((look + 1) * watch_locks.EVERY)
    assert values == [ON] * 4 + [FROZEN] * 2
    assert switches.switch("locks").why == f"1 of 1 are missing: resort: no intent of in?es's {'k' * 128}"


async def test_what_was_frozen_does_not_freeze_again_where_a_server_starts_anew_f27(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await issue(desk, "k-1")
        lose(world, "outcome")
        await trio.sleep(NOTICED)
        await turn(world, ON)
        await world.servers["bff"].kill()
        await world.serve()
        await trio.sleep(2 * NOTICED)
        assert await issue(desk, "k-2") == 201
        lose(world, "intent")
        await trio.sleep(NOTICED)
        assert await issue(desk, "k-3") == (503, "LOCK_PROXY_FROZEN")


async def test_freezing_and_lifting_are_rows_of_the_house_s_own_trail_f27(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await issue(desk, "k-1")
        lose(world, "outcome")
        await trio.sleep(NOTICED)
        await turn(world, ON, why="the row is in the backup")
        rows = await house_trail(world)
        assert ['"value":"frozen"' in row for row in rows] == [True, False]
        assert "the row is in the backup" in rows[1]


async def test_without_the_ledger_the_last_figure_stands_and_nothing_is_frozen(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await issue(desk, "k-1")
        await trio.sleep(NOTICED)
        before = sum(isinstance(fact, LockAuditMeasured) for fact in world.facts)
        world.inject("postgres", "kill")
        await trio.sleep(NOTICED)
        assert sum(isinstance(fact, LockAuditMeasured) for fact in world.facts) == before
        assert LockAuditUnseen() in world.facts
        world.clear("postgres")
        await trio.sleep(NOTICED)
        assert (ratio(world), await issue(desk, "k-2")) == (1.0, 201)


async def test_where_a_trail_ends_is_signed_and_a_trail_that_is_cut_short_is_told(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        await issue(desk, "k-1")
        key, ledger = Ed25519PrivateKey.from_private_bytes(bytes(range(32))), world.stores.ledger.session()
        switches = world.servers["bff"].house.switches
        for server in world.servers.values():
            await server.kill()  # who leads signs, and this one is to lead
        watch = LockWatch(ledger, switches, world.now, key)
        await watch.turn()
        with within(5):
            (checkpoint,) = await ledger.checkpoints("resort")
        witness = Witness("resort", [checkpoint], key.public_key())
        assert (checkpoint.seq, witness.forged(), witness.beyond(2)) == (2, None, None)
        assert witness.beyond(1).seq == 2
        ledger.close()
        await world.serve("bff")
