from datetime import date, timedelta
from itertools import combinations

import pytest

from chaos.hotel.estate.hotel import AHEAD, BUSINESS_DAY, SEED, build_hotel
from chaos.hotel.estate.names import POOLS, draw, guest

SEEDS = (SEED, 1, 2)


@pytest.fixture(params=SEEDS)
def hotel(request):
    return build_hotel(request.param)


def test_two_tenants_have_two_properties_and_two_operators_each_and_the_second_operator_sees_one(hotel):
    assert [tenant.id for tenant in hotel.tenants] == ["resort", "city"]
    for tenant in hotel.tenants:
        ids = tuple(house.id for house in tenant.properties)
        assert [operator.properties for operator in tenant.operators] == [ids, ids[:1]]
        assert all(house.tenant_id == tenant.id for house in tenant.properties)


def test_the_day_is_the_same_when_it_is_built_again_and_another_seed_makes_other_names():
    assert build_hotel.__wrapped__(SEED) == build_hotel(SEED)
    names = [[stay.guest for house in build_hotel(seed).properties for stay in house.stays] for seed in SEEDS]
    assert names[0] != names[1]


def test_ids_are_constants_whatever_the_seed():
    def ids(seed):
        houses = build_hotel(seed).properties
        return [
            (house.id, [room.id for room in house.rooms], [(stay.id, stay.folio_id) for stay in house.stays])
            for house in houses
        ]

    assert ids(SEEDS[0]) == ids(SEEDS[1]) == ids(SEEDS[2])


def test_ids_are_unique_over_all_houses(hotel):
    rooms = [room for house in hotel.properties for room in house.rooms]
    stays = [stay for house in hotel.properties for stay in house.stays]
    assert len({room.id for room in rooms}) == len({room.lock_id for room in rooms}) == len(rooms)
    assert len({stay.id for stay in stays}) == len({stay.folio_id for stay in stays}) == len(stays)


def test_nobody_s_room_is_another_s_at_the_same_time(hotel):
    for house in hotel.properties:
        housed = [stay for stay in house.stays if stay.room is not None]
        for one, other in combinations(housed, 2):
            apart = one.departure <= other.arrival or other.departure <= one.arrival
            assert apart or one.room is not other.room, (one.id, other.id)


def test_a_room_is_of_the_type_that_was_booked_and_nobody_sleeps_where_it_is_out_of_order(hotel):
    for house in hotel.properties:
        assert sum(room.out_of_order for room in house.rooms) == 2
        for stay in house.stays:
            assert stay.room is None or stay.room.room_type == stay.booking.room_type
            assert stay.room is None or not stay.room.out_of_order


def test_whoever_is_in_the_house_has_a_room_and_one_of_three_arrivals_waits_for_one_that_is_there(hotel):
    for house in hotel.properties:
        assert all(stay.room is not None for stay in house.present())
        arriving = house.arrivals(BUSINESS_DAY)
        roomless = [stay for stay in arriving if stay.room is None]
        assert len(roomless) == len(arriving) // 3 >= 1
        taken = {stay.room for stay in house.stays}
        for stay in roomless:
            assert any(
                r.room_type == stay.booking.room_type and r not in taken and not r.out_of_order for r in house.rooms
            )


def test_occupancy_is_that_of_an_august_night_and_never_more_than_the_house_holds(hotel):
    for house in hotel.properties:
        tonight = len(house.asleep(BUSINESS_DAY))
        assert 0.4 < tonight / len(house.rooms) < 0.9
        assert tonight == len(house.present()) - len(house.departures(BUSINESS_DAY)) + len(house.arrivals(BUSINESS_DAY))


def test_the_first_operator_s_first_property_has_what_a_fresh_estate_promises(hotel):
    house = hotel.by_property[hotel.operators[0].properties[0]]
    assert any(stay.room for stay in house.arrivals(BUSINESS_DAY))
    assert house.departures(BUSINESS_DAY)
    assert len(house.present()) >= 3


def test_only_bookings_that_came_to_pass_and_touch_the_week_are_in_the_house(hotel):
    for house in hotel.properties:
        for stay in house.stays:
            assert stay.booking.outcome == "Check-Out"
            assert stay.departure >= BUSINESS_DAY
            assert stay.arrival <= BUSINESS_DAY + AHEAD
            assert stay.arrival < stay.departure


def test_a_night_begins_on_its_evening():
    house = build_hotel().properties[0]
    stay = house.departures(BUSINESS_DAY)[0]
    assert stay.sleeps(BUSINESS_DAY - timedelta(1))
    assert not stay.sleeps(BUSINESS_DAY)
    assert stay not in house.asleep(BUSINESS_DAY)
    assert date(2015, 8, 15) == BUSINESS_DAY


def test_a_name_belongs_to_the_country_the_seed_and_the_row_and_to_nothing_else():
    first, last = guest("PRT", 7, 100).split(" ", 1)
    assert first in POOLS["PRT"][0]
    assert last in POOLS["PRT"][1]
    assert guest("PRT", 7, 100) == guest("PRT", 7, 100)
    assert guest("ZZZ", 7, 100).split(" ", 1)[1] in POOLS["*"][1]
    assert len({draw(seed, "room", place) for seed in range(5) for place in range(200)}) == 1000
