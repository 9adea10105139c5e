import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from nurseries import KeyedScopes


async def hold(scopes, key, seconds, left):
    began = trio.current_time()
    with scopes.newest(key) as place:
        await trio.sleep(seconds)
    left.append((began, trio.current_time(), place.superseded))


async def test_the_newer_ends_the_older_at_once_and_the_older_knows_why(autojump_clock):
    scopes, left = KeyedScopes("streams"), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, scopes, "desk-1", 60, left)
        await trio.sleep(2)
        nursery.start_soon(hold, scopes, "desk-1", 60, left)
        await trio.testing.wait_all_tasks_blocked()
        assert left == [(0, 2, True)]
        assert list(scopes.keys()) == ["desk-1"]
    assert left == [(0, 2, True), (2, 62, False)]
    assert len(scopes) == 0


async def test_the_superseded_can_say_a_last_word(autojump_clock):
    scopes = KeyedScopes("streams")
    said = []

    async def stream(name):
        with scopes.newest("desk-1") as place:
            await trio.sleep(9)
        if place.superseded:
            await trio.sleep(1)
            said.append(f"{name} superseded")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream, "older")
        await trio.sleep(3)
        nursery.start_soon(stream, "newer")
    assert said == ["older superseded"]


async def test_the_cancellation_names_the_table_and_not_the_key(autojump_clock):
    scopes = KeyedScopes("streams")
    reasons = []

    async def older():
        with scopes.newest("desk-1"):
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                reasons.append(cancelled.reason)
                raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(older)
        await trio.testing.wait_all_tasks_blocked()
        with scopes.newest("desk-1"):
            await trio.testing.wait_all_tasks_blocked()
    assert reasons == ["streams: a newer one has taken the place"]


async def test_who_cleans_up_long_after_it_was_superseded_does_not_take_the_newer_s_place_away(autojump_clock):
    scopes = KeyedScopes("streams")
    held = []

    async def older():
        with scopes.newest("desk-1"):
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)
        held.append(list(scopes.keys()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(older)
        await trio.sleep(1)
        with scopes.newest("desk-1") as place:
            await trio.sleep(9)
        assert not place.superseded
    assert held == [["desk-1"]]


async def test_keys_do_not_know_each_other_and_stand_in_the_order_of_their_holders(autojump_clock):
    scopes, left = KeyedScopes("streams"), []
    async with trio.open_nursery() as nursery:
        for key, at in (("a", 1), ("b", 2), ("a", 3)):
            nursery.start_soon(hold, scopes, key, 10, left)
            await trio.sleep_until(at)
        assert list(scopes.keys()) == ["b", "a"]
        assert len(scopes) == 2
    assert left == [(0, 2, True), (1, 11, False), (2, 12, False)]


async def test_a_cancellation_from_outside_travels_and_is_no_supersession(autojump_clock):
    scopes = KeyedScopes("streams")
    with trio.move_on_after(1) as outer:
        with scopes.newest("desk-1") as place:
            await trio.sleep_forever()
        pytest.fail("the block has swallowed what was not its own")
    assert outer.cancelled_caught
    assert not place.superseded
    assert len(scopes) == 0


async def test_when_both_come_at_once_the_one_from_outside_travels(autojump_clock):
    scopes = KeyedScopes("streams")
    places, went_on = [], []

    async def older(outer):
        with outer, scopes.newest("desk-1") as place:
            places.append(place)
            await trio.sleep_forever()
        went_on.append(outer.cancelled_caught)

    async with trio.open_nursery() as nursery:
        outer = trio.CancelScope()
        nursery.start_soon(older, outer)
        await trio.testing.wait_all_tasks_blocked()
        with scopes.newest("desk-1"):
            outer.cancel()
            await trio.testing.wait_all_tasks_blocked()
    assert went_on == [True]
    assert places[0].superseded


async def test_an_error_of_the_superseded_travels(autojump_clock):
    scopes = KeyedScopes("streams")

    async def older():
        with scopes.newest("desk-1"):
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("while it was cleaning up")

    with pytest.RaisesGroup(OSError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(older)
            await trio.testing.wait_all_tasks_blocked()
            with scopes.newest("desk-1"):
                await trio.sleep(1)
    assert len(scopes) == 0


async def test_a_block_that_is_done_before_it_notices_has_lost_nothing(autojump_clock):
    scopes = KeyedScopes("streams")
    done = []

    async def older():
        with scopes.newest("desk-1") as place:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            done.append(place.superseded)
        done.append(place.superseded)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(older)
        await trio.sleep(1)
        with scopes.newest("desk-1"):
            await trio.sleep(5)
    assert done == [True, True]


async def test_a_task_does_not_end_itself_by_coming_for_its_own_place_again(autojump_clock):
    scopes = KeyedScopes("streams")
    with scopes.newest("desk-1") as place:
        with pytest.raises(RuntimeError, match="streams: this task is inside"), scopes.newest("desk-1"):
            pytest.fail("entered")
        assert not place.superseded
        assert list(scopes.keys()) == ["desk-1"]
        await trio.sleep(1)
    assert trio.current_time() == 1


async def test_a_newer_one_that_lives_inside_of_the_older_ends_with_it(autojump_clock):
    scopes, left = KeyedScopes("streams"), []
    with scopes.newest("desk-1") as place:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, scopes, "desk-1", 9, left)
            await trio.sleep_forever()
    assert place.superseded
    assert (trio.current_time(), left, len(scopes)) == (0, [], 0)


async def test_a_place_is_entered_once_and_a_second_time_harms_no_holder(autojump_clock):
    scopes, left = KeyedScopes("streams"), []
    used = scopes.newest("desk-1")
    with used:
        pass
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, scopes, "desk-1", 5, left)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError), used:
            pytest.fail("entered")
    assert left == [(0, 5, False)]


async def test_of_many_that_come_in_the_same_moment_one_stays(autojump_clock):
    scopes, left = KeyedScopes("streams"), []
    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(hold, scopes, "desk-1", 5, left)
    assert left == [(0, 0, True)] * 29 + [(0, 5, False)]


COMINGS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.integers(0, 12)), max_size=20)


@settings(max_examples=60, deadline=None)
@given(COMINGS)
def test_whoever_comes_and_whenever_each_holds_its_key_until_the_next_one_comes(simulate, comings):
    left = {}

    async def main():
        scopes = KeyedScopes("any")

        async def come(at, key, seconds, patience):
            await trio.sleep_until(at)
            place = scopes.newest(key)
            with trio.CancelScope(deadline=at + patience + 0.25), place:  # a quarter, a half: no two at one moment
                await trio.sleep(seconds + 0.5)
            left[at] = (trio.current_time(), place.superseded)

        async with trio.open_nursery() as nursery:
            for at, coming in enumerate(comings):
                nursery.start_soon(come, at, *coming)
        assert len(scopes) == 0

    simulate(main)
    for at, (key, seconds, patience) in enumerate(comings):
        own = min(at + seconds + 0.5, at + patience + 0.25)
        following = next((later for later, coming in enumerate(comings) if later > at and coming[0] == key), own)
        assert left[at] == (min(own, following), following < own)
