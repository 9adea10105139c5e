"""Where a request is in the world: W3C trace context in and out, and what was spent where, for whoever looks.

`traceparent` is `00-<32 hex trace id>-<16 hex span id>-<2 hex flags>` (W3C Trace Context, 3.2.2). The trace id is kept,
the span id is new for every call. A header that does not parse is ignored and a trace begun anew (4.3): a broken trace
never breaks a request. Of a higher version the part that version 00 defines is read, of the flags only `sampled`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Entropy = Callable[[int], bytes]

LONGEST = 512  # bytes of a header of a version yet to come; ours has 55
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
_UNFIT = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")  # what is not a token (RFC 9110, 5.6.2)


@dataclass(frozen=True, slots=True)
class Trace:
    """One span: `trace_id` 32 and `span_id` 16 lower-case hex digits, neither all zero."""

    trace_id: str
    span_id: str
    sampled: bool

    @staticmethod
    def parse(header: bytes | None, entropy: Entropy) -> Trace:
        """The span of a request that came with `header`: the caller's trace, or a new one that is not sampled."""
        match = _PARENT.fullmatch(header) if header is not None and len(header) <= LONGEST else None
        if match is None:
            return Trace(_identifier(16, entropy), _identifier(8, entropy), sampled=False)
        version, trace_id, parent, flags, more = match.groups()
        if version == b"ff" or (version == b"00" and more) or not trace_id.strip(b"0") or not parent.strip(b"0"):
            return Trace(_identifier(16, entropy), _identifier(8, entropy), sampled=False)
        return Trace(trace_id.decode(), _identifier(8, entropy), sampled=bool(int(flags, 16) & 1))

    def child(self, entropy: Entropy) -> Trace:
        """The span of a call made on the way: same trace, same sampling, a span id of its own."""
        return Trace(self.trace_id, _identifier(8, entropy), self.sampled)

    def header(self) -> bytes:
        """The value of `traceparent` for whoever is called by this span."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}".encode()


def _identifier(size: int, entropy: Entropy) -> str:
    """`size` bytes in hex; all zero means invalid (3.2.2.3), so the last bit is then set."""
    drawn = entropy(size)
    return (drawn if any(drawn) else drawn[:-1] + b"\1").hex()


class ServerTiming:
    """What one answer cost, an entry per upstream, widget or store touched (W3C Server Timing).

    One name asked twice is one entry with the sum of both. At most `bound` names; the rest is not told.
    """

    def __init__(self, bound: int = 64) -> None:
        self._bound = bound
        self._seconds: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """`seconds` were spent on `name`; what is no token character in it becomes `_`."""
        if name in self._seconds:
            self._seconds[name] += seconds
        elif len(self._seconds) < self._bound:
            self._seconds[name] = seconds

    def header(self) -> bytes:
        """The value of `Server-Timing`, durations in milliseconds; empty when nothing was touched."""
        entries = (
            f"{_UNFIT.sub('_', name)};dur={round(seconds * 1000, 2):g}" for name, seconds in self._seconds.items()
        )
        return ", ".join(entries).encode()


def timeout_field(remaining: float) -> tuple[bytes, bytes]:
    """`X-Request-Timeout-Ms` for a call that leaves now: whole milliseconds of `remaining` seconds, at least 0.

    Rounded down, so that the callee never believes it has time that nobody will wait for.
    """
    return b"x-request-timeout-ms", b"%d" % max(0, int(remaining * 1000))
