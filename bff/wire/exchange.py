"""One HTTP/1.1 exchange without a socket: bytes to send, bytes that came, and what they mean (RFC 9112).

    nothing --a byte--> head --1xx--> head            an interim head is read and dropped; 101 is refused
                          | `framed`: no body (204, 304, HEAD) | by length | in chunks | till the end of the stream
                          v
                        body ----last byte, or the end where the end frames it----> complete --> Reply

Everything else is a refusal: `httpx.RemoteProtocolError`, `TooLarge` where a bound was passed. A refusal says that the
connection must not be read from again, because two parties no longer agree where an answer ends, which is all that
request smuggling needs. So where RFC 9112 lets a recipient guess, this one refuses. llhttp already refuses two lengths,
a length beside a transfer coding, signs and lists in numbers, bare CR or LF, folded lines, NUL and control bytes in
values. What it lets pass, and this file does not:

    any transfer coding but one single `chunked` (6.1; llhttp reads `xchunked` till the end of the stream)
    a transfer coding in HTTP/1.0, 1xx or 204 (6.1), a length other than 0 in 1xx or 204 (RFC 9110, 8.6)
    versions but 1.0 and 1.1, another word than HTTP/ or a blank line at the start, a status outside 100 to 599
    control bytes in the reason phrase, framing fields in a trailer (6.5.1), chunk extensions and trailers without end
    a content coding that nobody asked for (an answer inflated by whoever reads it next would pass the size bound)

Bytes after the last one are not this answer's and nobody asked for them: the reply stands, the connection is not used
again. That holds however the bytes are cut: every verdict depends on the bytes, none on the reads they came in. After
a HEAD a connection is never used again, since httptools cannot be told that no body follows and so not where it ended.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import httptools
import httpx

Headers = tuple[tuple[bytes, bytes], ...]

FRAMING_PER_CHUNK = 32  # bytes: a size line, two line ends and a short extension
BODILESS = frozenset((204, 304))
LENGTH_ALWAYS = frozenset((b"POST", b"PUT", b"PATCH"))  # RFC 9110, 8.6: an empty body of these is said to be empty
# What the transport says itself; a caller who says it too could contradict it.
OURS = frozenset(
    b"host connection keep-alive proxy-connection content-length transfer-encoding te trailer upgrade expect "
    b"accept-encoding".split()
)
DEFAULT_PORTS = {"http": 80, "https": 443}
_TOKEN = bytes(c for c in range(0x21, 0x7F) if chr(c) not in '"(),/:;<=>?@[\\]{}')  # RFC 9110, 5.6.2
_VISIBLE = bytes(range(0x21, 0x7F))
_CONTROL = bytes(c for c in range(0x20) if c != 0x09) + b"\x7f"


class TooLarge(httpx.RemoteProtocolError):
    """The answer passed a bound: its head, the number of its fields, or its body (before or after decoding)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who is asked (RFC 9110, 4.3.1). `scheme` is http or https; `host` a name or address, IPv6 without brackets."""

    scheme: str
    host: str
    port: int

    def authority(self) -> bytes:
        """What stands in `Host`: the port only where it is not the scheme's own. Raises `LocalProtocolError`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        name = host if DEFAULT_PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"
        raw = name.encode("ascii", "replace")
        if raw.translate(None, _VISIBLE) or not self.host or any(c in b'/?#@\\"<>' for c in raw):
            raise httpx.LocalProtocolError(f"not a host: {self.host!r}")
        return raw


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready to leave. `target` is path and query as sent; `headers` none of `OURS`.

    `repeatable`: sent twice it does no more than sent once, because of its method or its idempotency key.
    """

    origin: Origin
    method: bytes
    target: bytes
    headers: Headers = ()
    body: bytes = b""
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are lower-case; `body` is decoded: then no content-encoding is left."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large an answer may be: `head` bytes (interim heads included), `fields` of one head, `body` bytes."""

    head: int = 32 * 1024
    fields: int = 100
    body: int = 1 << 20


@lru_cache(maxsize=512)
def _check_name(name: bytes) -> None:
    if not name or name.translate(None, _TOKEN):
        raise httpx.LocalProtocolError(f"not a header name: {name!r}")
    if name.lower() in OURS:
        raise httpx.LocalProtocolError(f"the transport says {name.decode()} itself")


@lru_cache(maxsize=32)
def _check_method(method: bytes) -> None:
    if not method or method.translate(None, _TOKEN) or method == b"CONNECT":
        raise httpx.LocalProtocolError(f"not a method: {method!r}")


def standing(origin: Origin, *, gzip: bool) -> bytes:
    """The lines every request to `origin` has: who is asked, and the one coding that is understood there."""
    return b"host: %b\r\naccept-encoding: %b\r\n" % (origin.authority(), b"gzip" if gzip else b"identity")


def written(prepared: Prepared, lines: bytes) -> bytes:
    """The bytes of a request; `lines` from `standing`. Raises `httpx.LocalProtocolError` for what would split it."""
    _check_method(prepared.method)
    target, headers, body = prepared.target, prepared.headers, prepared.body
    if target.translate(None, _VISIBLE) or not target.startswith((b"/", b"*")):
        raise httpx.LocalProtocolError(f"not a request target: {target!r}")
    for name, _ in headers:
        _check_name(name)
    fields = b"".join([b"%b: %b\r\n" % field for field in headers])
    # One line end per field is ours; one more came in a value, and would be a field or a request of its own.
    if not fields.count(b"\r") == fields.count(b"\n") == len(headers) or b"\0" in fields:
        raise httpx.LocalProtocolError("a header value with CR, LF or NUL")
    length = b"content-length: %d\r\n" % len(body) if body or prepared.method in LENGTH_ALWAYS else b""
    return b"%b %b HTTP/1.1\r\n%b%b%b\r\n%b" % (prepared.method, target, lines, fields, length, body)


class Exchange:
    """Reads one answer. `feed` until it says True, or `end` when the stream ended; then `reply`, then `reusable`."""

    def __init__(self, method: bytes, bounds: Bounds, *, gzip: bool = False) -> None:
        self._bounds = bounds
        self._gzip = gzip
        self._head_only = method == b"HEAD"
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._fed = self._size = self._chunks = 0
        self._in_body = self._complete = self._framed = self._bodiless = False
        self._refusal: httpx.HTTPError | None = None
        self.reusable = False

    @property
    def started(self) -> bool:
        """Some byte of an answer has come."""
        return self._fed > 0

    def feed(self, data: bytes | bytearray) -> bool:
        """Take bytes, at least one; True when the answer is complete. Raises `httpx.RemoteProtocolError`."""
        fed = self._fed
        if fed < 5 and b"HTTP/"[fed : fed + len(data)] != data[: 5 - fed]:
            raise httpx.RemoteProtocolError("not an HTTP/1 answer")
        if not self._in_body and fed + len(data) > self._bounds.head:
            return self._feed_to_the_bound(data, self._bounds.head - fed)
        self._parse(data)
        return self._complete

    def _feed_to_the_bound(self, data: bytes | bytearray, rest: int) -> bool:
        """The head has to end within its bound, in however many reads it comes."""
        self._parse(data[:rest])
        if not self._in_body:
            raise TooLarge(f"the head of the answer is over {self._bounds.head} bytes")
        if self._complete:
            self.reusable = False
        elif rest < len(data):
            self._parse(data[rest:])
        return self._complete

    def _parse(self, data: bytes | bytearray) -> None:
        assert self._parser is not None, "fed after the end"
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._parser = None
                raise self._refusal or httpx.RemoteProtocolError(f"a broken answer: {error}") from None
            self.reusable = False  # what follows the answer is garbage; the answer is not
        if self._complete:
            self._parser = None  # it holds this object: without the cycle both go at once
        elif self._in_body and self._fed - self._size > 2 * self._bounds.head + FRAMING_PER_CHUNK * self._chunks:
            raise TooLarge("chunk extensions or trailers without end")

    def end(self) -> None:
        """The stream ended. Raises `httpx.RemoteProtocolError` unless the end was what framed the body."""
        self._parser = None
        if not self.started:
            raise httpx.RemoteProtocolError("the server closed the connection without an answer")
        if not self._in_body:
            raise httpx.RemoteProtocolError("the connection was closed in the head of the answer")
        if self._framed:
            raise httpx.RemoteProtocolError(f"the connection was closed after {self._size} bytes of a longer body")
        self._complete = True

    def reply(self) -> Reply:
        """The answer, decoded. Raises `httpx.DecodingError` for a broken coding and `TooLarge` for a bomb."""
        assert self._complete, "not all of the answer has come"
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._gzip and not self._bodiless and any(name == b"content-encoding" for name, _ in self._headers):
            return self._decoded(body)
        return Reply(self._status, tuple(self._headers), body)

    def _decoded(self, body: bytes) -> Reply:
        coded = (b"content-encoding", b"content-length")
        codings = [value for name, value in self._headers if name == b"content-encoding"]
        if codings[0].lower() == b"identity":
            return Reply(self._status, tuple(self._headers), body)
        headers = tuple(field for field in self._headers if field[0] not in coded)
        return Reply(self._status, headers, inflated(body, self._bounds.body))

    def _refuse(self, why: str, kind: type[httpx.RemoteProtocolError] = httpx.RemoteProtocolError) -> None:
        """Stop the parser; `_parse` raises what is left here."""
        self._refusal = kind(why)
        raise self._refusal

    # What httptools calls, in the order of the message.

    def on_message_begin(self) -> None:
        """Either the next head after an interim one, or bytes nobody asked for."""
        if self._complete:
            self.reusable = False

    def on_status(self, reason: bytes) -> None:
        """The reason phrase (a piece of it): nobody reads it, and control bytes have no business in it."""
        if len(reason) != len(reason.translate(None, _CONTROL)):
            self._refuse("a control byte in the status line")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailer, which is dropped (RFC 9112, 7.1.2)."""
        name = name.lower()
        if self._in_body:
            if name in {b"transfer-encoding", b"content-length"}:
                self._refuse("a trailer that frames")
            return
        self._headers.append((name, value.strip(b" \t")))
        if len(self._headers) > self._bounds.fields:
            self._refuse(f"more than {self._bounds.fields} fields", TooLarge)

    def on_headers_complete(self) -> None:
        """A head is whole: judge its framing."""
        if self._complete:
            return
        parser = self._parser
        assert parser is not None
        self._status = parser.get_status_code()
        version = parser.get_http_version()
        if version not in {"1.1", "1.0"} or not 100 <= self._status <= 599 or self._status == 101:
            self._refuse(f"HTTP/{version} with status {self._status}")
        keep = self._judge(version)
        if self._status < 200:
            self._headers.clear()
            return
        self._in_body = True
        self.reusable = keep and (self._framed or self._bodiless) and not self._head_only
        if self._head_only:
            self._complete = True

    def _judge(self, version: str) -> bool:
        """Find the framing; True when the peer keeps the connection open afterwards."""
        keep = version == "1.1"
        self._framed = False
        self._bodiless = self._head_only or self._status in BODILESS
        for name, value in self._headers:
            if name == b"content-length":
                self._framed = True
                self._length(value)
            elif name == b"transfer-encoding":
                self._transfer(value, version)
            elif name == b"connection":
                keep = keep and b"close" not in [option.strip() for option in value.lower().split(b",")]
            elif name == b"content-encoding" and not self._bodiless:
                self._coding(value)
        return keep

    def _length(self, value: bytes) -> None:
        if self._bodiless or self._status < 200:
            if (self._status < 200 or self._status == 204) and value.strip(b"0"):
                self._refuse(f"a length in an answer {self._status} (RFC 9110, 8.6)")
        elif int(value) > self._bounds.body:
            self._refuse(f"a body of {int(value)} bytes is over {self._bounds.body}", TooLarge)

    def _transfer(self, value: bytes, version: str) -> None:
        if self._framed or value.lower() != b"chunked" or version == "1.0":
            self._refuse("a transfer coding other than one `chunked` in HTTP/1.1")
        if self._status < 200 or self._status == 204:
            self._refuse(f"a transfer coding in an answer {self._status} (RFC 9112, 6.1)")
        self._framed = True

    def _coding(self, value: bytes) -> None:
        understood = (b"gzip", b"x-gzip", b"identity") if self._gzip else (b"identity",)
        if value.lower() not in understood or sum(name == b"content-encoding" for name, _ in self._headers) > 1:
            self._refuse("a content coding that was not asked for")

    def on_chunk_header(self) -> None:
        """A chunk begins: it may cost its framing."""
        self._chunks += 1

    def on_body(self, piece: bytes) -> None:
        """Bytes of the body, transfer coding removed."""
        if self._complete:
            self.reusable = False
            return
        self._size += len(piece)
        if self._size > self._bounds.body:
            self._refuse(f"the body is over {self._bounds.body} bytes", TooLarge)
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The last byte of the body, or of an interim head."""
        if self._in_body:
            self._complete = True


def inflated(body: bytes, limit: int) -> bytes:
    """The content of a gzip `body` (RFC 1952; several members are one content). At most `limit` bytes."""
    whole: list[bytes] = []
    room = limit + 1
    while body:
        stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            piece = stream.decompress(body, room)
        except zlib.error as error:
            raise httpx.DecodingError(f"a broken gzip body: {error}") from None
        room -= len(piece)
        if room <= 0:
            raise TooLarge(f"the decoded body is over {limit} bytes")
        if not stream.eof:
            raise httpx.DecodingError("the gzip body ends early")
        whole.append(piece)
        body = stream.unused_data
    return b"".join(whole)
