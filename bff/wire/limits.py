"""What a request may be, and for how long: the contract's limits, and what a head must be by whichever protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from bff.outside import Outside

HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%\-:\[\]]*")
TCHAR: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BREAK: Final = re.compile(rb"[\x00\r\n]")  # what would be a line of its own, were it written into HTTP/1.1 again
_PATH: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")


@dataclass(frozen=True, slots=True)
class Limits:
    """CONTRACT section 1, in bytes and seconds, and what it leaves to us.

    `write_seconds` is how long one write may wait for the peer; `linger_seconds` how long a refused peer is still read,
    so that the refusal is not lost to a reset (RFC 9112, 9.6). `streams` is HTTP/2's bound per connection.
    `unheard_seconds` is how long what was sent may go without a sign that it has arrived, however much of it the kernel
    still takes: two heartbeats of a stream, since a desk that comes back later resumes without loss.
    """

    head_bytes: int = 32_768
    head_fields: int = 100
    head_seconds: float = 10.0
    body_bytes: int = 262_144
    idle_seconds: float = 75.0
    write_seconds: float = 20.0
    unheard_seconds: float = 30.0
    linger_seconds: float = 1.0
    pipelined_bytes: int = 65_536
    connections: int = 16_384  # of which streams take no more than `BFF_STREAMS`
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


def judge_http2(fields: Iterable[tuple[bytes, bytes]], limits: Limits, *, ended: bool = False) -> dict[str, Any]:
    """The request of an HTTP/2 header block, as ASGI scope members; raises `Refused`. `ended`: no body follows.

    h2 has checked the pseudo-fields' presence and order and the names' case; sizes and contents are judged here, by
    the same measure as a head of HTTP/1.1. h2 counts the bytes of a body too, where there are any (RFC 9113, 8.1.1).
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
    if method == b"CONNECT" or not method or not TCHAR.issuperset(method):
        raise Refused(501, "the method is not known")
    if not all(_NAME.fullmatch(name) and not _BREAK.search(value) for name, value in headers):
        raise Refused(400, "a header field is malformed")
    if ended and any(name == b"content-length" and value.strip(b"0") for name, value in headers):
        raise Refused(400, "the body that is announced does not come")
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
    if len(hosts) != 1 or not HOST.fullmatch(host := hosts.pop()):
        raise Refused(400, "a request has exactly one authority")
    if sum(name == b"content-length" for name, _ in headers) > 1:
        raise Refused(400, "a request has one length")
    return [(b"host", host), *(pair for pair in headers if pair[0] != b"host")]
