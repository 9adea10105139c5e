"""Server-sent events, as they are written and as they are read: the WHATWG's HTML standard, section 9.2.

    id: 3f9c02d1ab47-17
    event: board-changed
    data: {"action":"tasks.move"}
                                        an empty line says it; a line that begins with a colon is a comment

What is written here is JSON on one line, so a line end within data cannot happen; what is read may have been cut
anywhere, and may end its lines with CR, LF or both (9.2.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIA: Final = "text/event-stream"
LONGEST_LINE: Final = 1_048_576  # bytes of a line, and of an event's data, that a reader takes
_BOM: Final = b"\xef\xbb\xbf"


class BadStream(ValueError):
    """What comes is no event stream that can be held in memory; the message is one line."""


def encode(event: str, data: bytes, id: str | None) -> bytes:
    """One event. Raises `ValueError` for a line end where none can be."""
    place = b"" if id is None else b"id: %b\n" % id.encode("ascii")
    word = b"%bevent: %b\ndata: %b" % (place, event.encode("ascii"), data)
    if b"\r" in word or word.count(b"\n") != 1 + (id is not None):
        raise ValueError("a field holds a line end")
    return word + b"\n\n"


def comment(text: str) -> bytes:
    """What a reader passes over: it says that the stream is alive. Raises `ValueError` for a line end in it."""
    if "\r" in text or "\n" in text:
        raise ValueError("a comment holds a line end")
    return b": %b\n\n" % text.encode("ascii") if text else b":\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was read: `data` its lines joined by LF, `last_id` the id that the stream has from now on."""

    event: str
    data: str
    last_id: str


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment's text: no event, but a sign of life."""

    text: str


class Reader:
    """Reads a stream piece by piece. `last_id` is what to come again with; `retry_ms` what the server asked for."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_ms: int | None = None
        self._line = bytearray()  # whose end has not come
        self._begun = False
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []
        self._size = 0
        self._id = last_id

    def feed(self, piece: bytes) -> Iterator[Event | Comment]:
        """What is complete with this piece; to be read to its end. Raises `BadStream` for what has no end."""
        for line in self._lines(piece):
            if not line:
                event = self._said()
                if event is not None:
                    yield event
            elif line.startswith(b":"):
                yield Comment(line[1:].removeprefix(b" ").decode("utf-8", "replace"))
            else:
                name, _, value = line.partition(b":")
                self._field(name, value.removeprefix(b" "))

    def _lines(self, piece: bytes) -> Iterator[bytes]:
        """The lines that end in `piece`. Of one that goes on, no byte is looked at twice."""
        if self._after_cr and piece:  # its LF may come with the next piece
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        if not piece:
            return
        self._after_cr = piece.endswith(b"\r")
        *ended, rest = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for part in ended:
            yield self._whole(part)
        self._hold(rest)

    def _whole(self, end: bytes) -> bytes:
        self._hold(end)
        line = bytes(self._line)
        self._line.clear()
        if not self._begun:
            self._begun = True
            return line.removeprefix(_BOM)
        return line

    def _hold(self, part: bytes) -> None:
        self._line += part
        if len(self._line) > LONGEST_LINE:
            raise BadStream(f"a line of more than {LONGEST_LINE} bytes")

    def _field(self, name: bytes, value: bytes) -> None:
        text = value.decode("utf-8", "replace")
        if name == b"event":
            self._event = text
        elif name == b"data":
            self._size += len(value) + 1  # an empty line of data takes room too
            if self._size > LONGEST_LINE:
                raise BadStream(f"an event of more than {LONGEST_LINE} bytes")
            self._data.append(text)
        elif name == b"id" and "\0" not in text:
            self._id = text
        elif name == b"retry" and value.isdigit() and len(value) <= len("999999999"):
            self.retry_ms = int(value)

    def _said(self) -> Event | None:
        """An empty line: the id counts in any case, and what has data is an event (9.2.6)."""
        event, data = self._event, self._data
        self.last_id = self._id
        self._event, self._data, self._size = "", [], 0
        return Event(event or "message", "\n".join(data), self.last_id) if data else None
