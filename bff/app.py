"""The door: the whole way of a request on one screen.

    head ─► route (404, 405) ─► deadline ─► place in line ─► gate ─► body ─► room ─► answer or problem ─► out

The deadline is set here, once, from the moment the head was read; everything below only asks how much of it is left.
It ends a little before the contract's, so that what is to be said then is said in time. A room that obeys it is cut off
there; one that would not (because it shields something) must wait for outcomes and not for tasks, as the dashboard does
(`nurseries.fan_out`): no scope around a room can hurry it.

A place of rung 0 is held until there is an answer. Sending it is the edge's time: a peer that reads slowly takes up a
connection, of which there is another bound, and not a place in the house.

A bug is an `INTERNAL` with an id, told as a fact together with that id, and costs nobody else anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
import trio

from bff.facts import RequestServed, Surprised
from bff.gate.ladder import Attests, Demands, Knocked, Pass, climb, knock
from bff.model import Answer, Streamed
from bff.problem import Code, FieldError, Problem, render
from bff.routes import OTHER_SECONDS, ROUTES, Asks, Found, Route, find
from bff.upstreams.client import Journey
from bff.upstreams.drift import UNREADABLE
from bff.upstreams.drift import described as drift_of
from bff.wire.asgi import (
    ASGI3,
    HSTS,
    ClientLeft,
    Receive,
    Request,
    Scope,
    Send,
    failure,
    read_body,
    request_of,
    send,
    send_pieces,
)
from bff.wire.trace import ServerTiming, Trace
from bff.writes.actions import named_by
from bff.writes.locks import resource
from bff.writes.order import Lines, Place
from nurseries import remaining, tell, until, within

if TYPE_CHECKING:
    from bff.config import Settings
    from bff.gate.ladder import Gate
    from bff.model import Headers
    from bff.outside import Outside

SHORTEST_DEADLINE_MS: Final = 50
HALTED_SECONDS: Final = 60.0  # after which to look again, when a person has turned everything off
SAFE: Final = (HSTS[0].decode(), HSTS[1].decode())
SEND_SECONDS: Final = 10.0  # a peer that does not take its answer is not waited for longer
# What is kept of a deadline, in seconds, and at most which part of it:
RESERVE: Final = 0.01  # for saying that nothing came in time
BODY_RESERVE: Final = 0.05  # for saying that a body did not
RESERVE_PART: Final = 0.1


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that has passed the gate. `body` and `query` are its route's structs, or None; `who` what the gate
    found out; `place` where a mutation stands in line, in the order in which heads came.
    """

    request: Request
    found: Found
    journey: Journey
    who: Pass | Knocked | None
    body: Any
    query: Any
    deadline_ms: int
    request_id: str
    place: Place | None


Result = Answer | Streamed | Problem  # what comes out of a room
Room = Callable[[Visit], Awaitable[Result]]
View = Callable[[Request, Receive], Awaitable[Answer | Problem]]  # what is no desk's, and has a gate of its own


def make_app(
    outside: Outside,
    gate: Gate,
    rooms: Mapping[str, Room],
    told: Settings | None = None,
    *,
    open_to_all: Callable[[], bool] = lambda: True,
    mounted: Mapping[str, View] | None = None,
) -> ASGI3:
    """The ASGI application. `rooms` has one for each `room` of the routes' table; raises `KeyError` for one missing.

    While `open_to_all` says no, everything is `HALTED`. `mounted` has what else answers here, by its path.
    """
    rooms = {route.room: rooms[route.room] for route in ROUTES}
    return Door(outside, gate, rooms, open_to_all, mounted or {}, told).serve


class Door:
    """Where every request comes in and every answer goes out."""

    def __init__(
        self,
        outside: Outside,
        gate: Gate,
        rooms: Mapping[str, Room],
        open_to_all: Callable[[], bool],
        mounted: Mapping[str, View],
        told: Settings | None,
    ) -> None:
        self._outside = outside
        self._gate = gate
        self._rooms = rooms
        self._open = open_to_all
        self._mounted = mounted
        self._sampled = told.traces.share if told is not None and told.traces is not None else 0.0
        origin = (told.public_origin if told is not None else None) or ""
        self._secure = origin.startswith("https:")  # desks come by TLS, whoever ends it
        self._lines = Lines()

    async def serve(self, scope: Scope, receive: Receive, out: Send) -> None:
        """One request, from its head to its answer. ASGI, of type `http` alone."""
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")
        began = trio.current_time()
        request = request_of(scope)
        request_id = self._outside.identifier()
        journey = self._journey(request)
        timing = journey.timing
        found = find(request.method, request.path)
        pattern = request.path if request.path in self._mounted else _pattern(found)
        try:
            result = await self._entered(request, found, request_id, journey, receive)
        except Exception as error:  # the border of a request: a bug in a room is this request's problem alone
            bug = failure(error)
            tell(Surprised(f"{pattern}, request {request_id}, {bug.where}", bug.error))
            result = Problem(Code.INTERNAL, "something went wrong here; requestId says where to look")
        answer = render(result, request_id) if isinstance(result, Problem) else result
        if isinstance(answer, Answer):
            await _send(answer, request_id, self._beside(request, timing), out)
        word = result.code.word if isinstance(result, Problem) else ""
        took = trio.current_time() - began
        tell(RequestServed(pattern, request.method, answer.status, word, took, journey.trace))
        if isinstance(answer, Streamed):
            await _send_pieces(answer, request_id, self._beside(request, timing), pattern, receive, out)

    def _journey(self, request: Request) -> Journey:
        return Journey(Trace.parse(request.first(b"traceparent"), self._outside.entropy, self._sampled), ServerTiming())

    def _beside(self, request: Request, timing: ServerTiming) -> Headers:
        """What every answer says besides: where its time went, and that it is to be had by TLS alone."""
        spent = timing.header().decode("ascii")
        safe = (SAFE,) if self._secure or request.scheme == "https" else ()
        return (("server-timing", spent), *safe) if spent else safe

    async def _entered(
        self, request: Request, found: Found | tuple[str, ...], request_id: str, journey: Journey, receive: Receive
    ) -> Result:
        """What is refused before anybody is asked for anything."""
        if not self._open():
            return Problem(Code.HALTED, "all traffic is halted", retry_after=HALTED_SECONDS)
        if isinstance(found, Found):
            return await self._walk(request, found, request_id, journey, receive)
        view = self._mounted.get(request.path)
        return _nowhere(found) if view is None else await _viewed(view, request, receive)

    async def _walk(
        self, request: Request, found: Found, request_id: str, journey: Journey, receive: Receive
    ) -> Result:
        """The deadline, and the places in line and in the house, for as long as the request needs them."""
        asked = _asked_deadline(request)
        seconds = found.route.seconds if isinstance(asked, Problem) else min(found.route.seconds, asked)
        over = trio.current_time() + seconds - min(RESERVE, RESERVE_PART * seconds)
        with ExitStack() as stay, until(over):
            place = self._arrived(request, found, stay)
            who = await self._gated(request, found, stay, journey.timing)
            if isinstance(who, Problem):
                return who
            if isinstance(asked, Problem):
                return asked
            query = _query(request, found.route, who)
            if isinstance(query, Problem):
                return query
            await trio.lowlevel.checkpoint_if_cancelled()  # who has left has no time, of which nobody can keep a part
            body = await _body(request, found.route, receive)
            if isinstance(body, Problem):
                return body
            await trio.lowlevel.checkpoint_if_cancelled()
            if isinstance(who, Pass):
                journey = _on_behalf(who, journey)
            visit = Visit(request, found, journey, who, body, query, round(seconds * 1000), request_id, place)
            return await self._rooms[found.route.room](visit)
        return _late()

    def _arrived(self, request: Request, found: Found, stay: ExitStack) -> Place | None:
        """A mutation's place in line, before anybody is waited for. Until it is verified the token says whose it is."""
        action = found.route.action
        if action is None:
            return None
        whose = request.first(b"authorization")
        return stay.enter_context(
            self._lines.arrive(request.arrived, ((whose, name) for name in named_by(action, found.fields)))
        )

    async def _gated(
        self, request: Request, found: Found, stay: ExitStack, timing: ServerTiming
    ) -> Pass | Knocked | Problem | None:
        route = found.route
        if route.gate is Asks.CLIMB:
            demands = _demands(found)
            return await climb(self._gate, request, demands, stay=stay, timing=timing)
        if route.gate is Asks.KNOCK:
            return await knock(self._gate, request, stay=stay, timing=timing)
        return None


def _demands(found: Found) -> Demands:
    """What the row asks of who comes; a second factor is one for this very thing."""
    route, action = found.route, found.route.action
    if action is None:
        return Demands(tier=route.tier, urgent=route.urgent, stream=route.stream)
    attests = Attests(action.attests, resource(action, found.fields)) if action.attests else None
    return Demands(tier=True, urgent=route.urgent, keyed=True, attests=attests)


async def _viewed(view: View, request: Request, receive: Receive) -> Result:
    with within(OTHER_SECONDS - RESERVE):
        return await view(request, receive)
    return _late()


def _late() -> Problem:
    return Problem(Code.UPSTREAM_TIMEOUT, "there was no answer before the deadline")


async def _send(answer: Answer, request_id: str, beside: Headers, out: Send) -> None:
    with within(SEND_SECONDS):
        try:
            await send(out, answer, request_id, beside)
        except ClientLeft:
            return


async def _send_pieces(
    answer: Streamed, request_id: str, beside: Headers, pattern: str, receive: Receive, out: Send
) -> None:
    """As long as it takes: of a stream every write has a bound, and all of it has none."""
    try:
        await send_pieces(out, receive, answer, request_id, beside)
    except Exception as error:  # the border of a request, as above; what has been said is cut where it was
        rest = _beside_leaving(error)
        if rest is not None:
            bug = failure(rest)
            tell(Surprised(f"{pattern}, request {request_id}, {bug.where}", bug.error))


def _beside_leaving(error: Exception) -> Exception | None:
    """What there is beside that the peer has left, in however many nurseries that was; None where that is all."""
    if isinstance(error, ExceptionGroup):
        return error.split(ClientLeft)[1]
    return None if isinstance(error, ClientLeft) else error


def _on_behalf(who: Pass, journey: Journey) -> Journey:
    claims = who.claims
    return replace(journey, tenant=claims.tenant, operator=claims.operator, properties=claims.properties)


def _pattern(found: Found | tuple[str, ...]) -> str:
    """A label of a bounded set: never the path as it came."""
    return found.route.path if isinstance(found, Found) else "(none)"


def _nowhere(allowed: tuple[str, ...]) -> Problem:
    if allowed:
        names = ", ".join(allowed)
        return Problem(Code.METHOD_NOT_ALLOWED, f"this path has {names}", headers=(("allow", names),))
    return Problem(Code.NOT_FOUND, "there is no such path")


def _asked_deadline(request: Request) -> float | Problem:
    """Seconds of `X-Deadline-Ms`, inf where there is none, or why it is not what it should be."""
    values = request.all(b"x-deadline-ms")
    if not values:
        return float("inf")
    if len(values) == 1 and values[0].isdigit():
        asked = float(values[0]) / 1000
        if asked >= SHORTEST_DEADLINE_MS / 1000:
            return asked
    return _invalid("X-Deadline-Ms", f"it should be one whole number from {SHORTEST_DEADLINE_MS} up")


def _invalid(path: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, f"{path}: {message}", errors=(FieldError(path, message),))


def _query(request: Request, route: Route, who: Pass | Knocked | None) -> Any:
    """What the query asks as its route's struct, None where the route has none, or why not.

    What a route does not know is not looked at, and what it knows is asked once: of two, which one was meant?
    """
    if route.property and isinstance(who, Pass) and who.property is None:
        return _invalid("propertyId", "a property is needed")
    if route.query is None:
        return None
    fields: dict[str, str] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):  # which rung 6 has found to be readable
        if name in fields and name in route.query.__struct_encode_fields__:
            return _invalid(name, "it is given once")
        fields[name] = value
    try:
        return msgspec.convert(fields, type=route.query, strict=False)
    except msgspec.ValidationError as error:
        drift = drift_of(error)
        return _invalid(drift.path.removeprefix("$."), drift.message)


async def _body(request: Request, route: Route, receive: Receive) -> Any:
    """The body as its route's struct, None where the route has none, or why not."""
    if route.body is None:
        return None
    kind = (request.first(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        return Problem(Code.UNSUPPORTED_MEDIA_TYPE, "a body is application/json")
    raw = await read_body(receive, request=request, spare=min(BODY_RESERVE, RESERVE_PART * remaining()))
    if isinstance(raw, Problem):
        return raw
    try:
        return msgspec.json.decode(raw, type=route.body, strict=True)
    except UNREADABLE as error:
        drift = drift_of(error)
        return _invalid(drift.path, drift.message)
