"""Where a request is in the world: W3C trace context in and out, and what was spent where, for whoever looks.

`traceparent` is `00-<32 hex trace id>-<16 hex span id>-<2 hex flags>` (W3C Trace Context, 3.2.2). The trace id is kept,
the span id is new for every call. A header that does not parse is ignored and a trace begun anew (4.3): a broken trace
never breaks a request. Of a higher version the part that version 00 defines is read, of the flags only `sampled`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bff.model import Span

Entropy = Callable[[int], bytes]

LONGEST = 512  # bytes of a header of a version yet to come; ours has 55
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
_RANDOM = 2**56  # of a trace id, its last 14 digits: what a share of traces is drawn by (W3C Trace Context level 2)
_UNFIT = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")  # what is not a token (RFC 9110, 5.6.2)


@dataclass(frozen=True, slots=True)
class Trace(Span):
    """One span, and those below it."""

    @staticmethod
    def parse(header: bytes | None, entropy: Entropy, share: float = 0.0) -> Trace:
        """The span of a request that came with `header`: the caller's trace, sampled where he says so, or a new one.

        Of new ones `share` is sampled, 0 to 1.
        """
        match = _PARENT.fullmatch(header) if header is not None and len(header) <= LONGEST else None
        if match is None:
            return _begun(entropy, share)
        version, trace_id, parent, flags, more = match.groups()
        if version == b"ff" or (version == b"00" and more) or not trace_id.strip(b"0") or not parent.strip(b"0"):
            return _begun(entropy, share)
        sampled = bool(int(flags, 16) & 1)
        return Trace(trace_id.decode(), _identifier(8, entropy), sampled, parent.decode())

    def child(self, entropy: Entropy) -> Trace:
        """The span of a call made on the way: same trace, same sampling, a span id of its own."""
        return Trace(self.trace_id, _identifier(8, entropy), self.sampled, self.span_id)

    def header(self) -> bytes:
        """The value of `traceparent` for whoever is called by this span."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}".encode()


def _begun(entropy: Entropy, share: float) -> Trace:
    trace_id = _identifier(16, entropy)
    return Trace(trace_id, _identifier(8, entropy), share > 0 and int(trace_id[-14:], 16) < share * _RANDOM)


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
