"""The one reader of an instance: what is said is heard by whoever listens, once and in order, whatever the bus does."""

from contextlib import asynccontextmanager
from random import Random

import msgspec
import pytest
import trio

from bff.events.bus import EventBus
from bff.events.event import Event, Said
from bff.events.journal import Alive, Full, Journal, Reset, Stalled
from bff.facts.events import BusBack, BusStalled, EventsLost, EventsRestored
from bff.model import Claims, Down
from bff.outside import Outside
from bff.stores.bus import FOLLOW_SECONDS, Ended, Gone, Passage, Posting, Superseded
from chaos.choices import Drawn
from chaos.hotel.stores.tier import SimTier
from nurseries import listening, within

TENANT = "t1"
NOON = 1_448_280_000.0


def desk(device="d1", tenant=TENANT):
    return Claims("iam", "bff", 9e9, 0.0, 0.0, f"op-{device}", tenant, device, f"s-{device}", ("p1",), "jkt")


def posting(number, tenant=TENANT, *, kind="alert", device=None):
    said = Said(kind, tenant, device_id=device, data={"n": number})
    at = NOON + trio.current_time()
    return Posting(tenant, f"u{number}", msgspec.json.encode(said), at, 3600.0)


class Line:
    """An instance's own line to the bus. While it is `old` it leads to a server that was taken over from: all is well
    there, and nothing comes any more. `late` has verbs whose answers take so many seconds on the way back.
    """

    def __init__(self, bus, **late):
        self._bus = bus
        self._late = late
        self.old = False

    def __getattr__(self, name):
        verb = getattr(self._bus, name)
        if name not in self._late:
            return verb

        async def late(*arguments):
            answer = await verb(*arguments)
            await trio.sleep(self._late[name])
            return answer

        return late

    async def follow(self, after):
        if not self.old:
            return await self._bus.follow(after)
        await trio.sleep(FOLLOW_SECONDS)
        return Passage((), after)

    def hang_up(self):
        self.old = False


class Ear:
    """A desk that writes down all it gets: numbers of events, and signals as they are, each with its time."""

    def __init__(self, listener):
        self.listener = listener
        self.got = []

    @property
    def numbers(self):
        return [what for what, _ in self.got if isinstance(what, int)]

    def signals(self, kind):
        return [at for what, at in self.got if isinstance(what, kind)]

    async def hear(self):
        while True:
            for item in await self.listener.next():
                self.got.append((item.said.data["n"] if isinstance(item, Event) else item, trio.current_time()))
                if isinstance(item, Full):
                    return


class House:
    """One session tier, and instances on it. `told` are the facts; `said` is what was posted with success."""

    def __init__(self, nursery, seed=0):
        self.tier = SimTier()
        self.bus = self.tier.bus
        self.nursery = nursery
        self.told = []
        self.said = []
        self.next = 0
        self.seed = seed
        self.outside = Outside(lambda: NOON + trio.current_time(), Random(seed).randbytes, None)

    def instance(self, name, line=None):
        bus = EventBus(line or self.bus, self.outside, name)
        self.nursery.start_soon(bus.serve)
        return bus

    async def desk(self, bus, device="d1", tenant=TENANT):
        with within(5):
            journal = await bus.journal(tenant)
        assert isinstance(journal, Journal)
        ear = Ear(journal.listen(desk(device, tenant), None))
        self.nursery.start_soon(ear.hear)
        return ear

    async def say(self, bus, count=1):
        """As many events, one after the other, each again until it is taken, as the relay does."""
        for _ in range(count):
            self.next += 1
            one = posting(self.next)
            while True:
                if not isinstance(await bus.post([one]), Down):
                    break
                await trio.sleep(0.1)
            self.said.append(self.next)

    def facts(self, kind):
        return [fact for fact in self.told if isinstance(fact, kind)]


@asynccontextmanager
async def a_house(seed=0):
    async with trio.open_nursery() as nursery:
        house = House(nursery, seed)
        with listening(house.told.append):
            yield house
        nursery.cancel_scope.cancel()


async def in_step(*buses):
    while True:
        if all(bus.in_step for bus in buses):
            return
        await trio.sleep(0.01)


async def test_what_is_said_is_heard_at_once_by_those_it_is_for_on_every_instance(autojump_clock):
    async with a_house() as house:
        one, two = house.instance("one"), house.instance("two")
        await in_step(one, two)
        here, there = await house.desk(one), await house.desk(two, "d2")
        other = await house.desk(two, "d3", "t2")
        assert isinstance(await one.post([posting(1), posting(2, device="d2"), posting(3, "t2")]), tuple)
        await trio.sleep(0.01)
        assert (here.numbers, there.numbers, other.numbers) == ([1], [1, 2], [3])
        assert len({bus.journals[0].head for bus in (one, two)}) == 1


def die(house, line, how):
    if how == "old":
        line.old = True
    else:
        getattr(house.tier, how)()


@pytest.mark.parametrize("how", ["down", "stop", "old"])
async def test_a_dead_bus_is_told_within_three_seconds_and_what_was_said_meanwhile_comes_once_it_is_back_f34(
    autojump_clock, how
):
    async with a_house() as house:
        line = Line(house.bus)
        bus, other = house.instance("one", line), house.instance("two")
        await in_step(bus, other)
        ear = await house.desk(bus)
        await house.say(other)
        await trio.sleep(0.7)
        died = trio.current_time()
        die(house, line, how)
        house.nursery.start_soon(house.say, other, 3)
        if how != "old":
            await trio.sleep(10)
            assert bus.stalled
            assert isinstance(await bus.ping(), Down)
            assert isinstance(await bus.post([posting(99)]), Down)
            house.tier.start()
        back = trio.current_time()
        await trio.sleep(5)
        (stalled,), (alive,) = ear.signals(Stalled), ear.signals(Alive)
        assert 1 < stalled - died < 3
        assert back < alive < back + (2.1 if how == "old" else 1)
        assert ear.numbers == house.said == [1, 2, 3, 4]
        assert [type(fact) for fact in house.told if isinstance(fact, BusStalled | BusBack)][:2].count(BusStalled) == (
            1 if how == "old" else 2
        )
        assert await bus.ping() is None


async def test_a_pause_shorter_than_two_seconds_is_no_stall_and_loses_nothing_f19(autojump_clock):
    async with a_house() as house:
        bus = house.instance("one")
        await in_step(bus)
        ear = await house.desk(bus)
        await house.say(bus)
        for fault in (house.tier.down, house.tier.stop):
            fault()
            await trio.sleep(1.2)
            house.tier.start()
            await house.say(bus, 5)
            await trio.sleep(1)
        house.tier.failover(takes=1.0)
        await house.say(bus, 5)
        await trio.sleep(3)
        assert ear.numbers == house.said == list(range(1, 17))
        assert ear.signals(Stalled | Reset) == []


async def test_a_post_in_vain_takes_the_instance_out_of_step_before_another_is_tried_f19(autojump_clock):
    async with a_house() as house:
        bus = house.instance("one")
        await in_step(bus)
        await trio.sleep(0.01)
        house.tier.down()
        assert isinstance(await bus.post([posting(1)]), Down)
        house.tier.start()
        assert isinstance(await bus.post([posting(1)]), Down)
        await in_step(bus)
        assert isinstance(await bus.post([posting(1)]), tuple)


async def test_what_a_failover_has_lost_is_given_back_by_who_knows_it_and_nobody_notices_f19(autojump_clock):
    async with a_house() as house:
        bus, late = house.instance("one"), house.instance("two")
        await in_step(bus, late)
        ear = await house.desk(bus)
        await house.say(bus, 2)
        await trio.sleep(2)
        before = bus.journals[0].head
        await house.say(bus, 3)
        await trio.sleep(0.1)
        house.tier.failover(lost=1.0, takes=0.5)
        await trio.sleep(2)
        assert house.facts(EventsRestored) == [EventsRestored(3)]
        await house.say(bus)
        await trio.sleep(0.1)
        assert ear.numbers == [1, 2, 3, 4, 5, 6]
        assert ear.signals(Reset) == []
        with within(5):
            page = await late.page(TENANT, before)
        assert [event.said.data["n"] for event in page] == [3, 4, 5, 6]


async def test_what_was_said_from_here_is_known_here_even_if_its_server_dies_in_that_moment_f19(autojump_clock):
    async with a_house() as house:
        bus = house.instance("one")
        await in_step(bus)
        ear = await house.desk(bus)
        await house.say(bus)
        await trio.sleep(1)
        house.tier.latency(0.02)
        await house.say(bus)
        house.tier.failover(lost=0.1)  # before it has come back over the bus
        await trio.sleep(2)
        assert house.facts(EventsRestored) == [EventsRestored(1)]
        await house.say(bus)
        await trio.sleep(0.1)
        assert ear.numbers == [1, 2, 3]
        assert not ear.signals(Reset)


async def test_where_somebody_elses_events_stand_in_the_place_of_lost_ones_everybody_is_told_f19(autojump_clock):
    async with a_house() as house:
        bus = house.instance("one")
        await in_step(bus)
        ear = await house.desk(bus)
        await house.say(bus, 2)
        await trio.sleep(2)
        await house.say(bus, 3)
        await trio.sleep(0.1)
        house.tier.failover(lost=1.0)
        with within(5):
            await house.bus.post([posting(90), posting(91)])
        await trio.sleep(1)
        assert ear.numbers == [1, 2, 3, 4, 5]
        assert len(ear.signals(Reset)) == 1
        assert house.facts(EventsLost) == [EventsLost(1)]
        await house.say(bus)
        await trio.sleep(0.1)
        assert ear.numbers == [1, 2, 3, 4, 5, 6]
        (reset,) = [what for what, _ in ear.got if isinstance(what, Reset)]
        with within(5):
            (event,) = await bus.page(TENANT, reset.position)
        assert event.said.data["n"] == 6


async def test_an_emptied_server_gets_back_what_is_known_here_and_positions_stay_good_f19(autojump_clock):
    async with a_house() as house:
        bus = house.instance("one")
        await in_step(bus)
        ear, quiet = await house.desk(bus), await house.desk(bus, "d2", "t2")
        await house.say(bus, 3)
        await trio.sleep(1)
        held = [journal.head for journal in bus.journals]
        house.tier.failover(lost=20.0, takes=0.5)
        await trio.sleep(2)
        assert [journal.head for journal in bus.journals] == held
        with within(5):
            assert [await bus.page(TENANT, held[0]), await bus.page("t2", held[1])] == [(), ()]
        assert not ear.signals(Reset) and not quiet.signals(Reset)
        await house.say(bus)
        await trio.sleep(0.1)
        assert ear.numbers == [1, 2, 3, 4]


async def test_what_only_another_instance_had_heard_is_heard_from_it_after_a_failover_f19(autojump_clock):
    async with a_house() as house:
        line = Line(house.bus)
        bus, knows = house.instance("one", line), house.instance("two", Line(house.bus, page=0.9))
        await in_step(bus, knows)
        ear, other = await house.desk(bus), await house.desk(knows, "d2")
        await house.say(knows)
        await trio.sleep(1)
        line.old = True
        await trio.sleep(0.3)
        await house.say(knows, 2)
        await trio.sleep(0.1)
        assert (ear.numbers, other.numbers) == ([1], [1, 2, 3])
        house.tier.failover(lost=0.2, takes=0.5)
        line.old = False
        await trio.sleep(0.4)
        assert not bus.in_step
        await in_step(bus)
        assert ear.numbers == [1]  # it was faster than who could have given the others back
        await trio.sleep(8)
        assert ear.numbers == other.numbers == [1, 2, 3]
        assert not ear.signals(Reset) and not other.signals(Reset)


def test_a_journal_opened_in_the_moment_in_which_events_come_misses_none_of_those_after_its_head(simulate):
    async def main(seed):
        late = Random(f"late:{seed}").choice((0.0, 0.03, 0.3))
        async with a_house(seed) as house:
            bus, other = house.instance("one", Line(house.bus, head=late)), house.instance("two")
            await in_step(bus, other)
            house.tier.latency(0.01)
            house.nursery.start_soon(house.say, other, 12)
            await trio.sleep(0.025)
            opened = []

            async def listen(device):
                with within(5):
                    journal = await bus.journal(TENANT)
                opened.append((journal.head.offset, ear := Ear(journal.listen(desk(device), None))))
                await ear.hear()

            house.nursery.start_soon(listen, "d1")
            house.nursery.start_soon(listen, "d2")
            await trio.sleep(1)
            with within(5):
                last = (await house.bus.head(TENANT, 0.0)).offset
            return last, [(head, ear.numbers) for head, ear in opened]

    for seed in range(12):
        last, opened = simulate(main, seed, choices=Drawn(seed))
        assert len(opened) == 2
        for head, heard in opened:
            assert heard == list(range(13 - len(heard), 13))
            assert len(heard) == last - head


async def test_ears_hear_of_all_tenants_what_concerns_all_and_words_and_nothing_else_of_those_nobody_listens_to(
    autojump_clock,
):
    async with a_house() as house:
        bus = house.instance("one")
        heard = []
        bus.ears.append(lambda tenant, what: 1 / 0)
        bus.ears.append(
            lambda tenant, what: heard.append((tenant, what.said.type if isinstance(what, Event) else what))
        )
        await in_step(bus)
        ear = await house.desk(bus)
        loud = [posting(number, "t2") for number in range(1, 9)]
        with within(5):  # from elsewhere: what is said from here is known here
            await house.bus.post([*loud, posting(9, "t2", kind="force-logout")])
            await house.bus.post([posting(10, "t3", kind="tenant-status"), posting(11)])
        words = [Superseded("t2", "d9", 5), Ended("t3", "s9")]
        for word in words:
            assert await bus.say(word) is None
        await trio.sleep(0.1)
        told = [("t2", "force-logout"), ("t3", "tenant-status"), ("t1", "alert"), ("t2", words[0]), ("t3", words[1])]
        assert heard == told
        assert ear.numbers == [11]
        assert [journal.tenant for journal in bus.journals] == [TENANT]


async def test_thousands_of_events_in_one_passage_leave_time_to_those_who_read_them(autojump_clock):
    async with a_house() as house:
        bus = house.instance("one")
        await in_step(bus)
        ear = await house.desk(bus)
        with within(5):
            await house.bus.post([posting(number) for number in range(3_000)])
        await trio.sleep(0.1)
        assert not ear.listener.cut
        assert ear.numbers == list(range(3_000))


async def test_who_reads_on_in_the_log_comes_to_where_he_can_listen(autojump_clock):
    async with a_house() as house:
        line = Line(house.bus)
        bus = house.instance("one", line)
        await in_step(bus)
        with within(5):
            at = await house.bus.head(TENANT, NOON)
            await house.bus.post([posting(number) for number in range(200)])
            await house.desk(bus)
            line.old = True  # so that the journal does not get the others by itself
            await trio.sleep(0.3)
            await house.bus.post([posting(number) for number in range(200, 300)])
            read, pages = [], 0
            while (listener := bus.journals[0].listen(desk("d2"), at)) is None:
                page = await bus.page(TENANT, at)
                read += [event.said.data["n"] for event in page]
                at, pages = page[-1].position, pages + 1
            assert isinstance(await bus.page("t2", at), Gone)
            read += [event.said.data["n"] for event in await listener.next()]
        assert read == list(range(300))
        assert pages == 1


async def test_who_has_read_to_the_end_of_a_log_that_lost_what_its_journal_has_can_listen_there_f19(autojump_clock):
    """Else he would read that end again and again, until somebody else has noticed."""
    async with a_house() as house:
        line = Line(house.bus, follow=0.5)  # whose reader notices late
        bus = house.instance("one", line)
        await in_step(bus)
        await house.desk(bus)
        await house.say(bus)
        await trio.sleep(2)
        await house.say(bus, 3)
        await trio.sleep(0.1)
        house.tier.failover(lost=1.0)
        with within(5):
            (at,) = await house.bus.post([posting(90)])
            for _ in range(2):  # the end, and then that there is a loss
                for event in await bus.page(TENANT, at):
                    at = event.position
        assert event.lost
        assert bus.journals[0].after(at) == ()


async def test_a_journal_that_nobody_listens_to_closes_after_a_minute(autojump_clock):
    async with a_house() as house:
        bus = house.instance("one")
        await in_step(bus)
        ear = await house.desk(bus)
        await trio.sleep(120)
        (journal,) = bus.journals
        ear.listener.leave()
        await trio.sleep(59)
        assert bus.journals == (journal,)
        await trio.sleep(2)
        assert bus.journals == ()
        assert (await house.desk(bus)).listener is not None


@pytest.mark.seeds(6)
async def test_whatever_breaks_each_desk_gets_all_that_was_said_once_and_in_order_or_is_told(autojump_clock, seed):
    chance = Random(f"faults:{seed}")
    async with a_house(seed) as house:
        lines = [Line(house.bus), Line(house.bus)]
        buses = [house.instance(f"i{number}", line) for number, line in enumerate(lines)]
        await in_step(*buses)
        ears = [await house.desk(bus, f"d{number}") for number, bus in enumerate(buses)]
        done = trio.Event()

        async def speak():
            while not done.is_set():
                await house.say(chance.choice(buses))
                await trio.sleep(chance.expovariate(4))

        house.nursery.start_soon(speak)
        for _ in range(8):
            await trio.sleep(chance.uniform(0.1, 4))
            fault = chance.choice(("down", "stop", "old", "failover", "latency"))
            if fault == "failover":
                house.tier.failover(takes=chance.uniform(0, 3), lost=chance.choice((0.0, 0.0, 0.3, 5.0)))
            elif fault == "latency":
                house.tier.latency(chance.choice((0.0, 0.05, 0.2)))
            else:
                die(house, chance.choice(lines), fault)
                await trio.sleep(chance.uniform(0.1, 4))
                house.tier.start()
        done.set()
        await trio.sleep(10)
        assert all(bus.in_step for bus in buses)
        for ear in ears:
            assert ear.numbers == sorted(set(ear.numbers))
            assert set(ear.numbers) >= set(house.said) or house.facts(EventsLost)
            assert len(ear.signals(Stalled)) == len(ear.signals(Alive))
