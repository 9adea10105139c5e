import csv
import hashlib
from datetime import date, timedelta

import pytest

from chaos.hotel.estate.bookings import LONGEST_STAY, bookings, pack, text

# What data/ATTRIBUTION.md says of the published file; the licence asks that changes be told, and there are none.
DIGEST = "016e1c443f1414f2f5999d5ace2b341dff2d42924fb222b2848d4801eea87615"
ROWS = 14_938


@pytest.fixture(scope="module")
def published():
    return text()


def test_the_file_that_travels_is_the_published_one(published):
    assert hashlib.sha256(published.encode()).hexdigest() == DIGEST
    assert len(published.splitlines()) == ROWS + 1


def test_no_field_is_quoted_so_that_a_line_may_be_split_at_its_commas(published):
    assert '"' not in published
    header, *lines = published.splitlines()
    assert {line.count(",") for line in lines} == {header.count(",")}


def test_no_stay_is_longer_than_the_span_in_which_rows_are_looked_for(published):
    rows = csv.DictReader(published.splitlines())
    nights = max(int(row["stays_in_weekend_nights"]) + int(row["stays_in_week_nights"]) for row in rows)
    assert timedelta(nights) <= LONGEST_STAY


def test_packing_gives_the_same_bytes_on_every_day(published):
    packed = pack(published.encode())
    assert packed == pack(published.encode())
    assert packed[3:8] == b"\0" * 5  # RFC 1952: no file name, no time stamp


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2015, 8, 15), date(2015, 8, 22)),
        (date(2015, 8, 31), date(2015, 9, 1)),  # a month's end
        (date(2015, 12, 31), date(2016, 1, 1)),  # a year's
    ],
)
def test_a_span_has_the_same_bookings_as_a_reader_of_the_whole_file_finds(published, first, last):
    found = {booking.row: (booking.arrival, booking.departure, booking.rate_minor) for booking in bookings(first, last)}
    wanted = {}
    for number, row in enumerate(csv.DictReader(published.splitlines()), 1):
        month = ["", *(date(2000, m, 1).strftime("%B") for m in range(1, 13))].index(row["arrival_date_month"])
        arrival = date(int(row["arrival_date_year"]), month, int(row["arrival_date_day_of_month"]))
        nights = int(row["stays_in_weekend_nights"]) + int(row["stays_in_week_nights"])
        departure = arrival + timedelta(nights)
        if arrival <= last and departure >= first:
            wanted[number] = (arrival, departure, round(float(row["adr"]) * 100))
    assert found == wanted
    assert len(found) > 20
