"""A person who looks at the dashboard again and again, whatever becomes of the server meanwhile.

What was seen last stays in view while there is nothing newer. A session that has ended is begun anew; a `bff up` that
was started again is found again, where it is now. What happens is told beside it, and is looked at as soon as it does.
Who was logged out, or has gone on at another desk, is not signed in again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.fleet import news
from chaos.hotel.fleet.desk import Desk, Operator, Refused, Seen
from chaos.hotel.fleet.following import Follower
from chaos.hotel.fleet.news import Happened, News
from chaos.hotel.fleet.screen import REMEMBERED, screen
from chaos.hotel.fleet.told import Condition, Refetch
from chaos.hotel.ready import Ready, running
from chaos.live.process import LiveError
from nurseries import until, within

if TYPE_CHECKING:
    import httpx
    from rich.console import RenderableType

    from bff.outside import Outside
    from chaos.hotel.fleet.told import Told

PATIENCE: Final = 3.0  # seconds: a person who sees nothing move wants to know why
HOPELESS: Final = frozenset({400, 403, 404})  # asking again changes nothing
SEEN_IN_IT: Final = frozenset({"dashboard-stale", "board-changed", "alert"})  # events that change what there is to see
LAST_WORD: Final = 1.0  # seconds in which a desk whose session has ended hears why
SOON: Final = 0.2  # seconds from one look to the next, however much happens


@dataclass(frozen=True, slots=True)
class Choice:
    """Whose desk, and what it looks at; what is None is the first there is. `deadline_ms` shortens the route's."""

    tenant: str | None = None
    operator: str | None = None
    place: str | None = None
    deadline_ms: int | None = None

    def operator_of(self, ready: Ready) -> Operator:
        """Who signs in. Raises `LiveError` where `bff up` knows nobody like that."""
        for one in ready.operators:
            if self.tenant in {None, one["tenant"]} and self.operator in {None, one["operator"]}:
                return Operator(one["tenant"], one["operator"], one["password"])
        known = ", ".join(f"{one['tenant']}/{one['operator']}" for one in ready.operators)
        raise LiveError(f"no such operator: `bff up` knows {known or 'nobody, because its estate runs elsewhere'}")


class Looking:
    """What a person has seen so far at the instance that runs on `data`. `over` is why he sees no more, or ''."""

    def __init__(self, data: Path, choice: Choice, client: httpx.AsyncClient, outside: Outside) -> None:
        self._data = data
        self._choice = choice
        self._client = client
        self._outside = outside
        self._device = f"desk-{outside.identifier()[:8]}"
        self._desk: Desk | None = None
        self._seated_anew = trio.Event()
        self._following = trio.CancelScope()
        self._heard_out = trio.Event()  # nothing more is told at the desk that there is
        self._heard_out.set()
        self._condition: Condition | None = None
        self._happened: deque[Happened] = deque(maxlen=news.REMEMBERED)
        self._news = trio.Event()
        self._due = False
        self._looked = 0.0
        self._since = 0.0
        self.over = ""
        self.seen: Seen | None = None
        self.trouble = ""
        self.history: deque[float] = deque(maxlen=REMEMBERED)

    async def first(self) -> Seen:
        """One look, with no hope of a second. Raises `Refused` or `LiveError`."""
        return await self._seen(await self._seated())

    async def again(self) -> None:
        """One look; what went wrong is `trouble`. Raises `Refused` for what will not change."""
        self._due, self._looked = False, trio.current_time()
        for _ in range(2):  # where the session has ended, once more with a new one
            try:
                self.seen = await self._seen(await self._seated())
                self.history.append(self.seen.took)
                self.trouble = ""
                return
            except LiveError as error:
                self._note(str(error))
                return
            except Refused as refused:
                if refused.status in HOPELESS or (refused.status == 401 and self._desk is None):
                    raise
                self._note(str(refused))
                if refused.status != 401:
                    return
                with within(LAST_WORD):
                    await self._heard_out.wait()
                if self.over:
                    return
                self._desk = None

    async def follow(self) -> None:
        """Be told what happens, at whatever desk a look has found, until it is `over`."""
        while not self.over:
            await self._seated_anew.wait()
            self._seated_anew = trio.Event()
            if self._desk is not None:
                self._heard_out = trio.Event()
                with trio.CancelScope() as self._following:
                    follower = Follower(self._desk, self._outside, self._hear)
                    self.over = news.ended(await follower.run(), follower.condition)
                self._heard_out.set()
        self._wake()

    async def rest(self, seconds: float) -> bool:
        """Until there is something new to see, at the latest `seconds` after the last look. Whether another is due."""
        again = self._looked + seconds
        with until(again):
            if not self._due and not self.over:
                await self._news.wait()
        if self._due:
            await trio.sleep_until(self._looked + SOON)
        return self._due or trio.current_time() >= again

    async def leave(self) -> None:
        """Sign out. Raises `Refused`."""
        if self._desk is not None:
            await self._desk.sign_out()

    def picture(self, width: int, height: int) -> RenderableType:
        """What there is to see now."""
        told = News(self._condition, tuple(self._happened)) if self._condition is not None else None
        history = tuple(self.history)
        return screen(self.seen, width=width, height=height, trouble=self.trouble, history=history, news=told)

    def _hear(self, one: Told) -> None:
        """What may have changed unheard is due for a look too: before there was a stream, and after a gap."""
        if isinstance(one, Condition):
            self._condition = one
            self._due = self._due or one.state in {"live", "polling"}
        else:
            self._happened.appendleft(Happened(_clock(self._outside.now()), one))
            self._due = self._due or isinstance(one, Refetch) or one.event in SEEN_IN_IT
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _seated(self) -> Desk:
        ready = running(self._data)
        if self._desk is None or self._desk.base != ready.edge:
            desk = Desk(self._client, ready.edge, self._outside, device=self._device, patience=PATIENCE)
            self._desk = None
            await desk.sign_in(self._choice.operator_of(ready))
            self._desk = desk
            self._following.cancel(reason="another desk")
            self._seated_anew.set()
        return self._desk

    async def _seen(self, desk: Desk) -> Seen:
        return await desk.dashboard(self._choice.place, deadline_ms=self._choice.deadline_ms)

    def _note(self, line: str) -> None:
        if not self.trouble:
            self._since = self._outside.now()
        since = _clock(self._since)
        self.trouble = f"since {since}: {line}"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S")
