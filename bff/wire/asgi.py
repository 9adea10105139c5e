"""What the house sees of HTTP: a frozen view of a request's head, a bounded read of its body, and the only place that
sends ASGI messages.

    scope -> request_of() -> Request ... read_body() -> bytes | Problem ... send(Answer) | send_pieces(Streamed)

A body is read late (after the gate) and at most once. It is measured as it comes and never inflated: a coded body is
refused (415), since a kilobyte of zeros can become a gigabyte.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bff.facts import AppFailed
from bff.problem import Code, Problem
from nurseries import reserve

if TYPE_CHECKING:
    from bff.config import Secret
    from bff.model import Answer, Headers, Streamed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI3 = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_LIMIT: Final = 262_144  # bytes that pass; one more is 413 (CONTRACT section 1)

# On every answer: what a desk gets is one operator's, for now, is what it says it is, and no page of anybody's.
ALWAYS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")  # where it came by TLS (RFC 6797, 7.2)
# Between us and a desk nobody may wait for more of it before he hands it on.
_UNBUFFERED: Final = ((b"x-accel-buffering", b"no"),)


class ClientLeft(OSError):
    """The peer closed, reset, or would not take the answer. There is nobody to tell."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request: `path` raw as sent, `query` raw without `?`, header names lower-case.

    `client` is the peer's address, '' when unknown. `scheme` is the listener's own. `arrived` is the number of this
    head among all of its edge, in the order in which they were complete.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]
    scheme: str
    client: str
    http_version: str = "1.1"
    arrived: int = 0

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """Every value of a header, in order."""
        return tuple([value for key, value in self.headers if key == name])

    def first(self, name: bytes) -> bytes | None:
        """The first value of a header, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


def failure(error: BaseException) -> AppFailed:
    """The fact of an exception that nobody foresaw; of a group, its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    where = "unknown"
    at = error.__traceback__
    while at is not None:
        where = f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}"
        at = at.tb_next
    return AppFailed(type(error).__name__, where)


def request_of(scope: Scope) -> Request:
    """The head out of an ASGI `http` scope, by whichever protocol it came."""
    client = scope.get("client")
    return Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=tuple(scope["headers"]),
        scheme=scope["scheme"],
        client=client[0] if client else "",
        http_version=scope["http_version"],
        arrived=scope.get("arrived", 0),
    )


def bears(request: Request, token: Secret) -> bool:
    """Whether the request shows `token` as its bearer; compared in constant time."""
    scheme, _, given = (request.first(b"authorization") or b"").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given, token.value.encode())


async def read_body(
    receive: Receive, limit: int = BODY_LIMIT, *, request: Request | None = None, spare: float = 0.05
) -> bytes | Problem:
    """The whole body, or why not: 413 over `limit` bytes, 408 when slow, 400 when cut or malformed, 415 when coded.

    Slow means not there `spare` seconds before the deadline around this call, so that the refusal still leaves in time;
    without one it raises `nurseries.Unbounded`. Given `request`, a declared length is refused before a byte is read.
    """
    refused = _announced(request, limit) if request is not None else None
    if refused is not None:
        return refused
    with reserve(spare):
        return await _collect(receive, limit)
    return Problem(Code.REQUEST_TIMEOUT, "the body did not arrive before the deadline")


def _announced(request: Request, limit: int) -> Problem | None:
    coding = request.first(b"content-encoding")
    if coding is not None and coding.strip().lower() not in {b"", b"identity"}:
        return Problem(Code.UNSUPPORTED_MEDIA_TYPE, "a body is sent as it is, without Content-Encoding")
    length = request.first(b"content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        return _too_large(limit)
    return None


def _too_large(limit: int) -> Problem:
    return Problem(Code.PAYLOAD_TOO_LARGE, f"a body is at most {limit} bytes")


async def _collect(receive: Receive, limit: int) -> bytes | Problem:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return Problem(Code.VALIDATION_FAILED, "the body ended before its end, or is malformed")
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > limit:
            return _too_large(limit)
        if not message.get("more_body", False):
            return b"".join((*pieces, piece)) if pieces else piece
        pieces.append(piece)


async def send(out: Send, answer: Answer, request_id: str, extra: Headers = ()) -> None:
    """Write `answer` whole. `extra` headers are the request's own (`Server-Timing`, ...); names in any case.

    Raises `ClientLeft` when nobody is there any more.
    """
    headers = _head(answer, request_id, extra)
    if answer.status in {204, 304}:  # RFC 9110, 8.6: no length, nothing to type
        headers.pop(0)
    else:
        headers.insert(1, (b"content-length", b"%d" % len(answer.body)))
    await out({"type": "http.response.start", "status": answer.status, "headers": headers})
    await out({"type": "http.response.body", "body": answer.body, "more_body": False})


async def send_pieces(out: Send, receive: Receive, answer: Streamed, request_id: str, extra: Headers = ()) -> None:
    """Have `answer` said piece by piece, and the body ended when it is through. What comes before that is `send`'s.

    Each write has the edge's own bound. Raises `ClientLeft` when the peer leaves, or a write was given up, in the
    middle of one, and whatever else `answer.run` raises: then the body is not ended, and the peer sees that it was cut.
    """
    headers = [*_head(answer, request_id, extra), *_UNBUFFERED]
    await out({"type": "http.response.start", "status": answer.status, "headers": headers})
    pieces = _Pieces(out, receive)
    await answer.run(pieces)
    if not pieces.whole:  # nobody knows how much of it is on its way: whatever follows would be read as the rest
        raise ClientLeft("a piece was cut")
    await out({"type": "http.response.body", "body": b"", "more_body": False})


class _Pieces:
    """`bff.model.Pieces` over ASGI. `whole` while no write was begun and not ended."""

    __slots__ = ("_out", "_receive", "whole")

    def __init__(self, out: Send, receive: Receive) -> None:
        self._out = out
        self._receive = receive
        self.whole = True

    async def write(self, data: bytes) -> None:
        if not self.whole:
            raise ClientLeft("a piece was cut")
        self.whole = False
        await self._out({"type": "http.response.body", "body": data, "more_body": True})
        self.whole = True

    async def departed(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # a body that nobody asked for


def _head(answer: Answer | Streamed, request_id: str, extra: Headers) -> list[tuple[bytes, bytes]]:
    """What every answer says, where it does not say it otherwise itself; its type first."""
    own = {name.lower().encode("latin-1") for name, _ in answer.headers} if answer.headers else ()
    headers = [
        (b"content-type", answer.content_type.encode("latin-1")),
        (b"x-request-id", request_id.encode("latin-1")),
        *(ALWAYS if not own else [pair for pair in ALWAYS if pair[0] not in own]),
    ]
    headers.extend(
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (*answer.headers, *extra)
    )
    return headers
