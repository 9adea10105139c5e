"""HTTP/1.1 on one connection, in one task: read a head, call the app, write its answer, again.

Why not Hypercorn's own protocol class for it: it starts a task, two channels and a timer for each request, and costs
430 µs of CPU where this costs 55 to 80 (a small answer, 32 connections or one, same machine). Here the app runs in the
connection's own task, `receive` reads the stream when asked (so a body nobody reads is never buffered), and an answer
leaves in one write. Nothing else about a request needs a task: who wants to know that the peer left calls `receive`
again, as ASGI has it.

The deadlines of a connection are one cancel scope whose deadline moves:

    waiting for a request    idle_seconds (a fresh connection: head_seconds)
    a head has begun         head_seconds from its first byte, however its bytes drip
    the app runs             none: the app's own
    writing                  write_seconds per write
"""

from __future__ import annotations

import math
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import trio

from bff.facts import RequestRefused
from bff.wire.asgi import ClientLeft, Message, Scope, failure
from bff.wire.head import RequestReader, SpeaksHttp2
from bff.wire.limits import Refused
from nurseries import tell

if TYPE_CHECKING:
    from bff.wire.edge import Room
    from bff.wire.limits import Limits

_CHUNK: Final = 65_536
_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
_STATUS: Final = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_CLOSE: Final = b"connection: close\r\n"
_KEEP: Final = b"connection: keep-alive\r\n"
_BODILESS: Final = frozenset({204, 304})


class Connection:
    """One HTTP/1.1 connection over any Trio stream."""

    __slots__ = (
        "_awaiting",
        "_begun",
        "_bounds",
        "_chunked",
        "_continued",
        "_done",
        "_ended",
        "_fresh",
        "_gone",
        "_headers",
        "_keep",
        "_reader",
        "_room",
        "_scope",
        "_started",
        "_status",
        "_stream",
        "_tied",
        "_where",
    )

    def __init__(self, room: Room, stream: trio.abc.Stream, where: Scope) -> None:
        self._room = room
        self._bounds: Limits = room.config.limits
        self._stream = stream
        self._where = where  # what every request of this connection has in its scope
        self._reader = RequestReader(self._bounds)
        self._scope = trio.CancelScope()
        self._begun = False  # some bytes of a head are there
        self._awaiting = False  # between requests: nothing is lost by closing now
        self._fresh = True
        self._gone = False
        self._keep = not room.draining
        self._tied = False  # the peer may still be sending what nobody will read

    async def serve(self) -> bytes:
        """Requests until the peer leaves, a limit is hit, or the edge drains.

        Returns what was read when the peer opened with HTTP/2's preface instead, else nothing.
        """
        refusal: Refused | None = None
        self._scope.deadline = trio.current_time() + self._bounds.head_seconds
        with self._scope:
            try:
                while self._keep and await self._next():
                    await self._answer()
            except Refused as refused:
                refusal = refused
            except SpeaksHttp2:
                if self._fresh:
                    return self._reader.rest()
                refusal = Refused(505, "HTTP/2 begins with the connection")
            except (ClientLeft, trio.BrokenResourceError, trio.ClosedResourceError):
                return b""
        if self._scope.cancel_called and self._begun:
            refusal = Refused(400, f"the head did not arrive within {self._bounds.head_seconds:g} s")
        await self._farewell(refusal)
        return b""

    def drain(self) -> None:
        """Close at once if nothing is under way; otherwise the request under way is the last."""
        self._keep = False
        if self._awaiting:
            self._scope.cancel()

    # -- a head -------------------------------------------------------------------------------------------------

    async def _next(self) -> bool:
        """Whether another request has come whole. False: the peer left, or the edge drains."""
        reader = self._reader
        if not reader.complete:
            await self._discard()
        while not reader.next_head():
            if reader.waiting:
                if not self._begun:
                    self._begun = True
                    self._scope.deadline = trio.current_time() + self._bounds.head_seconds
            elif not self._keep:
                return False
            self._awaiting = not self._begun
            data = await self._stream.receive_some(_CHUNK)
            self._awaiting = False
            if not data or self._scope.cancel_called:  # cancelled as the data came: no request may begin now
                return False
            reader.feed(bytes(data))
        self._begun = self._fresh = False
        self._scope.deadline = math.inf
        return True

    async def _discard(self) -> None:
        """What is left of a body that the app did not want, so that the connection can be kept."""
        reader = self._reader
        self._scope.deadline = trio.current_time() + self._bounds.head_seconds
        while not reader.complete:
            if not reader.body():
                await self._more()

    async def _more(self) -> None:
        data = await self._stream.receive_some(_CHUNK)
        if not data:
            self._gone = True
            raise ClientLeft("the peer closed")
        self._reader.feed(bytes(data))

    # -- the app ------------------------------------------------------------------------------------------------

    async def _answer(self) -> None:
        self._started = self._done = self._ended = self._chunked = self._continued = False
        reader = self._reader
        self._keep = self._keep and reader.keep_alive
        path = unquote_to_bytes(reader.path) if b"%" in reader.path else reader.path
        scope = {
            **self._where,
            "http_version": reader.version,
            "method": reader.method,
            "path": path.decode("utf-8", "replace"),
            "raw_path": reader.path,
            "query_string": reader.query,
            "headers": reader.headers,
            "arrived": self._room.arrival(),
        }
        try:
            await self._room.app(scope, self.receive, self.send)
        except Exception as error:  # the border: one request's bug is not the others' end
            if not self._gone:
                tell(failure(error))
        if self._gone:
            raise ClientLeft("the peer left during its request")
        if not self._done:
            await self._unfinished()
        self._tied = not reader.complete or reader.overrun or (not self._keep and reader.waiting > 0)
        self._scope.deadline = trio.current_time() + self._bounds.idle_seconds

    async def _unfinished(self) -> None:
        """The app ended without an answer: 500 when nothing left yet, else the cut answer is made visible as one."""
        self._keep = False
        if self._started:
            raise ClientLeft("the answer was cut")
        await self._write(self._room.refusal(500, "the request could not be answered", self._reader.method == "HEAD"))

    async def receive(self) -> Message:
        """ASGI: the next piece of the body, then `http.disconnect` once the peer is gone or the answer is done."""
        reader = self._reader
        while not self._ended:
            try:
                piece = reader.body()
            except Refused as refused:
                self._keep = False
                tell(RequestRefused(refused.status, refused.why))
                return {"type": "http.disconnect"}
            self._ended = reader.complete
            if piece or self._ended:
                return {"type": "http.request", "body": piece, "more_body": not self._ended}
            await self._invite()
            try:
                await self._more()
            except (ClientLeft, trio.BrokenResourceError):
                self._gone = True
                return {"type": "http.disconnect"}
        return await self._departure()

    async def _invite(self) -> None:
        """`100 Continue` (RFC 9110, 10.1.1), once, and only when the body is really wanted."""
        if self._reader.expects and not self._continued and not self._started:
            self._continued = True
            await self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._started = False
            self._scope.deadline = math.inf

    async def _departure(self) -> Message:
        while not (self._gone or self._done):
            if self._reader.waiting > self._bounds.pipelined_bytes:
                self._gone = True
                break
            try:
                await self._more()
            except (ClientLeft, trio.BrokenResourceError):
                self._gone = True
        return {"type": "http.disconnect"}

    # -- the answer ---------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """ASGI: the answer. Its head waits for the first piece of its body, so that a small one is a single write."""
        kind = message["type"]
        if kind == "http.response.start":
            if self._started:
                raise RuntimeError("an answer was already begun")
            self._status, self._headers = message["status"], message["headers"]
            return
        if kind != "http.response.body" or self._done:
            raise RuntimeError(f"{kind} does not belong here")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        head = b"" if self._started else self._head(None if more else len(body))
        if self._reader.method == "HEAD" or self._status in _BODILESS:
            body = b""
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        if head or body:
            await self._write(head + body)
        self._done = not more
        if more:
            self._scope.deadline = math.inf

    def _head(self, length: int | None) -> bytes:
        """The head of an answer of `length` bytes, None when it is not known yet."""
        lines = [_STATUS.get(self._status) or b"HTTP/1.1 %d \r\n" % self._status, self._room.date()]
        sized = False
        for name, value in self._headers:
            sized = sized or name == b"content-length"
            lines.append(b"%b: %b\r\n" % (name, value))
        if not sized and self._status not in _BODILESS:
            if length is not None:
                lines.append(b"content-length: %d\r\n" % length)
            elif self._reader.version == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self._keep = False
        self._keep = self._keep and self._worth_keeping()
        if not self._keep:
            lines.append(_CLOSE)
        elif self._reader.version == "1.0":
            lines.append(_KEEP)
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("a header holds a line break")
        return head + b"\r\n"

    def _worth_keeping(self) -> bool:
        """An unread body is worth waiting for when its end is known and near, and the peer is really sending it."""
        reader = self._reader
        if reader.complete:
            return not reader.overrun
        awaited = reader.expects and not self._continued and not self._ended
        return reader.length is not None and reader.left <= self._bounds.body_bytes and not awaited

    async def _write(self, data: bytes) -> None:
        """All of `data`, or `ClientLeft`. A write that is cut leaves an answer nobody may continue."""
        self._started = True
        keep, self._keep = self._keep, False
        self._scope.deadline = trio.current_time() + self._bounds.write_seconds
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._gone = True
            raise ClientLeft("the peer left before its answer") from None
        self._keep = keep and not self._room.draining

    async def _farewell(self, refusal: Refused | None) -> None:
        """Say why, then read on for a moment: closing over unread bytes resets the connection and loses the answer."""
        if refusal is None and not self._tied:
            return
        last = b""
        if refusal is not None:
            tell(RequestRefused(refusal.status, refusal.why))
            last = self._room.refusal(refusal.status, refusal.why)
        with (
            trio.CancelScope(deadline=trio.current_time() + self._bounds.linger_seconds),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            await self._stream.send_all(last)
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            while await self._stream.receive_some(_CHUNK):
                pass
