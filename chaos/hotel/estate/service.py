"""What every service of the estate is: a small ASGI app with memory of its own.

A service is a table of operations, each a function from a `Call` to a `Reply` that touches nothing but the service's
own memory. This file does the rest, the same for all: a change repeated with its key gives its first answer and no
second effect, everything is counted, and the faults that only a service can have fall on it (faults.py); those of
sockets are done to sockets (serving.py). Who may see what is decided in grounds.py.

    POST /folios/F1/charges ──► which operation ──► in front? ──► counted ──► seen this key? ──► the function ──► answer

A read whose answer follows from the service's memory alone is encoded once, and kept until a change has an effect: the
estate runs on the same machine as the server that is measured, and should cost little.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec

from chaos.hotel.estate.faults import IN_FRONT, JSON, Send, drifted, of_another, send_whole, stand_in
from chaos.toxics import Drift, LoseAnswer, Toxic, WrongTenant

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

KEYS_KEPT: Final = 100_000  # idempotency keys per service
READS_KEPT: Final = 1_000  # encoded answers per service
LARGEST_BODY: Final = 1 << 20  # bytes of a request's


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

    def asked(self, kind: type[T]) -> T:
        """The body as a `kind`. Raises `Refusal` (422) for anything else."""
        try:
            return msgspec.convert(self.body, kind)
        except msgspec.ValidationError as error:
            raise Refusal(422, "INVALID", str(error)) from None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `body` a JSON value with its `tenantId`. `effect` says how much was really changed by it.

    `keys` is how many idempotency keys of its own the request brought for the first time, beside its header's.
    """

    status: int
    body: Any
    effect: int = 0
    keys: int = 0


class Refusal(Exception):
    """A handler will not: the answer is `{tenantId, code, message}` with this status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def reply(self, call: Call) -> Reply:
        return refused(call, self.status, self.code, str(self))


def refused(call: Call, status: int, code: str, message: str) -> Reply:
    """The estate's errors: `{tenantId, code, message}`."""
    return Reply(status, {"tenantId": call.tenant, "code": code, "message": message})


Handler = Callable[[Call], Reply]


@dataclass(slots=True)
class Count:
    """What an operation has seen: requests, different idempotency keys, real changes."""

    calls: int = 0
    keys: int = 0
    effects: int = 0

    def shown(self) -> dict[str, int]:
        return {"calls": self.calls, "distinctKeys": self.keys, "effects": self.effects}


TOO_LONG: Final = Refusal(413, "TOO_LONG", "the body is too long")


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of a service's table: `path` with its fields in braces, one segment each, or the beginning of one.

    `kept` says that the answer follows from the service's memory and the request alone: not from the time. A body of
    more than `largest` bytes is answered with `too_long`, whatever it says.
    """

    name: str
    method: str
    path: str
    handler: Handler
    kept: bool = False
    largest: int = LARGEST_BODY
    too_long: Refusal = TOO_LONG
    segments: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.path.split("/")))

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The path's fields, or None for another path."""
        if len(self.segments) != len(segments):
            return None
        fields: dict[str, str] = {}
        for pattern, segment in zip(self.segments, segments, strict=True):
            name, _, ending = pattern.removeprefix("{").partition("}")
            if pattern.startswith("{") and segment.endswith(ending):
                fields[name] = unquote(segment.removesuffix(ending))
            elif pattern != segment:
                return None
        return fields


reads = partial(Operation, method="GET", kept=True)
changes = partial(Operation, method="POST")


class Service:
    """One service called `name`. `tenants` are those there are: a wrong-tenant answer names another one of them.

    `seed` decides which answers a toxic with a `rate` falls on.
    """

    def __init__(self, name: str, operations: Iterable[Operation], *, tenants: Iterable[str], seed: int = 0) -> None:
        self.name = name
        self.operations = tuple(operations)
        self.counts = {operation.name: Count() for operation in self.operations}
        self.largest = max((operation.largest for operation in self.operations), default=LARGEST_BODY)
        self.toxics: list[Toxic] = []
        self.forgetful = False  # does again what it has done, though it knows the key (F-32)
        self.seed = seed
        self._tenants = tuple(tenants)
        self._random = random.Random(f"{seed}:{name}")
        self._answers: dict[tuple[str, str, str, str], Reply] = {}
        self._reads: dict[tuple[Any, ...], tuple[Count, bytes]] = {}
        self._last: Scope = {}

    @property
    def last(self) -> dict[str, Any]:
        """The head of the last request: `{method, path, query, headers}`; empty before the first."""
        if not self._last:
            return {}
        return {
            "method": self._last["method"],
            "path": self._last["raw_path"].decode("latin-1"),
            "query": self._last["query_string"].decode("latin-1"),
            "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in self._last["headers"]},
        }

    def inject(self, toxic: Toxic) -> None:
        """From now on; a toxic of the same kind is replaced."""
        self.toxics = [other for other in self.toxics if type(other) is not type(toxic)] + [toxic]

    def clear(self, toxic: Toxic | None = None) -> None:
        """End one toxic (only if one equal to it is still in force), or all."""
        self.toxics = [other for other in self.toxics if toxic is not None and other != toxic]

    def strikes(self, kind: type[Toxic]) -> Toxic | None:
        """The toxic of this kind in force, if it falls on this occasion."""
        for toxic in self.toxics:
            if type(toxic) is kind and (toxic.rate >= 1 or self._random.random() < toxic.rate):
                return toxic
        return None

    def changed(self) -> None:
        """The memory is not what it was: no encoded answer holds any more."""
        self._reads.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app. Returning without an answer means that it is lost: the server closes the connection."""
        raw = await _body(receive)
        self._last = scope
        headers: dict[bytes, bytes] = dict(scope["headers"])
        mark = _mark(scope, headers)
        if (kept := self._reads.get(mark)) is not None and not self.toxics:
            kept[0].calls += 1
            await send_whole(200, [JSON], kept[1], send)
            return
        found = self._find(scope["method"], scope["raw_path"].decode("latin-1"))
        if found is not None and (front := self._in_front()) is not None:
            self.counts[found[0].name].calls += 1
            await stand_in(front, scope["raw_path"], send)
            return
        reply = self._reply(found, _call(found, headers, scope["query_string"], raw), len(raw))
        if self.strikes(LoseAnswer) is not None:
            return
        body = msgspec.json.encode(self._bent(reply.body) if self.toxics else reply.body)
        if found is not None and found[0].kept and reply.status == 200 and not self.toxics:
            self._keep(mark, found[0], body)
        await send_whole(reply.status, [JSON], body, send)

    def _keep(self, mark: tuple[Any, ...], operation: Operation, body: bytes) -> None:
        if len(self._reads) >= READS_KEPT:
            self._reads.clear()
        self._reads[mark] = (self.counts[operation.name], body)

    def _reply(self, found: tuple[Operation, dict[str, str]] | None, call: Call, size: int) -> Reply:
        if found is None:
            return refused(call, 404, "NO_OPERATION", "no such operation")
        if size > found[0].largest:
            self.counts[found[0].name].calls += 1
            return found[0].too_long.reply(call)
        return self.answer(found[0], call)

    def _in_front(self) -> Toxic | None:
        """What answers in the service's place, if anything: then its work is not done."""
        for kind in IN_FRONT:
            toxic = self.strikes(kind)
            if toxic is not None:
                return toxic
        return None

    def answer(self, operation: Operation, call: Call) -> Reply:
        """What the service says to `call`: the memory of keys first, then the operation itself.

        Keys belong to an operator of a tenant, as the desktop's do; a refusal is remembered like any other answer.
        """
        count = self.counts[operation.name]
        count.calls += 1
        if call.key is None or operation.method == "GET":
            return self._done(operation, call)
        place = (call.tenant, call.operator, operation.name, call.key)
        if place not in self._answers or self.forgetful:
            count.keys += place not in self._answers
            self._answers[place] = self._done(operation, call)
            if len(self._answers) > KEYS_KEPT:
                del self._answers[next(iter(self._answers))]
        return self._answers[place]

    def _done(self, operation: Operation, call: Call) -> Reply:
        try:
            reply = operation.handler(call)
        except Refusal as refusal:
            return refusal.reply(call)
        self.counts[operation.name].keys += reply.keys
        if reply.effect:
            self.counts[operation.name].effects += reply.effect
            self.changed()
        return reply

    def _find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        segments = path.split("/")
        for operation in self.operations:
            if operation.method == method:
                fields = operation.match(segments)
                if fields is not None:
                    return operation, fields
        return None

    def _bent(self, body: Any) -> Any:
        if self.strikes(WrongTenant) is not None:
            body = of_another(body, self._tenants)
        drift = self.strikes(Drift)
        return drifted(body, drift) if isinstance(drift, Drift) else body


def _mark(scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[Any, ...]:
    """What tells one read from another: what is asked, and on whose behalf."""
    return (
        scope["method"],
        scope["raw_path"],
        scope["query_string"],
        headers.get(b"x-tenant-id"),
        headers.get(b"x-operator-id"),
        headers.get(b"x-property-scope"),
    )


def _call(
    found: tuple[Operation, dict[str, str]] | None, headers: Mapping[bytes, bytes], query: bytes, raw: bytes
) -> Call:
    def header(name: bytes) -> str | None:
        value = headers.get(name)
        return None if value is None else value.decode("latin-1")

    scope = header(b"x-property-scope")
    return Call(
        operation="" if found is None else found[0].name,
        tenant=header(b"x-tenant-id") or "",
        operator=header(b"x-operator-id") or "",
        properties=None if scope is None else tuple(scope.split(",")),
        fields={} if found is None else found[1],
        query=dict(parse_qsl(query.decode("latin-1"))),
        body=_json(raw),
        key=header(b"idempotency-key"),
    )


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw) if raw else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


async def _body(receive: Receive) -> bytes:
    pieces = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)
