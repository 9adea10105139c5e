"""One day of two hotels, as a value: who comes, who leaves, who sleeps where. Pure: the same seed, the same day.

The bookings are real (bookings.py): their dates, room types, rates, meals and countries. What they lack is made here,
from the seed: guests' names, room numbers, and the second property of each tenant, to which every other row goes. Ids
come from rows and from room numbers, never from the seed, so they are the same in every run of every world.

The state of the morning of `BUSINESS_DAY`: whoever came before it is in the house (those who leave today included);
whoever comes today is expected, two of three with a room already set aside, one of three without; whoever comes within
`AHEAD` days is expected and has none. A cancelled booking or a no-show is in nobody's lists. What happens during the
day is the memory of each service (each begins with this value and keeps its own), as in a real estate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, cached_property

from chaos.hotel.estate.bookings import Booking, bookings
from chaos.hotel.estate.names import draw, guest

BUSINESS_DAY = date(2015, 8, 15)
AHEAD = timedelta(days=7)
SEED = 20150815
FLOOR = 20  # rooms on a floor: 101 to 120, 201 to 220, …
OUT_OF_ORDER = 2  # rooms per property
ONE_IN_THREE = 3


@dataclass(frozen=True, slots=True)
class Operator:
    """A person at a desk. `password` and `mfa_code` are for demonstration: the estate is bound to loopback."""

    operator_id: str
    tenant_id: str
    display_name: str
    role: str
    language: str
    properties: tuple[str, ...]
    password: str
    mfa_code: str


@dataclass(frozen=True, slots=True)
class Room:
    """A room and its lock. `out_of_order` is for the whole day."""

    id: str
    number: str
    room_type: str
    lock_id: str
    out_of_order: bool


@dataclass(frozen=True, slots=True)
class Stay:
    """A booking that is expected or in the house; `room` is null until one is set aside. `rate_minor` is per night."""

    id: str
    folio_id: str
    guest: str
    room: Room | None
    booking: Booking

    @property
    def arrival(self) -> date:
        return self.booking.arrival

    @property
    def departure(self) -> date:
        return self.booking.departure

    @property
    def in_house(self) -> bool:
        """Whether the guest is there when the business day begins."""
        return self.arrival < BUSINESS_DAY

    def sleeps(self, night: date) -> bool:
        """Whether the guest sleeps there in the night that begins on the evening of `night`."""
        return self.arrival <= night < self.departure


@dataclass(frozen=True, slots=True)
class Property:
    """A house: its rooms by number, its stays by arrival."""

    id: str
    tenant_id: str
    name: str
    short: str
    time_zone: str
    currency: str
    rooms: tuple[Room, ...]
    stays: tuple[Stay, ...]

    def arrivals(self, day: date) -> tuple[Stay, ...]:
        return tuple(s for s in self.stays if s.arrival == day)

    def departures(self, day: date) -> tuple[Stay, ...]:
        return tuple(s for s in self.stays if s.departure == day)

    def asleep(self, night: date) -> tuple[Stay, ...]:
        """Who sleeps in the house in the night that begins on the evening of `night`."""
        return tuple(s for s in self.stays if s.sleeps(night))

    def present(self) -> tuple[Stay, ...]:
        """Who is in the house when the business day begins."""
        return tuple(s for s in self.stays if s.in_house)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A company with its houses and its people."""

    id: str
    name: str
    properties: tuple[Property, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class Hotel:
    """The day of both tenants, and the ways to find something in it."""

    seed: int
    day: date
    tenants: tuple[Tenant, ...]

    @cached_property
    def by_tenant(self) -> Mapping[str, Tenant]:
        return {tenant.id: tenant for tenant in self.tenants}

    @cached_property
    def by_property(self) -> Mapping[str, Property]:
        return {house.id: house for house in self.properties}

    @cached_property
    def by_operator(self) -> Mapping[tuple[str, str], Operator]:
        """Operators by (tenant, operator)."""
        return {(o.tenant_id, o.operator_id): o for tenant in self.tenants for o in tenant.operators}

    @property
    def properties(self) -> tuple[Property, ...]:
        return tuple(house for tenant in self.tenants for house in tenant.properties)

    @property
    def operators(self) -> tuple[Operator, ...]:
        return tuple(operator for tenant in self.tenants for operator in tenant.operators)


@dataclass(frozen=True, slots=True)
class _House:
    """What is fixed about a property before any guest comes."""

    id: str
    name: str
    rooms: int


@dataclass(frozen=True, slots=True)
class _Company:
    """What is fixed about a tenant; `hotel` is its name in the bookings."""

    id: str
    name: str
    hotel: str
    time_zone: str
    houses: tuple[_House, _House]
    operators: tuple[Operator, ...]


def _operator(tenant: str, login: str, name: str, role: str, language: str, code: str, *properties: str) -> Operator:
    return Operator(login, tenant, name, role, language, properties, f"{login}-desk-2015", code)


COMPANIES = (
    _Company(
        "resort",
        "Mel & Maré Resorts",
        "Resort Hotel",
        "Europe/Lisbon",
        (_House("resort-praia", "Resort da Praia", 64), _House("resort-serra", "Resort da Serra", 58)),
        (
            _operator(
                "resort", "ines", "Inês Carvalho", "duty-manager", "pt", "201508", "resort-praia", "resort-serra"
            ),
            _operator("resort", "tiago", "Tiago Rocha", "front-desk", "pt", "150815", "resort-praia"),
        ),
    ),
    _Company(
        "city",
        "Hotéis da Cidade",
        "City Hotel",
        "Europe/Lisbon",
        (_House("city-baixa", "City Baixa", 124), _House("city-parque", "City Parque", 118)),
        (
            _operator("city", "carla", "Carla Nogueira", "duty-manager", "pt", "815201", "city-baixa", "city-parque"),
            _operator("city", "rui", "Rui Tavares", "front-desk", "en", "508152", "city-baixa"),
        ),
    ),
)


@cache
def build_hotel(seed: int = SEED) -> Hotel:
    """The day. Some 60 ms the first time; a seed's day is a value, so a second call gives the same one."""
    rows = [b for b in bookings(BUSINESS_DAY, BUSINESS_DAY + AHEAD) if b.outcome == "Check-Out" and b.nights]
    return Hotel(seed, BUSINESS_DAY, tuple(_tenant(company, rows, seed) for company in COMPANIES))


def _tenant(company: _Company, rows: Iterable[Booking], seed: int) -> Tenant:
    split: tuple[list[Booking], list[Booking]] = ([], [])
    for booking in rows:
        if booking.hotel == company.hotel:
            split[booking.row % 2].append(booking)
    houses = tuple(_property(company, house, mine, seed) for house, mine in zip(company.houses, split, strict=True))
    return Tenant(company.id, company.name, houses, company.operators)


def _property(company: _Company, house: _House, mine: Iterable[Booking], seed: int) -> Property:
    order = sorted(mine, key=lambda b: (b.arrival, b.row))
    short = house.id.removeprefix(f"{company.id}-")
    rooms = _rooms(house, short, [b for b in order if b.arrival <= BUSINESS_DAY], seed)
    stays = tuple(_stays(order, rooms, seed))
    return Property(house.id, company.id, house.name, short, company.time_zone, "EUR", rooms, stays)


def _rooms(house: _House, short: str, tonight: list[Booking], seed: int) -> tuple[Room, ...]:
    """As many rooms of each type as the bookings of today need, and spare ones of the commonest types."""
    needed = [b.room_type for b in tonight]
    spare = house.rooms - len(needed)
    if spare <= OUT_OF_ORDER:
        raise ValueError(f"{house.id} has {house.rooms} rooms for {len(needed)} bookings")
    types = needed + ["ADAE"[i % 4] for i in range(spare)]
    places = sorted(range(house.rooms), key=lambda i: draw(seed, house.id, "room", i))
    broken = set(places[-OUT_OF_ORDER:])  # of the spare ones: nobody sleeps in them
    kinds = dict(zip(places, types, strict=True))
    return tuple(_room(short, place, kinds[place], place in broken) for place in range(house.rooms))


def _room(short: str, place: int, room_type: str, out_of_order: bool) -> Room:
    number = f"{place // FLOOR + 1}{place % FLOOR + 1:02d}"
    return Room(f"{short}-{number}", number, room_type, f"lock-{short}-{number}", out_of_order)


def _stays(order: Iterable[Booking], rooms: Iterable[Room], seed: int) -> Iterator[Stay]:
    free: dict[str, list[Room]] = defaultdict(list)
    for each in rooms:
        if not each.out_of_order:
            free[each.room_type].append(each)
    expected = 0
    for booking in order:
        later = booking.arrival > BUSINESS_DAY
        expected += booking.arrival == BUSINESS_DAY
        unassigned = booking.arrival == BUSINESS_DAY and expected % ONE_IN_THREE == 0
        room = None if later or unassigned else free[booking.room_type].pop(0)
        name = guest(booking.country, seed, booking.row)
        yield Stay(f"r-{booking.row:05d}", f"f-{booking.row:05d}", name, room, booking)
