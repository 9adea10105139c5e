"""What the platform has to say to desks: Pub/Sub's push, or anybody who has the token, by `POST /internal/events`.

    bearer ─► envelope ─► event ─► what must be true first ─► on the bus ─► 204

What must be true first: of a force-logout, that the matching sessions are over in the session tier, so that a desk whom
the event does not reach is stopped at its next request or renewal (F-31); of a tenant's status, that rung 5 knows it.
With the tier down nothing is done, and 503 has Pub/Sub try again. A message that was said is not looked at again: who
has signed in since must not be logged out by an echo.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec

from bff.events.event import Said, Type
from bff.events.farewell import again
from bff.facts.events import EventTaken, SessionsEnded
from bff.model import Answer, DeviceId, Down, OperatorId, PropertyId, SessionId, TenantId
from bff.problem import Code, FieldError, Problem
from bff.stores.bus import Posting
from bff.stores.tier import TenantStatus
from bff.upstreams.drift import UNREADABLE, described
from bff.wire.asgi import bears, read_body
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.config import Secret
    from bff.events.bus import EventBus
    from bff.outside import Outside
    from bff.stores.tier import SessionTier
    from bff.wire.asgi import Receive, Request

PATH: Final = "/internal/events"
REMEMBER: Final = 86_400.0  # seconds in which a message id that comes again is not said again (CONTRACT section 5)
ENDED_SECONDS: Final = 86_400.0  # how long the tier knows that a session has ended; no access token lives longer
LONGEST: Final = 256  # characters of an id
DEEPEST: Final = 32  # levels of an event's data: every instance reads it again, from wherever it is on its stack

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST)]
Behind: TypeAlias = "Callable[[TenantId, tuple[SessionId, ...]], None]"


class Message(msgspec.Struct, frozen=True, rename="camel"):
    """What of Pub/Sub's message is ours; what else there is in it is Pub/Sub's."""

    data: str
    message_id: Id


class Envelope(msgspec.Struct, frozen=True):
    """What Pub/Sub pushes."""

    message: Message


class Told(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """An event as the platform says it."""

    type: Type
    tenant_id: Id
    operator_id: Id | None = None
    device_id: Id | None = None
    property_id: Id | None = None
    data: dict[str, Any] = {}

    def said(self) -> Said:
        """As it goes to desks."""
        return Said(
            type=self.type,
            tenant_id=TenantId(self.tenant_id),
            operator_id=OperatorId(self.operator_id) if self.operator_id else None,
            device_id=DeviceId(self.device_id) if self.device_id else None,
            property_id=PropertyId(self.property_id) if self.property_id else None,
            data=self.data,
        )


class Status(msgspec.Struct, frozen=True):
    """The data of `tenant-status`."""

    status: TenantStatus


_envelope = msgspec.json.Decoder(Envelope)
_told = msgspec.json.Decoder(Told)


class Intake:
    """Takes in what may be said by whoever holds `token`; nobody where there is none.

    `ended` is called with the sessions that a force-logout has ended, for what else is to be done about them.
    """

    def __init__(self, bus: EventBus, tier: SessionTier, outside: Outside, token: Secret | None, ended: Behind) -> None:
        self._bus = bus
        self._tier = tier
        self._outside = outside
        self._token = token
        self._ended = ended

    async def answer(self, request: Request, receive: Receive) -> Answer | Problem:
        """As a mounted view of the ops listener, which asks for no token of its own here."""
        if request.method != "POST":
            return refused_method()
        if self._token is None or not bears(request, self._token):
            return unknown("the internal token is needed")
        return await self.take(request, receive)

    async def take(self, request: Request, receive: Receive) -> Answer | Problem:
        """What whoever has shown who he is has to say. Raises `nurseries.Unbounded` without a deadline above it."""
        raw = await read_body(receive, request=request)
        if isinstance(raw, Problem):
            return raw
        try:
            message = _envelope.decode(raw).message
        except UNREADABLE as error:
            return _invalid(error, "")
        try:
            payload = base64.b64decode(message.data, validate=True)
        except (binascii.Error, ValueError):
            return _unfit("message.data", "not base64")
        try:
            told = _told.decode(payload)
            status = msgspec.convert(told.data, Status).status if told.type == "tenant-status" else None
        except UNREADABLE as error:
            return _invalid(error, "message.data")
        if _deeper(told.data, DEEPEST):
            return _unfit("message.data.data", "nested too deeply")
        return await self._say(told, status, message.message_id)

    async def _say(self, told: Told, status: TenantStatus | None, uid: str) -> Answer | Problem:
        said = told.said()
        known = await self._bus.said(said.tenant_id, uid)
        if isinstance(known, Down):
            return self._unavailable(known)
        tell(EventTaken(said.type, known))
        if known:
            return Answer(204, b"")
        if down := await self._make_true(said, status):
            return self._unavailable(down)
        posting = Posting(said.tenant_id, uid, msgspec.json.encode(said), self._outside.now(), REMEMBER)
        posted = await self._bus.post([posting])
        return self._unavailable(posted) if isinstance(posted, Down) else Answer(204, b"")

    async def _make_true(self, said: Said, status: TenantStatus | None) -> Down | None:
        """What must be so before anybody hears of it."""
        if status is not None:
            return await self._tier.set_tenant_status(said.tenant_id, status)
        if said.type != "force-logout":
            return None
        ended = await self._tier.log_out(
            said.tenant_id,
            operator=said.operator_id,
            device=said.device_id,
            property=said.property_id,
            ttl=ENDED_SECONDS,
        )
        if isinstance(ended, Down):
            return ended
        tell(SessionsEnded(len(ended)))
        self._ended(said.tenant_id, ended)
        return None

    def _unavailable(self, down: Down) -> Problem:
        wait = again(1, self._outside.entropy)
        return Problem(Code.CACHE_UNAVAILABLE, f"events: {down.why}", retry_after=wait)


def refused_method() -> Problem:
    """There is nothing to be had here."""
    return Problem(Code.METHOD_NOT_ALLOWED, "this path has POST", headers=(("allow", "POST"),))


def unknown(why: str) -> Problem:
    """Whoever it is may say nothing here."""
    return Problem(Code.SESSION_REQUIRED, why, headers=(("www-authenticate", "Bearer"),))


def _invalid(error: Exception, where: str) -> Problem:
    drift = described(error)
    inner = drift.path.removeprefix("$").removeprefix(".")
    return _unfit(".".join(part for part in (where, inner) if part) or "$", drift.message)


def _unfit(path: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, f"{path}: {message}", errors=(FieldError(path, message),))


def _deeper(value: object, levels: int) -> bool:
    """Whether something is in it below so many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _deeper(one, levels - 1) for one in inner)
