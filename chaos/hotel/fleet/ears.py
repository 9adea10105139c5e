"""A desk that has one stream, reads it to its end, and does nothing about what it hears.

For whoever counts what a server says to very many devices. A desktop is `following.py`; what a device may do to hear
everything is `chaos.hotel.sweeps.listeners`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from bff.wire.sse import MEDIA, BadStream, Event, Reader
from chaos.hotel.fleet.following import STREAM
from chaos.hotel.fleet.opened import Cut, opened
from nurseries import within

if TYPE_CHECKING:
    from bff.outside import Connect
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.fleet.opened import Opened

HELLO_SECONDS: Final = 10.0  # from asking to hello
AGAIN: Final = 1.0  # seconds, where nobody says when to come again
CUT: Final = "cut"


class Word(NamedTuple):
    """An event as it came: its type and its data, as JSON, at a moment of Trio's clock."""

    at: float
    event: str
    data: str


class Ears:
    """`desk`'s, which is signed in. `words` is what its stream said after hello.

    `live` is set with hello and `over` with the end of the stream; `last` is its last word then, `cut` where it did
    not end as a body does. Who is turned away comes again: `turned` has the status of each refusal and the seconds
    after which it said to come again, None where it said nothing.
    """

    def __init__(self, desk: Desk, connect: Connect) -> None:
        self.desk = desk
        self.words: list[Word] = []
        self.live = trio.Event()
        self.over = trio.Event()
        self.last = ""
        self.turned: list[tuple[int, float | None]] = []
        self._connect = connect

    async def listen(self) -> None:
        """From asking to the end of the stream that there is in the end."""
        while not self.live.is_set():
            again = await self._stream()
            if not self.live.is_set():
                await trio.sleep(again)
        self.over.set()

    async def _stream(self) -> float:
        """One of them; after how many seconds to come again, where there is none to be had."""
        headers = self.desk.proved("GET", STREAM, {"accept": MEDIA})
        with within(HELLO_SECONDS) as patience:
            try:
                async with opened(self._connect, f"{self.desk.base}{STREAM}", headers) as answer:
                    if answer.status != 200:
                        said = answer.headers.get("retry-after", "")
                        again = float(said) if said.isdigit() else None
                        self.turned.append((answer.status, again))
                        return AGAIN if again is None else again
                    await self._read(answer, patience)
                    self.last = self.words[-1].event if self.words else ""
            except (Cut, BadStream):
                self.last = CUT
        return AGAIN

    async def _read(self, answer: Opened, patience: trio.CancelScope) -> None:
        reader = Reader("")
        while piece := await answer.piece():
            for one in reader.feed(piece):
                if not isinstance(one, Event):
                    continue
                if one.event == "hello":
                    patience.deadline = float("inf")
                    self.live.set()
                else:
                    self.words.append(Word(trio.current_time(), one.event, one.data))
