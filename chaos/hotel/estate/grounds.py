"""What every service begins with: the morning's hotel, the time of day, and the rule of who may see what.

`X-Tenant-Id` says whose data is asked for, `X-Property-Scope` to which of that tenant's houses the caller is bound.
What lies beyond either is not there: 404, and never 403, which would say that it exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Generic, TypeVar

from chaos.hotel.estate.hotel import Hotel, Property
from chaos.hotel.estate.service import Call, Refusal

T = TypeVar("T")
FARTHEST = timedelta(days=3_650)


def rfc3339(seconds: float) -> str:
    """POSIX `seconds` in UTC with milliseconds: `2015-08-15T07:30:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def absent(what: str) -> Refusal:
    """There is no such thing, for this caller."""
    return Refusal(404, "NOT_FOUND", f"no such {what}")


def sees(call: Call, house: Property) -> bool:
    """Whether the caller may know of this house."""
    return house.tenant_id == call.tenant and (call.properties is None or house.id in call.properties)


@dataclass(frozen=True)
class Grounds:
    """The hotel as it is when the day begins. `now` gives POSIX seconds."""

    hotel: Hotel
    now: Callable[[], float]

    def house(self, call: Call) -> Property:
        """The property of the path. Raises `Refusal` (404)."""
        house = self.hotel.by_property.get(call.fields["pid"])
        if house is None or not sees(call, house):
            raise absent("property")
        return house

    def day(self, call: Call) -> date:
        """The day that is asked about: the business day where none is said. Raises `Refusal` (400)."""
        said = call.query.get("date")
        if said is None:
            return self.hotel.day
        try:
            day = date.fromisoformat(said)
        except ValueError:
            raise Refusal(400, "INVALID", "date should be a day, as 2015-08-15") from None
        if abs(day - self.hotel.day) > FARTHEST:
            raise Refusal(400, "INVALID", "date is too far away")
        return day

    def moment(self) -> str:
        """This moment, as an answer has it."""
        return rfc3339(self.now())


@dataclass
class Shelf(Generic[T]):
    """Things by id, each of one property: found only by who may see that property. `what` is the word for one."""

    what: str
    _things: dict[str, tuple[Property, T]] = field(default_factory=dict)

    def put(self, house: Property, name: str, thing: T) -> None:
        """Keep `thing` as `name`, in the place of what was called so."""
        self._things[name] = (house, thing)

    def find(self, call: Call, name: str | None = None) -> tuple[Property, T]:
        """The thing called `name`, by default the path's `id`, and its house. Raises `Refusal` (404)."""
        found = self._things.get(call.fields["id"] if name is None else name)
        if found is None or not sees(call, found[0]):
            raise absent(self.what)
        return found

    def of(self, house: Property) -> Iterable[T]:
        """What belongs to `house`, in the order in which it was first put there."""
        return (thing for place, thing in self._things.values() if place is house)
