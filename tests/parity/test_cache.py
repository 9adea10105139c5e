from random import Random

import pytest
import trio

from bff.stores import PATIENCE
from bff.stores.cache import CacheKey, Entry, Kept
from nurseries import Unbounded, within


def key(tenant, *parts):
    return CacheKey(tenant, "widget", parts or ("occupancy", "p1"))


async def test_what_was_put_is_there_in_the_order_asked_and_the_rest_is_missing(cache, fresh):
    tenant = fresh("resort")
    keys = [key(tenant, "a"), key(tenant, "b"), key(tenant, "c")]
    first, last = Kept(1439622000.25, b'{"a":1}'), Kept(0.0, b"\x00\xff\r\n" * 20_000)
    with trio.fail_after(5):
        await cache.put_many([Entry(keys[0], first, 60), Entry(keys[2], last, 60)])
        assert await cache.get_many([keys[2], keys[1], keys[0], keys[0]]) == (last, None, first, first)


async def test_a_later_answer_takes_the_place_of_the_earlier(cache, fresh):
    where = key(fresh("resort"))
    with trio.fail_after(5):
        await cache.put_many([Entry(where, Kept(1.0, b"old"), 60), Entry(where, Kept(2.0, b"new"), 60)])
        assert await cache.get_many([where]) == (Kept(2.0, b"new"),)


async def test_a_tenant_never_gets_another_s_f30(cache, fresh):
    resort, city = fresh("resort"), fresh("city")
    with trio.fail_after(5):
        await cache.put_many([Entry(key(resort, "a", "b"), Kept(1.0, b"resort's"), 60)])
        near = [key(city, "a", "b"), key(resort, "a|1:b"), key(resort, "ab"), CacheKey(resort, "widget|1:a", ("b",))]
        assert await cache.get_many(near) == (None,) * len(near)


async def test_nothing_asked_is_nothing_answered(cache):
    with trio.fail_after(5):
        assert await cache.get_many([]) == ()
        assert await cache.put_many([]) is None


async def test_no_verb_waits_without_a_deadline_f33(cache, fresh):
    where = key(fresh("resort"))
    verbs = [
        lambda: cache.get_many([where]),
        lambda: cache.get_many([]),
        lambda: cache.put_many([Entry(where, Kept(1.0, b""), 60)]),
        lambda: cache.put_many([]),
        cache.ping,
    ]
    for verb in verbs:
        with pytest.raises(Unbounded):
            await verb()


async def test_down_means_miss_and_what_was_kept_is_there_again_afterwards_f17(cache_and_faults, fresh):
    cache, faults = cache_and_faults
    where = key(fresh("resort"))
    with trio.fail_after(5):
        await cache.put_many([Entry(where, Kept(1.0, b"x"), 60)])
        faults.down()
        assert await cache.get_many([where, where]) == (None, None)
        await cache.put_many([Entry(where, Kept(2.0, b"lost"), 60)])
        assert (await cache.ping()).why
        await faults.start(cache.ping)
        assert await cache.get_many([where]) == (Kept(1.0, b"x"),)
    assert faults.told == [("redis-cache", True), ("redis-cache", False), ("redis-cache", True)]


async def test_a_cache_that_hangs_is_a_miss_within_its_patience(cache_and_faults, fresh):
    cache, faults = cache_and_faults
    where = key(fresh("resort"))
    with trio.fail_after(8):
        await cache.put_many([Entry(where, Kept(1.0, b"x"), 60)])
        faults.stop()
        began = trio.current_time()
        assert await cache.get_many([where]) == (None,)
        assert trio.current_time() - began < PATIENCE + 0.2
        await faults.start(cache.ping)
        assert await cache.get_many([where]) == (Kept(1.0, b"x"),)


async def test_however_many_leave_in_mid_call_nobody_gets_another_s_answer(cache, fresh):
    tenant, chance = fresh("resort"), Random(7)
    keys = [key(tenant, str(number)) for number in range(50)]
    right, left = 0, 0

    async def read(number, seconds):
        nonlocal right, left
        with within(seconds) as scope:
            (kept,) = await cache.get_many([keys[number]])
            assert kept == Kept(float(number), b"%d" % number * 50)
            right += 1
        left += scope.cancelled_caught

    with trio.fail_after(8):
        await cache.put_many([Entry(keys[n], Kept(float(n), b"%d" % n * 50), 60) for n in range(50)])
        for _ in range(12):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    seconds = chance.choice([0.0, 0.0005, 0.002, 0.005, 5.0])
                    nursery.start_soon(read, chance.randrange(50), seconds)
        everything = await cache.get_many(keys)
    assert everything == tuple(Kept(float(n), b"%d" % n * 50) for n in range(50))
    assert right and left and right + left == 1200
