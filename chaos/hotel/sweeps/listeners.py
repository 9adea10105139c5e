"""Devices that listen by the words of CONTRACT section 5 alone: whatever a server says twice, they hear twice.

A desk (`chaos.hotel.fleet.following`) forgives much: it knows what it was told, and asks beside its stream. These
have nothing but their last id, so that what they were told is what the server said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from bff.wire.sse import Event, Reader
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.following import FINAL, POLL, STREAM
from chaos.hotel.fleet.opened import Cut, opened
from chaos.hotel.fleet.told import Came, Refetch
from nurseries import within

if TYPE_CHECKING:
    from bff.outside import Connect
    from bff.wire.sse import Comment
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.fleet.opened import Opened
    from chaos.hotel.fleet.told import Over, Told

AGAIN: Final = 0.3  # seconds from one try to the next
SILENT: Final = 62.0  # seconds in which nothing comes, and a stream is given up
WAIT_MS: Final = 2_000  # that a poll asks to wait


class Listener:
    """`desk`'s ears. `told` is all that it was told, `live` whether it has a stream that has said hello, and `stalled`
    whether that has said that it does not deliver. With `polls` it asks instead; `polls` may be turned meanwhile.

    `last_id` is where it goes on from: '' from now on.
    """

    def __init__(self, desk: Desk, connect: Connect, *, last_id: str = "", polls: bool = False) -> None:
        self.desk = desk
        self.last_id = last_id
        self.told: list[Told] = []
        self.over: Over = ""
        self.live = self.stalled = False
        self.live_at = 0.0  # when its stream said hello, on Trio's clock
        self.over_at = 0.0  # when it was over
        self._connect = connect
        self._polls = polls
        self._owed = False  # a word that something is lost
        self._one = trio.CancelScope()  # stream, or poll

    async def run(self) -> None:
        """Listen until it is over. Raises `AssertionError` where a stream breaks its own word."""
        while not self.over:
            back = AGAIN
            with trio.CancelScope() as self._one:
                back = await (self._poll() if self._polls else self._stream())
            self.live = self.stalled = False
            if not self.over:
                await trio.sleep(back)
        self.over_at = trio.current_time()

    def drop(self) -> None:
        """What it listens by breaks."""
        self._one.cancel(reason="dropped")

    def turn(self, *, polls: bool) -> None:
        """Go to the other way of listening."""
        if polls is not self._polls:
            self._polls = polls
            self.drop()

    # -- a stream -----------------------------------------------------------------------------------------------

    async def _stream(self) -> float:
        """One of them; how many seconds after its end there may be another."""
        extra = {"last-event-id": self.last_id} if self.last_id else {}
        headers = self.desk.proved("GET", STREAM, extra)
        with within(SILENT) as patience:
            try:
                async with opened(self._connect, f"{self.desk.base}{STREAM}", headers) as answer:
                    if answer.status == 200:
                        return await self._read(answer, patience)
                    if answer.status == 401:
                        await self._renew()
            except Cut:
                pass
        return AGAIN

    async def _read(self, answer: Opened, patience: trio.CancelScope) -> float:
        reader = Reader(self.last_id)
        while piece := await answer.piece():
            patience.deadline = trio.current_time() + SILENT
            for one in reader.feed(piece):
                back = await self._hear(one)
                if back is not None:
                    return back
            self.last_id = reader.last_id
        return AGAIN

    async def _hear(self, one: Event | Comment) -> float | None:
        """What it means; how many seconds to stay away, where it was the last word."""
        if not isinstance(one, Event):
            self.stalled = False
            return None
        data = msgspec.json.decode(one.data, type=dict[str, Any])
        match one.event:
            case "hello":
                self.live, self.live_at = True, trio.current_time()
                self._owed = bool(self.last_id) and not data["resumed"]
                assert self.last_id or not data["resumed"], "resumed, from nowhere"
            case "reset":
                self._lose()
            case "bus-stalled":
                self.stalled = True
            case "drain":
                self.last_id = one.last_id
                return float(data["reconnectAfterMs"]) / 1000
            case "expired":
                await self._renew()
                return AGAIN
            case "superseded":
                self.over = "superseded"
                return 0.0
            case _:
                self.stalled = False
                self._come(one.last_id, one.event, data)
        self.last_id = one.last_id
        return 0.0 if self.over else None

    # -- a poll -------------------------------------------------------------------------------------------------

    async def _poll(self) -> float:
        """One of them; how many seconds after it there may be another."""
        after = {"after": self.last_id} if self.last_id else {}
        try:
            answer = (await self.desk.get(POLL, {**after, "waitMs": str(WAIT_MS)})).body
        except Refused as refused:
            if refused.status == 401:
                await self._renew()
            return AGAIN
        if answer["reset"]:
            self._lose()
        for one in answer["events"]:
            self._come(one["id"], one["event"], one["data"])
        self.last_id = answer["next"]
        return 0.0 if answer["events"] else AGAIN

    # -- both ---------------------------------------------------------------------------------------------------

    def _come(self, id: str, event: str, data: Mapping[str, Any]) -> None:
        if self.over:
            return
        assert not self._owed, f"{id} after a hello that did not resume, and no reset"
        self.told.append(Came(id, event, data, trio.current_time()))
        if event == "force-logout":
            self.over = "logged-out"

    def _lose(self) -> None:
        self._owed = False
        self.told.append(Refetch("reset", trio.current_time()))

    async def _renew(self) -> None:
        try:
            await self.desk.renew()
        except Refused as refused:
            if refused.status in FINAL:
                self.over = "session-over"
