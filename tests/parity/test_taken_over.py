"""Another server at the same address is noticed by whoever dials it, in both worlds; a cut connection is none."""

import trio

from bff.model import Down


async def taken_over(store, faults):
    """How often it was told, after a server that died and one that came in its place."""
    with trio.fail_after(20):
        assert await store.ping() is None
        faults.down()
        assert isinstance(await store.ping(), Down)
        assert faults.taken_over == []
        await faults.start(store.ping)
        assert await store.ping() is None
        return faults.taken_over


async def test_another_postgres_is_told_once_however_many_connections_it_has_f20(ledger_and_faults):
    assert await taken_over(*ledger_and_faults) == ["postgres"]


async def test_another_cache_is_told_once_f17(cache_and_faults):
    assert await taken_over(*cache_and_faults) == ["redis-cache"]


async def test_a_bus_leaves_it_to_the_tier_on_whose_server_it_is_to_tell_f19(bus_and_faults):
    bus, faults = bus_and_faults
    with trio.fail_after(20):
        assert await ping(bus) is None
        faults.down()
        assert isinstance(await bus.tip(), Down)
        await faults.start(lambda: ping(bus))
        assert faults.taken_over == (["redis-session"] if faults.simulated else [])


async def ping(bus):
    tip = await bus.tip()
    return tip if isinstance(tip, Down) else None
