"""What a request may be, and for how long: the contract's limits, and a sans-I/O reader of HTTP/1.1 that keeps them.

    bytes -> feed() -> next_head() -> body() ... complete -> next_head() ...
                          |
                          Refused(status, why): answer it, close the connection, read nothing more of it

llhttp reads the heads (it refuses two lengths, a length beside chunked, bare LF, folded fields); the reader adds what
it lets through: the size and number of fields, Host, targets, versions, and an `Upgrade` whose body it would take for
another protocol. A head is only parsed once it is there whole: its size is then exact, a cut anywhere changes nothing,
and no byte of a second request is looked at before the first was answered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

import httptools

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from bff.outside import Outside

_END: Final = b"\r\n\r\n"
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%\-:\[\]]*")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)([/?].*)?", re.IGNORECASE)
_PATH: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_TCHAR: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
# What llhttp is told when only a chunked body is left to read.
_CHUNKED: Final = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """CONTRACT section 1, in bytes and seconds, and what it leaves to us.

    `write_seconds` is how long one write may wait for the peer; `linger_seconds` how long a refused peer is still read,
    so that the refusal is not lost to a reset (RFC 9112, 9.6). `streams` is HTTP/2's bound per connection.
    """

    head_bytes: int = 32_768
    head_fields: int = 100
    head_seconds: float = 10.0
    body_bytes: int = 262_144
    idle_seconds: float = 75.0
    write_seconds: float = 20.0
    linger_seconds: float = 1.0
    pipelined_bytes: int = 65_536
    connections: int = 4_096
    streams: int = 100


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """How one edge serves. `tls` None means in clear; `grace` is seconds that requests have once shutdown began."""

    outside: Outside
    limits: Limits = field(default_factory=Limits)
    tls: ssl.SSLContext | None = None
    grace: float = 8.0


class Refused(Exception):
    """The peer broke the protocol or a limit: what to answer before the connection is closed."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"{status} {why}")
        self.status = status
        self.why = why


class SpeaksHttp2(Exception):
    """The head was the first half of HTTP/2's preface (RFC 9113, 3.4)."""


class RequestReader:
    """The requests of one HTTP/1.1 connection, out of whatever pieces its bytes come in.

    After `next_head()` said True: `method`, `path` (raw), `query`, `headers` (names lower-case, in order), `version`,
    `keep_alive`, `expects` (100-continue), `length` (None when chunked), and `complete` once the whole body was taken.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_chunks",
        "_limits",
        "_overhead",
        "_parser",
        "_searched",
        "_target",
        "complete",
        "expects",
        "headers",
        "keep_alive",
        "left",
        "length",
        "method",
        "overrun",
        "path",
        "query",
        "version",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = b""
        self._searched = 0
        self._parser: httptools.HttpRequestParser | None = None
        self._chunks: httptools.HttpRequestParser | None = None
        self.complete = True
        self.overrun = False
        self.left = 0

    def feed(self, data: bytes) -> None:
        """Take what came from the peer."""
        self._buffer = self._buffer + data if self._buffer else data

    @property
    def waiting(self) -> int:
        """Bytes that came and were not taken yet: of a head under way, of a body, or of a pipelined request."""
        return len(self._buffer)

    def rest(self) -> bytes:
        """Everything that was not taken."""
        return self._buffer

    def next_head(self) -> bool:
        """Whether the next head is there whole; raises `Refused` or `SpeaksHttp2`. Only to be asked when `complete`."""
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # RFC 9112, 2.2: empty lines before a request are ignored
            buffer = self._buffer = buffer[2:]
            self._searched = 0
        end = buffer.find(_END, self._searched)
        if (len(buffer) if end < 0 else end + 4) > self._limits.head_bytes:
            raise Refused(431, f"the head is over {self._limits.head_bytes} bytes")
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            _plausible(buffer)
            return False
        if buffer.startswith(PREFACE[:18]):
            raise SpeaksHttp2
        self._buffer = buffer[end + 4 :]
        self._searched = 0
        self._parse(buffer[: end + 4])
        return True

    def body(self) -> bytes:
        """What has come of this request's body since the last call; sets `complete` at its end. Raises `Refused`."""
        if self.complete or not self._buffer:
            return b""
        if self._chunks is not None:
            return self._dechunk(self._chunks)
        piece, self._buffer = self._buffer[: self.left], self._buffer[self.left :]
        self.left -= len(piece)
        self.complete = self.left == 0
        return piece

    # -- the head -----------------------------------------------------------------------------------------------

    def _parse(self, head: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self._target = b""
        if head.count(b" ", 0, head.index(b"\r\n")) != 2:
            raise Refused(400, "the request line is not three words")  # llhttp takes any number of spaces
        parser = self._parser or httptools.HttpRequestParser(self)
        self._parser = parser
        upgrade = False
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            upgrade = True  # never taken up: the request is served as the HTTP/1.1 it is
        except httptools.HttpParserInvalidMethodError:
            _plausible(head)
            raise Refused(501, "the method is not known") from None
        except httptools.HttpParserError as error:
            raise Refused(400, f"the head is malformed: {error}") from None
        if len(self.headers) > self._limits.head_fields:
            raise Refused(431, f"more than {self._limits.head_fields} header fields")
        self._frame(parser)
        if upgrade or not self.complete:
            self._parser = None  # llhttp now waits for a body that is counted here

    def _frame(self, parser: httptools.HttpRequestParser) -> None:
        self.method = parser.get_method().decode("ascii")
        self.version = parser.get_http_version()
        if self.version not in {"1.1", "1.0"}:
            raise Refused(505, "the version is neither HTTP/1.1 nor HTTP/1.0")
        self.length: int | None = 0
        self.expects = self.overrun = False
        hosts: list[bytes] = []
        for name, value in self.headers:
            if name == b"host":
                hosts.append(value)
            elif name == b"content-length":
                self.length = int(value)
            elif name == b"transfer-encoding":
                self._coding(value)
            elif name == b"expect":
                self.expects = self.version == "1.1" and value.lower() == b"100-continue"
        self._aim(hosts)
        self.left = self.length or 0
        self.complete = self.length == 0
        self._chunks = self._dechunker() if self.length is None else None

    def _coding(self, value: bytes) -> None:
        """RFC 9112, 6.1: an unknown coding is 501, and HTTP/1.0 has none, so that its framing cannot be trusted."""
        if self.version != "1.1":
            raise Refused(400, "HTTP/1.0 has no transfer codings")
        if value.lower() != b"chunked":
            raise Refused(501, "the transfer coding is not known")
        self.length = None

    def _aim(self, hosts: list[bytes]) -> None:
        """Target and Host (RFC 9112, 3.2): origin form, absolute form or `OPTIONS *`; one Host, a plausible one."""
        if len(hosts) > 1 or (not hosts and self.version == "1.1"):
            raise Refused(400, "a request has exactly one Host")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise Refused(400, "the Host is not a host")
        target = self._target
        if not target.startswith(b"/"):
            target = self._absolute(target)
        if b"#" in target:
            raise Refused(400, "the target has a fragment")
        self.path, _, self.query = target.partition(b"?")

    def _absolute(self, target: bytes) -> bytes:
        if target == b"*" and self.method == "OPTIONS":
            return target
        match = _ABSOLUTE.fullmatch(target)
        if match is None or self.method == "CONNECT":
            raise Refused(400, "the target is neither a path nor a URL")
        host, rest = match.group(1), match.group(2) or b"/"
        if not _HOST.fullmatch(host):
            raise Refused(400, "the target's host is not a host")
        # RFC 9112, 3.2.2: the target's authority replaces whatever Host said.
        self.headers = [(b"host", host), *(pair for pair in self.headers if pair[0] != b"host")]
        return rest if rest.startswith(b"/") else b"/" + rest

    # -- the chunked body ---------------------------------------------------------------------------------------

    def _dechunker(self) -> httptools.HttpRequestParser:
        """A parser of its own that has seen a head already: a body is then read alike, upgrade asked for or not."""
        sink = _Chunks(self)
        parser = httptools.HttpRequestParser(sink)
        self._body: list[bytes] = []
        self._overhead = -self._limits.head_bytes
        parser.feed_data(_CHUNKED)
        return parser

    def _dechunk(self, parser: httptools.HttpRequestParser) -> bytes:
        raw, self._buffer = self._buffer, b""
        self._body.clear()
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            self.overrun = True
        except httptools.HttpParserError as error:
            if not self.complete:
                raise Refused(400, f"the body is malformed: {error}") from None
            self.overrun = True
        piece = b"".join(self._body)
        # A chunk of one byte has six around it; what is beyond that is extensions and trailers.
        self._overhead += len(raw) - 8 * len(piece)
        if self._overhead > 0 and not self.complete:
            raise Refused(400, "the body is mostly framing")
        return piece

    # -- what llhttp calls --------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url

    def on_headers_complete(self) -> None:
        """The head's own word on the connection, which llhttp forgets at the end of a message."""
        if self._parser is not None:
            self.keep_alive = self._parser.should_keep_alive()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, complete."""
        self.headers.append((name.lower(), value.rstrip()))  # llhttp keeps the space after a value


class _Chunks:
    """Collects a chunked body; whatever follows its end is a pipelined request that will not be served."""

    __slots__ = ("_reader",)

    def __init__(self, reader: RequestReader) -> None:
        self._reader = reader

    def on_message_begin(self) -> None:
        if self._reader.length is None and self._reader.complete:
            self._reader.overrun = True

    def on_body(self, body: bytes) -> None:
        if not self._reader.complete:
            self._reader._body.append(body)

    def on_message_complete(self) -> None:
        self._reader.complete = True


def _plausible(start: bytes) -> None:
    """Refuse at once what can never become a head: a TLS hello on a clear port, a line without its CR."""
    if start and start[0] not in _TCHAR:
        raise Refused(400, "this is not HTTP")
    if start.count(b"\n") != start.count(b"\r\n"):
        raise Refused(400, "a line ends without CR")


def judge_http2(fields: Iterable[tuple[bytes, bytes]], limits: Limits) -> dict[str, Any]:
    """The request of an HTTP/2 header block, as ASGI scope members; raises `Refused`.

    h2 has checked the pseudo-fields' presence and order and the names' case; sizes and contents are judged here, by
    the same measure as a head of HTTP/1.1.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: list[tuple[bytes, bytes]] = []
    size = 0
    for name, value in fields:
        size += len(name) + len(value) + 4
        if name.startswith(b":"):
            pseudo[name] = value
        else:
            headers.append((bytes(name), bytes(value)))
    if size > limits.head_bytes:
        raise Refused(431, f"the head is over {limits.head_bytes} bytes")
    if len(headers) > limits.head_fields:
        raise Refused(431, f"more than {limits.head_fields} header fields")
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if method == b"CONNECT" or not method or not _TCHAR.issuperset(method):
        raise Refused(501, "the method is not known")
    if not _PATH.fullmatch(target) and not (target == b"*" and method == b"OPTIONS"):
        raise Refused(400, "the target is not a path")
    path, _, query = target.partition(b"?")
    return {
        "http_version": "2",
        "method": method.decode("ascii"),
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "headers": _with_host(pseudo.get(b":authority"), headers),
    }


def _with_host(authority: bytes | None, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """One Host, which is the authority (RFC 9113, 8.3.1), and at most one length."""
    hosts = {value for name, value in headers if name == b"host"}
    if authority is not None:
        hosts.add(authority)
    if len(hosts) != 1 or not _HOST.fullmatch(host := hosts.pop()):
        raise Refused(400, "a request has exactly one authority")
    if sum(name == b"content-length" for name, _ in headers) > 1:
        raise Refused(400, "a request has one length")
    return [(b"host", host), *(pair for pair in headers if pair[0] != b"host")]
