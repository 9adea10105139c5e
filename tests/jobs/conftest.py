"""A ledger in memory, the estate's Pub/Sub on a simulated network, and relays between them, each a process's own."""

from contextlib import asynccontextmanager
from functools import partial
from random import Random

import pytest
import trio

from bff.jobs.relay import Relay
from bff.jobs.sinks import ToPubSub
from bff.stores.outbox import Letter
from bff.upstreams.pubsub import Publisher
from bff.wire.exchange import Origin
from bff.wire.pool import Pool
from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.estate.pubsub import PROJECT, TOPICS
from chaos.hotel.estate.services import build_services
from chaos.hotel.estate.serving import Door
from chaos.hotel.stores.ledger import SimLedger
from chaos.sim.link import Network
from chaos.toxics import split
from nurseries import listening, within

EVENTS, _ = TOPICS
HOUR = 3600.0
TOO_LONG = "x" * 1025  # Pub/Sub takes no attribute over 1,024 bytes


def a_letter(number, key="room:1", *, topic=EVENTS, poison=False):
    kind = TOO_LONG if poison else "board-changed"
    return Letter(topic, key, kind, b'{"n": %d}' % number, f"id-{number:06}")


class PostOffice:
    """What is said to it is in `said`, by topic; `told` are the facts."""

    def __init__(self, nursery, seed):
        self.store = SimLedger()
        self.ledger = self.store.session()
        self.told = []
        self.seed = seed
        self.network = Network(seed=seed)
        services, authority = build_services(
            build_hotel(), now=trio.current_time, entropy=Random(seed).randbytes, token_ttl=900, seed=seed
        )
        (service,) = [one for one in services if one.name == "pubsub"]
        self.door = Door(service, self.network.listen, nursery, host="pubsub.estate", port=80)
        self.pubsub = authority.pubsub
        self.pools = []

    def relay(self, name="bff", **others):
        """A process's relay, and its line to the ledger."""
        pool = Pool(self.network.host(name).connect)
        self.pools.append(pool)
        publisher = Publisher(pool, Origin("http", self.door.host, 80), project=PROJECT)
        session = self.store.session()
        relay = Relay(session, ToPubSub(publisher), others, jitter=Random(f"{name}{self.seed}").random)
        return relay, session

    async def write(self, *letters):
        with within(5):
            assert await self.ledger.append(letters) is None

    async def turn(self, relay):
        with trio.fail_after(HOUR):
            await relay.turn()

    def inject(self, toxic):
        self.door.inject(split(toxic))

    @property
    def requests(self):
        return self.door.service.counts["publish"].calls

    def said(self, topic=EVENTS):
        """The message ids by ordering key, in the order in which they first came."""
        return self.pubsub.published(topic).by_key()

    def times(self, topic=EVENTS):
        """How many came, and how many of them under an id that was there before."""
        found = self.pubsub.published(topic)
        return found.total, found.duplicates

    async def left(self):
        """Message ids that wait."""
        with within(5):
            return [one.letter.message_id for one in await self.ledger.next_letters(limit=100_000)]

    async def dead(self):
        with within(5):
            return await self.ledger.dead_letters(after=0, limit=100_000)

    async def drained(self, seconds=HOUR, every=0.1, left=0):
        """How long it takes until no more than `left` wait."""
        began = trio.current_time()
        with trio.fail_after(seconds):
            while True:
                if len(await self.left()) <= left:
                    return trio.current_time() - began
                await trio.sleep(every)  # nobody tells what a store has: in virtual time one may look


@asynccontextmanager
async def open_post_office(seed=0):
    async with trio.open_nursery() as nursery:
        office = PostOffice(nursery, seed)
        with listening(office.told.append):
            yield office
        for pool in office.pools:
            await pool.aclose()
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="session")
def letter():
    return a_letter


@pytest.fixture(scope="session")
def post_office():
    """`async with post_office(seed) as office`."""
    return partial(open_post_office)
