import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.model import Down
from bff.stores.bus import PAGE, Ended, Entry, Gone, Heard, Held, Page, Position, Posting, Probed, Superseded
from chaos.hotel.stores.tier import SimTier
from nurseries import Unbounded, within

NOON = 1.7e9
QUARTER = 900.0


def posting(tenant, uid, payload=b'{"n":1}', at=NOON, remember=60.0):
    return Posting(tenant, uid, payload, at, remember)


async def posted(bus, tenant, count, *, at=NOON, prefix="u"):
    with trio.fail_after(5):
        return await bus.post([posting(tenant, f"{prefix}{n}", b"%d" % n, at + n) for n in range(count)])


async def payloads(bus, tenant, after):
    with trio.fail_after(5):
        page = await bus.page(tenant, after, NOON)
    return [entry.payload for entry in page.entries] if isinstance(page, Page) else page


async def passing(bus, place, until):
    """What goes by after that place, up to the first that `until` holds of."""
    seen = []
    with trio.fail_after(5):
        while True:
            passage = await bus.follow(place)
            assert not isinstance(passage, Down)
            seen += passage.passing
            place = passage.after
            if any(map(until, seen)):
                return seen


async def answered(ask):
    """What it says once it is there again."""
    while True:
        said = await ask()
        if not isinstance(said, Down):
            return said
        await trio.lowlevel.checkpoint()


async def test_what_is_said_has_dense_positions_after_the_logs_beginning_and_is_read_from_any_of_them(bus, fresh):
    tenant = fresh("hotel")
    with trio.fail_after(5):
        beginning = await bus.head(tenant, NOON)
        assert await bus.head(tenant, NOON + 1) == beginning
    first, second, third = await posted(bus, tenant, 3)
    assert [place.offset - beginning.offset for place in (first, second, third)] == [1, 2, 3]
    assert len({beginning.epoch, first.epoch, second.epoch, third.epoch}) == 1
    assert await payloads(bus, tenant, beginning) == [b"0", b"1", b"2"]
    assert await payloads(bus, tenant, second) == [b"2"]
    with trio.fail_after(5):
        assert await bus.page(tenant, third, NOON) == Page((), third)


async def test_bytes_come_out_as_they_went_in(bus, fresh):
    tenant, payload = fresh("hötel|\ud800"), bytes(range(256))
    with trio.fail_after(5):
        beginning = await bus.head(tenant, NOON)
        (place,) = await bus.post([posting(tenant, "u|é", payload, NOON + 0.25)])
        page = await bus.page(tenant, beginning, NOON)
    assert page == Page((Entry(place, payload, NOON + 0.25, "u|é"),), place)


async def test_what_comes_twice_is_said_once_and_has_its_first_position(bus, fresh):
    tenant, other = fresh("hotel"), fresh("hotel")
    with trio.fail_after(5):
        first = await bus.post([posting(tenant, "u1", b"1"), posting(tenant, "u1", b"again")])
        later = await bus.post([posting(tenant, "u2", b"2"), posting(tenant, "u1", b"again")])
        foreign = await bus.post([posting(other, "u1", b"theirs")])
        assert (await bus.said(tenant, "u1"), await bus.said(tenant, "u3")) == (True, False)
    assert first[0] == first[1] == later[1]
    assert foreign[0].epoch != first[0].epoch
    assert await payloads(bus, tenant, first[0]) == [b"2"]


async def test_a_position_that_no_entry_has_is_gone(bus, fresh):
    tenant, other = fresh("hotel"), fresh("hotel")
    places = await posted(bus, tenant, 2)
    theirs = await posted(bus, other, 2)
    head = places[-1]
    for strange in (
        *theirs,
        Position("0" * 12, head.offset),
        Position(head.epoch, head.offset + 1),
        Position(head.epoch, 0),
        Position(head.epoch, 10**15),
    ):
        assert await payloads(bus, tenant, strange) == Gone(head)


async def test_a_quarter_of_an_hour_can_be_read_on_and_the_place_before_it(bus, fresh):
    tenant = fresh("hotel")
    with trio.fail_after(5):
        old, elder, young, new = await bus.post(
            [
                posting(tenant, "u0", b"0", NOON),
                posting(tenant, "u1", b"1", NOON + 1),
                posting(tenant, "u2", b"2", NOON + 2),
                posting(tenant, "u3", b"3", NOON + 1.5 + QUARTER),
            ]
        )
    assert await payloads(bus, tenant, old) == Gone(new)
    assert await payloads(bus, tenant, elder) == [b"2", b"3"]
    assert await payloads(bus, tenant, young) == [b"3"]


async def test_ten_thousand_events_can_be_read_on_and_the_place_before_them(bus, fresh):
    tenant = fresh("hotel")
    places = []
    for chunk in range(11):
        with trio.fail_after(10):
            places += await bus.post([posting(tenant, f"{chunk}-{n}", b"") for n in range(910)])
    assert await payloads(bus, tenant, places[-10_002]) == Gone(places[-1])
    with trio.fail_after(5):
        page = await bus.page(tenant, places[-10_001], NOON)
    assert [entry.position for entry in page.entries] == places[-10_000:][:PAGE]


async def test_what_was_lost_is_put_back_only_where_nothing_else_stands(bus, fresh):
    lost, known = fresh("hotel"), fresh("hotel")
    place = Position("abc123", 5)
    old = [Entry(place, b"", NOON), *(Entry(Position("abc123", 5 + n), b"%d" % n, NOON, f"u{n}") for n in (1, 2, 3))]
    with trio.fail_after(5):
        assert await bus.restore(lost, old) is True
        assert await bus.restore(lost, old) is True
        assert await bus.page(lost, place, NOON) == Page(tuple(old[1:]), old[-1].position)
        assert await bus.post([posting(lost, "u2", b"twice")]) == (old[2].position,)
        (after,) = await bus.post([posting(lost, "new", b"new")])
    assert after.offset == old[-1].position.offset + 1
    assert after.epoch != "abc123"
    with trio.fail_after(5):
        assert await bus.restore(lost, old) is False
        assert await bus.restore(known, old[:2]) is True
        assert await bus.restore(known, old[1:]) is True
    assert await payloads(bus, known, place) == [b"1", b"2", b"3"]


async def test_a_log_that_was_only_begun_gives_way_to_what_was_lost(bus, fresh):
    tenant = fresh("hotel")
    old = [Entry(Position("abc123", 5), b"", NOON), Entry(Position("abc123", 6), b"1", NOON, "u1")]
    with trio.fail_after(5):
        await bus.head(tenant, NOON)
        assert await bus.restore(tenant, old) is True
    assert await payloads(bus, tenant, old[0].position) == [b"1"]


async def test_all_that_is_said_goes_by_on_the_bus_in_order(bus, fresh):
    tenant, other = fresh("hotel"), fresh("hotel")
    with trio.fail_after(5):
        place = await bus.tip()
        (first,) = await bus.post([posting(tenant, "u1", b"1")])
        assert await bus.say(Probed("me", 7)) is None
        assert await bus.say(Ended(tenant, "s|1")) is None
        (second,) = await bus.post([posting(other, "u1", b"2")])
        token = await bus.take(tenant, "d|1", now=NOON, ttl=60.0)
    last = Superseded(tenant, "d|1", token)
    seen = await passing(bus, place, lambda one: one == last)
    assert seen == [
        Heard(tenant, Entry(first, b"1", NOON, "u1")),
        Probed("me", 7),
        Ended(tenant, "s|1"),
        Heard(other, Entry(second, b"2", NOON, "u1")),
        last,
    ]


async def test_who_follows_hears_it_when_it_comes_and_nothing_when_nothing_does(bus, fresh):
    tenant = fresh("hotel")
    with trio.fail_after(5):
        place = await bus.tip()
        quiet = await bus.follow(place)
        assert quiet.passing == ()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bus.post, [posting(tenant, "u1", b"1")])
            seen = await passing(bus, quiet.after, lambda one: isinstance(one, Heard))
    assert [one.entry.payload for one in seen] == [b"1"]


async def test_a_token_is_greater_than_any_before_and_than_the_clock_f26(bus, fresh):
    tenant, other = fresh("hotel"), fresh("hotel")
    with trio.fail_after(5):
        first = await bus.take(tenant, "d1", now=NOON, ttl=60.0)
        second = await bus.take(tenant, "d1", now=NOON - 100, ttl=60.0)
        assert await bus.take(other, "d1", now=NOON - 100, ttl=60.0) == int((NOON - 100) * 1000)
    assert (first, second) == (int(NOON * 1000), int(NOON * 1000) + 1)


async def test_whoever_holds_the_greatest_token_keeps_it_and_what_was_lost_is_put_back_f26(bus, fresh):
    tenant = fresh("hotel")
    with trio.fail_after(5):
        token = await bus.take(tenant, "d1", now=NOON, ttl=60.0)
        mine, older = Held(tenant, "d1", token), Held(tenant, "d1", token - 1)
        unknown, greater = Held(tenant, "d2", 5), Held(tenant, "d3", 9)
        assert await bus.renew([mine, older, unknown, greater], ttl=60.0) == (True, False, True, True)
        assert await bus.renew([Held(tenant, "d3", 8), mine], ttl=60.0) == (False, True)
        assert await bus.leave([older, greater]) is None
        assert await bus.renew([Held(tenant, "d3", 8), older], ttl=60.0) == (True, False)
        assert await bus.take(tenant, "d2", now=0.0, ttl=60.0) == 6


@pytest.mark.parametrize("fault", ["down", "stop"])
async def test_a_bus_that_is_not_there_is_down_and_afterwards_all_that_was_said_is_there(
    bus_and_faults, fresh, fault, clock
):
    bus, faults = bus_and_faults
    tenant = fresh("hotel")
    (before,) = await posted(bus, tenant, 1)
    getattr(faults, fault)()
    with trio.fail_after(10):
        assert isinstance(await bus.post([posting(tenant, "lost", b"?")]), Down)
        assert isinstance(await bus.follow("0-0" if faults.simulated is None else "0"), Down)
        faults.again()
        await answered(bus.tip)
        (after,) = await bus.post([posting(tenant, "u1", b"1")])
    assert (await payloads(bus, tenant, before))[-1:] == [b"1"]
    assert (after.epoch == before.epoch) is (fault == "stop")


async def test_a_line_that_is_given_up_is_another_one_when_it_answers_again_f34(bus):
    with trio.fail_after(5):
        place = await bus.tip()
        await bus.follow(place)
        before = bus.connections
        bus.hang_up()
        await answered(lambda: bus.follow(place))
        assert bus.connections == before + 1


async def test_nothing_is_asked_without_a_deadline(bus):
    for ask in (bus.tip, lambda: bus.follow("0"), lambda: bus.head("t", NOON), lambda: bus.post([])):
        with pytest.raises(Unbounded):
            await ask()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.sampled_from("pppppdfxr"), max_size=24), st.integers(1, 5))
def test_a_position_names_one_event_for_ever_whatever_is_lost_f19(simulate, steps, tail):
    """p posts, d is a duplicate, f a failover with a lost tail, x an emptied server, r somebody who puts back."""

    async def main():
        tier = SimTier()
        named, known, uids = {}, [], []
        for number, step in enumerate(steps):
            await trio.sleep(1)
            with within(5):
                if step == "x":
                    tier.failover(lost=30.0)
                elif step == "f":
                    tier.failover(lost=tail)
                elif step == "r" and known:
                    await tier.bus.restore("hotel", known)
                else:
                    uid = uids[-1] if step == "d" and uids else f"u{number}"
                    uids.append(uid)
                    (place,) = await tier.bus.post([posting("hotel", uid, uid.encode(), NOON + trio.current_time())])
                    assert named.setdefault(place, uid) == uid
                    page = await tier.bus.page("hotel", Position(place.epoch, place.offset - 1), NOON)
                    if isinstance(page, Page) and step == "p":
                        known.append(page.entries[0])
        for place, uid in named.items():
            with within(5):
                before = await tier.bus.page("hotel", Position(place.epoch, place.offset - 1), NOON)
            if isinstance(before, Page) and before.entries and before.entries[0].position == place:
                assert before.entries[0].uid == uid

    simulate(main)
