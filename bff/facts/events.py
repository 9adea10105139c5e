"""What happens on the way from whoever has something to say to the desks that hear it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BusProbed:
    """A probe of this instance came back over the bus after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class BusStalled:
    """The bus has delivered nothing for so many seconds, not even probes, and desks are told (F-34)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class BusBack:
    """The bus delivers again, so many seconds after it last had, and all that was missed has been read again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class BusRebuilt:
    """The reader of the bus is in step: from then on, all that is said is heard here."""


@dataclass(frozen=True, slots=True)
class BusGap:
    """What went by on the bus did not follow on what was known: the tenant's log was asked."""


@dataclass(frozen=True, slots=True)
class EventsRestored:
    """So many events that a server had lost were given back to it from here (F-19)."""

    count: int


@dataclass(frozen=True, slots=True)
class EventsLost:
    """A tenant's log has gone on without events that were known here, or that nobody knows: `streams` were told so."""

    streams: int


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A desk's stream said hello, `seconds` after its request came; `resumed` where it goes on from where it was."""

    resumed: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """A desk's stream is over; `why` is one of `bff.events.stream.End`."""

    why: str


@dataclass(frozen=True, slots=True)
class StreamsCounted:
    """So many streams are open in this process now."""

    count: int


@dataclass(frozen=True, slots=True)
class ForceLogoutDelivered:
    """A desk was told to log out, so many seconds after that was posted (F-31)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class EventTaken:
    """The platform had something to say to desks: an event of that type, `again` where it had said it before."""

    type: str
    again: bool


@dataclass(frozen=True, slots=True)
class PushRefused:
    """Somebody pushed at the edge with a token that does not let him in; `why` is one of `bff.events.push.Why`."""

    why: str


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    """So many sessions were ended by a force-logout (F-31)."""

    count: int


@dataclass(frozen=True, slots=True)
class MarksMadeAgain:
    """So many sessions that are over were marked so again, at a tier that may have lost it (F-19)."""

    count: int


@dataclass(frozen=True, slots=True)
class StreamsCapped:
    """So many streams were `asked` for, and there is room for fewer: no more `files` may be open in this process."""

    asked: int
    room: int
    files: int
