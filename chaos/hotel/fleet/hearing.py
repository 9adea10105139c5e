"""A device of a crowd, its streams, and what each of them heard: bytes in, events out.

    bytes ─► head ─► chunks ─► blocks ─► events, each with its id and when it came

It parses no more of HTTP/1.1 and of events than the server is known to say, in which it is several times cheaper than
readers that take nothing for granted (`opened.py`, `bff.wire.sse`). Whether what a server says is HTTP and SSE is for
those to judge.

Times are of Trio's clock, taken when a socket was read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio

from bff.events.event import ORDINARY
from chaos.hotel.fleet.told import Came, Refetch

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from chaos.hotel.fleet.desk import Session
    from chaos.hotel.fleet.proof import Key
    from chaos.hotel.fleet.told import Told


class Heard(NamedTuple):
    """An event as it came: `data` is JSON, `id` '' where it has none."""

    at: float
    word: str
    id: str
    data: bytes


@dataclass(slots=True, eq=False)
class Device:
    """A device that is signed in. `last` is the id that it goes on after; `streams` all that it has had, in order."""

    name: str
    key: Key
    session: Session
    last: str = ""
    streams: list[Stream] = field(default_factory=list)
    signed: tuple[float, str] = (0.0, "")  # a proof for the next stream, and until when it is good

    @property
    def stream(self) -> Stream:
        """The latest."""
        return self.streams[-1]

    def told(self) -> list[Told]:
        """What it heard of all its streams, as whoever judges desks wants it."""
        return [told for stream in self.streams for told in stream.told()]


class Stream:
    """One stream, from its request on. Of `asked`, `began` (its hello) and `ended_at` what has not been is 0.0.

    `status` is 0 until a head has come; `refusal` the problem that came instead of events. `ended`: it is over, and
    `whole` is whether it ended as a body does. `beats` counts comments. `settled` is set with hello, and with the end.
    """

    __slots__ = (
        "_rest",
        "_text",
        "asked",
        "beats",
        "began",
        "device",
        "ended",
        "ended_at",
        "heard",
        "refusal",
        "settled",
        "socket",
        "status",
        "whole",
    )

    def __init__(self, device: Device, connected: socket.socket) -> None:
        self.device = device
        self.socket = connected
        self.asked = trio.current_time()
        self.began = self.ended_at = 0.0
        self.status = self.beats = 0
        self.heard: list[Heard] = []
        self.refusal: dict[str, Any] = {}
        self.ended = self.whole = False
        self.settled = trio.Event()
        self._rest = b""  # of HTTP
        self._text = b""  # of events

    @property
    def word(self) -> str:
        """What it ended with: the last event of one that ended as a whole; 'cut' for any other, '' while it is open."""
        if not self.ended:
            return ""
        return self.heard[-1].word if self.whole and self.heard else "cut"

    def at(self, word: str) -> float:
        """When the first event of that type came. Raises `StopIteration` where none did."""
        return next(one.at for one in self.heard if one.word == word)

    def told_at(self, word: str) -> float:
        """When the last one came. Raises `StopIteration` where none did."""
        return next(one.at for one in reversed(self.heard) if one.word == word)

    def told(self) -> Iterator[Told]:
        """The ordinary events, and that all is to be fetched anew."""
        for one in self.heard:
            if one.word in ORDINARY:
                yield Came(one.id, one.word, msgspec.json.decode(one.data), one.at)
            elif one.word == "reset":
                yield Refetch("reset", one.at)

    def feed(self, piece: bytes) -> int:
        """What has come; b'' at the end. Gives how many events of `heard` are new."""
        if not piece:
            self.end()
            return 0
        before = len(self.heard)
        self._rest += piece
        if self.status == 0 and not self._head():
            return 0
        if self.status == 200:
            self._chunks(trio.current_time())
        return len(self.heard) - before

    def end(self) -> None:
        """There will be no more."""
        if not self.ended:
            self.ended, self.ended_at = True, trio.current_time()
            self.socket.close()
            self.settled.set()

    def _head(self) -> bool:
        """Whether it is there; of a refusal, with its body, which ends the stream."""
        head, end, rest = self._rest.partition(b"\r\n\r\n")
        if not end:
            return False
        status = int(head[9:12])
        if status != 200:
            _, _, length = head.lower().partition(b"\r\ncontent-length:")
            if len(rest) < int(length.partition(b"\r\n")[0]):
                return False
            self.refusal = msgspec.json.decode(rest)
        self.status, self._rest = status, rest
        if status != 200:
            self.whole = True
            self.end()
        return True

    def _chunks(self, now: float) -> None:
        at, rest = 0, self._rest
        while (line := rest.find(b"\r\n", at)) >= 0:
            size = int(rest[at:line], 16)
            if size == 0:
                self.whole = True
                self.end()
                break
            if len(rest) < line + 2 + size + 2:
                break
            self._text += rest[line + 2 : line + 2 + size]
            at = line + 2 + size + 2
        self._rest = rest[at:]
        *said, self._text = self._text.split(b"\n\n")
        for block in said:
            self._block(block, now)

    def _block(self, block: bytes, now: float) -> None:
        if block == b":":
            self.beats += 1
            return
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
        id = fields.get(b"id", b"").decode()
        if id:
            self.device.last = id
        if b"event" in fields:
            self.heard.append(Heard(now, fields[b"event"].decode(), id, fields[b"data"]))
            if not self.began:
                self.began = now
                self.settled.set()
