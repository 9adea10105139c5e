import pytest
import trio

from nurseries import Backoff, Full, OwnedTaskFailed, ServiceRestarting, listening, open_owner, tell


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
            assert health.restarts == 5
    assert starts == [0, 1, 3, 6, 9]
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


async def test_facts_reach_every_listener_in_order_and_only_while_it_listens(autojump_clock):
    heard = []
    with listening(lambda fact: heard.append(("first", fact))):
        with listening(lambda fact: heard.append(("second", fact))):
            tell(1)
        tell(2)
    tell(3)
    assert heard == [("first", 1), ("second", 1), ("first", 2)]


def test_a_fact_told_outside_of_a_run_is_nobody_s():
    tell("nothing listens")
