import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nurseries import Bulkhead, BulkheadShed, listening


async def test_the_last_places_are_kept_for_what_is_urgent():
    facts = []
    door = Bulkhead("door", 3, kept=1)
    with listening(facts.append):
        assert door.enter() is not None
        assert door.enter() is not None
        assert door.enter() is None
        assert door.enter(urgent=True) is not None
        assert door.enter(urgent=True) is None
    assert (door.in_use, door.limit) == (3, 3)
    assert facts == [BulkheadShed("door", False), BulkheadShed("door", True)]


def test_what_is_urgent_takes_the_others_places_too():
    door = Bulkhead("door", 3, kept=1)
    for _ in range(2):
        door.enter(urgent=True)
    assert door.enter() is None


def test_a_place_is_given_back_when_the_block_is_left_also_by_an_error():
    door = Bulkhead("door", 1, kept=0)
    with pytest.raises(OSError), door.enter():
        assert door.in_use == 1
        raise OSError
    assert door.in_use == 0
    assert door.enter() is not None


def test_a_permit_left_twice_gives_one_place_back():
    door = Bulkhead("door", 2, kept=0)
    door.enter()
    with door.enter() as permit:
        permit.leave()
        permit.leave()
    assert door.in_use == 1


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (2, 2), (2, 3), (2, -1)])
def test_a_bulkhead_that_would_admit_nobody_or_keep_what_it_has_not_is_refused(limit, kept):
    with pytest.raises(ValueError, match=f"door: of {limit} places {kept} cannot be kept"):
        Bulkhead("door", limit, kept=kept)


STEPS = st.lists(st.sampled_from(["enter", "urgent"]) | st.integers(0, 30), max_size=80)


@settings(max_examples=100, deadline=None)
@given(STEPS, st.integers(1, 6), st.integers(0, 5))
def test_in_any_order_of_coming_and_going_each_kind_is_admitted_up_to_its_bound(steps, limit, kept):
    kept = min(kept, limit - 1)
    door, permits, inside = Bulkhead("any", limit, kept=kept), [], set()
    for step in steps:
        if isinstance(step, int):
            if permits:
                permits[step % len(permits)].leave()
                inside.discard(step % len(permits))
        else:
            permit = door.enter(urgent=step == "urgent")
            assert (permit is not None) == (len(inside) < (limit if step == "urgent" else limit - kept))
            if permit is not None:
                inside.add(len(permits))
                permits.append(permit)
        assert door.in_use == len(inside) <= limit
