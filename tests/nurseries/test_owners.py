import pytest
import trio

from nurseries import (
    Backoff,
    Doing,
    Full,
    OwnedTaskFailed,
    ServiceRestarting,
    StragglerLetGo,
    described,
    fan_out,
    listening,
    open_owner,
    owners,
)
from nurseries.owners import OBEYS_WITHIN


async def test_an_error_in_a_background_task_is_a_fact_and_harms_no_neighbour(autojump_clock):
    facts = []

    async def breaks():
        await trio.sleep(1)
        raise ValueError("bad\nrow")

    with listening(facts.append):
        async with open_owner("jobs", bound=4) as owner:
            owner.start(breaks, name="settle")
            owner.start(trio.sleep, 5, name="other")
            await trio.sleep(2)
            assert owner.live == ("other",)
            assert owner.last_error == "ValueError: bad"
    assert facts == [OwnedTaskFailed("jobs", "settle", "ValueError: bad")]


async def test_leaving_the_owner_ends_what_is_left(autojump_clock):
    async with open_owner("jobs", bound=4) as owner:
        owner.start(trio.sleep_forever, name="one")
    assert owner.live == ()


async def test_an_owner_refuses_what_is_over_its_bound(autojump_clock):
    async with open_owner("jobs", bound=1) as owner:
        owner.start(trio.sleep_forever, name="one")
        with pytest.raises(Full, match="jobs holds 1"):
            owner.start(trio.sleep_forever, name="two")


async def test_an_owner_can_be_told_to_stop_everything(autojump_clock):
    async with open_owner("jobs", bound=1) as owner:
        owner.start(trio.sleep_forever, name="one")
        owner.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert owner.live == ()


async def test_a_service_that_ends_is_started_again_after_growing_pauses(autojump_clock):
    starts = []

    async def service():
        starts.append(trio.current_time())
        if len(starts) == 2:
            raise OSError("gone")

    facts = []
    with listening(facts.append):
        async with open_owner("jobs", bound=1) as owner:
            health = owner.supervise("relay", service, jitter=lambda: 0, backoff=Backoff(first=1, most=3))
            assert owner.services == {"relay": health}
            await trio.sleep(9.5)
            assert health.state == "waiting"
            assert health.restarts == 4
            assert health.error == "OSError: gone", "the last error is kept, though the service has run since"
            await trio.sleep(4)
            assert health.restarts == 5
        assert health.state is Doing.ENDED
    assert starts == [0, 1, 3, 6, 9, 12]
    assert facts[:2] == [
        ServiceRestarting("jobs", "relay", "", 1),
        ServiceRestarting("jobs", "relay", "OSError: gone", 2),
    ]


async def test_a_service_that_lived_long_enough_is_calm_again(autojump_clock):
    starts = []

    async def service():
        starts.append(trio.current_time())
        await trio.sleep(60 if len(starts) == 3 else 0)
        raise OSError

    async with open_owner("jobs", bound=1) as owner:
        owner.supervise("relay", service, jitter=lambda: 0, backoff=Backoff(first=1, most=30, calm=60))
        await trio.sleep(70)
        assert owner.services["relay"].error == "OSError"
    assert starts[:5] == [0, 1, 3, 64, 66]


def test_jitter_takes_away_up_to_half_of_a_pause():
    assert Backoff(first=1, most=8).after(10, 0.0) == 8
    assert Backoff(first=1, most=8).after(2, 0.5) == 1.5


async def test_a_service_that_runs_is_said_to_run_also_after_a_restart(autojump_clock):
    async def service():
        await trio.sleep(10)

    async with open_owner("jobs", bound=1) as owner:
        health = owner.supervise("relay", service, jitter=lambda: 0, backoff=Backoff(first=1))
        assert (health.state, health.since) == (Doing.RUNNING, 0)
        await trio.sleep(10.5)
        assert (health.state, health.since) == (Doing.WAITING, 10)
        await trio.sleep(1)
        assert (health.state, health.since) == (Doing.RUNNING, 11)


async def test_a_full_owner_supervises_no_further_service(autojump_clock):
    async with open_owner("jobs", bound=1) as owner:
        owner.start(trio.sleep_forever, name="one")
        with pytest.raises(Full):
            owner.supervise("relay", trio.sleep_forever, jitter=lambda: 0)
        assert owner.services == {}


def test_pauses_never_end_and_double_up_to_the_most():
    pauses = Backoff(first=1, most=5).pauses(lambda: 0.0)
    assert [next(pauses) for _ in range(5)] == [1, 2, 4, 5, 5]


async def test_an_owner_that_is_being_left_takes_no_more(autojump_clock):
    refused = []

    async def starts_more():
        try:
            await trio.sleep_forever()
        finally:
            with pytest.raises(Full) as full:
                owner.start(trio.sleep_forever, name="more")
            refused.append(str(full.value))

    async with open_owner("jobs", bound=9) as owner:
        owner.start(starts_more, name="one")
        await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(Full):
        owner.start(trio.sleep_forever, name="after the end")
    assert refused == ["jobs is being left"]
    assert owner.live == ()


async def test_the_block_s_own_error_comes_out_as_it_is_and_after_the_tasks(autojump_clock):
    ended = []

    async def task():
        try:
            await trio.sleep_forever()
        finally:
            ended.append("task")

    with pytest.raises(OSError, match="mine"):  # not an ExceptionGroup
        async with open_owner("jobs", bound=9) as owner:
            owner.start(task, name="one")
            await trio.testing.wait_all_tasks_blocked()
            raise OSError("mine")
    assert ended == ["task"]


async def test_cancelling_whoever_opened_the_owner_is_a_cancellation_as_ever(autojump_clock):
    with trio.move_on_after(1) as scope:
        async with open_owner("jobs", bound=9) as owner:
            owner.start(trio.sleep_forever, name="one")
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def fails_while_cancelled():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("while it was cleaning up")


async def test_an_error_beside_a_cancellation_is_a_fact_and_does_not_come_out_of_the_owner(autojump_clock):
    async def both():
        async with trio.open_nursery() as nursery:
            for task in (fails_while_cancelled, trio.sleep_forever):
                nursery.start_soon(task)

    facts = []
    with listening(facts.append):
        async with open_owner("jobs", bound=9) as owner:
            owner.start(both, name="settle")
            await trio.testing.wait_all_tasks_blocked()
    assert facts == [OwnedTaskFailed("jobs", "settle", "OSError: while it was cleaning up")]


async def fails_at_its_end():
    try:
        await trio.sleep_forever()
    finally:
        raise OSError("while it was cleaning up")


@pytest.mark.parametrize("service", [fails_at_its_end, fails_while_cancelled])
async def test_what_a_service_raises_when_it_is_told_to_stop_is_told_and_is_no_restart(autojump_clock, service):
    facts = []
    with listening(facts.append):
        async with open_owner("jobs", bound=9) as owner:
            owner.supervise("relay", service, jitter=lambda: 0)
            await trio.testing.wait_all_tasks_blocked()
    assert facts == [OwnedTaskFailed("jobs", "relay", "OSError: while it was cleaning up")]
    assert owner.last_error == "OSError: while it was cleaning up"


async def test_a_service_that_returns_when_it_is_told_to_stop_is_not_said_to_start_again(autojump_clock):
    stopping = trio.Event()

    async def service():
        with trio.CancelScope(shield=True):
            await stopping.wait()

    facts = []
    with listening(facts.append):
        async with open_owner("jobs", bound=9) as owner:
            owner.supervise("relay", service, jitter=lambda: 0)
            await trio.testing.wait_all_tasks_blocked()
            owner.cancel()
            stopping.set()
    assert facts == []


async def test_what_is_no_error_ends_the_owner_as_it_would_any_nursery(autojump_clock):
    async def interrupted():
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    with pytest.RaisesGroup(KeyboardInterrupt):
        async with open_owner("jobs", bound=9) as owner:
            owner.start(interrupted, name="settle")
            await trio.sleep_forever()


async def test_every_open_owner_can_be_found(autojump_clock):
    async with open_owner("one", bound=1), open_owner("two", bound=1):
        assert [owner.name for owner in owners().values()] == ["one", "two"]
    assert owners() == {}


async def test_who_overstays_is_seen_and_when_it_lets_go_that_is_a_fact(autojump_clock):
    facts = []
    with listening(facts.append):
        async with open_owner("requests", bound=9) as owner:

            async def deaf():
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)

            await fan_out({"kpis": deaf}, until=1, owner=owner)
            assert owner.overstaying == {}
            await trio.sleep(2 * OBEYS_WITHIN)
            assert owner.overstaying == {"kpis": 1}
            await trio.sleep(9)
            assert owner.overstaying == {}
    assert facts == [StragglerLetGo("requests", "kpis", 4)]


def test_an_error_is_described_in_one_line():
    assert described(OSError("gone\nfor good")) == "OSError: gone"
    assert described(OSError()) == "OSError"
    assert described(ExceptionGroup("", [ExceptionGroup("", [OSError("gone")])])) == "OSError: gone"
    assert described(ExceptionGroup("", [OSError("gone"), ValueError(), KeyError()])) == "OSError: gone (and 2 more)"
