"""The estate as a whole: a door per service, and a control door beside them (CONTRACT section 7).

    GET    /_estate/services            {service: url}
    GET    /_estate/counters            {service: {operation: {calls, distinctKeys, effects}}}
    GET    /_estate/last?service=NAME   the head of the last request it got
    POST   /_estate/iam/mint            a token signed by iam, for tests of a gate
    POST   /_estate/iam/revoke          the end of a session
    GET    /_estate/published?topic=    what was published to it, in order; ?after=NUMBER goes on from there
    POST   /_estate/pubsub/quota        {messagesPerSecond}: what may be published, null for any number
    POST   /_estate/tenant/status       {tenantId, status}: a tenant is suspended, or active again
    GET    /_estate/toxics              {service: [toxic, …]}
    POST   /_estate/toxics              {service, toxic}: in force when answered
    DELETE /_estate/toxics              healed when answered; ?service= and ?toxic= narrow it

The control is a service like the others, behind a door like theirs; nobody can inject a fault into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from chaos.hotel.estate.pubsub import PubSub
from chaos.hotel.estate.service import Call, Operation, Reply, Service, refused
from chaos.hotel.estate.serving import Door
from chaos.hotel.estate.sockets import Listen
from chaos.toxics import STORE, BadToxic, Toxic, split

if TYPE_CHECKING:
    import trio

PAGE: Final = 5_000  # messages in one answer


@dataclass(frozen=True, slots=True)
class Authority:
    """What tests of a gate need and no operation gives.

    `mint(base, claims, header)`: iam signs `base` with other claims and another header; a null takes one away.
    `ValueError` where `base` is no token. `revoke(session)`: iam ends a session; False where there is none.
    `stand(tenant, status)`: a tenant is suspended, or active again; False where there is no such tenant or status.
    `pubsub` knows what was published.
    """

    mint: Callable[[str, Mapping[str, Any], Mapping[str, Any]], str]
    revoke: Callable[[str], bool]
    stand: Callable[[str, str], bool]
    pubsub: PubSub


class Estate:
    """Every service behind its door. Made by `open_estate`."""

    def __init__(self, doors: Sequence[Door], authority: Authority) -> None:
        self.doors = {door.service.name: door for door in doors}
        self._authority = authority

    @property
    def urls(self) -> dict[str, str]:
        """Where each service is."""
        return {name: door.url for name, door in self.doors.items()}

    def inject(self, service: str, toxic: Toxic) -> None:
        """In force when this returns. Raises `BadToxic` for a service there is not, and for a store's toxic."""
        if type(toxic) in STORE:
            raise BadToxic(f"{toxic.word} is for stores, and {service} is a service")
        self._door(service).inject(toxic)

    def clear(self, service: str | None = None, toxic: Toxic | None = None) -> None:
        """Heal one service, or all; with `toxic` given, of that one alone, where it is in force. Raises `BadToxic`."""
        for door in self.doors.values() if service is None else (self._door(service),):
            door.clear(toxic)

    def toxics(self) -> dict[str, list[str]]:
        """What is wrong now, with the services where something is."""
        return {name: list(map(str, door.service.toxics)) for name, door in self.doors.items() if door.service.toxics}

    def _door(self, service: str) -> Door:
        if service not in self.doors:
            raise BadToxic(f"no service is called {service!r}: there are {', '.join(self.doors)}")
        return self.doors[service]

    def control(self) -> Service:
        """The control as a service; give it a door."""
        return Service(
            "estate",
            [
                Operation("services", "GET", "/_estate/services", lambda _: Reply(200, self.urls)),
                Operation("counters", "GET", "/_estate/counters", self._counters),
                Operation("last", "GET", "/_estate/last", self._last),
                Operation("mint", "POST", "/_estate/iam/mint", self._mint),
                Operation("revoke", "POST", "/_estate/iam/revoke", self._revoke),
                Operation("published", "GET", "/_estate/published", self._published),
                Operation("quota", "POST", "/_estate/pubsub/quota", self._quota),
                Operation("status", "POST", "/_estate/tenant/status", self._stand),
                Operation("toxics", "GET", "/_estate/toxics", lambda _: Reply(200, self.toxics())),
                Operation("inject", "POST", "/_estate/toxics", self._inject),
                Operation("clear", "DELETE", "/_estate/toxics", self._clear),
            ],
            tenants=(),
        )

    def _counters(self, _: Call) -> Reply:
        counters = {
            name: {operation: count.shown() for operation, count in door.service.counts.items()}
            for name, door in self.doors.items()
        }
        return Reply(200, counters)

    def _last(self, call: Call) -> Reply:
        door = self.doors.get(call.query.get("service", ""))
        return _bad(call, "service should name a service") if door is None else Reply(200, door.service.last)

    def _mint(self, call: Call) -> Reply:
        asked = call.body if isinstance(call.body, dict) else {}
        try:
            token = self._authority.mint(asked["base"], asked.get("claims") or {}, asked.get("header") or {})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return _bad(call, f"it should be {{base, claims, header}}: {error}")
        return Reply(200, {"accessToken": token})

    def _revoke(self, call: Call) -> Reply:
        session = call.body.get("sessionId") if isinstance(call.body, dict) else None
        if not isinstance(session, str) or not self._authority.revoke(session):
            return refused(call, 404, "NOT_FOUND", "no such session")
        return Reply(200, {"sessionId": session, "revoked": True})

    def _stand(self, call: Call) -> Reply:
        asked = call.body if isinstance(call.body, dict) else {}
        tenant, status = asked.get("tenantId"), asked.get("status")
        if not isinstance(tenant, str) or not isinstance(status, str) or not self._authority.stand(tenant, status):
            return _bad(call, "it should be {tenantId, status}, of a tenant there is: active or suspended")
        return Reply(200, {"tenantId": tenant, "status": status})

    def _published(self, call: Call) -> Reply:
        try:
            found = self._authority.pubsub.published(call.query["topic"], int(call.query.get("after", "0")), PAGE)
        except (KeyError, ValueError):
            return _bad(call, "topic should name a topic, and after be a number")
        messages = [
            {
                "number": one.number,
                "messageId": one.message_id,
                "orderingKey": one.ordering_key,
                "type": one.kind,
                "data": one.data.decode("utf-8", "replace"),
            }
            for one in found.messages
        ]
        counted = {"total": found.total, "distinct": found.distinct, "duplicates": found.duplicates}
        return Reply(200, {**counted, "messages": messages})

    def _quota(self, call: Call) -> Reply:
        asked = call.body if isinstance(call.body, dict) else {}
        try:
            self._authority.pubsub.limit(asked["messagesPerSecond"])
        except (KeyError, TypeError, ValueError):
            return _bad(call, "messagesPerSecond should be a number over 0, or null")
        return Reply(200, {"messagesPerSecond": asked["messagesPerSecond"]})

    def _inject(self, call: Call) -> Reply:
        asked = call.body if isinstance(call.body, dict) else {}
        try:
            self.inject(str(asked.get("service", "")), split(str(asked.get("toxic", ""))))
        except BadToxic as error:
            return _bad(call, str(error))
        return Reply(200, self.toxics())

    def _clear(self, call: Call) -> Reply:
        toxic = call.query.get("toxic")
        try:
            self.clear(call.query.get("service"), None if toxic is None else split(toxic))
        except BadToxic as error:
            return _bad(call, str(error))
        return Reply(200, self.toxics())


def _bad(call: Call, message: str) -> Reply:
    return refused(call, 400, "BAD_REQUEST", message)


def open_estate(
    services: Sequence[Service], authority: Authority, *, listen: Listen, nursery: trio.Nursery, host: str, port: int
) -> tuple[Estate, Door]:
    """A door per service on free ports of `host`, and the control's at `port` (0: free). Raises `OSError` if taken."""
    estate = Estate([Door(service, listen, nursery, host=host, port=0) for service in services], authority)
    return estate, Door(estate.control(), listen, nursery, host=host, port=port)
