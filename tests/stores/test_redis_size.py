"""What a Redis says of its size, and a session tier that is short of memory for real (F-41)."""

from contextlib import AsyncExitStack

import pytest
import trio

from bff.facts.cost import JtiModeTurned
from bff.jobs.watch_redis import RedisWatch
from bff.stores.redis_cache import open_cache
from bff.stores.redis_line import open_line
from bff.stores.redis_size import parsed
from bff.stores.redis_tier import open_tier
from bff.stores.size import Size
from bff.stores.tier import Presented
from chaos.hotel.stores.ledger import SimLedger
from nurseries import listening


async def test_a_tier_that_is_full_by_its_own_word_turns_to_the_filter_and_refuses_no_honest_proof_f41(border, running):
    url, told = running.redis_session_url, []
    async with open_line(border, "line", url) as line, open_tier(border, url) as tier, open_cache(border, url) as cache:
        with trio.fail_after(10):
            async with AsyncExitStack() as healed:
                await line.ask(("FLUSHALL",))
                used = (await tier.size()).used
                healed.push_async_callback(line.ask, ("CONFIG SET", "maxmemory", 0), ("DEL", "jti:mode"))
                await line.ask(("CONFIG SET", "maxmemory-policy", "noeviction"))
                await line.ask(("CONFIG SET", "maxmemory", int(used / 0.85)))
                watch = RedisWatch(tier, cache, SimLedger().session())
                with listening(told.append):
                    await watch.turn()
                    assert [fact.mode for fact in told if isinstance(fact, JtiModeTurned)] == ["trimmed"]
                    # room for the filter, and little more
                    await line.ask(("CONFIG SET", "maxmemory", used + 100_000))
                    await watch.turn()
                    assert [fact.mode for fact in told if isinstance(fact, JtiModeTurned)] == ["trimmed", "bloom"]
                    await line.ask(("CONFIG SET", "maxmemory", used + 12_000_000))
                    for number in range(2000):
                        standing = await tier.present(Presented(None, None, "k" * 43, str(number), "n", 125.0))
                        assert standing.fresh and standing.mode == "bloom"
                assert 0 < (await tier.jti_memory()).fill < 0.01


@pytest.mark.parametrize(
    ("told", "size"),
    [
        (b"# Memory\r\nused_memory:12\r\nmaxmemory:0\r\n# Clients\r\nconnected_clients:3\r\n", Size(12, 0, 3, 0)),
        (b"used_memory:6\r\nmaxmemory:8\r\nconnected_clients:1\r\nmaxclients:10\r\n", Size(6, 8, 1, 10)),
        (b"used_memory:much\r\nmaxmemory\r\n\xff", Size(0, 0, 0, 0)),
    ],
)
def test_what_a_redis_does_not_say_of_its_size_counts_as_nothing(told, size):
    assert parsed(told) == size


@pytest.mark.parametrize(("used", "most", "ratio"), [(6, 8, 0.75), (6, 0, 0.0), (9, 8, 1.125)])
def test_the_part_that_is_used_is_none_where_nobody_bounds_it(used, most, ratio):
    assert Size(used, most, 0, 0).ratio == ratio
