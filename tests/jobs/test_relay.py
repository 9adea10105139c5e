from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.facts import LetterBuried, LettersPublished, RelayFailed
from bff.jobs.relay import BATCH, LARGEST, LOOK_EVERY, PLACES, SINK_WITHIN
from bff.jobs.sinks import Delivery, NotNow, Poison, ToPubSub
from bff.upstreams.pubsub import Publisher
from bff.wire.exchange import Origin
from bff.wire.pool import Pool
from chaos.hotel.estate.pubsub import TOPICS
from chaos.hotel.estate.service import Operation, Reply, Service
from chaos.hotel.estate.serving import Door

EVENTS, TELEMETRY = TOPICS


def told(office, kind):
    return [fact for fact in office.told if isinstance(fact, kind)]


async def test_everything_is_said_once_in_the_order_of_its_key_and_leaves_the_outbox_f21(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        events = [letter(number, f"room:{number % 3}") for number in range(3 * BATCH)]
        telemetry = [letter(number, "", topic=TELEMETRY) for number in range(7000, 7010)]
        await office.write(*events, *telemetry)
        relay, _ = office.relay()
        await office.turn(relay)
        assert office.said() == {f"room:{key}": [one.message_id for one in events[key::3]] for key in range(3)}
        assert office.said(TELEMETRY) == {"": [one.message_id for one in telemetry]}
        assert office.times() == (3 * BATCH, 0)
        assert await office.left() == []
        assert office.requests <= 3 * (3 + 1) + 1, "what waits for a key goes together"
        counted = Counter()
        for fact in told(office, LettersPublished):
            counted[fact.topic] += fact.count
        assert counted == {EVENTS: 3 * BATCH, TELEMETRY: 10}
        assert relay.failing == ""


@pytest.mark.parametrize(
    ("toxic", "whys", "repeats"),
    [
        ("status code=503", {"unavailable"}, False),
        ("status code=429", {"unavailable"}, False),
        ("status code=403", {"refused"}, False),
        ("down", {"unavailable"}, False),
        ("hang", {"timeout"}, False),
        ("garbage", {"unavailable"}, False),
        ("lose-answer", {"unavailable"}, True),
    ],
)
async def test_while_pubsub_fails_letters_stay_and_are_said_when_it_is_back_f22(
    post_office, letter, autojump_clock, toxic, whys, repeats
):
    async with post_office() as office:
        relay, _ = office.relay()
        office.inject(toxic)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.serve)
            await office.write(*(letter(number, f"room:{number % 2}") for number in range(20)))
            await trio.sleep(300)
            assert len(await office.left()) == 20
            assert {fact.why for fact in told(office, RelayFailed)} == whys
            assert 20 < len(told(office, RelayFailed)) < 50, "two lanes, and pauses that grow to half a minute"
            assert relay.failing.startswith(f"{EVENTS}: ")
            office.door.clear()
            assert await office.drained() <= 30 + SINK_WITHIN + LOOK_EVERY + 0.1
            assert relay.failing == ""
            nursery.cancel_scope.cancel()
        assert office.said() == {f"room:{key}": [f"id-{n:06}" for n in range(key, 20, 2)] for key in range(2)}
        assert (office.times()[1] > 0) is repeats
        assert await office.dead() == ()


async def test_a_poisonous_letter_is_found_and_buried_with_its_reason_and_the_rest_is_said_in_order_f38(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        bad = {0, 77, 78, 199}
        await office.write(*(letter(number, poison=number in bad) for number in range(200)))
        relay, _ = office.relay()
        await office.turn(relay)
        assert office.said() == {"room:1": [f"id-{number:06}" for number in range(200) if number not in bad]}
        assert office.times() == (196, 0)
        assert await office.left() == []
        buried = await office.dead()
        assert [one.letter.message_id for one in buried] == [f"id-{number:06}" for number in sorted(bad)]
        assert {one.reason for one in buried} == {"The value of attribute type is too long: at most 1024 bytes."}, (
            "in Pub/Sub's own words"
        )
        assert told(office, LetterBuried) == [LetterBuried(EVENTS)] * 4
        assert told(office, RelayFailed) == []
        assert office.requests < 4 * 2 * 8, "two for each halving, of 200"


async def test_a_letter_that_no_request_has_room_for_is_buried_and_full_batches_are_said_f38(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        full = [replace(letter(number), payload=b"x" * 2200) for number in range(2 * BATCH)]
        await office.write(*full, replace(letter(5000), payload=b"x" * 8_000_000), letter(5001))
        relay, _ = office.relay()
        await office.turn(relay)
        assert office.said() == {"room:1": [one.message_id for one in full] + ["id-005001"]}
        (buried,) = await office.dead()
        assert buried.letter.message_id == "id-005000"
        assert buried.reason.startswith("a message that takes 10666") and buried.reason.endswith("10000000 at most")
        assert told(office, RelayFailed) == []


async def test_where_somebody_on_the_way_takes_less_batches_are_halved_until_the_one_too_large_is_buried_f38(
    post_office, letter, autojump_clock, nursery
):
    async with post_office() as office:
        heard = []

        def take(call):
            ids = [message["attributes"]["messageId"] for message in call.body["messages"]]
            heard.extend(ids)
            return Reply(200, {"messageIds": ids})

        narrow = Operation("publish", "POST", "/v1/projects/{p}/topics/{t}:publish", take, largest=1000)
        Door(Service("narrow", [narrow], tenants=()), office.network.listen, nursery, host="narrow", port=80)
        pool = Pool(office.network.host("bff").connect)
        sink = ToPubSub(Publisher(pool, Origin("http", "narrow", 80), project="p"))
        letters = [letter(number, topic="slow") for number in range(20)]
        letters[7] = replace(letters[7], payload=b"x" * 900)
        await office.write(*letters)
        relay, _ = office.relay(slow=sink)
        await office.turn(relay)
        assert heard == [f"id-{number:06}" for number in range(20) if number != 7]
        assert [(one.letter.message_id, one.reason) for one in await office.dead()] == [("id-000007", "status 413")]
        await pool.aclose()


async def test_a_topic_whose_state_forbids_publishing_keeps_its_letters_f22(
    post_office, letter, autojump_clock, nursery
):
    async with post_office() as office:
        closed = {"error": {"code": 400, "message": "its key is disabled", "status": "FAILED_PRECONDITION"}}
        path = "/v1/projects/{p}/topics/{t}:publish"
        Door(
            Service("closed", [Operation("publish", "POST", path, lambda _: Reply(400, closed))], tenants=()),
            office.network.listen,
            nursery,
            host="closed",
            port=80,
        )
        pool = Pool(office.network.host("bff").connect)
        sink = ToPubSub(Publisher(pool, Origin("http", "closed", 80), project="p"))
        await office.write(*(letter(number, topic="slow") for number in range(3)))
        relay, _ = office.relay(slow=sink)
        await office.turn(relay)
        assert (len(await office.left()), await office.dead()) == (3, ())
        assert relay.failing == "slow: its key is disabled"
        await pool.aclose()


async def test_a_topic_that_is_not_there_is_nobodys_fault_and_holds_up_no_other_f22(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        relay, _ = office.relay()
        await office.write(*(letter(number, topic="no-such") for number in range(4 * BATCH)))
        await office.write(*(letter(number) for number in range(4 * BATCH, 5 * BATCH)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.serve)
            await office.drained(5, left=4 * BATCH)
            assert relay.failing == "no-such: status 404"
            await trio.sleep(300)
            nursery.cancel_scope.cancel()
        assert len(told(office, RelayFailed)) < 25, "asked with the first of them, after each pause"
        assert len(await office.left()) == 4 * BATCH
        assert await office.dead() == ()
        assert office.times() == (BATCH, 0)


async def test_lanes_that_fail_at_once_are_one_failure_and_a_first_pause_is_short(post_office, letter, autojump_clock):
    async with post_office() as office:
        relay, _ = office.relay()
        office.inject("status code=500")
        await office.write(*(letter(number, f"room:{number}") for number in range(PLACES)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.serve)
            await trio.sleep(0.01)
            assert len(told(office, RelayFailed)) == PLACES
            office.door.clear()
            assert await office.drained(every=0.01) < 0.25
            nursery.cancel_scope.cancel()


async def test_who_is_waited_for_is_asked_each_second_however_long_it_has_not_been_there_f34(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        asked, back = [], 100.3

        class Away:
            async def deliver(self, letters):
                await trio.lowlevel.checkpoint()
                asked.append(trio.current_time())
                here = trio.current_time() >= back
                return Delivery(len(letters)) if here else Delivery(0, NotNow("unavailable", "gone", soon=1.0))

        relay, _ = office.relay(desks=Away())
        async with trio.open_nursery() as nursery:
            await office.write(letter(1, topic="desks"))
            nursery.start_soon(relay.serve)
            await office.drained()
            nursery.cancel_scope.cancel()
        assert back <= asked[-1] < back + 1.1
        assert max(later - earlier for earlier, later in pairwise(asked)) < 1.1
        assert len(asked) < 150, "it is left alone in between"


async def test_what_is_settled_while_a_look_is_under_way_is_not_said_again(post_office, letter, autojump_clock):
    async with post_office() as office:
        heard, go_on = [], trio.Event()

        class Waits:
            async def deliver(self, letters):
                heard.append([one.message_id for one in letters])
                await go_on.wait()
                return Delivery(len(letters))

        relay, _ = office.relay(slow=Waits())
        async with trio.open_nursery() as nursery:
            await office.write(letter(1, topic="slow"))
            nursery.start_soon(relay.serve)
            await trio.sleep(0.1)
            office.store.latency(0.4)
            relay.nudge()
            await trio.sleep(0.02 + 0.4 + 0.2 + 0.1)  # the lead is had, and letters have been read and are on their way
            office.store.latency(0)
            go_on.set()
            await trio.sleep(2)
            nursery.cancel_scope.cancel()
        assert heard == [["id-000001"]]
        assert await office.left() == []


async def test_what_waits_in_the_lane_of_a_batch_that_failed_comes_after_it(post_office, letter, autojump_clock):
    async with post_office() as office:
        heard = []

        class FirstFails:
            async def deliver(self, letters):
                heard.append([one.message_id for one in letters])
                await trio.lowlevel.checkpoint()
                return Delivery(0, NotNow("unavailable", "not now")) if len(heard) == 1 else Delivery(len(letters))

        relay, _ = office.relay(slow=FirstFails())
        large = [replace(letter(number, topic="slow"), payload=b"x" * (LARGEST * 3 // 8)) for number in range(3)]
        await office.write(*large)
        await office.turn(relay)
        await trio.sleep(1)
        await office.turn(relay)
        assert heard == [["id-000000"], ["id-000000"], ["id-000001"], ["id-000002"]], (
            "two are too large together on the wire"
        )


async def test_where_pubsub_says_when_to_come_again_nobody_asks_before(post_office, letter, autojump_clock):
    async with post_office() as office:
        relay, _ = office.relay()
        office.pubsub.limit(1)
        await office.write(*(letter(number) for number in range(40)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.serve)
            await office.drained(1)
            await office.write(letter(40))
            took = await office.drained()
            nursery.cancel_scope.cancel()
        assert 38 < took < 42, "40 letters of a quota of one a second have been said"
        assert len(told(office, RelayFailed)) == 1
        assert office.requests == 3


async def test_one_leads_and_when_its_process_ends_the_next_goes_on_within_two_seconds(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        first, session = office.relay("one")
        second, _ = office.relay("two")
        async with trio.open_nursery() as nursery:
            process = begin(nursery, first.serve)
            await trio.sleep(0.5)
            nursery.start_soon(second.serve)
            await office.write(*(letter(number) for number in range(5)))
            await office.drained(2)
            assert office.network.connected("pubsub.estate") == 1, "the second has said nothing"
            office.inject("hang")
            await office.write(*(letter(number) for number in range(5, 10)))
            await trio.sleep(2)
            process.cancel()
            session.close()
            office.door.clear()
            await office.drained(2 + LOOK_EVERY)
            nursery.cancel_scope.cancel()
        assert office.said() == {"room:1": [f"id-{number:06}" for number in range(10)]}


def begin(nursery, work):
    """A process's one task; the scope by which it ends."""
    scope = trio.CancelScope()

    async def live():
        with scope:
            await work()

    nursery.start_soon(live)
    return scope


async def test_who_has_lost_the_lead_says_nothing_more_from_its_next_look_on(post_office, letter, autojump_clock):
    async with post_office() as office:
        said = []

        class Slow:
            async def deliver(self, letters):
                said.append(trio.current_time())
                await trio.sleep(0.4)
                return Delivery(1, NotNow("unavailable", "one at a time", 0.0))

        relay, _ = office.relay("one", slow=Slow())
        other = office.store.session()
        await office.write(*(letter(number, f"key:{number}", topic="slow") for number in range(4 * PLACES)))
        with trio.move_on_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.serve)
                await trio.sleep(0.5)
                office.store.outbox.break_leads()
                with trio.fail_after(1):
                    assert await other.lead("relay") == 2
                lost = trio.current_time()
        assert said[0] < lost
        assert max(said) <= lost + LOOK_EVERY


async def test_with_the_ledger_gone_in_the_middle_nothing_is_lost_and_everything_is_said_again_in_order_f20(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        relay, _ = office.relay()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.serve)
            office.inject("latency ms=100")
            await office.write(*(letter(number, f"room:{number % 5}") for number in range(50)))
            await trio.sleep(0.05)
            for fault in (office.store.down, office.store.stop):
                fault()
                await trio.sleep(5)
                office.store.start()
                await trio.sleep(0.3)
            office.door.clear()
            await office.drained(20)
            nursery.cancel_scope.cancel()
        assert office.said() == {f"room:{key}": [f"id-{n:06}" for n in range(key, 50, 5)] for key in range(5)}
        assert await office.dead() == ()


async def test_a_nudge_is_heard_at_once_by_the_leader_and_without_one_it_looks_each_second(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        relay, _ = office.relay()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.serve)
            await trio.sleep(10.3)
            for number in range(3):
                await office.write(letter(number))
                relay.nudge()
                assert await office.drained(every=0.01) <= 0.05
            await trio.sleep(0.3)
            await office.write(letter(9))
            assert 0.5 < await office.drained(every=0.01) <= LOOK_EVERY + 0.05
            nursery.cancel_scope.cancel()


class Ledge:
    """A sink that is slow, refuses what is poison, and takes what comes before it."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.heard = []
        self.at_once = Counter()
        self.most = 0

    async def deliver(self, letters):
        (key,) = {one.ordering_key for one in letters}
        self.at_once[key] += 1
        assert self.at_once[key] == 1, "never twice at a time"
        self.most = max(self.most, self.at_once.total())
        await trio.sleep(self.seconds)
        self.at_once[key] -= 1
        good = next((at for at, one in enumerate(letters) if b"bad" in one.payload), len(letters))
        self.heard += [(key, one.message_id) for one in letters[:good]]
        return Delivery(good, Poison("bad") if good < len(letters) else None)


async def test_a_sink_of_its_own_for_a_topic_hears_lanes_beside_each_other_and_may_take_a_part(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        ledge = Ledge(seconds=1.0)
        relay, _ = office.relay(desks=ledge)
        wanted = [letter(number, f"key:{number % 40}", topic="desks") for number in range(120)]
        wanted[50] = type(wanted[50])("desks", "key:10", "bad", b"bad", "id-bad")
        await office.write(*wanted)
        began = trio.current_time()
        await office.turn(relay)
        took = trio.current_time() - began
        assert ledge.most == PLACES
        assert took <= 3.5 + 2, "40 lanes in 16 places, a second each, and one halved"
        by_key = {}
        for key, name in ledge.heard:
            by_key.setdefault(key, []).append(name)
        assert by_key == {
            f"key:{key}": [one.message_id for one in wanted[key::40] if one.message_id != "id-bad"] for key in range(40)
        }
        assert [one.reason for one in await office.dead()] == ["bad"]
        assert await office.left() == []


async def test_what_waits_behind_a_half_that_failed_is_put_back_too(post_office, letter, autojump_clock):
    async with post_office() as office:
        heard = []

        class Moody:
            async def deliver(self, letters):
                heard.append([one.message_id for one in letters])
                await trio.lowlevel.checkpoint()
                match len(heard):
                    case 1:
                        return Delivery(0, Poison("one of them"))
                    case 2:
                        return Delivery(0, NotNow("unavailable", "not now"))
                    case _:
                        return Delivery(len(letters))

        relay, _ = office.relay(moods=Moody())
        names = [f"id-{number:06}" for number in range(4)]
        await office.write(*(letter(number, topic="moods") for number in range(4)))
        await office.turn(relay)
        assert relay.failing == "moods: not now"
        await trio.sleep(1)
        await office.turn(relay)
        assert heard == [names, names[:2], names]
        assert await office.left() == []


SECONDS = st.integers(0, 80).map(lambda tenths: tenths / 10)
WRITES = st.lists(st.tuples(SECONDS, st.sampled_from("abc"), st.booleans(), st.integers(1, 8)), max_size=12)
TROUBLES = st.lists(
    st.tuples(
        SECONDS,
        SECONDS,
        st.sampled_from(
            [
                "status code=503",
                "status code=404",
                "status code=503 rate=0.5",
                "hang",
                "down",
                "lose-answer",
                "lose-answer rate=0.5",
                "reset after=20",
                "latency ms=900",
                "ledger down",
                "ledger stops",
                "ledger is slow",
                "process ends",
                "lead is lost",
            ]
        ),
    ),
    max_size=8,
)


class Play:
    """Writes and troubles in their time, two processes that relay, and what came of it."""

    def __init__(self, office, letter):
        self.office, self.letter = office, letter
        self.written = []
        self.processes = 0

    async def play(self, writes, troubles):
        with trio.fail_after(3600):
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                for _ in range(2):
                    self.begin()
                async with trio.open_nursery() as happening:
                    for write in writes:
                        happening.start_soon(self.write, *write)
                    for trouble in troubles:
                        happening.start_soon(self.trouble, *trouble)
                self.office.door.clear()
                self.office.store.clear()
                await self.office.drained()
                nursery.cancel_scope.cancel()

    def begin(self):
        self.processes += 1
        relay, session = self.office.relay(f"bff-{self.processes}")
        self.process = begin(self.nursery, relay.serve), session
        self.nudge = relay.nudge

    async def write(self, at, key, poison, count):
        await trio.sleep(at)
        for _ in range(count):
            number = len(self.written)
            one = self.letter(number, key, topic=TOPICS[number % 2], poison=poison and number % 3 == 0)
            self.written.append(one)
            self.office.store.outbox.write([one])
        self.nudge()

    async def trouble(self, at, lasts, what):
        office = self.office
        await trio.sleep(at)
        match what:
            case "ledger down":
                office.store.down()
            case "ledger stops":
                if office.store.state.value == "up":
                    office.store.stop()
            case "ledger is slow":
                office.store.latency(0.3)
            case "lead is lost":
                office.store.outbox.break_leads()
            case "process ends":
                scope, session = self.process
                scope.cancel()
                session.close()
                self.begin()
            case toxic:
                office.inject(toxic)
        await trio.sleep(lasts)
        if what.startswith("ledger"):
            office.store.clear()
        elif not what.startswith(("process", "lead")):
            office.door.clear()


@given(writes=WRITES, troubles=TROUBLES, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_whatever_fails_in_between_each_letter_is_said_in_order_or_is_dead_with_its_reason(
    simulate, post_office, letter, writes, troubles, seed
):
    async def main():
        async with post_office(seed) as office:
            play = Play(office, letter)
            await play.play(writes, troubles)
            poison = {one.message_id for one in play.written if len(one.kind) > 1024}
            for topic in TOPICS:
                wanted = {}
                for one in play.written:
                    if one.topic == topic and one.message_id not in poison:
                        wanted.setdefault(one.ordering_key, []).append(one.message_id)
                assert office.said(topic) == wanted
            dead = await office.dead()
            assert {one.letter.message_id for one in dead} == poison
            assert all("attribute type is too long" in one.reason for one in dead)
            assert await office.left() == []
            return office.times(), office.requests

    simulate(main)
