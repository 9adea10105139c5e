"""Probes: a server looks at itself, and what is wrong is told, and halted where the specification says so."""

from dataclasses import replace

import httpx
import pytest
import trio

from bff.facts import KeyReplayed, ReplayBlocked
from bff.facts.probes import ReplayProbed, TenantsProbed, Tripped
from bff.gate.replay import ReplayWindow, Verdict
from bff.jobs import probe_replays, probe_tenants
from bff.outside import Outside
from bff.stores.keys import PROBES, TWIN
from chaos.hotel.catalogue.faults import in_force
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stores.tier import SimTier
from chaos.hotel.world import open_world
from chaos.sim.entropy import entropy
from nurseries import within

PLACES = ("cache", "sessions", "tenants", "keys", "events")


def told(world, kind):
    return [fact for fact in world.facts if isinstance(fact, kind)]


def probe_of(world, *, halts):
    """One more instance's, on the world's stores."""
    stores, outside = world.stores, Outside(world.now, entropy(world.seed, "probe"), None)
    switches = world.servers["bff"].house.switches
    session = stores.ledger.session()
    return probe_tenants.TenantProbe(
        stores.cache, stores.tier, stores.tier.bus, session, switches, outside, halts=halts
    )


async def test_what_is_used_twice_is_refused_or_answered_as_before_and_counted_each_minute_f28_f29_f32(autojump_clock):
    async with open_world() as world:
        await trio.sleep(3 * probe_replays.EVERY + 1)
        probed = told(world, ReplayProbed)
        assert probed == 3 * [ReplayProbed(what, passed=False) for what in ("proof", "attestation", "key")]
        assert told(world, KeyReplayed) == 3 * [KeyReplayed(probe_replays.JOB)]
        assert len(told(world, ReplayBlocked)) == 3
        assert not world.stores.ledger.keys.pending
        assert told(world, Tripped) == []


async def test_a_server_that_lets_a_used_proof_in_halts_its_traffic_until_a_person_says_otherwise_f28(
    autojump_clock, monkeypatch
):
    present = SimTier.present
    monkeypatch.setattr(SimTier, "present", lambda self, proof: present(self, replace(proof, jti=proof.nonce)))
    monkeypatch.setattr(ReplayWindow, "claim", lambda *_: Verdict.FRESH)
    async with open_world() as world:
        house = world.servers["bff"].house
        await trio.sleep(probe_replays.EVERY + 1)
        assert told(world, ReplayProbed)[0] == ReplayProbed("proof", passed=True)
        assert told(world, Tripped) == [Tripped("traffic", "probe-replays")]
        assert house.switches.off("traffic")
        assert "let in twice" in house.switches.switch("traffic").why
        await trio.sleep(5 * probe_replays.EVERY)
        assert len(told(world, Tripped)) == 1  # what is off already is not turned again


async def test_a_ledger_that_takes_a_second_factor_twice_halts_what_needs_one_and_nothing_else_f29(
    autojump_clock, monkeypatch
):
    async with open_world() as world:
        keys = type(world.stores.ledger.keys)
        claim = keys.claim
        monkeypatch.setattr(
            keys, "claim", lambda self, asked, *more: claim(self, replace(asked, attestation=None), *more)
        )
        await trio.sleep(probe_replays.EVERY + 1)
        assert ReplayProbed("attestation", passed=True) in told(world, ReplayProbed)
        switches = world.servers["bff"].house.switches
        assert (switches.off("sensitive"), switches.off("traffic")) == (True, False)


async def test_a_ledger_that_forgets_a_key_halts_mutations_and_nothing_else_f32(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        async with in_force("F-32", world):
            await trio.sleep(probe_replays.EVERY + 1)
        assert ReplayProbed("key", passed=True) in told(world, ReplayProbed)
        assert told(world, Tripped) == [Tripped("mutations", "probe-replays")]
        with pytest.raises(Refused, match="HALTED"):
            await desk.change("/v1/alerts/a-1/ack", {}, "k-1")
        assert not (await desk.dashboard()).body["partial"]
        assert not world.stores.ledger.keys.pending


async def test_where_nobody_can_say_nothing_is_halted_and_nothing_is_left_behind(autojump_clock):
    async with open_world() as world:
        world.inject("postgres", "kill")
        world.inject("redis-session", "kill")
        await trio.sleep(2 * probe_replays.EVERY + 1)
        assert told(world, ReplayProbed) == []
        world.clear("postgres")
        world.clear("redis-session")
        await trio.sleep(probe_replays.EVERY + 10)
        assert told(world, Tripped) == []
        assert told(world, ReplayProbed)[-2:] == [ReplayProbed(what, passed=False) for what in ("attestation", "key")]
        assert not world.stores.ledger.keys.pending


async def test_a_key_that_a_probe_left_behind_is_let_go_by_whoever_settles(autojump_clock):
    async with open_world(servers=("one", "two")) as world:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(world.stores.ledger.keys), "record", lambda *_: False)
            await trio.sleep(probe_replays.EVERY + 1)
        assert {one.asked.id.tenant for one in world.stores.ledger.keys.pending.values()} == {PROBES, TWIN}
        await trio.sleep(max(probe_replays.LEASE, probe_tenants.KEPT) + 11)
        assert not world.stores.ledger.keys.pending


async def test_a_tenant_finds_nothing_of_its_twin_anywhere_f30(autojump_clock, monkeypatch):
    monkeypatch.setattr(probe_tenants, "EVERY", 10.0)
    async with open_world() as world:
        await trio.sleep(15)
        assert told(world, TenantsProbed) == [TenantsProbed(5, 0)]
        assert not world.stores.ledger.keys.pending


@pytest.mark.parametrize("halts", [True, False])
async def test_wherever_one_tenant_is_shown_anothers_it_is_found_and_traffic_is_halted_where_wished_f30(
    autojump_clock, monkeypatch, halts
):
    monkeypatch.setattr(probe_tenants, "TWIN", PROBES)  # whoever looks as the twin looks as the tenant himself
    async with open_world() as world:
        findings = await probe_of(world, halts=halts).look()
        assert {one.what: one.good for one in findings} == dict.fromkeys(PLACES, False)
        assert told(world, TenantsProbed) == [TenantsProbed(5, 5)]
        assert told(world, Tripped) == ([Tripped("traffic", "probe-tenants")] if halts else [])
        assert world.servers["bff"].house.switches.off("traffic") is halts


async def test_a_place_that_cannot_be_asked_is_no_leak_and_does_not_count(autojump_clock):
    async with open_world() as world:
        for store in ("redis-session", "redis-cache"):
            world.inject(store, "stop")
        findings = await probe_of(world, halts=True).look()
        assert {one.what: one.good for one in findings} == {**dict.fromkeys(PLACES), "keys": True}
        assert told(world, TenantsProbed) == [TenantsProbed(1, 0)]
        assert told(world, Tripped) == []


async def asked(world, path, method="GET", **how):
    ops = world.servers["bff"].house.ops
    async with httpx.AsyncClient(transport=httpx.ASGITransport(ops), base_url="http://ops", trust_env=False) as client:
        with within(10):
            return await client.request(method, path, **how)


async def test_at_the_ops_listener_a_probe_looks_when_it_is_asked_and_is_remembered(autojump_clock):
    async with open_world() as world:
        assert (await asked(world, "/probes")).json() == {"edge": None, "replays": None, "tenants": None}
        found = (await asked(world, "/probes/replays", "POST", json={})).json()
        assert [(one["what"], one["good"]) for one in found] == [
            ("proof", True),
            ("attestation", True),
            ("key", True),
        ]
        assert (await asked(world, "/probes")).json()["replays"] == found
        assert (await asked(world, "/probes/edge", "POST", json={})).json() == []


async def test_what_is_no_probe_or_no_way_to_ask_one_is_refused(autojump_clock):
    async with open_world() as world:
        refused = await asked(world, "/probes/else", "POST", json={})
        assert (refused.status_code, "edge, replays, tenants" in refused.json()["detail"]) == (404, True)
        assert (await asked(world, "/probes/replays", "POST")).status_code == 415
        assert (await asked(world, "/probes/replays")).status_code == 405
        assert (await asked(world, "/probes", "POST", json={})).status_code == 405
