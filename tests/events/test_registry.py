"""Of all who want to be a device's stream one holds it in the end, the youngest, whatever the tier forgets."""

from contextlib import asynccontextmanager
from functools import partial
from random import Random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.events.registry import BATCH, HOLD_SECONDS, RENEW_SECONDS, Registry
from bff.model import Down
from bff.outside import Outside
from bff.stores.bus import Held, Superseded
from chaos.hotel.stores.tier import SimTier
from nurseries import Unbounded, within

NOON = 1_448_280_000.0


class House:
    """A tier, and registries on it. `words` are the tokens that went round; `lost` what each was told it has lost."""

    def __init__(self):
        self.tier = SimTier()
        self.words, self.lost, self.calls = [], {}, []
        self.tier.bus.witnesses.append(self._went_by)
        self._outside = Outside(lambda: NOON + trio.current_time(), Random(7).randbytes, None)

    def _went_by(self, passing):
        if isinstance(passing, Superseded):
            self.words.append(passing.token)

    def instance(self, name):
        registry = Registry(self.tier.bus, self._outside)
        registry.lost = self.lost.setdefault(name, []).append
        return registry


async def take(registry, device="d1", tenant="t1"):
    with within(2):
        return await registry.take(tenant, device)


@pytest.fixture
def house():
    return House()


def begin(nursery, registries):
    for registry in registries:
        nursery.start_soon(registry.serve)


@asynccontextmanager
async def serving(*registries):
    async with trio.open_nursery() as nursery:
        begin(nursery, registries)
        yield
        nursery.cancel_scope.cancel()


async def test_the_youngest_holds_it_and_the_others_are_told_though_they_heard_no_word_f26(autojump_clock, house):
    one, two = house.instance("one"), house.instance("two")
    elder, younger = await take(one), await take(two)
    assert elder.token < younger.token and house.words == [elder.token, younger.token]
    async with serving(one, two):
        await trio.sleep(RENEW_SECONDS + 1)
        assert house.lost == {"one": [elder], "two": []}
        await trio.sleep(10 * RENEW_SECONDS)
        assert house.lost == {"one": [elder], "two": []}, "told once, and the other one keeps it"


async def test_of_two_that_accept_in_the_same_moment_one_is_told_within_one_turn_f26(autojump_clock, house):
    house.tier.latency(0.05)
    registries = [house.instance(name) for name in ("one", "two", "three")]
    held = {}

    async def accept(name, registry):
        held[name] = await take(registry)

    async with trio.open_nursery() as nursery:
        for name, registry in zip(house.lost, registries, strict=True):
            nursery.start_soon(accept, name, registry)
    winner = max(held, key=lambda name: held[name].token)
    assert len({one.token for one in held.values()}) == 3
    async with serving(*registries):
        await trio.sleep(RENEW_SECONDS + 1)
    assert house.lost == {name: [] if name == winner else [held[name]] for name in held}


async def test_devices_and_tenants_do_not_know_of_each_other_f30(autojump_clock, house):
    one, two = house.instance("one"), house.instance("two")
    await take(one, "d1")
    await take(two, "d2")
    await take(two, "d1", tenant="t2")
    async with serving(one, two):
        await trio.sleep(3 * RENEW_SECONDS)
    assert house.lost == {"one": [], "two": []}


async def test_the_same_instance_holds_the_younger_of_its_own_two(autojump_clock, house):
    one = house.instance("one")
    elder, younger = await take(one), await take(one)
    one.leave(elder)  # which is no more its own to leave
    async with serving(one):
        await trio.sleep(2 * RENEW_SECONDS)
    assert house.lost == {"one": []}
    with within(1):
        assert await house.tier.bus.renew([younger], ttl=1) == (True,)
        assert await house.tier.bus.renew([elder], ttl=1) == (False,)


async def test_what_was_left_is_forgotten_with_the_next_turn_and_not_what_somebody_has_taken_since(
    autojump_clock, house
):
    one, two = house.instance("one"), house.instance("two")
    left, again = await take(one, "d1"), await take(one, "d2")
    one.leave(left)
    one.leave(again)
    younger = await take(two, "d2")
    with within(2):
        await one.turn()
        lower = Held("t1", "d1", 1)
        assert await house.tier.bus.renew([lower], ttl=1) == (True,), "nobody's any more"
        assert await house.tier.bus.renew([Held("t1", "d2", younger.token - 1)], ttl=1) == (False,)
    assert house.lost == {"one": [], "two": []}


@pytest.mark.parametrize("first", ["elder", "younger"])
async def test_a_failover_that_forgets_both_leaves_it_with_the_younger_whoever_renews_first_f19(
    autojump_clock, house, first
):
    one, two = house.instance("one"), house.instance("two")
    elder, younger = await take(one), await take(two)
    assert house.tier.failover(lost=2.0) > 0
    order = (one, two) if first == "elder" else (two, one)
    for _ in range(2):
        for registry in order:
            with within(2):
                await registry.turn()
    assert house.lost == {"one": [elder], "two": []}
    third = house.instance("three")
    assert (await take(third)).token > younger.token


async def test_who_takes_after_a_failover_has_a_greater_token_than_any_that_was_forgotten_f19(autojump_clock, house):
    one, two = house.instance("one"), house.instance("two")
    forgotten = [await take(one) for _ in range(50)][-1]
    await trio.sleep(0.1)
    house.tier.failover(lost=2.0)
    assert (await take(two)).token > forgotten.token
    async with serving(one, two):
        await trio.sleep(RENEW_SECONDS + 1)
    assert house.lost == {"one": [forgotten], "two": []}


@pytest.mark.parametrize("word", ["down", "stop"])
async def test_while_the_tier_is_gone_nobody_loses_anything_nobody_takes_anything_and_then_all_is_as_it_was_f18(
    autojump_clock, house, word
):
    one, two = house.instance("one"), house.instance("two")
    elder, younger = await take(one, "d1"), await take(one, "d2")
    async with serving(one, two):
        getattr(house.tier, word)()
        await trio.sleep(HOLD_SECONDS * 2)
        assert house.lost == {"one": [], "two": []}
        assert isinstance(await take(two, "d1"), Down)
        house.tier.start()
        taken = await take(two, "d1")
        while isinstance(taken, Down):
            await trio.sleep(1)
            taken = await take(two, "d1")
        assert taken.token > max(elder.token, younger.token)
        await trio.sleep(RENEW_SECONDS + 1)
        assert house.lost == {"one": [elder], "two": []}


async def test_what_an_instance_that_died_held_is_free_when_its_time_is_over(autojump_clock, house):
    dead = await take(house.instance("dead"))
    await trio.sleep(HOLD_SECONDS + 1)
    with within(1):
        assert await house.tier.bus.renew([Held("t1", "d1", dead.token - 1)], ttl=1) == (True,)


async def test_thousands_are_renewed_in_few_calls_and_a_batch_that_fails_does_not_keep_the_others(
    autojump_clock, house, monkeypatch
):
    one = house.instance("one")
    held = [await take(one, f"d{n}") for n in range(BATCH * 2 + 10)]
    bus, sizes = house.tier.bus, []
    renew = bus.renew

    async def counted(some, *, ttl):
        sizes.append(len(some))
        return Down("the first one") if len(sizes) == 1 else await renew(some, ttl=ttl)

    monkeypatch.setattr(bus, "renew", counted)
    two = house.instance("two")
    for one_of in (held[0], held[-1]):
        await take(two, one_of.device)
    with within(5):
        await one.turn()
        assert sizes == [BATCH, BATCH, 10]
        assert house.lost["one"] == [held[-1]]
        await one.turn()
    assert house.lost["one"] == [held[-1], held[0]]


async def test_nobody_takes_anything_without_a_deadline_f33(autojump_clock, house):
    with pytest.raises(Unbounded):
        await house.instance("one").take("t1", "d1")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("take", "take", "leave")), st.integers(0, 2), st.sampled_from(("d0", "d1"))),
        st.tuples(st.just("turn"), st.integers(0, 2), st.none()),
        st.tuples(st.sampled_from(("failover", "wait")), st.integers(0, 2), st.none()),
    ),
    max_size=25,
)


class Fleet:
    """Three instances, and what each thinks it holds, followed by hand."""

    def __init__(self):
        self.house = House()
        self.registries = [self.house.instance(str(n)) for n in range(3)]
        self.holds = [{} for _ in self.registries]
        self.tokens = {"d0": 0, "d1": 0}
        for registry, mine in zip(self.registries, self.holds, strict=True):
            registry.lost = partial(self._lost, mine)

    @staticmethod
    def _lost(mine, held):
        assert mine.pop(held.device) == held

    @property
    def held(self):
        return [held for mine in self.holds for held in mine.values()]

    async def take(self, who, device):
        held = await take(self.registries[who], device)
        assert held.token > self.tokens[device]
        self.tokens[device] = held.token
        self.holds[who][device] = held

    async def leave(self, who, device):
        if device in self.holds[who]:
            self.registries[who].leave(self.holds[who].pop(device))

    async def turn(self, who, _):
        with within(2):
            await self.registries[who].turn()

    async def failover(self, seconds, _):
        self.house.tier.failover(lost=float(seconds))
        await trio.sleep(0.01)  # none is done within a millisecond, by which tokens grow

    async def wait(self, seconds, _):
        await trio.sleep(seconds)


async def ends_with_one(steps):
    """And that one is no younger than the youngest that was held before nobody took any more."""
    fleet = Fleet()
    for what, number, device in steps:
        await getattr(fleet, what)(number, device)
    youngest = {device: max(one.token for one in fleet.held if one.device == device) for device in devices(fleet)}
    for who in (0, 1, 2) * 2:
        await fleet.turn(who, None)
    assert len(fleet.held) == len(devices(fleet)), "nobody beside another"
    assert all(held.token <= youngest[held.device] for held in fleet.held)


def devices(fleet):
    return sorted({held.device for held in fleet.held})


@settings(max_examples=80, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_in_between_two_turns_later_no_device_has_two_f26(simulate, steps):
    simulate(partial(ends_with_one, steps))
