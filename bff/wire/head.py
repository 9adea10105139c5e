"""The requests of an HTTP/1.1 connection, read without I/O and within the contract's limits.

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
from typing import TYPE_CHECKING, Final

import httptools

from bff.wire.limits import HOST, TCHAR, Refused

if TYPE_CHECKING:
    from bff.wire.limits import Limits

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_END: Final = b"\r\n\r\n"
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)([/?].*)?", re.IGNORECASE)
# What llhttp is told when only a chunked body is left to read.
_CHUNKED: Final = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


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
        if hosts and not HOST.fullmatch(hosts[0]):
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
        if not HOST.fullmatch(host):
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
    if start and start[0] not in TCHAR:
        raise Refused(400, "this is not HTTP")
    if start.count(b"\n") != start.count(b"\r\n"):
        raise Refused(400, "a line ends without CR")
