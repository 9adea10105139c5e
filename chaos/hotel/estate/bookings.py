"""The real bookings behind the estate: two hotels of Portugal, 2015 to 2017 (data/ATTRIBUTION.md, CC BY 4.0).

The whole file travels with the package, and a day needs few rows of it. So lines are chosen by their month as text
before any of them is taken apart: a day is read in some 40 ms, where a CSV reader over everything takes five times
that.
The file has no quoted field (a test holds it to that), which is what makes splitting at commas right.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path

LONGEST_STAY = timedelta(days=60)  # the longest in the file is 56 nights
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, slots=True)
class Booking:
    """One row; `row` counts from 1 after the header, and ids are made of it.

    `rate_minor` is the booked average daily rate, in cents.
    """

    row: int
    hotel: str
    outcome: str
    arrival: date
    nights: int
    adults: int
    children: int
    meal: str
    country: str
    repeated: bool
    room_type: str
    deposit: str
    rate_minor: int
    parking: int
    requests: int

    @property
    def departure(self) -> date:
        return self.arrival + timedelta(days=self.nights)


def text() -> str:
    """The file as it was published."""
    return gzip.decompress((files(__package__) / "data" / "hotel_bookings.csv.gz").read_bytes()).decode()


def pack(source: bytes) -> bytes:
    """`source` compressed so that the same bytes come out on every day: no time stamp, no file name."""
    return gzip.compress(source, compresslevel=9, mtime=0)


@cache
def bookings(first: date, last: date) -> tuple[Booking, ...]:
    """Every booking that touches `first` to `last`, both included, in the order of the file.

    A booking touches a day when its guest arrives, sleeps or leaves on it; cancelled ones are among them (`outcome`).
    """
    return tuple(b for b in _read(_months(first - LONGEST_STAY, last)) if b.arrival <= last and b.departure >= first)


def _months(first: date, last: date) -> tuple[str, ...]:
    """`,2015,August,` for each month of the span, as a line has it."""
    span = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return tuple(f",{month // 12},{MONTHS[month % 12]}," for month in span)


def _read(months: tuple[str, ...]) -> Iterator[Booking]:
    header, *lines = text().splitlines()
    column = {name: i for i, name in enumerate(header.split(","))}
    for row, line in enumerate(lines, 1):
        if any(month in line for month in months):
            yield _booking(row, line.split(","), column)


def _booking(row: int, cells: list[str], column: dict[str, int]) -> Booking:
    def cell(name: str) -> str:
        return cells[column[name]]

    arrival = date(
        int(cell("arrival_date_year")),
        MONTHS.index(cell("arrival_date_month")) + 1,
        int(cell("arrival_date_day_of_month")),
    )
    return Booking(
        row=row,
        hotel=cell("hotel"),
        outcome=cell("reservation_status"),
        arrival=arrival,
        nights=int(cell("stays_in_weekend_nights")) + int(cell("stays_in_week_nights")),
        adults=int(cell("adults")),
        children=int(float(cell("children"))) if cell("children") != "NA" else 0,
        meal=cell("meal").strip(),
        country=cell("country"),
        repeated=cell("is_repeated_guest") == "1",
        room_type=cell("assigned_room_type").strip(),
        deposit=cell("deposit_type").strip(),
        rate_minor=round(float(cell("adr")) * 100),
        parking=int(cell("required_car_parking_spaces")),
        requests=int(cell("total_of_special_requests")),
    )


def _main(source: Path) -> None:
    target = Path(__file__).parent / "data" / "hotel_bookings.csv.gz"
    target.write_bytes(pack(source.read_bytes()))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
