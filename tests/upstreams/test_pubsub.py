"""Publishing, against the stand-in that speaks as Google's API does: every answer told apart."""

import pytest
import trio

from bff.facts import UpstreamCalled
from bff.stores.outbox import Letter
from bff.upstreams.pubsub import (
    AROUND,
    LARGEST_REQUEST,
    MetadataToken,
    Published,
    Publisher,
    Refused,
    Unavailable,
    on_the_wire,
)
from bff.wire.exchange import Origin
from bff.wire.pool import Pool
from chaos.hotel.estate.pubsub import LONGEST_VALUE, MOST_MESSAGES, PubSub, google_error
from chaos.hotel.estate.service import Operation, Reply, Service
from chaos.hotel.estate.serving import Door
from chaos.sim.link import Network
from chaos.toxics import split
from nurseries import Unbounded, listening, within

TOPIC = "bff-domain-events"


def letter(number, key="resort/folio:f-1", **other):
    told = {"topic": TOPIC, "ordering_key": key, "kind": "board-changed", "payload": b'{"n":%d}' % number}
    return Letter(**{**told, "message_id": f"m-{number}", **other})


class Side:
    """A publisher and the Pub/Sub that it publishes to."""

    def __init__(self, network, nursery):
        self.topics = PubSub(trio.current_time)
        self.service = Service("pubsub", self.topics.operations(), tenants=())
        self.door = Door(self.service, network.listen, nursery, host="pubsub", port=80)
        self.pool = Pool(network.connect)
        self.publisher = self.to("melmastoon")

    def to(self, project, tokens=None):
        return Publisher(self.pool, Origin("http", "pubsub", 80), project=project, tokens=tokens)

    async def publish(self, *letters, topic=TOPIC, publisher=None):
        with within(2):
            return await (publisher or self.publisher).publish(topic, letters)
        return "left"


@pytest.fixture
def side(autojump_clock, nursery):
    return Side(Network(), nursery)


async def test_what_is_published_is_there_in_order_under_its_own_ids_to_the_byte(autojump_clock, side):
    odd = letter(3, payload=bytes(range(256)))
    said = await side.publish(letter(1), letter(2), odd)
    assert said == Published(("1", "2", "3"))
    there = side.topics.published(TOPIC).messages
    assert [one.message_id for one in there] == ["m-1", "m-2", "m-3"]
    assert [one.data for one in there] == [b'{"n":1}', b'{"n":2}', bytes(range(256))]
    assert {(one.ordering_key, one.kind) for one in there} == {("resort/folio:f-1", "board-changed")}


async def test_the_same_message_again_is_there_again_under_the_same_id(autojump_clock, side):
    for _ in range(2):
        await side.publish(letter(1))
    found = side.topics.published(TOPIC)
    assert (found.total, found.distinct, found.duplicates) == (2, 1, 1)
    count = side.service.counts["publish"]
    assert (count.calls, count.keys, count.effects) == (2, 1, 1)


@pytest.mark.parametrize(
    "letters",
    [
        (letter(1), letter(2, message_id="m" * (LONGEST_VALUE + 1))),
        (letter(1), letter(2, key="k" * 1025)),
        (letter(1), letter(2, key="another key")),
        tuple(letter(number) for number in range(MOST_MESSAGES + 1)),
        (),
    ],
    ids=["long attribute", "long key", "two keys", "too many", "none"],
)
async def test_a_message_over_a_limit_is_poison_and_takes_its_neighbours_with_it_f38(autojump_clock, side, letters):
    said = await side.publish(*letters)
    assert isinstance(said, Refused) and said.poison and said.why
    assert side.topics.published(TOPIC).total == 0


@pytest.mark.parametrize(("topic", "project"), [("no-such-topic", "melmastoon"), (TOPIC, "another-project")])
async def test_a_topic_that_is_not_there_is_no_letter_s_fault(autojump_clock, side, topic, project):
    said = await side.publish(letter(1), topic=topic, publisher=side.to(project))
    assert said == Refused("status 404", poison=False)


async def test_a_quota_says_when_to_come_again_and_then_is_kept_f22(autojump_clock, side):
    side.topics.limit(10)
    assert isinstance(await side.publish(*map(letter, range(15))), Published)
    said = await side.publish(letter(20))
    assert isinstance(said, Unavailable) and 0.5 <= said.retry_after < 0.6
    await trio.sleep(said.retry_after)
    assert isinstance(await side.publish(letter(20)), Published)


@pytest.mark.parametrize(
    ("toxic", "expected"),
    [
        ("status code=503", Unavailable("status 503")),
        ("status code=500", Unavailable("status 500")),
        ("status code=403", Refused("status 403", poison=False)),
        ("down", Unavailable("no answer (ConnectError)")),
        ("lose-answer", Unavailable("no answer (RemoteProtocolError)")),
        ("garbage", Unavailable("an answer that cannot be read")),
        ("redirect", Unavailable("status 302")),
        ("giant bytes=1100000", Unavailable("no answer (TooLarge)")),
        ("hang", "left"),
    ],
)
async def test_whatever_else_is_wrong_with_it_is_a_matter_of_time_f22(autojump_clock, side, toxic, expected):
    told = []
    side.door.inject(split(toxic))
    with listening(told.append):
        assert await side.publish(letter(1)) == expected
    (call,) = [fact for fact in told if isinstance(fact, UpstreamCalled)]
    assert call.service == "pubsub" and call.outcome != "ok"


async def test_another_number_of_ids_than_of_messages_is_no_answer(autojump_clock, nursery):
    network = Network()
    one_id = Operation("publish", "POST", "/v1/projects/{p}/topics/{t}", lambda _: Reply(200, {"messageIds": ["1"]}))
    Door(Service("pubsub", [one_id], tenants=()), network.listen, nursery, host="pubsub", port=80)
    publisher = Publisher(Pool(network.connect), Origin("http", "pubsub", 80), project="melmastoon")
    with within(2):
        assert await publisher.publish(TOPIC, [letter(1), letter(2)]) == Unavailable("1 ids for 2 messages")


async def test_what_a_letter_takes_on_the_wire_is_counted_to_the_byte(autojump_clock, side):
    letters = [letter(n, payload=b"\xff" * n, message_id=f'"\\\n\x01é客-{n}', key='r/"é"\x1f') for n in range(1, 9)]
    assert isinstance(await side.publish(*letters), Published)
    body = int(side.service.last["headers"]["content-length"])
    assert body == AROUND + sum(map(on_the_wire, letters)) - 1, "the last has no comma after it"


async def test_as_much_as_one_request_may_have_is_taken_and_what_is_larger_is_poison_without_being_asked_f38(
    autojump_clock, side
):
    fits = letter(1, payload=b"x" * ((LARGEST_REQUEST - 200) // 4 * 3))
    assert LARGEST_REQUEST - 200 < AROUND + on_the_wire(fits) <= LARGEST_REQUEST
    assert isinstance(await side.publish(fits), Published)
    large = letter(2, payload=fits.payload + b"x" * 300)
    for letters, what in (((large,), "a message that takes"), ((fits, letter(3)), "2 messages that take")):
        said = await side.publish(*letters)
        assert said.poison and said.why.startswith(what) and said.why.endswith("a request has 10000000 at most")
    assert side.service.counts["publish"].calls == 1


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(413, None), Refused("status 413", poison=True)),
        (Reply(413, google_error(413, "too large")), Refused("too large", poison=True)),
        (Reply(400, google_error(400, "bad")), Refused("bad", poison=True)),
        (
            Reply(400, {"error": {"message": "no key", "status": "FAILED_PRECONDITION"}}),
            Refused("no key", poison=False),
        ),
    ],
    ids=["413", "413 in words", "400", "precondition"],
)
async def test_what_is_wrong_with_a_topic_is_no_letter_s_fault_and_what_is_too_large_is_f38(
    autojump_clock, nursery, reply, expected
):
    network = Network()
    answers = Operation("publish", "POST", "/v1/projects/{p}/topics/{t}", lambda _: reply)
    Door(Service("pubsub", [answers], tenants=()), network.listen, nursery, host="pubsub", port=80)
    publisher = Publisher(Pool(network.connect), Origin("http", "pubsub", 80), project="melmastoon")
    with within(2):
        assert await publisher.publish(TOPIC, [letter(1)]) == expected


async def test_nothing_is_published_without_a_deadline_f33(autojump_clock, side):
    with pytest.raises(Unbounded):
        await side.publisher.publish(TOPIC, [letter(1)])


async def test_a_token_is_asked_for_once_and_again_before_it_ends(autojump_clock, side, nursery):
    network, given = Network(), []

    def give(_):
        given.append(trio.current_time())
        return Reply(200, {"access_token": f"token-{len(given)}", "expires_in": 600, "token_type": "Bearer"})

    service = Service("metadata", [Operation("token", "GET", "/token", give)], tenants=())
    door = Door(service, network.listen, nursery, host="metadata", port=80)
    tokens = MetadataToken(Pool(network.connect), "http://metadata/token")
    publisher = side.to("melmastoon", tokens)
    for _ in range(2):
        assert isinstance(await side.publish(letter(1), publisher=publisher), Published)
    assert side.service.last["headers"]["authorization"] == "Bearer token-1"
    assert service.last["headers"]["metadata-flavor"] == "Google"
    await trio.sleep(541)
    await side.publish(letter(1), publisher=publisher)
    assert side.service.last["headers"]["authorization"] == "Bearer token-2"
    door.inject(split("down"))
    await trio.sleep(541)
    await side.publish(letter(1), publisher=publisher)
    assert side.service.last["headers"]["authorization"] == "Bearer token-2", "the last one, while there is no other"
