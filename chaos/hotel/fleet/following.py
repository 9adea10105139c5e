"""A desk that is told what happens, whatever becomes of the server meanwhile: CONTRACT section 5, as a desktop does it.

    stream ──hello──► live ──bus-stalled──► polls beside the stream ──a sign of life──► live
      ▲                │
      │                ├─ drain         waits for as long as it was told to ─────────────────┐
      │                ├─ expired       renews its tokens ──────────────────────────────────┤
      │                ├─ broken, or nothing for two heartbeats and a bit ──► a pause ───────┤
      │                ├─ superseded, force-logout, no new tokens to be had ──► ended        │
      └────────────────┴─────────────────────────────────────────────────────────────────────┘
    no stream to be had ──► polls, and tries again after growing pauses, no sooner than it was told to

Whoever looks on is told of each event once and in order, however it came: what was told is known by its id, for as long
as the server can say it again. Pauses differ from desk to desk, so that a fleet does not come back in one moment.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from bff.outside import fraction
from bff.wire.sse import MEDIA, BadStream, Event, Reader
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.opened import Cut, opened
from chaos.hotel.fleet.told import Came, Condition, Refetch
from nurseries import Backoff, within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bff.outside import Outside
    from bff.wire.sse import Comment
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.fleet.opened import Opened
    from chaos.hotel.fleet.told import Over, State, Told

STREAM: Final = "/v1/events"
POLL: Final = "/v1/events/poll"
HEARTBEAT: Final = 15.0  # seconds, until a hello says otherwise
SILENT_BEATS: Final = 2.0  # heartbeats in which nothing comes, and
A_BIT: Final = 2.0  # seconds more, and a stream is given up
STALLED_BEATS: Final = 20.0  # the same while the bus has stalled: then a stream is silent by rights, and polls go on
POLL_SECONDS: Final = 5.0  # that a poll asks to wait where there is nothing
EMPTY_SECONDS: Final = 1.0  # from one poll to the next where the first had nothing, though the server did not wait
PAUSES: Final = Backoff(first=1.0, most=30.0, calm=10.0)  # between streams; `calm` is a life that begins them anew
POLL_PAUSES: Final = Backoff(first=0.5, most=10.0)
QUIET_SECONDS: Final = 5.0  # a desk that must stay away for longer polls meanwhile: so soon it must know of a log-out
LONGEST_SECONDS: Final = 300.0  # that anybody can make a desk stay away
KNOWN: Final = 10_000  # ids: the server can say no more of them again
FINAL: Final = frozenset({400, 401, 403, 404})  # answers to a renewal after which there is no session


class _Polled(msgspec.Struct):
    id: str
    event: str
    data: Any


class _Answer(msgspec.Struct):
    events: list[_Polled]
    next: str
    reset: bool


@dataclass(frozen=True, slots=True)
class _Back:
    """How a stream ended. `after` seconds it may come again; `asked` it was told to; `had` there was one at all."""

    why: str
    after: float = 0.0
    asked: bool = False
    had: bool = True
    renew: bool = False


class Follower:
    """What `desk`, which is signed in, is told; `told` hears of all of it at once, and must not wait.

    `last_id` is where it goes on from: '' from now on.
    """

    def __init__(self, desk: Desk, outside: Outside, told: Callable[[Told], None], *, last_id: str = "") -> None:
        self.desk = desk
        self.last_id = last_id
        self.condition: Condition | None = None
        self.over: Over = ""
        self._outside = outside
        self._told = told
        self._known: OrderedDict[str, None] = OrderedDict()
        self._beat = HEARTBEAT
        self._stalled = False
        self._had = False  # hello has come, of the stream that there is
        self._why = ""  # of the end, or of the polling
        self._renewing = trio.Lock()
        self._scope = trio.CancelScope()
        self._polling = trio.CancelScope()
        self._wanted = trio.Event()  # that it polls

    async def run(self) -> Over:
        """Follow until it is over, and why that is. Once."""
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self._poll_when_wanted)
            await self._stream_again_and_again()
        self._turn("ended", self._why)
        return self.over

    # -- the stream ---------------------------------------------------------------------------------------------

    async def _stream_again_and_again(self) -> None:
        failures = 0
        while True:
            began = trio.current_time()
            self._had = self._stalled = False
            back = await self._stream()
            if back.renew:
                await self._renew(back.why)
            if self.over:
                return
            failures = 1 if trio.current_time() - began >= PAUSES.calm else failures + 1
            pause = 0.0 if back.asked and failures == 1 else PAUSES.after(failures, self._jitter())
            wait = min(LONGEST_SECONDS, back.after + pause)
            if not (back.had or back.renew) or wait > QUIET_SECONDS:
                self._want(back.why)
            elif not self._wanted.is_set() and not back.renew:
                self._turn("offline", back.why)
            await trio.sleep(wait)

    async def _stream(self) -> _Back:
        """One stream, from dialling to its end."""
        extra = {"accept": MEDIA, **({"last-event-id": self.last_id} if self.last_id else {})}
        headers = self.desk.proved("GET", STREAM, extra)
        with within(self.desk.patience) as patience:
            try:
                async with opened(self._outside.connect, f"{self.desk.base}{STREAM}", headers) as answer:
                    if answer.status != 200:
                        return await self._refused(answer)
                    return await self._read(answer, patience)
            except (Cut, BadStream) as error:
                return _Back(str(error), had=self._had)
        return _Back("the server has fallen silent", had=self._had)

    async def _refused(self, answer: Opened) -> _Back:
        try:
            problem = msgspec.json.decode(await answer.whole(), type=dict[str, Any])
        except msgspec.MsgspecError:
            problem = {}
        why = f"{problem.get('code', answer.status)}: {problem.get('detail', 'no events to be had')}"
        if answer.status == 401:
            return _Back(why, asked=True, had=False, renew=True)
        said = answer.headers.get("retry-after", "")
        return _Back(why, float(said) if said.isascii() and said.isdigit() else 0.0, had=False)

    async def _read(self, answer: Opened, patience: trio.CancelScope) -> _Back:
        """To its end. Whenever something comes there is time for the next."""
        reader = Reader(self.last_id)
        while piece := await answer.piece():
            for one in reader.feed(piece):
                back = self._hear(one)
                if back is not None:
                    return back
            self._is_at(reader.last_id)
            beats = STALLED_BEATS if self._stalled else SILENT_BEATS
            patience.deadline = trio.current_time() + beats * self._beat + A_BIT
        return _Back("the stream has ended", had=self._had)

    def _hear(self, one: Event | Comment) -> _Back | None:
        """What it means; how the stream ends, where it does."""
        if not isinstance(one, Event):
            self._is_alive()
            return None
        data = _object(one.data)
        match one.event:
            case "hello":
                self._begin(one.last_id, data)
            case "reset":
                self._is_at(one.last_id)
                self._told(Refetch("some of what happened was missed", trio.current_time()))
            case "bus-stalled":
                self._stalled = True
                self._want("the server cannot tell it by itself")
                self._turn("polling", self._why)
            case "drain":
                self._is_at(one.last_id)
                return _Back("the server leaves", _number(data, "reconnectAfterMs", 0.0) / 1000, asked=True)
            case "expired":
                return _Back(str(data.get("reason", "expired")), asked=True, renew=True)
            case "superseded":
                self._end("superseded", "somebody else listens as this device now")
            case _:
                self._is_alive()
                self._come(one.last_id, one.event, data)
        return _Back("over") if self.over else None

    def _begin(self, id: str, hello: Mapping[str, Any]) -> None:
        self._had = True
        self._beat = max(1.0, _number(hello, "heartbeatMs", HEARTBEAT * 1000) / 1000)
        self._is_at(id)
        self._stop_polling()
        self._turn("live")

    def _is_alive(self) -> None:
        """A sign of life: after it the stream tells everything again."""
        if self._stalled:
            self._stalled = False
            self._stop_polling()
            self._turn("live")

    # -- polls --------------------------------------------------------------------------------------------------

    async def _poll_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            if self._wanted.is_set():  # still: a stream may have come in this very moment
                with trio.CancelScope() as self._polling:
                    await self._poll_again_and_again()

    async def _poll_again_and_again(self) -> None:
        failures, wait = 0, 0.0  # the first one asks what there is now
        while True:
            began = trio.current_time()
            try:
                answer = await self._poll(wait)
            except Refused as refused:
                failures += 1
                self._turn("offline", str(refused))
                if refused.status == 401:
                    await self._renew(str(refused))
                asked = _number(refused.problem, "retryAfterMs", 0.0) / 1000
                pause = min(LONGEST_SECONDS, asked + POLL_PAUSES.after(failures, self._jitter()))
            else:
                self._turn("polling", self._why)
                self._take(answer)
                least = EMPTY_SECONDS if wait and not answer.events else 0.0
                pause = max(0.0, began + least - trio.current_time())
                failures, wait = 0, min(POLL_SECONDS, self.desk.patience / 2)
            await trio.sleep(pause)

    async def _poll(self, wait: float) -> _Answer:
        """Raises `Refused`, also for an answer that is none."""
        if self.desk.session is None:
            raise Refused(401, "SESSION_REQUIRED", "signed out")
        after = {"after": self.last_id} if self.last_id else {}
        try:
            seen = await self.desk.get(POLL, {**after, "waitMs": str(round(wait * 1000))})
            return msgspec.convert(seen.body, _Answer)
        except ValueError as error:
            raise Refused(0, "UNREADABLE", f"an answer that is no poll's ({type(error).__name__})") from None

    def _take(self, answer: _Answer) -> None:
        for one in answer.events:
            self._come(one.id, one.event, one.data if isinstance(one.data, dict) else {})
        if answer.reset and not self.over:
            self._told(Refetch("some of what happened was missed", trio.current_time()))
        self._is_at(answer.next)

    def _want(self, why: str) -> None:
        self._why = why
        self._wanted.set()

    def _stop_polling(self) -> None:
        """One that is under way is given up: the stream goes on from what it would have told."""
        if self._wanted.is_set():
            self._wanted = trio.Event()
            self._polling.cancel(reason="there is a stream")

    # -- what both of them do -----------------------------------------------------------------------------------

    def _come(self, id: str, event: str, data: Mapping[str, Any]) -> None:
        if id in self._known or self.over:
            return
        self._known[id] = None
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        self.last_id = id
        self._told(Came(id, event, data, trio.current_time()))
        if event == "force-logout":
            self._end("logged-out", str(data.get("reason", "")))

    def _is_at(self, id: str) -> None:
        """Where a stream or a poll is. One that is behind the other may lead back, and then known events come again."""
        if id and id not in self._known:
            self.last_id = id

    async def _renew(self, why: str) -> None:
        """New tokens; it is over where there are none to be had. What cannot be answered now is asked again later."""
        had = self.desk.session
        if had is None:
            self._end("session-over", "signed out")
            return
        async with self._renewing:
            if self.desk.session is not had:  # the other one has just done it
                return
            try:
                await self.desk.renew()
            except Refused as refused:
                if refused.status in FINAL:
                    self._end("session-over", f"{why}; {refused}")

    def _turn(self, state: State, why: str = "") -> None:
        condition = Condition(state, why)
        if condition != self.condition and (not self.over or state == "ended"):
            self.condition = condition
            self._told(condition)

    def _end(self, over: Over, why: str) -> None:
        if not self.over:
            self.over, self._why = over, why
            self._scope.cancel(reason=f"following: {over}")

    def _jitter(self) -> float:
        return fraction(self._outside.entropy)


def _object(text: str) -> Mapping[str, Any]:
    """An event's data, nothing where it is no JSON object."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _number(said: Mapping[str, Any], name: str, otherwise: float) -> float:
    """A number that is none below 0, whatever was said."""
    found = said.get(name)
    return max(0.0, float(found)) if isinstance(found, int | float) else otherwise
