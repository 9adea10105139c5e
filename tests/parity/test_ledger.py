import pytest
import trio

from bff.model import Down
from nurseries import Unbounded


async def test_a_ledger_that_answers_is_up(ledger):
    with trio.fail_after(5):
        assert await ledger.ping() is None


async def test_a_ping_does_not_wait_without_a_deadline_f33(ledger):
    with pytest.raises(Unbounded):
        await ledger.ping()


async def test_a_ledger_that_is_down_says_so_and_comes_back_by_itself_f20(ledger_and_faults):
    ledger, faults = ledger_and_faults
    with trio.fail_after(8):
        assert await ledger.ping() is None
        faults.down()
        began = trio.current_time()
        assert isinstance(await ledger.ping(), Down)
        assert isinstance(await ledger.ping(), Down)
        assert trio.current_time() - began < 0.3
        await faults.start(ledger.ping)
    assert faults.told == [("postgres", True), ("postgres", False), ("postgres", True)]


async def test_a_ledger_that_hangs_is_down_before_readiness_gives_up(ledger_and_faults):
    ledger, faults = ledger_and_faults
    with trio.fail_after(8):
        assert await ledger.ping() is None
        faults.stop()
        with trio.fail_after(0.6):
            assert isinstance(await ledger.ping(), Down)
        await faults.start(ledger.ping)


async def test_the_ledger_says_how_many_connections_its_server_has_and_may_have_f39(ledger):
    with trio.fail_after(5):
        size = await ledger.size()
    assert 1 <= size.connections < size.most_connections
    assert size.ratio == 0.0
