"""What every service of the estate is: a small ASGI app with memory of its own.

A service is a table of operations, each a function from a `Call` to a `Reply` that touches nothing but the service's
own memory. This file does the rest, the same for all: who asks, whether the property is in scope, a change repeated
with its key gives its first answer and no second effect, everything is counted, and the faults that only a service can
have are done here (`chaos.toxics.ANSWER`); those of sockets are done to sockets (serving.py).

    POST /folios/F1/charges ──► which operation ──► in front? ──► counted ──► seen this key? ──► the function ──► answer
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec

from chaos.toxics import Drift, Garbage, Giant, LoseAnswer, Redirect, Status, Toxic, WrongTenant

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON: Final = (b"content-type", b"application/json")
HTML: Final = b"<!doctype html><title>Maintenance</title><p>We will be back soon.</p>"
PIECE: Final = 64 * 1024  # bytes of a giant answer in one message
KEYS_KEPT: Final = 100_000  # idempotency keys per service


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `fields` are the path's, `query` the last value of each name, `body` what JSON it had, or None.

    `properties` is the scope that the caller claims; None where it claims none at all.
    """

    operation: str
    tenant: str
    operator: str
    properties: tuple[str, ...] | None
    fields: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    key: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `body` a JSON value with its `tenantId`. `effect` says that something was really changed by it."""

    status: int
    body: Any
    effect: bool = False


def refused(call: Call, status: int, code: str, message: str) -> Reply:
    """The estate's errors: `{tenantId, code, message}`."""
    return Reply(status, {"tenantId": call.tenant, "code": code, "message": message})


Handler = Callable[[Call], Reply]


@dataclass(slots=True)
class Count:
    """What an operation has seen: requests, different idempotency keys, real changes."""

    calls: int = 0
    effects: int = 0
    keys: set[str] = field(default_factory=set)

    def shown(self) -> dict[str, int]:
        return {"calls": self.calls, "distinctKeys": len(self.keys), "effects": self.effects}


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of a service's table: `path` with its fields in braces, one segment each."""

    name: str
    method: str
    path: str
    handler: Handler

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The path's fields, or None for another path."""
        mine = self.path.split("/")
        if len(mine) != len(segments):
            return None
        fields: dict[str, str] = {}
        for pattern, segment in zip(mine, segments, strict=True):
            if pattern.startswith("{"):
                fields[pattern[1:-1]] = unquote(segment)
            elif pattern != segment:
                return None
        return fields


class Service:
    """One service called `name`. `tenants` are those there are: a wrong-tenant answer names another one of them.

    `seed` decides which answers a toxic with a `rate` falls on.
    """

    def __init__(self, name: str, operations: Iterable[Operation], *, tenants: Iterable[str], seed: int = 0) -> None:
        self.name = name
        self.operations = tuple(operations)
        self.counts = {operation.name: Count() for operation in self.operations}
        self.toxics: list[Toxic] = []
        self.last: dict[str, Any] = {}
        self._tenants = tuple(tenants)
        self._random = random.Random(f"{seed}:{name}")
        self._answers: dict[tuple[str, str, str], Reply] = {}

    def inject(self, toxic: Toxic) -> None:
        """From now on; a toxic of the same kind is replaced."""
        self.toxics = [other for other in self.toxics if type(other) is not type(toxic)] + [toxic]

    def clear(self, toxic: Toxic | None = None) -> None:
        """End one toxic (only if it is still that very one), or all."""
        self.toxics = [other for other in self.toxics if toxic is not None and other is not toxic]

    def strikes(self, kind: type[Toxic]) -> Toxic | None:
        """The toxic of this kind in force, if it falls on this occasion."""
        for toxic in self.toxics:
            if type(toxic) is kind and (toxic.rate >= 1 or self._random.random() < toxic.rate):
                return toxic
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app. Returning without an answer means that it is lost: the server closes the connection."""
        raw = await _body(receive)
        found = self._find(scope["method"], scope["raw_path"].decode("latin-1"))
        call = self._call(scope, raw, found)
        if found is not None and (front := self._in_front()) is not None:
            self.counts[found[0].name].calls += 1
            await _stand_in(front, scope, send)
            return
        if found is None:
            reply = refused(call, 404, "NO_OPERATION", "no such operation")
        else:
            reply = self.answer(found[0], call)
        if self.strikes(LoseAnswer) is None:
            await _send(reply.status, [JSON], msgspec.json.encode(self._bent(reply.body)), send)

    def _in_front(self) -> Toxic | None:
        """What answers in the service's place, if anything: then its work is not done."""
        for kind in (Status, Redirect, Garbage, Giant):
            toxic = self.strikes(kind)
            if toxic is not None:
                return toxic
        return None

    def answer(self, operation: Operation, call: Call) -> Reply:
        """What the service says to `call`: scope first, then the memory of keys, then the operation itself."""
        count = self.counts[operation.name]
        count.calls += 1
        pid = call.fields.get("pid")
        if pid is not None and call.properties is not None and pid not in call.properties:
            return refused(call, 404, "NOT_FOUND", "no such property")
        if call.key is None:
            return self._done(operation, call)
        count.keys.add(call.key)
        place = (call.tenant, operation.name, call.key)
        if place not in self._answers:
            self._answers[place] = self._done(operation, call)
            if len(self._answers) > KEYS_KEPT:
                del self._answers[next(iter(self._answers))]
        return self._answers[place]

    def _done(self, operation: Operation, call: Call) -> Reply:
        reply = operation.handler(call)
        self.counts[operation.name].effects += reply.effect
        return reply

    def _find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        segments = path.split("/")
        for operation in self.operations:
            if operation.method == method:
                fields = operation.match(segments)
                if fields is not None:
                    return operation, fields
        return None

    def _call(self, scope: Scope, raw: bytes, found: tuple[Operation, dict[str, str]] | None) -> Call:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.last = {"method": scope["method"], "path": scope["raw_path"].decode("latin-1"), "headers": headers}
        name, fields = (found[0].name, found[1]) if found is not None else ("", {})
        return _read(name, fields, headers, scope["query_string"], raw)

    def _bent(self, body: Any) -> Any:
        toxic = self.strikes(WrongTenant)
        if toxic is not None and isinstance(body, dict) and "tenantId" in body:
            other = next((one for one in self._tenants if one != body["tenantId"]), "nobody")
            body = {**body, "tenantId": other}
        drift = self.strikes(Drift)
        return drifted(body, drift) if isinstance(drift, Drift) else body


def drifted(body: Any, drift: Drift) -> Any:
    """A copy of `body` in which one field has another type (text becomes a number, all else text), or is gone."""
    if not isinstance(body, dict) or not body:
        return body
    copy = msgspec.json.decode(msgspec.json.encode(body))
    *way, last = drift.field.split(".") if drift.field else [list(copy)[-1]]
    place = copy
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.get(step, {})
    if isinstance(place, list):
        place, last = {"at": place}, "at"
    if drift.missing:
        place.pop(last, None)
    else:
        place[last] = 7 if isinstance(place.get(last), str) else "drifted"
    return copy


def _read(name: str, fields: Mapping[str, str], headers: Mapping[str, str], query: bytes, raw: bytes) -> Call:
    scope = headers.get("x-property-scope")
    try:
        body = msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError:
        body = None
    return Call(
        operation=name,
        tenant=headers.get("x-tenant-id", ""),
        operator=headers.get("x-operator-id", ""),
        properties=None if scope is None else tuple(scope.split(",")),
        fields=fields,
        query=dict(parse_qsl(query.decode("latin-1"))),
        body=body,
        key=headers.get("idempotency-key"),
    )


async def _body(receive: Receive) -> bytes:
    pieces = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _stand_in(front: Toxic, scope: Scope, send: Send) -> None:
    match front:
        case Status(code=code):
            body = msgspec.json.encode({"tenantId": "", "code": "BROKEN", "message": "broken on purpose"})
            await _send(code, [JSON], body, send)
        case Redirect():
            await _send(302, [(b"location", scope["raw_path"])], b"", send)
        case Giant(bytes=size):
            await _giant(size, send)
        case _:
            await _send(200, [(b"content-type", b"text/html")], HTML, send)


async def _send(status: int, headers: list[tuple[bytes, bytes]], body: bytes, send: Send) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _giant(size: int, send: Send) -> None:
    """As many bytes of JSON as asked for, so that only a bound on the size can tell."""
    await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
    opening = b'{"tenantId": "'
    await send({"type": "http.response.body", "body": opening, "more_body": True})
    left = size - len(opening)
    while left > 0:
        await send({"type": "http.response.body", "body": b"x" * min(PIECE, left), "more_body": True})
        left -= PIECE
    await send({"type": "http.response.body", "body": b'"}', "more_body": False})
