import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.hotel.estate.hotel import BUSINESS_DAY, build_hotel

PRAIA = "/properties/resort-praia"
HOUSE = build_hotel().by_property["resort-praia"]
ROOMED = [stay for stay in HOUSE.arrivals(BUSINESS_DAY) if stay.room is not None]
ROOMLESS = [stay for stay in HOUSE.arrivals(BUSINESS_DAY) if stay.room is None]
LEAVING = HOUSE.departures(BUSINESS_DAY)
LATER = next(stay for stay in HOUSE.stays if stay.arrival > BUSINESS_DAY)
FREE = next(r for r in HOUSE.rooms if not r.out_of_order and r not in {stay.room for stay in HOUSE.stays})
BROKEN = next(room for room in HOUSE.rooms if room.out_of_order)


async def workbench(ask, day=""):
    return (await ask.get("reservation", f"{PRAIA}/workbench{day}")).body


async def room_status(ask, room, day=""):
    return next(one["status"] for one in (await workbench(ask, day))["rooms"] if one["id"] == room.id)


async def check_in(ask, stay, key=None):
    return await ask.post("reservation", f"/reservations/{stay.id}/check-in", {}, key)


async def check_out(ask, stay, key=None):
    return await ask.post("reservation", f"/reservations/{stay.id}/check-out", {}, key)


async def assign(ask, stay, room, key=None):
    return await ask.post("reservation", f"/reservations/{stay.id}/room", {"roomId": room.id}, key)


def effects(ask):
    return sum(ask.counts("reservation", name)["effects"] for name in ("checkIn", "checkOut", "assignRoom"))


async def test_the_lists_have_the_first_of_the_day_and_how_many_there_are(ask):
    for name, stays in (
        ("arrivals", HOUSE.arrivals(BUSINESS_DAY)),
        ("departures", LEAVING),
        ("inHouse", HOUSE.present()),
    ):
        body = (await ask.get("reservation", f"{PRAIA}/{name}")).body
        assert body["total"] == len(stays)
        assert [item["id"] for item in body["items"]] == [stay.id for stay in stays[:8]]
        assert {item["status"] for item in body["items"]} == {"expected" if name == "arrivals" else "in-house"}


async def test_another_day_has_its_own_lists(ask):
    day = LATER.arrival
    bench = await workbench(ask, f"?date={day}")
    assert LATER.id in [one["id"] for one in bench["arrivals"]]
    assert {one["id"] for one in bench["inHouse"]} == {stay.id for stay in HOUSE.asleep(day)}


async def test_the_workbench_has_the_whole_day_and_every_room_taken_free_or_out_of_order(ask):
    bench = await workbench(ask)
    assert [one["id"] for one in bench["arrivals"]] == [stay.id for stay in HOUSE.arrivals(BUSINESS_DAY)]
    assert [one["id"] for one in bench["inHouse"]] == [stay.id for stay in HOUSE.present()]
    assert len(bench["rooms"]) == len(HOUSE.rooms)
    held = {stay.room.id for stay in HOUSE.stays if stay.room}
    for room, known in zip(bench["rooms"], HOUSE.rooms, strict=True):
        wanted = "out-of-order" if known.out_of_order else "taken" if known.id in held else "free"
        assert room == {"id": known.id, "number": known.number, "lockId": known.lock_id, "status": wanted}
    assert set(bench["arrivals"][0]) >= {
        *("id", "status", "guest", "roomId", "folioId", "lockId", "arrival", "departure")
    }


async def test_a_guest_is_checked_in_and_every_list_shows_it(ask):
    stay = ROOMED[0]
    done = await check_in(ask, stay)
    assert (done.status, done.body["id"], done.body["status"]) == (200, stay.id, "in-house")
    bench = await workbench(ask)
    assert stay.id in [one["id"] for one in bench["inHouse"]]
    assert next(one["status"] for one in bench["arrivals"] if one["id"] == stay.id) == "in-house"
    assert (await ask.get("reservation", f"{PRAIA}/inHouse")).body["total"] == len(HOUSE.present()) + 1


async def test_a_guest_is_checked_out_and_the_room_is_free_for_the_next(ask):
    stay = LEAVING[0]
    assert await room_status(ask, stay.room) == "taken"
    assert (await assign(ask, ROOMLESS[0], stay.room)).code == "ROOM_TAKEN"
    assert (await check_out(ask, stay)).body["status"] == "checked-out"
    assert await room_status(ask, stay.room) == "free"
    assert (await assign(ask, ROOMLESS[0], stay.room)).status == 200
    assert await room_status(ask, stay.room) == "taken"


async def test_a_guest_who_leaves_early_leaves_the_room_free_for_all_the_nights_that_were_booked(ask):
    stay = max(HOUSE.present(), key=lambda stay: stay.departure)
    assert stay.departure > ROOMLESS[0].arrival
    assert (await assign(ask, ROOMLESS[0], stay.room)).code == "ROOM_TAKEN"
    assert (await check_out(ask, stay)).status == 200
    assert await room_status(ask, stay.room) == "free"
    assert (await assign(ask, ROOMLESS[0], stay.room)).status == 200


async def test_a_room_is_set_aside_with_its_lock_and_then_the_guest_can_come_in(ask):
    stay = ROOMLESS[0]
    assert (await check_in(ask, stay)).code == "NO_ROOM"
    done = await assign(ask, stay, FREE)
    assert (done.status, done.body["roomId"], done.body["lockId"]) == (200, FREE.id, FREE.lock_id)
    assert await room_status(ask, FREE) == "taken"
    assert (await check_in(ask, stay)).status == 200


async def test_a_guest_may_move_and_leaves_the_old_room_free(ask):
    stay = LEAVING[0]
    assert (await assign(ask, stay, FREE)).status == 200
    assert await room_status(ask, stay.room) == "free"
    assert await room_status(ask, FREE) == "taken"


async def test_a_guest_on_the_last_day_is_not_moved_into_a_room_that_waits_for_somebody_who_comes_today(ask):
    assert (await assign(ask, LEAVING[0], ROOMED[0].room)).code == "ROOM_TAKEN"
    assert (await check_in(ask, ROOMED[0])).status == 200


async def test_every_taken_room_of_the_workbench_is_a_409_and_every_free_one_is_not(ask):
    for room in HOUSE.rooms:
        status = await room_status(ask, room)
        answer = await assign(ask, ROOMLESS[0], room)
        code = answer.body.get("code")
        assert (status, code) in {("taken", "ROOM_TAKEN"), ("out-of-order", "ROOM_OUT_OF_ORDER"), ("free", None)}
        if code is not None:
            assert answer.status == 409
        else:
            assert (await assign(ask, ROOMLESS[0], FREE)).status == 200  # back: `room` is free for the others to see


async def test_a_room_that_is_taken_today_may_be_set_aside_for_somebody_who_comes_after(ask):
    today = next(stay for stay in HOUSE.present() if stay.departure < LATER.arrival)
    assert (await assign(ask, LATER, today.room)).status == 200


@pytest.mark.parametrize(
    ("change", "stay", "code"),
    [
        (check_in, LEAVING[0], "WRONG_STATUS"),
        (check_in, LATER, "TOO_EARLY"),
        (check_out, ROOMED[0], "WRONG_STATUS"),
    ],
)
async def test_a_change_out_of_its_turn_is_a_409_and_nothing_changes(ask, change, stay, code):
    before = await workbench(ask)
    refused = await change(ask, stay)
    assert (refused.status, refused.code) == (409, code)
    assert await workbench(ask) == before
    assert effects(ask) == 0


async def test_whoever_has_left_has_left_for_good(ask):
    stay = LEAVING[0]
    await check_out(ask, stay)
    for change in (check_in(ask, stay), check_out(ask, stay), assign(ask, stay, FREE)):
        assert (await change).code == "WRONG_STATUS"
    assert effects(ask) == 1


async def test_a_room_that_is_not_there_or_in_another_house_is_not_found(ask):
    for room in ("praia-999", "serra-101", "baixa-101"):
        refused = await ask.post("reservation", f"/reservations/{ROOMED[0].id}/room", {"roomId": room})
        assert (refused.status, refused.code) == (404, "NOT_FOUND")


async def test_a_change_is_an_effect_exactly_when_something_is_different(ask):
    stay = ROOMLESS[0]
    await assign(ask, stay, FREE, key="a")
    await assign(ask, stay, FREE, key="a")
    await assign(ask, stay, FREE, key="b")  # a new wish for what is so already
    await check_in(ask, stay, key="c")
    await check_in(ask, stay, key="c")
    await check_in(ask, stay, key="d")
    assert ask.counts("reservation", "assignRoom") == {"calls": 3, "distinctKeys": 2, "effects": 1}
    assert ask.counts("reservation", "checkIn") == {"calls": 3, "distinctKeys": 2, "effects": 1}


async def test_a_refusal_is_remembered_by_its_key_as_any_answer_is(ask):
    stay, taken = ROOMLESS[0], LEAVING[0]
    first = await assign(ask, stay, taken.room, key="a")
    await check_out(ask, taken)
    assert (await assign(ask, stay, taken.room, key="a")).raw == first.raw
    assert (await assign(ask, stay, taken.room, key="b")).status == 200


STAYS = (*ROOMED[:3], *ROOMLESS[:2], *LEAVING[:3], LATER)
ROOMS = (FREE, BROKEN, *(stay.room for stay in (*ROOMED[:2], *LEAVING[:3])))
STEP = st.tuples(
    st.sampled_from(["in", "out", "room"]), st.sampled_from(STAYS), st.sampled_from(ROOMS), st.integers(0, 3)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=14))
def test_nobody_ever_shares_a_room_and_effects_are_the_differences_seen_from_outside(make_estate, steps):
    async def main():
        ask = make_estate()
        seen, differences = await workbench(ask), 0
        later = await workbench(ask, f"?date={LATER.arrival}")
        for what, stay, room, key in steps:
            name = f"{what}-{stay.id}-{key}"
            if what == "room":
                await assign(ask, stay, room, key=f"{name}-{room.id}")
            else:
                await (check_in if what == "in" else check_out)(ask, stay, key=name)
            now, then = await workbench(ask), await workbench(ask, f"?date={LATER.arrival}")
            differences += (now, then) != (seen, later)
            seen, later = now, then
            rooms = [one["roomId"] for one in seen["inHouse"]]
            assert None not in rooms
            assert len(set(rooms)) == len(rooms)
        assert effects(ask) == differences

    trio.run(main)
