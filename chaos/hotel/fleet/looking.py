"""A person who looks at the dashboard again and again, whatever becomes of the server meanwhile.

What was seen last stays in view while there is nothing newer. A session that has ended is begun anew; a `bff up` that
was started again is found again, where it is now.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.hotel.fleet.desk import Desk, Operator, Refused, Seen
from chaos.hotel.fleet.screen import REMEMBERED, screen
from chaos.hotel.ready import Ready, running
from chaos.live.process import LiveError

if TYPE_CHECKING:
    import httpx
    from rich.console import RenderableType

    from bff.outside import Outside

PATIENCE: Final = 3.0  # seconds: a person who sees nothing move wants to know why
HOPELESS: Final = frozenset({400, 403, 404})  # asking again changes nothing


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
    """What a person has seen so far at the instance that runs on `data`."""

    def __init__(self, data: Path, choice: Choice, client: httpx.AsyncClient, outside: Outside) -> None:
        self._data = data
        self._choice = choice
        self._client = client
        self._outside = outside
        self._device = f"desk-{outside.identifier()[:8]}"
        self._desk: Desk | None = None
        self._since = 0.0
        self.seen: Seen | None = None
        self.trouble = ""
        self.history: deque[float] = deque(maxlen=REMEMBERED)

    async def first(self) -> Seen:
        """One look, with no hope of a second. Raises `Refused` or `LiveError`."""
        return await self._seen(await self._seated())

    async def again(self) -> None:
        """One look; what went wrong is `trouble`. Raises `Refused` for what will not change."""
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
                self._desk = None

    async def leave(self) -> None:
        """Sign out. Raises `Refused`."""
        if self._desk is not None:
            await self._desk.sign_out()

    def picture(self, width: int, height: int) -> RenderableType:
        """What there is to see now."""
        return screen(self.seen, width=width, height=height, trouble=self.trouble, history=tuple(self.history))

    async def _seated(self) -> Desk:
        ready = running(self._data)
        if self._desk is None or self._desk.base != ready.edge:
            desk = Desk(self._client, ready.edge, self._outside, device=self._device, patience=PATIENCE)
            self._desk = None
            await desk.sign_in(self._choice.operator_of(ready))
            self._desk = desk
        return self._desk

    async def _seen(self, desk: Desk) -> Seen:
        return await desk.dashboard(self._choice.place, deadline_ms=self._choice.deadline_ms)

    def _note(self, line: str) -> None:
        if not self.trouble:
            self._since = self._outside.now()
        since = datetime.fromtimestamp(self._since).astimezone().strftime("%H:%M:%S")
        self.trouble = f"since {since}: {line}"
