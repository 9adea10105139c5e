"""What lies in Redis: for how long, under which names, and what becomes of what we did not put there."""

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from bff.stores.bus import Entry, Position, Posting
from bff.stores.cache import CacheKey, Kept
from bff.stores.cache import Entry as Cached
from bff.stores.redis_bus import open_bus
from bff.stores.redis_cache import decoded, encoded, open_cache
from bff.stores.redis_line import open_line
from bff.stores.redis_tier import open_tier
from bff.stores.tier import Presented, SessionBlob, Standing

KEY = "k" * 43


@pytest.fixture
async def line(border, running):
    async with open_line(border, "redis-session", running.redis_session_url) as opened:
        await ask(opened, ("FLUSHALL",))
        yield opened


@pytest.fixture
async def tier(border, running):
    async with open_tier(border, running.redis_session_url) as opened:
        yield opened


@pytest.fixture
async def cache(border, running):
    async with open_cache(border, running.redis_session_url) as opened:
        yield opened


async def ask(line, *calls):
    with trio.fail_after(5):
        return await line.ask(*calls)


async def lifetimes(line):
    """Every key and its time to live in milliseconds; -1 for one without."""
    (keys,) = await ask(line, ("KEYS", "*"))
    return dict(zip(keys, await ask(line, *(("PTTL", key) for key in keys)), strict=True))


def blob_of(tenant, session, **changes):
    fields = {"operator": "ann", "device": "d1", "jkt": KEY, "cursor": None, "expires_at": 1.5e9, **changes}
    return SessionBlob(tenant=tenant, session=session, **fields)


async def test_a_proof_is_kept_for_its_time_and_a_replay_does_not_prolong_it_f41(line, tier):
    with trio.fail_after(5):
        await tier.present(Presented(None, None, KEY, "x" * 256, "n1", 60.0))
        await ask(line, *(("PEXPIRE", key, 5000) for key in await lifetimes(line)))
        assert not (await tier.present(Presented(None, None, KEY, "x" * 256, "n2", 60.0))).fresh
        ((key, left),) = (await lifetimes(line)).items()
    assert 4000 < left <= 5000
    assert key.startswith(b"p:") and len(key) < 32, "a jti of any length costs the same"


async def test_everything_but_a_tenant_s_status_has_its_time_and_names_its_tenant_f30(line, tier):
    with trio.fail_after(5):
        await tier.keep(blob_of("resort", "s1"), 40)
        await tier.revoke("resort", "s2", 20)
        await tier.set_tenant_status("resort", "suspended")
    left = await lifetimes(line)
    listed = b"6:resort|8:sessions"
    assert left.keys() == {b"6:resort|7:session|2:s1", listed, b"6:resort|7:revoked|2:s2", b"6:resort|6:status"}
    assert left[listed] > 86_400_000, "longer than any session of it"
    assert 39_000 < left[b"6:resort|7:session|2:s1"] <= 40_000
    assert 19_000 < left[b"6:resort|7:revoked|2:s2"] <= 20_000
    assert left[b"6:resort|6:status"] == -1


async def test_all_of_the_bus_but_the_bus_has_its_time_and_names_its_tenant_f30(line, border, running):
    async with open_bus(border, running.redis_session_url) as bus:
        with trio.fail_after(5):
            await bus.post([Posting("resort", "u1", b"{}", 1.7e9, 60.0)])
            await bus.take("resort", "d1", now=1.7e9, ttl=45.0)
            await bus.restore("city", [Entry(Position("e", 5), b"", 1.7e9), Entry(Position("e", 6), b"{}", 1.7e9, "u")])
        left = await lifetimes(line)
    assert left.pop(b"bus") == -1
    assert left.keys() == {
        b"6:resort|6:events",
        b"6:resort|4:said|2:u1",
        b"6:resort|6:stream|2:d1",
        b"4:city|6:events",
        b"4:city|4:said|1:u",
    }
    assert all(ms > 0 for ms in left.values())


@pytest.mark.parametrize("ttl", [0.0, 1e-9, 0.0004])
async def test_the_shortest_life_is_a_millisecond_and_no_error(line, tier, cache, ttl):
    with trio.fail_after(5):
        assert (await tier.present(Presented(None, None, KEY, "j", "n", ttl))).fresh
        assert await tier.keep(blob_of("resort", "s1"), ttl) is None
        await cache.put_many([Cached(CacheKey("resort", "w", ()), Kept(1.0, b"x"), ttl)])
        assert await cache.ping() is None


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"null", b'{"tenant":"resort"}', msgspec.json.encode(blob_of("city", "s1")), b"\xff"],
)
async def test_a_blob_that_is_none_or_another_s_is_no_blob_f30(line, tier, raw):
    await ask(line, ("SET", b"6:resort|7:session|2:s1", raw))
    with trio.fail_after(5):
        standing = await tier.present(Presented("resort", "s1", KEY, "j", "n", 60.0))
    assert standing == Standing(True, False, None, None)


async def test_a_status_that_nobody_knows_counts_as_unknown(line, tier):
    await ask(line, ("SET", b"6:resort|6:status", b"dissolved"))
    with trio.fail_after(5):
        assert (await tier.present(Presented("resort", None, KEY, "j", "n", 60.0))).tenant_status is None


async def test_garbage_in_the_cache_is_a_miss_and_its_neighbours_are_not(line, cache):
    keys = [CacheKey("resort", "w", (part,)) for part in "abc"]
    with trio.fail_after(5):
        await cache.put_many([Cached(keys[2], Kept(1.0, b"x"), 60)])
        await ask(line, ("SET", keys[0].text(), b"garbage of some length"), ("LPUSH", keys[1].text(), b"a list"))
        assert await cache.get_many(keys) == (None, None, Kept(1.0, b"x"))
    assert 59_000 < (await lifetimes(line))[keys[2].text().encode()] <= 60_000


@given(st.floats(allow_nan=False, allow_infinity=False), st.binary())
def test_what_is_kept_comes_back_to_the_bit(as_of, body):
    assert decoded(encoded(Kept(as_of, body))) == Kept(as_of, body)


@given(st.binary(max_size=40) | st.binary(max_size=12).map(lambda rest: b"k1" + rest))
def test_whatever_else_is_there_is_read_or_missed_and_never_an_error(raw):
    kept = decoded(raw)
    assert kept is None or encoded(kept) == raw


@pytest.mark.parametrize("as_of", [float("nan"), float("inf"), float("-inf")])
def test_a_time_that_is_none_is_a_miss(as_of):
    assert decoded(encoded(Kept(as_of, b"x"))) is None


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1), st.lists(st.text(min_size=1), max_size=3))))
def test_no_two_keys_have_one_text_f30(keys):
    made = {CacheKey(tenant, kind, tuple(parts)) for tenant, kind, parts in keys}
    assert len({key.text() for key in made}) == len(made)


@pytest.mark.parametrize("parts", [("", "w", ()), ("resort", "", ()), ("resort", "w", ("a", ""))])
def test_a_key_without_a_tenant_a_kind_or_a_part_cannot_be_built_f30(parts):
    with pytest.raises(ValueError, match="names its tenant"):
        CacheKey(*parts)
